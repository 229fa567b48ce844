// Is this process alive, and may a proxy send it checks?
//
// Alive: the event loop turns, nothing else; a broken database must not restart every pod. Ready: a world is loaded and proved
// fresh, the hot set is in memory or out of time, every issuer's keys are here, the loop keeps up, and nobody is shutting us down. What is wrong stands in the answer by name.

import { Hono } from 'hono';
import type { CacheState } from 'policy-cache';

export interface Readiness {
  /** What the policy cache says of itself. */
  readonly cache: CacheState;
  /** True from the first signal on. */
  readonly draining: boolean;
  /** The event loop has been behind for longer than is allowed. */
  readonly overloaded: boolean;
  /** The hot set is being read into memory. */
  readonly warming?: boolean;
  /** Keys that no token of their issuer can be judged without, in words; null: all are here. */
  readonly missingKeys?: string | null;
}

/** The same for every listener: gRPC's health service says it, too. */
export function isReady({ cache, draining, overloaded, warming = false, missingKeys = null }: Readiness): boolean {
  return cache.fresh && missingKeys === null && !draining && !overloaded && !warming;
}

/** What a person can do something about comes first: a world or a key that does not load is no question of load. */
function wordsOf({ cache, draining, overloaded, warming = false, missingKeys = null }: Readiness): { state: string; cause: string | null } {
  if (draining) return { state: 'draining', cause: 'shutting down' };
  if (cache.fresh && missingKeys !== null) return { state: 'starting', cause: cache.cause ?? missingKeys };
  if (cache.fresh && warming) return { state: 'warming', cause: 'the ids of cache.hotSet are being read from the database' };
  if (cache.fresh && overloaded) return { state: 'overloaded', cause: 'the event loop is behind: more checks come than this process can answer in time' };
  return { state: cache.state, cause: cache.cause ?? missingKeys };
}

export function healthRoutes(read: () => Readiness | Promise<Readiness>): Hono {
  const app = new Hono();
  for (const path of ['/livez', '/healthz']) app.get(path, (c) => c.text('ok\n', 200, { 'cache-control': 'no-store' }));
  app.get('/readyz', async (c) => {
    const readiness = await read();
    const { cache } = readiness;
    const body = { ...wordsOf(readiness), revision: cache.revision, age_ms: cache.ageMs === null ? null : Math.round(cache.ageMs) };
    return c.json(body, isReady(readiness) ? 200 : 503, { 'cache-control': 'no-store' });
  });
  return app;
}
