// Is this process alive, and may a proxy send it checks?
//
// Alive: the event loop turns, nothing else; a broken database must not restart every pod. Ready: a world is loaded and proved
// fresh, every issuer's keys are here, and nobody is shutting us down. What is wrong stands in the answer by name.

import { Hono } from 'hono';
import type { CacheState } from 'policy-cache';

export interface Readiness {
  /** What the policy cache says of itself. */
  readonly cache: CacheState;
  /** True from the first signal on. */
  readonly draining: boolean;
  /** Keys that no token of their issuer can be judged without, in words; null: all are here. */
  readonly missingKeys?: string | null;
}

export function healthRoutes(readiness: () => Readiness): Hono {
  const app = new Hono();
  for (const path of ['/livez', '/healthz']) app.get(path, (c) => c.text('ok\n', 200, { 'cache-control': 'no-store' }));
  app.get('/readyz', (c) => {
    const { cache, draining, missingKeys = null } = readiness();
    const body = {
      state: draining ? 'draining' : cache.fresh && missingKeys !== null ? 'starting' : cache.state,
      revision: cache.revision,
      age_ms: cache.ageMs === null ? null : Math.round(cache.ageMs),
      cause: draining ? 'shutting down' : (cache.cause ?? missingKeys),
    };
    return c.json(body, cache.fresh && missingKeys === null && !draining ? 200 : 503, { 'cache-control': 'no-store' });
  });
  return app;
}
