// What can a cache be told, and what does it tell beside its decisions? Types only.

import type { Revision } from './model.ts';
import type { Held } from './covers.ts';
import type { CacheObserver } from './observer.ts';
import type { Clock, Source } from './source.ts';
import type { Vocabulary } from './vocabulary.ts';

/** Filled in by a check in its deciding turn, for the caller who needs more than the decision. Reusable, by one check at a time. */
export interface CheckStatus {
  /** Tenant of the subject; '' if the subject is unknown or was not looked at. */
  tenant: string;
  /** Customer that owns the subject; '' for a tenant's own users. */
  customer: string;
  /** Revision at which the decision is true. */
  revision: Revision | null;
  /** False if the check had to wait. */
  hit: boolean;
  /** Shown what the subject holds, in the deciding turn, where that decided; of a check that was decided without it, nobody is told anything. */
  readonly seen?: (held: Held) => void;
}

export interface CheckOptions {
  /** Refuse an answer that may be older than this, ms; only ever smaller than the cache's own bound. */
  readonly maxStaleness?: number;
  /** Answer at this revision or later; `latest`: by a pull sent after the request came. */
  readonly atLeast?: Revision | 'latest' | undefined;
  /** Milliseconds until `deadline`; default 100. */
  readonly deadline?: number;
  /** Called in the turn in which the check would begin to wait, before anything is sent for it; what it throws refuses the check. */
  readonly admit?: () => void;
  /** Whatever the caller knows this check by where it traces it: the observer is told it with the fills that the check waited for. */
  readonly trace?: object | undefined;
}

export interface CacheState {
  /** `starting`: no world yet. `following`: the session is up. `detached`: it is not, the world answers until its lease ends. */
  readonly state: 'starting' | 'following' | 'detached';
  /** Could a check be answered now? */
  readonly fresh: boolean;
  /** The revision that answers are true at. */
  readonly revision: string | null;
  /** How long ago the last applied pull was sent. */
  readonly ageMs: number | null;
  /** What is wrong, in a sentence; null if nothing is. */
  readonly cause: string | null;
}

/** Something of subjects, and of targets. */
export interface HotIds<T = readonly string[]> {
  readonly subjects: T;
  readonly targets: T;
}

export interface CacheSizes {
  readonly subjects: number;
  readonly targets: number;
  readonly absent: number;
  readonly classes: number;
  readonly keys: number;
  readonly nodes: number;
}

/** Entries kept at most (coherence 3.6); `touched`: keys remembered per kind of tag. */
export interface CacheLimits {
  readonly subjects: number;
  readonly targets: number;
  readonly absent: number;
  readonly classes: number;
  /** API keys; those that do not exist as many as `absent`. */
  readonly keys: number;
  readonly touched: number;
}

export interface CacheSettings {
  readonly vocabulary: Vocabulary;
  readonly source: Source;
  readonly clock: Clock;
  /** 0 ≤ random() < 1, for the jitter of the back-off. */
  readonly random: () => number;
  /** Older than this, nothing is answered, ms; default 2,000. */
  readonly maxStaleness?: number;
  /**
   * The name under which it reports where it is, so that a barrier waits for it (coherence 3.7, G4): of this process alone, 1 to 255
   * bytes. Absent: no barrier knows of it.
   */
  readonly follower?: string;
  readonly observer?: CacheObserver;
  readonly limits?: Partial<CacheLimits>;
}
