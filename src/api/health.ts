// Is this process alive, and may a proxy send it checks?
//
// Alive: the event loop turns, nothing else; a broken database must not restart every pod. Ready: a world is loaded and proved
// fresh, the loop keeps up, and nobody is shutting us down. What is wrong stands in the answer by name.

import { Hono } from 'hono';
import type { CacheState } from 'policy-cache';

export interface Readiness {
  /** What the policy cache says of itself. */
  readonly cache: CacheState;
  /** True from the first signal on. */
  readonly draining: boolean;
  /** The event loop has been behind for longer than is allowed. */
  readonly overloaded: boolean;
}

const WHY = {
  draining: { state: 'draining', cause: 'shutting down' },
  overloaded: { state: 'overloaded', cause: 'the event loop is behind: more checks come than this process can answer in time' },
} as const;

export function healthRoutes(readiness: () => Readiness): Hono {
  const app = new Hono();
  for (const path of ['/livez', '/healthz']) app.get(path, (c) => c.text('ok\n', 200, { 'cache-control': 'no-store' }));
  app.get('/readyz', (c) => {
    const { cache, draining, overloaded } = readiness();
    // What a person can do something about comes first: a world that does not load is no question of load.
    const why = draining ? WHY.draining : cache.fresh && overloaded ? WHY.overloaded : cache;
    const body = { state: why.state, revision: cache.revision, age_ms: cache.ageMs === null ? null : Math.round(cache.ageMs), cause: why.cause };
    return c.json(body, cache.fresh && !draining && !overloaded ? 200 : 503, { 'cache-control': 'no-store' });
  });
  return app;
}
