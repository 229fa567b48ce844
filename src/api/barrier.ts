// Has every sidecar applied this revision? The receipt of a write, over HTTP; who knows it is handed in.

import { Hono } from 'hono';
import { InputError, PolicyError, parseRevision } from 'policy-cache';
import type { Revision } from 'policy-cache';
import type { RequireKey } from './credentials.ts';
import { problem, reply } from './problems.ts';

interface BarrierReport {
  readonly revision: string;
  readonly outcome: 'applied' | 'timeout' | 'unknown-revision';
  readonly waitedMs: number;
  /** So long there may still be sidecars whose reports the database has lost. */
  readonly lostMs: number;
  readonly replicas: readonly {
    readonly id: string;
    readonly revision: string | null;
    readonly ageMs: number;
    readonly leaseMs: number;
    readonly state: 'applied' | 'expired' | 'waiting';
  }[];
}

/** `barrier` of policy-cache/postgres, its database named already. Rejects with PolicyError where no primary answers. */
export type Barrier = (revision: Revision, wait: { readonly timeoutMs: number; readonly signal: AbortSignal }) => Promise<BarrierReport>;

/** Beyond a lease at the default staleness, so that a sidecar that vanished does not make it a failure. */
const TIMEOUT_MS = 5_000;
/** Each waiting call holds a connection here and asks the database again and again. */
const LONGEST_MS = 60_000;
/** Each has a connection to the database of its own: more of them could use up those that sidecars attach by. */
const AT_ONCE = 16;

export function barrierRoutes(barrier: Barrier, requireKey: RequireKey, usualMs = TIMEOUT_MS): Hono {
  const longestMs = Math.max(LONGEST_MS, usualMs);
  const app = new Hono();
  let waiting = 0;
  app.use('/v1/barrier/:revision', requireKey());
  app.get('/v1/barrier/:revision', async (c) => {
    let revision: Revision;
    try {
      revision = parseRevision(c.req.param('revision'));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      return problem({ status: 400, code: 'bad-revision', detail: `${error.message}: ask for a revision as X-Authz-Revision of a write gave it` });
    }
    const asked = c.req.queries('timeout') ?? [];
    const timeoutMs = asked.length === 0 ? usualMs : timeoutOf(asked, longestMs);
    if (timeoutMs === null) {
      const got = JSON.stringify(asked.join(',').slice(0, 100));
      return problem({ status: 400, code: 'bad-timeout', detail: `timeout must be one time from 1ms to ${longestMs / 1000}s, as 500ms or 5s; got ${got}` });
    }
    const { signal } = c.req.raw;
    if (waiting >= AT_ONCE) return problem({ status: 503, code: 'overload', detail: `${AT_ONCE} barriers are waited for here already: ask again` });
    waiting++;
    try {
      return answer(await barrier(revision, { timeoutMs, signal }), timeoutMs);
    } catch (error) {
      if (signal.aborted) return problem({ status: 503, code: 'timeout', detail: 'nobody waits any more' }); // and nobody reads this
      if (error instanceof PolicyError) return problem({ status: 503, code: error.code, detail: error.message });
      throw error;
    } finally {
      waiting--;
    }
  });
  app.all('/v1/barrier/:revision', () => problem({ status: 405, code: 'method', detail: 'ask by GET', headers: { allow: 'GET, HEAD' } }));
  return app;
}

function answer({ revision, outcome, waitedMs, lostMs, replicas }: BarrierReport, timeoutMs: number): Response {
  const list = replicas.map(({ id, revision, ageMs, leaseMs, state }) => ({ id, revision, age_ms: Math.round(ageMs), lease_ms: Math.round(leaseMs), state }));
  switch (outcome) {
    case 'applied':
      return reply({ revision, applied: true, waited_ms: Math.round(waitedMs), replicas: list });
    case 'timeout': {
      const waiting = replicas.filter(({ state }) => state === 'waiting').length;
      const lost = lostMs > 0 ? `; for ${lostMs} ms more there may be replicas whose reports the database has lost` : '';
      return problem({
        status: 504,
        code: 'timeout',
        detail: `${waiting} of ${replicas.length} replicas may still answer from before ${revision}, after ${timeoutMs} ms${lost}`,
        more: { revision, applied: false, waited_ms: Math.round(waitedMs), lost_ms: lostMs, replicas: list },
      });
    }
    case 'unknown-revision':
      return problem({
        status: 404,
        code: 'unknown-revision',
        detail: `${revision} is not in the change log of this database: it is of another history, or older than the log reaches back`,
      });
    default:
      return outcome satisfies never;
  }
}

/** Milliseconds; null if what was asked for is no time, too long, or several. */
function timeoutOf([text = '', ...more]: readonly string[], longestMs: number): number | null {
  const [, digits, unit] = /^(\d{1,6})(ms|s|m)$/.exec(text) ?? [];
  if (digits === undefined || more.length > 0) return null;
  const ms = Number(digits) * (unit === 'ms' ? 1 : unit === 's' ? 1_000 : 60_000);
  return ms >= 1 && ms <= longestMs ? ms : null;
}
