// What can be seen from outside of a cache at work? Plain numbers that the hot path bumps and a telemetry layer reads.

import type { PolicyErrorCode } from './errors.ts';

/** Why a world was thrown away. `start`: there was none. */
export type ResetCause = 'start' | 'history' | 'backlog' | 'everything';
/** `report`: a barrier waits to hear of us. */
export type PullCause = 'ring' | 'beat' | 'wait' | 'report';

export interface CacheStats {
  /** Checks answered without waiting for anything, and those that had to wait for a fill. */
  hits: number;
  misses: number;
  rings: number;
  readonly pulls: Record<PullCause, number>;
  /** Commits that a pull found though no ring had come since the pull before it. */
  changesWithoutRing: number;
  readonly resets: Record<ResetCause, number>;
  attaches: number;
  /** Reports to barriers that were kept. */
  reports: number;
  /** Fills whose answer could not be admitted (touched meanwhile, other history). */
  fillsRefused: number;
  fills: number;
  fillErrors: number;
  readonly unavailable: Record<PolicyErrorCode, number>;
}

/** What the cache did beside deciding, told when it is over: it began `ms` ago. `error`: why it failed. */
export type Work = { readonly ms: number; readonly error: Error | null } & (
  | { readonly kind: 'attach'; /** Attempts that failed before it. */ readonly failures: number }
  /** `cursor`: the version that it asked from. `changes`: rows of the change log that it brought; of a first pull, those of the owner tree. */
  | { readonly kind: 'pull'; readonly cause: PullCause; readonly cursor: number; readonly changes: number }
  /** From the cause to the moment at which the new world answers. */
  | { readonly kind: 'reset'; readonly cause: string; readonly nodes: number }
  /**
   * A statement that checks with a `trace` waited for, theirs in the order in which they came. `refused`: keys whose answer was not let
   * in, for a change had overtaken it or it came too late; they are asked for again if somebody still waits.
   */
  | { readonly kind: 'fill'; readonly of: 'object' | 'class' | 'key'; readonly keys: number; readonly refused: number; readonly traces: readonly object[] }
);

export interface CacheObserver {
  /** A pull with changes was applied: milliseconds from the newest commit to this moment (server clock up to the pull, ours from its reply). */
  applied?(lagMs: number): void;
  /** How full the server's notification queue is, 0 to 1: about once a second. */
  queue?(usage: number): void;
  /** A fill was answered, in milliseconds from the statement's sending. */
  filled?(ms: number): void;
  /** For traces. Of fills only those that a traced check waited for. */
  worked?(work: Work): void;
  /** Something an operator wants in the log: attach, close, reset, refusal of a server. */
  event?(event: { readonly kind: 'attached' | 'closed' | 'reset'; readonly detail: string }): void;
}

export function newStats(): CacheStats {
  return {
    hits: 0,
    misses: 0,
    rings: 0,
    changesWithoutRing: 0,
    attaches: 0,
    reports: 0,
    fillsRefused: 0,
    fills: 0,
    fillErrors: 0,
    pulls: { ring: 0, beat: 0, wait: 0, report: 0 },
    resets: { start: 0, history: 0, backlog: 0, everything: 0 },
    unavailable: { stale: 0, starting: 0, history: 0, overload: 0, deadline: 0, source: 0 },
  };
}
