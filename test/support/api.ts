// The api listener over a cache of the test's own, asked as an application asks.

import { randomUUID } from 'node:crypto';
import type { PolicyCache } from 'policy-cache';
import { apiServer, createApi } from '../../src/api/app.ts';
import type { ApiParts } from '../../src/api/app.ts';
import { decisionIds } from '../../src/authorize.ts';
import { hostClock } from '../../src/clock.ts';
import { listen } from '../../src/listen.ts';
import { createPdp } from '../../src/pdp.ts';
import type { CheckReport } from '../../src/report.ts';
import { startClient } from './ask.ts';
import type { Answer, Ask } from './ask.ts';
import { vocabulary } from './doors.ts';

export const API_KEY = 'a-key-of-the-tests.0123456789abcdef';
export const EVALUATION = '/access/v1/evaluation';

export interface Api {
  readonly port: number;
  /** Every report so far. */
  readonly reports: CheckReport[];
  readonly failures: unknown[];
  /** How often it said that no key is set. */
  readonly keyless: () => number;
  ask(what: Ask): Promise<Answer>;
  /** A question with a good key; a text goes out as it is. */
  evaluate(body: unknown, more?: Partial<Ask>): Promise<Answer>;
  close(): Promise<void>;
}

export interface ApiSettings extends Pick<ApiParts, 'barrier'> {
  readonly cache: PolicyCache;
  readonly keys?: readonly string[];
  /** Milliseconds of the cache's clock. */
  readonly deadline?: number;
}

export async function startApi({ cache, keys = [API_KEY], deadline, barrier }: ApiSettings): Promise<Api> {
  const reports: CheckReport[] = [];
  const failures: unknown[] = [];
  let keyless = 0;
  const state = { state: 'following', fresh: true, revision: null, ageMs: 0, cause: null } as const;
  const server = apiServer(
    createApi({
      readiness: () => ({ cache: state, draining: false, overloaded: false }),
      callers: { keys, keyless: () => keyless++ },
      authzen: {
        pdp: createPdp(cache, deadline === undefined ? {} : { deadline }),
        vocabulary,
        clock: hostClock(),
        nextId: decisionIds(randomUUID().slice(0, 8)),
        report: (check) => void reports.push(check),
      },
      ...(barrier ? { barrier } : {}),
      failed: (error) => void failures.push(error),
    }),
  );
  const port = Number((await listen(server, { host: '127.0.0.1', port: 0 }, 'api')).split(':')[1]);
  const client = startClient(port);
  return {
    port,
    reports,
    failures,
    keyless: () => keyless,
    ask: (what) => client.ask(what),
    evaluate: (body, more = {}) => client.ask(evaluation(body, more)),
    async close() {
      client.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The request that asks it. */
export function evaluation(body: unknown, { headers = {}, ...more }: Partial<Ask> = {}): Ask {
  return {
    path: EVALUATION,
    method: 'POST',
    token: API_KEY,
    body: typeof body === 'string' || body instanceof Buffer ? body : JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
    ...more,
  };
}
