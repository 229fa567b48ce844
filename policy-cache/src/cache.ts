// PolicyCache: (under construction by the founder; this is its public face)
import type { AccessRequest, Decision, Revision } from './model.ts';
import type { CacheObserver, CacheStats } from './observer.ts';
import type { Clock, Source } from './source.ts';
import type { Vocabulary } from './vocabulary.ts';

/** Filled in by a check in its deciding turn, for the caller who needs more than the decision. Reusable. */
export interface CheckStatus {
  /** Tenant of the subject; '' if the subject is unknown. */
  tenant: string;
  /** Customer that owns the subject; '' for a tenant's own users. */
  customer: string;
  /** Revision at which the decision is true. */
  revision: Revision | null;
  /** False if the check had to wait for a fill. */
  hit: boolean;
}

export interface CheckOptions {
  /** Refuse an answer that may be older than this, ms; only ever smaller than the cache's own bound. */
  readonly maxStaleness?: number;
  /** Answer at this revision or later, or at one pulled after the request came. */
  readonly atLeast?: Revision | 'latest';
  readonly deadline?: number;
}

export interface CacheState {
  /** `following`: the session is up. `detached`: it is not, the world is kept until its lease ends. `starting`: no world yet. */
  readonly state: 'starting' | 'following' | 'detached';
  /** Could a check be answered now? */
  readonly fresh: boolean;
  readonly revision: string | null;
  readonly ageMs: number | null;
  /** What is wrong, in a sentence; null if nothing is. */
  readonly cause: string | null;
}

export interface CacheSizes { readonly subjects: number; readonly targets: number; readonly absent: number; readonly classes: number; readonly nodes: number }

export interface CacheSettings {
  readonly vocabulary: Vocabulary;
  readonly source: Source;
  readonly clock: Clock;
  /** 0 ≤ random() < 1, for the jitter of the back-off. */
  readonly random: () => number;
  /** Milliseconds; default 2,000. */
  readonly maxStaleness?: number;
  readonly observer?: CacheObserver;
  readonly limits?: Partial<CacheLimits>;
}
export interface CacheLimits { readonly subjects: number; readonly targets: number; readonly absent: number; readonly classes: number; readonly touched: number }

export declare class PolicyCache {
  constructor(settings: CacheSettings);
  readonly stats: CacheStats;
  /** Begins to attach. Never throws: failures show in `state()`. */
  start(): void;
  /** Resolves when the first world is current; rejects with PolicyError `starting` after `ms`. */
  ready(ms: number): Promise<void>;
  /** A hit is answered in this turn, without a promise. Throws or rejects with PolicyError where it cannot decide. */
  check(request: AccessRequest, status?: CheckStatus, options?: CheckOptions): Decision | Promise<Decision>;
  state(): CacheState;
  sizes(): CacheSizes;
  /** Ends the session and drops everything; checks reject with `starting` from then on. */
  close(): void;
}
