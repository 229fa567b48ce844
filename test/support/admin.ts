// The administration over a database of the test's own: the real cache that follows it, the real writer, and requests without a socket.

import { randomUUID } from 'node:crypto';
import type { Hono } from 'hono';
import { PolicyCache } from 'policy-cache';
import { postgresSource } from 'policy-cache/postgres';
import { startAdministration, type AdminSettings } from '../../src/api/admin/start.ts';
import type { AdminEnv } from '../../src/api/admin/route.ts';
import { createLocal, type LocalSettings } from '../../src/api/local/start.ts';
import { createOpaqueTokens, newApiKey } from '../../src/opaque.ts';
import { hostClock } from '../../src/clock.ts';
import { createPdp } from '../../src/pdp.ts';
import { settings } from '../../src/settings.ts';
import { vocabulary as thingsboard } from './doors.ts';
import { PATIENT, type TestDatabase } from './postgres.ts';

export const OPERATOR = 'the-operator-of-the-tests.0123456789abcdef';

const OPAQUE = /^g[gs]_[\w-]{43}$/;

export interface AdminAnswer {
  readonly status: number;
  readonly headers: Headers;
  /** The parsed body; null where it has none. */
  // oxlint-disable-next-line typescript/no-explicit-any -- a test looks into it
  readonly body: any;
}

export interface TestAdministration {
  readonly cache: PolicyCache;
  readonly routes: Hono<AdminEnv>;
  /** `by`: a user id, an API key, the token of a session, or OPERATOR. The path's parts are encoded by the caller. */
  ask(by: string, request: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<AdminAnswer>;
  close(): void;
}

/** Every bearer token but the operator's, an API key and that of a session is a user id, as if somebody had proved it. */
export async function startTestAdministration(
  database: TestDatabase,
  more: Partial<Pick<AdminSettings, 'bounds' | 'decisions' | 'vocabulary' | 'addition' | 'importWorld' | 'importBounds' | 'clock'>> = {},
): Promise<TestAdministration> {
  const { vocabulary = thingsboard } = more;
  const cache = new PolicyCache({
    vocabulary,
    source: postgresSource({ url: await database.urlAs('grantgate_reader'), limits: PATIENT }),
    clock: hostClock(),
    random: Math.random,
  });
  cache.start();
  await cache.ready(20_000);
  const administration = startAdministration({
    database: { url: await database.urlAs('grantgate_writer') },
    operator: [OPERATOR],
    authenticate: (token) => ({
      kind: 'user',
      subject: Buffer.from(token, 'base64url').toString(),
      authority: { name: 'test', external: false, tenants: '*' },
      expires: Infinity,
    }),
    opaque: createOpaqueTokens({ cache, wall: Date.now, kinds: { key: true, session: true }, deadline: 5_000 }),
    cache,
    pdp: createPdp(cache, { deadline: 5_000 }),
    vocabulary,
    deadline: 5_000,
    appliedWithin: 5_000,
    newId: randomUUID,
    newKey: newApiKey,
    clock: hostClock(),
    version: '0',
    ...more,
  });
  return {
    cache,
    routes: administration.routes,
    ask: asking(administration.routes),
    close() {
      administration.close();
      cache.close();
    },
  };
}

/** Requests without a socket. */
export function asking(routes: Hono<AdminEnv>): TestAdministration['ask'] {
  return async (by, request, body, headers = {}) => {
    const [method = 'GET', path = '/'] = request.split(' ');
    const answer = await routes.request(path, {
      method,
      headers: {
        authorization: `Bearer ${by === OPERATOR || OPAQUE.test(by) ? by : Buffer.from(by).toString('base64url')}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, body: text === '' ? null : (JSON.parse(text) as unknown) };
  };
}

/** Users log in here, by the settings that there are by default; what goes wrong behind an answer is kept. */
export function localAddition(more: Partial<LocalSettings> = {}, failures: unknown[] = []): NonNullable<AdminSettings['addition']> {
  const { local } = settings.parse({}).identity;
  return createLocal({ ...local, clock: hostClock(), failed: (error) => failures.push(error), ...more });
}
