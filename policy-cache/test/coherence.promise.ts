// What is a promise whose callbacks run in the turn in which it is settled?
//
// A search goes from state to state without waiting for anything. Code that is compiled with this in place of `Promise` goes on as it does
// in microtasks, before anything else happens.

type Settled<T> = { readonly value: T } | { readonly error: unknown };

export class PromiseOfThisTurn<T> {
  #settled: Settled<T> | null = null;
  readonly #callbacks: (() => void)[] = [];

  constructor(run: (resolve: (value: T | PromiseOfThisTurn<T>) => void, reject: (error: unknown) => void) => void) {
    const settle = (settled: Settled<T>): void => {
      if (this.#settled !== null) return;
      this.#settled = settled;
      for (const callback of this.#callbacks) callback();
    };
    const reject = (error: unknown): void => settle({ error });
    const resolve = (value: T | PromiseOfThisTurn<T>): void => {
      if (value instanceof PromiseOfThisTurn) void value.then(resolve, reject);
      else settle({ value });
    };
    try {
      run(resolve, reject);
    } catch (error) {
      reject(error);
    }
  }

  /** Null: it waits. */
  get settled(): Settled<T> | null {
    return this.#settled;
  }

  // It stands for what has a `then`.
  // oxlint-disable-next-line unicorn/no-thenable
  then<U>(use: (value: T) => U | PromiseOfThisTurn<U>, failed?: (error: unknown) => U | PromiseOfThisTurn<U>): PromiseOfThisTurn<U> {
    return new PromiseOfThisTurn((resolve, reject) => {
      const run = (): void => {
        const settled = this.#settled!;
        try {
          if ('value' in settled) resolve(use(settled.value));
          else if (failed === undefined) reject(settled.error);
          else resolve(failed(settled.error));
        } catch (error) {
          reject(error);
        }
      };
      if (this.#settled === null) this.#callbacks.push(run);
      else run();
    });
  }

  catch(failed: (error: unknown) => T | PromiseOfThisTurn<T>): PromiseOfThisTurn<T> {
    return this.then((value) => value, failed);
  }

  finally(end: () => void): PromiseOfThisTurn<T> {
    return this.then(
      (value) => (end(), value),
      (error) => {
        end();
        throw error;
      },
    );
  }
}
