// Behind nginx, with tokens of a real OpenID Connect issuer: are the good ones let through, whatever happens to its keys, and no other?

import { afterAll, beforeAll, expect, test } from 'vitest';
import { askDecided, type Answer } from '../support/ask.ts';
import { attacks } from '../support/attacks.ts';
import { ALGORITHMS, startIssuer, type TestIssuer } from '../support/oidc.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../support/until.ts';

const world = JSON.stringify({
  defaults: true,
  tenants: [{ id: 't1' }, { id: 't2' }],
  users: [
    { id: 'ada', owner: 't1', groups: ['admins:t1'] },
    { id: 'eve', owner: 't2', groups: ['admins:t2'] },
  ],
  entities: [
    { id: 'd1', type: 'DEVICE', owner: 't1' },
    { id: 'd2', type: 'DEVICE', owner: 't2' },
  ],
});
const PATH = '/api/device/d1';
const COOLDOWN_MS = 1_000;

let server: TestServer;
let issuer: TestIssuer;
let stack: Stack;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  issuer = await startIssuer(['ada', 'eve']);
  const login = {
    name: 'login',
    issuer: issuer.url,
    audience: issuer.audience,
    subjectClaim: 'user_id',
    tenants: ['t1'],
    cooldown: COOLDOWN_MS,
    refreshInterval: 2_000,
  };
  stack = await startStack({ server, world, set: { 'identity.oidc': JSON.stringify([login]), 'identity.thingsboard.tenants': 't2' } });
});
afterAll(async () => {
  await stack?.close();
  await issuer?.close();
  await server?.close();
});

const ask = (token: string, path = PATH): Promise<Answer> => askDecided(stack.client, { path, token });
let asked = 0;
async function words(token: string, path = PATH): Promise<string> {
  const { status, requestId } = await askDecided(stack.client, { path, token, requestId: `oidc-${asked++}` });
  return `${status} ${(await stack.sidecar.line(requestId)).reason}`;
}

test.each(ALGORITHMS)('a good token of %s is let through, and the application learns who it is', async (alg) => {
  expect(await words(await issuer.token('ada', alg))).toBe('200 generic');
  expect(stack.application.values('X-Auth-User')).toEqual(['ada']);
  expect(stack.application.values('X-Auth-Tenant')).toEqual(['t1']);
});

test('each attack is a 401, for its own reason, and reaches nobody', async () => {
  const before = stack.application.seen.length;
  const rows = await attacks(issuer, 'ada');
  for (const { name, token, reason } of rows) expect(await words(token), name).toBe(`401 ${reason}`);
  expect(stack.application.seen.length).toBe(before);
  console.log(`oidc: ${rows.length} attacks through nginx, ${rows.length} × 401`);
});

test('an issuer speaks for its own tenants, and its tokens are nobody else’s', async () => {
  expect(await words(await issuer.token('eve'), '/api/device/d2')).toBe('401 foreign-tenant');
  expect(await words(await tokenFor('eve'), '/api/device/d2'), 'ThingsBoard speaks for that one').toBe('200 generic');
  expect(await words(await tokenFor('ada')), 'and not for the other').toBe('401 foreign-tenant');
  // ThingsBoard's own key and claims, under the name of the issuer; the issuer's key, under that of ThingsBoard.
  expect(await words(await tokenFor('ada', { issuer: issuer.url }))).toBe('401 foreign-tenant');
  expect(await words(await issuer.sign({ ...issuer.claims('eve'), iss: 'thingsboard.io', userId: 'eve', scopes: ['TENANT_ADMIN'] }), '/api/device/d2')).toBe(
    '401 bad-token',
  );
});

test('a flood of unknown keys asks the issuer once in a cool-down, and keeps nobody else waiting', { timeout: 60_000 }, async () => {
  const good = await issuer.token('ada', 'EdDSA');
  expect((await ask(good)).status).toBe(200);
  const forged = await Promise.all(Array.from({ length: 2_000 }, (_, i) => issuer.sign(issuer.claims('ada'), { kid: `made-up-${i}` }, issuer.key('ES256'))));
  const fetches = issuer.fetched.keys;
  const started = performance.now();
  const seen = new Map<number, number>();
  const times: number[] = [];
  let over = false;
  const flood = Promise.all(
    Array.from({ length: 8 }, async (_, client) => {
      for (let i = client; i < forged.length; i += 8) {
        const { status } = await stack.client.ask({ path: PATH, token: forged[i]! });
        seen.set(status, (seen.get(status) ?? 0) + 1);
      }
    }),
  );
  void flood.then(() => (over = true));
  while (!over) {
    const before = performance.now();
    expect((await ask(good)).status).toBe(200);
    times.push(performance.now() - before);
  }
  await flood;
  const seconds = (performance.now() - started) / 1_000;
  const asks = issuer.fetched.keys - fetches;
  times.sort((a, b) => a - b);
  console.log(
    `oidc: 2,000 tokens with unknown keys in ${seconds.toFixed(1)} s: ${[...seen].map(([status, count]) => `${count} × ${status}`).join(', ')}; ${asks} fetches; ` +
      `${times.length} good ones meanwhile: 200, p50 ${times[times.length >> 1]!.toFixed(1)} ms, max ${times.at(-1)!.toFixed(1)} ms`,
  );
  // Both those that the flood brings about and those of the background come a second after the one before, at the earliest.
  expect(asks).toBeLessThanOrEqual(Math.ceil((seconds * 1_000) / COOLDOWN_MS) + 1);
  expect(seen.get(401)).toBeGreaterThan(forged.length * 0.9); // a 500 is nginx's word for "not in time", of a busy machine
  expect([...seen.keys()].filter((status) => status !== 401 && status !== 500)).toEqual([]);
});

test('keys change while requests run: no good token is refused, and one of a key that is gone is, kept or not', { timeout: 60_000 }, async () => {
  const old = await issuer.token('ada');
  let current = old;
  let over = false;
  const seen = new Map<number, number>();
  const clients = Array.from({ length: 4 }, async () => {
    while (!over) {
      const { status } = await ask(current);
      seen.set(status, (seen.get(status) ?? 0) + 1);
    }
  });
  const more = async (): Promise<void> => {
    const until200 = (seen.get(200) ?? 0) + 50;
    await until(() => (seen.get(200) ?? 0) >= until200, '50 more answers');
  };
  const refreshes = async (): Promise<number> => (await stack.sidecar.metrics()).value('authz_jwks_refresh_total', { issuer: 'login', result: 'success' }) ?? 0;
  /** A fetch that begins from now on has ended. None of this issuer has failed so far, so those that ended are those that succeeded. */
  const refreshed = async (): Promise<void> => {
    const before = issuer.fetched.keys;
    await until(() => issuer.fetched.keys > before, 'the sidecar asks for keys');
    await until(async () => (await refreshes()) > before, 'and has them');
  };
  let rotations = 0;
  for (; rotations < 3; rotations++) {
    await more();
    await issuer.publish();
    await refreshed(); // the overlap: published before it signs, for longer than the cool-down or a refresh
    await issuer.switch();
    current = await issuer.token('ada');
    await more();
    await issuer.retire();
    await refreshed();
    await more();
  }
  over = true;
  await Promise.all(clients);
  console.log(`oidc: ${rotations} rotations while requests ran: ${[...seen].map(([status, count]) => `${count} × ${status}`).join(', ')}`);
  expect([...seen.keys()]).toEqual([200]);
  expect(await words(old)).toBe('401 bad-token');
  expect(await words(current)).toBe('200 generic');
});

test('while the issuer is away its tokens are judged by the keys of before, and the operator sees it', async () => {
  const token = await issuer.token('ada', 'ES256');
  issuer.down = 503;
  const failures = async (): Promise<number> => (await stack.sidecar.metrics()).value('authz_jwks_refresh_total', { issuer: 'login', result: 'failure' }) ?? 0;
  await until(async () => (await failures()) > 0, 'a fetch that fails');
  expect(await words(token)).toBe('200 generic');
  expect(await stack.sidecar.readyz()).toMatchObject({ status: 200 });
  expect(stack.sidecar.log()).toMatch(/"event":"keys","detail":"login: keys could not be fetched \(.*answered 503\); those of before are used"/);
  issuer.down = null;
  const age = async (): Promise<number> => (await stack.sidecar.metrics()).value('authz_jwks_age_seconds', { issuer: 'login' }) ?? Infinity;
  const before = await age();
  await until(async () => (await age()) < before, 'fresh keys');
});
