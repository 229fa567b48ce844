// What is one worker to its supervisor? A process that is given connections, asked how it is, and missed when it does not answer.

import { fork, type ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import type { Clock } from 'policy-cache';
import { isReady, type Readiness } from './api/health.ts';
import {
  answerTo,
  createQuestions,
  type Begin,
  type QuestionsToSupervisor,
  type QuestionsToWorker,
  type ToSupervisor,
  type ToWorker,
} from './workers-messages.ts';

/** Long before it a worker that does not answer is replaced. */
const LONGEST_MS = 600_000;
const NEWLINE = 0x0a;
/** Few lines gather so long in the kernel: each read and write of its own costs this process 0.1 to 0.2 ms, and a log may have hundreds a second. */
const GATHER_MS = 100;
const FEW_BYTES = 32_768;

/** A writable stream as Node has them (stdout). */
export interface ByteSink {
  write(bytes: Uint8Array, done: (problem?: Error | null) => void): unknown;
}

export interface WorkerSettings {
  /** What it runs (worker.ts, built). */
  readonly program: string;
  readonly clock: Clock;
  readonly begin: Begin;
  readonly listeners: number;
  /** Gets its decision log, in whole lines. */
  readonly stdout: ByteSink;
  readonly answers: { readonly [K in keyof QuestionsToSupervisor]: () => Promise<QuestionsToSupervisor[K]> };
  /** It has taken a connection: there is room for another one. */
  readonly taken: () => void;
}

export interface Held {
  readonly listener: number;
  readonly socket: Socket;
}

/** How a worker ended. */
export interface End {
  readonly how: string;
  /** Connections that it was given and never took: they are somebody else's now. */
  readonly left: readonly Held[];
}

export class WorkerProcess {
  readonly pid: number;
  /** Settles when connections may come; with the end, if that is first. */
  readonly up: Promise<'up' | End>;
  /** Settles when it was ready for the first time. */
  readonly ready: Promise<void>;
  readonly ended: Promise<End>;
  /** Settles when its last line is written, or is not going to be. */
  readonly written: Promise<void>;
  isUp = false;
  /** As it last said. */
  isReady = false;
  /** Looks in a row in which nothing came from it. */
  missed = 0;
  /** Why it refused to begin. */
  refused: string | null = null;
  readonly #child: ChildProcess;
  readonly #questions;
  readonly #held = new Map<number, Held>();
  readonly #open: number[];
  #last = 0;
  #isAsked = false;

  constructor({ program, clock, begin, listeners, stdout, answers, taken }: WorkerSettings) {
    // stderr is its own: its lines are short enough for the kernel to keep them whole. The number is for whoever reads `ps`.
    this.#child = fork(program, [String(begin.number)], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'], serialization: 'advanced' });
    const child = this.#child;
    this.pid = child.pid ?? 0;
    this.#open = Array.from({ length: listeners }, () => 0);
    this.#questions = createQuestions<QuestionsToWorker>(clock, (ask) => this.#send(ask));
    // Without a descriptor left there is no process, and (Node 20.20) undefined in the place of its output; `error` follows.
    const output: typeof child.stdout | undefined = child.stdout;
    this.written = output ? relay(output, stdout, clock).catch(() => undefined) : Promise.resolve(); // there is no more to be read
    this.ended = new Promise((resolve) => {
      const over = (how: string): void => {
        this.#questions.end();
        resolve({ how: this.refused ?? how, left: [...this.#held.values()] });
      };
      child.once('error', (error) => over(error.message));
      child.once('exit', (code, signal) => {
        this.isUp = false;
        const how = signal ?? `exit ${code}`;
        // What it has said may still be to be read: a connection that it took, and perhaps has read from, is nobody else's.
        if (child.connected) child.once('disconnect', () => over(how));
        else over(how);
      });
    });
    let wasReady: () => void;
    this.ready = new Promise((resolve) => (wasReady = resolve));
    const isUp = new Promise<'up'>((resolve) => {
      child.on('message', (message: ToSupervisor) => {
        this.missed = 0; // one that hangs says nothing at all; the answer to a question may be late because of much else to say
        switch (message.kind) {
          case 'up':
            this.isUp = true;
            return resolve('up');
          case 'ready':
            this.isReady = true;
            return wasReady();
          case 'refused':
            this.refused = message.why;
            return;
          case 'taken':
            this.#taken(message.id);
            return taken();
          case 'closed':
            this.#open[message.listener]!--;
            return;
          case 'ask':
            return void answerTo<QuestionsToSupervisor>(message, answers).then((answer) => this.#send(answer));
          case 'answer':
            return this.#questions.answered(message);
          default:
            return message satisfies never;
        }
      });
    });
    this.up = Promise.race([isUp, this.ended]);
    this.#send({ kind: 'begin', begin });
  }

  /** Connections of a listener that it has, or is about to take. */
  open(listener: number): number {
    return this.#open[listener] ?? 0;
  }

  /** Connections that it was given and has not taken yet. */
  get onTheirWay(): number {
    return this.#held.size;
  }

  give(held: Held): void {
    const id = ++this.#last;
    // Else Node keeps a list of what it has sent, and the server's end waits for an answer of workers that are gone (Node 20: for ever).
    Reflect.set(held.socket, 'server', null);
    this.#held.set(id, held);
    this.#open[held.listener]!++;
    // Held until it is taken: else those on their way to a worker that ends, or hangs, would be nobody's, and their clients would wait.
    this.#child.send({ kind: 'connection', id, listener: held.listener } satisfies ToWorker, held.socket, { keepOpen: true }, () => undefined);
  }

  ask<K extends keyof QuestionsToWorker>(of: K, ms: number): Promise<QuestionsToWorker[K]> {
    return this.#questions.ask(of, ms);
  }

  /** One more look at it: whatever it says sets `missed` back, and it is asked so that it says something. */
  look(): void {
    this.missed++;
    if (this.#isAsked) return;
    this.#isAsked = true;
    const over = (said: Readiness | null): void => {
      this.#isAsked = false;
      if (said !== null) this.isReady = isReady(said);
    };
    this.ask('readiness', LONGEST_MS).then(over, () => over(null)); // it is only starting, or has ended
  }

  drain(): void {
    this.#send({ kind: 'drain' });
  }

  /** It ends by itself, when what is under way is answered, or after `ms`. */
  stop(ms: number): void {
    this.#send({ kind: 'stop', ms });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #taken(id: number): void {
    // It closes our copy alone: the connection is the worker's.
    this.#held.get(id)?.socket.destroy();
    this.#held.delete(id);
  }

  #send(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message, () => undefined); // it has ended: `ended` says so
  }
}

/**
 * Two processes that write to one pipe keep whole only what the kernel takes at once. Measured with a slow reader: writes of 20 lines (7 KB)
 * stayed whole, of 200 lines (70 KB, a busy log's) 103 of 80,000 lines were torn; a worker that is killed in the middle of a write leaves
 * half a line. So one process writes, and what it does not get rid of waits in the workers, which have a bound for it.
 */
async function relay(from: AsyncIterable<Uint8Array>, to: ByteSink, clock: Clock): Promise<void> {
  const write = (lines: Uint8Array): Promise<void> => new Promise((resolve) => void to.write(lines, () => resolve()));
  let rest: Uint8Array[] = [];
  for await (const piece of from) {
    const end = piece.lastIndexOf(NEWLINE) + 1;
    if (end === 0) rest.push(piece);
    else {
      const lines = piece.subarray(0, end);
      await write(rest.length === 0 ? lines : Buffer.concat([...rest, lines]));
      rest = end === piece.length ? [] : [piece.subarray(end)];
      if (piece.length < FEW_BYTES) await new Promise<void>((resolve) => void clock.after(GATHER_MS, resolve));
    }
  }
}
