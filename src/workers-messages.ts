// What do a supervisor and its workers say to each other?
//
// Over the channel that Node opens to a child process, as structured clones: of nobody else, so nothing of it is judged again.

import type { Clock } from 'policy-cache';
import type { Readiness } from './api/health.ts';
import type { Config } from './config.ts';
import type { Metrics } from './workers-metrics.ts';

/** All that a worker needs to know. What the supervisor has read it does not read again: one that comes later decides by the same files. */
export interface Begin {
  /** Of this worker, from 1. */
  readonly number: number;
  readonly settings: Config['settings'];
  readonly files: ReadonlyMap<string, string>;
  readonly version: string;
  readonly hostname: string;
  readonly traces: boolean;
  /** Random, and the same for every worker as long as the service runs: what one of them seals another one opens. */
  readonly secret: string;
}

/** By name, what an answer to it is. */
export interface QuestionsToWorker {
  readonly readiness: Readiness;
  readonly metrics: Metrics;
}

/** About the whole service, by name. */
export interface QuestionsToSupervisor {
  readonly readiness: Readiness;
  readonly exposition: string;
}

export interface Ask<Q> {
  readonly kind: 'ask';
  readonly id: number;
  readonly of: keyof Q;
}

export type Answer = { readonly kind: 'answer'; readonly id: number } & ({ readonly value: unknown } | { readonly problem: string });

export type ToWorker =
  | { readonly kind: 'begin'; readonly begin: Begin }
  /** Beside it a socket, if its client is still there. */
  | { readonly kind: 'connection'; readonly id: number; readonly listener: number }
  /** Not ready from now on; answers end their connections. */
  | { readonly kind: 'drain' }
  /** Connections with a check under way are waited for so long. */
  | { readonly kind: 'stop'; readonly ms: number }
  | Ask<QuestionsToWorker>
  | Answer;

export type ToSupervisor =
  /** It answers: connections may come, if only with 503. */
  | { readonly kind: 'up' }
  /** It has its first world, and every key. */
  | { readonly kind: 'ready' }
  /** Its settings are not to be used: why. */
  | { readonly kind: 'refused'; readonly why: string }
  /** It has this connection, whoever else holds it may let go. */
  | { readonly kind: 'taken'; readonly id: number }
  /** A connection of this listener is over. */
  | { readonly kind: 'closed'; readonly listener: number }
  | Ask<QuestionsToSupervisor>
  | Answer;

export interface Questions<Q> {
  /** Rejects when no answer came within `ms`, or the other side could give none. */
  ask<K extends keyof Q>(of: K, ms: number): Promise<Q[K]>;
  /** Takes an answer to the one who waits for it. */
  answered(answer: Answer): void;
  /** The other side has gone: nothing is answered any more. */
  end(): void;
}

export function createQuestions<Q>(clock: Clock, send: (ask: Ask<Q>) => void): Questions<Q> {
  const waiting = new Map<number, (answer: Answer | null) => void>();
  let last = 0;
  let over = false;
  return {
    ask: (of, ms) =>
      new Promise((resolve, reject) => {
        if (over) return reject(new Error('it has ended'));
        const id = ++last;
        const cancel = clock.after(ms, () => waiting.get(id)?.(null));
        waiting.set(id, (answer) => {
          cancel();
          waiting.delete(id);
          if (answer === null) reject(new Error('no answer'));
          else if ('problem' in answer) reject(new Error(answer.problem));
          else resolve(answer.value as Q[typeof of]); // of our own program, at the other end
        });
        send({ kind: 'ask', id, of });
      }),
    answered: (answer) => waiting.get(answer.id)?.(answer),
    end() {
      over = true;
      for (const give of waiting.values()) give(null);
    },
  };
}

/** Answers a question: what `give` says, or that it could not. */
export async function answerTo<Q>({ id, of }: Ask<Q>, give: { readonly [K in keyof Q]: () => Q[K] | Promise<Q[K]> }): Promise<Answer> {
  try {
    return { kind: 'answer', id, value: await give[of]() };
  } catch (error) {
    return { kind: 'answer', id, problem: error instanceof Error ? error.message : String(error) };
  }
}
