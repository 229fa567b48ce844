// Is a service of several workers ready?
//
// When all of them are. One that has to be replaced is forgiven for a while, once the service was ready: the others answer, and to
// take the whole service away for it would make one crash an outage. A worker that ends again and again is not forgiven.

import type { CacheState } from 'policy-cache';
import { isReady, type Readiness } from './api/health.ts';

/** So many ends, each before a worker had lasted, are no accident. */
export const ENDS_IN_A_ROW = 3;

export interface WorkerLook {
  readonly number: number;
  /** What it says of itself; null: it is not there, or does not answer. */
  readonly readiness: Readiness | null;
  /** Why it says nothing, in words. */
  readonly silence: string;
  /** How long ago its predecessor ended; null: it has none, or has been ready since. */
  readonly replacingMs: number | null;
  /** Ends of this worker, each before it had lasted; 0 when it has. */
  readonly ends: number;
}

export interface WholeSettings {
  readonly draining: boolean;
  /** All of them were ready once. */
  readonly hasBeen: boolean;
  /** Milliseconds that one may take to be replaced. */
  readonly patience: number;
}

export function serviceReadiness(workers: readonly WorkerLook[], { draining, hasBeen, patience }: WholeSettings): Readiness {
  const looping = workers.find(({ ends }) => ends >= ENDS_IN_A_ROW);
  const some = workers.some(({ readiness }) => readiness !== null && isReady(readiness));
  const judged = workers.filter((look) => !(hasBeen && some && isForgiven(look, patience)));
  const worst = looping ?? judged.find(({ readiness }) => readiness === null || !isReady(readiness));
  const known = workers.flatMap(({ readiness }) => (readiness === null ? [] : [readiness.cache]));
  const cache = known.length === 0 ? NOTHING : known.reduce(older);
  if (worst === undefined) return { cache: { ...cache, state: 'following', fresh: true, cause: null }, draining, overloaded: false };
  const { number, readiness, silence } = worst;
  const said = (words: string | null): string | null => (words === null ? null : `worker ${number}: ${words}`);
  if (readiness === null || worst === looping)
    return { cache: { ...cache, state: 'starting', fresh: false, cause: said(silence) }, draining, overloaded: false };
  return {
    ...readiness,
    draining,
    missingKeys: said(readiness.missingKeys ?? null),
    cache: { ...readiness.cache, revision: cache.revision, ageMs: cache.ageMs, cause: said(readiness.cache.cause) },
  };
}

const NOTHING: CacheState = { state: 'starting', fresh: false, revision: null, ageMs: null, cause: null };

function isForgiven({ readiness, replacingMs, ends }: WorkerLook, patience: number): boolean {
  return replacingMs !== null && replacingMs < patience && ends < ENDS_IN_A_ROW && (readiness === null || !isReady(readiness));
}

/** The lowest revision and the greatest age: what an answer of this service may be of. */
function older(a: CacheState, b: CacheState): CacheState {
  const version = ({ revision }: CacheState): number => (revision === null ? Infinity : Number.parseInt(revision, 10));
  const age = Math.max(a.ageMs ?? 0, b.ageMs ?? 0);
  return { ...a, revision: version(b) < version(a) ? b.revision : a.revision, ageMs: a.ageMs === null && b.ageMs === null ? null : age };
}
