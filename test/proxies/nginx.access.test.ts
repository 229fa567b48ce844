// Through Debian's nginx with the shipped files: who gets in, who does not, and what does the application learn of either?
//
// alice is a customer's administrator, bob the tenant's; device-b1 is the customer's, device-a1 the tenant's.

import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { askDecided } from '../support/ask.ts';
import { connectRaw, requestBytes } from '../support/raw.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { SIGNING_KEY, tokenFor } from '../support/sidecar.ts';
import { startStack, type Stack } from '../support/stack.ts';

const world = readFileSync(new URL('../corpus/worlds/generic-role-scope.yaml', import.meta.url), 'utf8');
const IDENTITY = ['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer', 'X-Authz-Decision-Id'] as const;
const OWN = '/api/device/device-b1',
  FOREIGN = '/api/device/device-a1';
const OWN_BY_PARAMETERS = '/api/devices/device-b1',
  FOREIGN_BY_PARAMETERS = '/api/devices/device-a1';

let server: TestServer;
let stack: Stack;
let alice: string, bob: string;
let asked = 0;

beforeAll(async () => {
  server = await startPostgres('embedded18');
  stack = await startStack({ server, world });
  [alice, bob] = await Promise.all([tokenFor('alice', { scope: 'CUSTOMER_USER' }), tokenFor('bob')]);
});
afterAll(async () => {
  await stack?.close();
  await server?.close();
});

interface Outcome {
  readonly status: number;
  readonly reason: string;
  readonly passed: boolean;
  readonly challenge: string | string[] | undefined;
}

/** Asks, and tells what the client got, what the decision log says of it and whether the application was reached. */
async function ask(path: string, token?: string, more: { method?: string; headers?: Record<string, string> } = {}): Promise<Outcome> {
  const request = `access-${++asked}`;
  const before = stack.application.seen.length;
  const { status, headers, requestId } = await askDecided(stack.client, { path, requestId: request, ...(token === undefined ? {} : { token }), ...more });
  for (const name of IDENTITY) expect(headers[name.toLowerCase()], `${name} in the client's answer`).toBeUndefined();
  const { reason } = await stack.sidecar.line(requestId);
  return { status, reason, passed: stack.application.seen.length > before, challenge: headers['www-authenticate'] };
}
const passed = { status: 200, passed: true, challenge: undefined };
const denied = { status: 403, passed: false, challenge: undefined };
const unknown = { status: 401, passed: false, challenge: 'Bearer' };

describe('the route table', () => {
  test('allow', async () => expect(await ask(OWN, alice)).toEqual({ ...passed, reason: 'generic' }));
  test('HEAD is a GET', async () => expect(await ask(OWN, alice, { method: 'HEAD' })).toEqual({ ...passed, reason: 'generic' }));
  test('any of the resource', async () => expect(await ask('/api/devices?limit=10', alice)).toEqual({ ...passed, reason: 'generic' }));
  test('deny', async () => expect(await ask(FOREIGN, alice)).toEqual({ ...denied, reason: 'out-of-scope' }));
  test('deny an unknown device', async () => expect(await ask('/api/device/none', bob)).toEqual({ ...denied, reason: 'unknown-target' }));
  test('deny an unknown user', async () => expect(await ask(OWN, await tokenFor('nobody'))).toEqual({ ...denied, reason: 'unknown-subject' }));
  test('deny the operator', async () =>
    expect(await ask(OWN, await tokenFor('bob', { scope: 'SYS_ADMIN' }))).toEqual({ ...denied, reason: 'unknown-subject' }));
  test('no credential', async () => expect(await ask(OWN)).toEqual({ ...unknown, reason: 'no-credential' }));
  test('no route', async () => expect(await ask('/api/nowhere', bob)).toEqual({ ...denied, reason: 'no-route' }));
  test('no route, no credential: not asked who it is', async () => expect(await ask('/api/nowhere')).toEqual({ ...denied, reason: 'no-route' }));
  test('no route for the root', async () => expect(await ask('/', bob)).toEqual({ ...denied, reason: 'no-route' }));
  test('a closed route', async () => expect(await ask('/api/device/types', bob)).toEqual({ ...denied, reason: 'closed' }));
  test('a trailing slash is another path', async () => expect(await ask(`${OWN}/`, alice)).toEqual({ ...denied, reason: 'no-route' }));
  test('a public route, with no name of anybody', async () => {
    expect(await ask('/api/noauth/userPasswordPolicy', 'garbage')).toEqual({ ...passed, reason: 'public' });
    for (const name of IDENTITY) expect(stack.application.values(name).join(), name).toBe('');
  });
});

describe('the form with parameters', () => {
  test('allow', async () => expect(await ask(OWN_BY_PARAMETERS, alice)).toEqual({ ...passed, reason: 'generic' }));
  test('below the device', async () => expect(await ask(`${OWN_BY_PARAMETERS}/pictures?page=1`, alice)).toEqual({ ...passed, reason: 'generic' }));
  test('deny', async () => expect(await ask(FOREIGN_BY_PARAMETERS, alice)).toEqual({ ...denied, reason: 'out-of-scope' }));
  test('no credential', async () => expect(await ask(OWN_BY_PARAMETERS)).toEqual({ ...unknown, reason: 'no-credential' }));
  test('no target is not any target', async () => expect(await ask('/api/devices/', bob)).toEqual({ ...denied, reason: 'missing-header' }));
  test('* is not any target', async () => expect(await ask('/api/devices/*', bob)).toEqual({ ...denied, reason: 'missing-header' }));
  test('no device, the route table again', async () =>
    expect(await ask('/api/devices/count/FIRMWARE/none', bob)).toEqual({ ...denied, reason: 'unknown-target' }));
  test.each(['POST', 'PUT', 'DELETE', 'PATCH'])('%s is closed, the operation being READ', async (method) => {
    const before = stack.application.seen.length;
    expect((await stack.client.ask({ path: OWN_BY_PARAMETERS, method, token: bob })).status).toBe(403);
    expect(stack.application.seen.length).toBe(before);
  });
});

describe('methods', () => {
  test('OPTIONS without its two headers is no preflight', async () =>
    expect(await ask(OWN, undefined, { method: 'OPTIONS' })).toEqual({ ...denied, reason: 'no-route' }));
  test('an unknown one', async () => expect(await ask(OWN, bob, { method: 'PROPFIND' })).toEqual({ ...denied, reason: 'method' }));
  test('DELETE is not GET', async () => expect(await ask(FOREIGN, alice, { method: 'DELETE' })).toEqual({ ...denied, reason: 'out-of-scope' }));
  test.each(['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override'])('%s is refused', async (name) =>
    expect(await ask(OWN, alice, { headers: { [name]: 'DELETE' } })).toEqual({ ...denied, reason: 'method-override' }),
  );
  test('TRACE and a small get, by nginx', async () => {
    expect((await stack.client.ask({ path: OWN, method: 'TRACE', token: bob })).status).toBe(405);
    expect((await raw([['Authorization', `Bearer ${alice}`]], { method: 'get' })).status).toBe(400);
  });
});

describe('credentials', () => {
  const seconds = (): number => Math.floor(Date.now() / 1000);
  /** A token that signToken would not make. */
  const forged = (head: object, claims: object, key = SIGNING_KEY): string => {
    const words = [head, { sub: 'alice', userId: 'alice', scopes: ['CUSTOMER_USER'], iss: 'thingsboard.io', iat: seconds(), exp: seconds() + 600, ...claims }]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
    return `${words}.${createHmac('sha512', Buffer.from(key, 'base64')).update(words).digest('base64url')}`;
  };
  const unsigned = (token: string): string => `${token.split('.').slice(0, 2).join('.')}.`;
  const HS512 = { alg: 'HS512' };

  test('what the forger makes is otherwise good', async () => expect(await ask(OWN, forged(HS512, {}))).toEqual({ ...passed, reason: 'generic' }));
  test.each([
    ['another key', async () => tokenFor('alice', { key: Buffer.alloc(64, 1).toString('base64') }), 'bad-token'],
    ['alg none', async () => unsigned(forged({ alg: 'none' }, {})), 'bad-token'],
    ['alg none, signed', async () => forged({ alg: 'none' }, {}), 'bad-token'],
    ['alg HS256', async () => forged({ alg: 'HS256' }, {}), 'bad-token'],
    ['a signature of nothing', async () => unsigned(await tokenFor('alice')), 'bad-token'],
    ['a refresh token', async () => tokenFor('alice', { scope: 'REFRESH_TOKEN' }), 'wrong-scope'],
    ['one from before the second factor', async () => forged(HS512, { scopes: ['PRE_VERIFICATION_TOKEN'] }), 'wrong-scope'],
    ['an expired one', async () => tokenFor('alice', { issuedAt: seconds() - 700 }), 'expired-token'],
    ['one without an end', async () => forged(HS512, { exp: undefined }), 'bad-claims'],
    ['one that is not valid yet', async () => forged(HS512, { nbf: seconds() + 60 }), 'early-token'],
    ['garbage', async () => 'x'.repeat(400), 'bad-token'],
    ['two words', async () => `${await tokenFor('alice')} ${await tokenFor('bob')}`, 'not-bearer'],
    ['a list', async () => `${await tokenFor('alice')},${await tokenFor('bob')}`, 'not-bearer'],
  ])('401: %s', async (_, token, reason) => expect(await ask(OWN, await token())).toEqual({ ...unknown, reason }));
  test('another scheme', async () =>
    expect(await ask(OWN, undefined, { headers: { Authorization: 'Basic YWxpY2U6eA==' } })).toEqual({ ...unknown, reason: 'not-bearer' }));
  test('X-Authorization alone', async () =>
    expect(await ask(OWN, undefined, { headers: { 'X-Authorization': `Bearer ${alice}` } })).toEqual({ ...passed, reason: 'generic' }));
  test('both headers', async () =>
    expect(await ask(OWN, alice, { headers: { 'X-Authorization': `Bearer ${alice}` } })).toEqual({ ...unknown, reason: 'many-credentials' }));
  test('Authorization twice, by nginx', async () =>
    expect(
      (
        await raw([
          ['Authorization', `Bearer ${alice}`],
          ['Authorization', `Bearer ${bob}`],
        ])
      ).status,
    ).toBe(400));
  test('X-Authorization twice: the application gets the one that was checked', async () => {
    expect(
      (
        await raw([
          ['X-Authorization', `Bearer ${alice}`],
          ['X-Authorization', `Bearer ${bob}`],
        ])
      ).status,
    ).toBe(200);
    expect(stack.application.values('X-Authorization')).toEqual([`Bearer ${alice}`]);
  });
});

/** One request of raw bytes, its header names and their repetitions as given. */
async function raw(headers: readonly (readonly [string, string])[], { method = 'GET', path = OWN } = {}): Promise<{ status: number; reached: boolean }> {
  const before = stack.application.seen.length;
  const connection = await connectRaw({ host: '127.0.0.1', port: stack.nginx.port });
  connection.send(
    requestBytes(`${method} ${path} HTTP/1.1`, [
      ['Host', 'app.example'],
      ...headers,
      ['Connection', headers.find(([name]) => name === 'Connection')?.[1] ?? 'close'],
    ]),
  );
  try {
    return { status: (await connection.answer()).status, reached: stack.application.seen.length > before };
  } finally {
    connection.destroy();
  }
}

describe('identity at the application', () => {
  const SPELLINGS = IDENTITY.flatMap((name) => [
    name,
    name.toLowerCase(),
    name.replaceAll('-', '_'),
    name.replaceAll('-', '.'),
    name.replace('-', '_'),
    name.replace(/-([^-]*)$/, '.$1'),
  ]);
  const spoofed = SPELLINGS.map((name) => [name, 'mallory'] as const);

  test.each([
    ['of a customer', () => alice, OWN, ['alice', 'tenant-a', 'customer-b']],
    ['of a customer, with parameters', () => alice, OWN_BY_PARAMETERS, ['alice', 'tenant-a', 'customer-b']],
    ['of a tenant: an empty customer', () => bob, FOREIGN, ['bob', 'tenant-a', '']],
    ['of a tenant, with parameters', () => bob, FOREIGN_BY_PARAMETERS, ['bob', 'tenant-a', '']],
  ])('is the sidecar’s in every spelling: a user %s', async (_, token, path, [user, tenant, customer]) => {
    for (const connection of ['close', 'close, X-Auth-User, X-Auth-Customer']) {
      const headers = [['Authorization', `Bearer ${token()}`], ...spoofed, ...spoofed, ['Connection', connection]] as const;
      expect(await raw(headers, { path })).toEqual({ status: 200, reached: true });
      const got = IDENTITY.map((name) => stack.application.values(name).join('|'));
      expect(got.slice(0, 3)).toEqual([user, tenant, customer]);
      expect(got[3]).toMatch(/^[0-9a-f]{8}-[0-9a-z]+$/);
      expect(stack.application.seen.at(-1)!.rawHeaders).not.toContain('mallory');
    }
  });

  test('a request id of the client’s own is kept, an odd one is not', async () => {
    await stack.client.ask({ path: OWN, token: alice, requestId: 'my-request.1' });
    expect(stack.application.values('X-Request-Id')).toEqual(['my-request.1']);
    await stack.client.ask({ path: OWN, token: alice, requestId: 'my "request"' });
    expect(stack.application.values('X-Request-Id')).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/)]);
  });
});

describe('contract headers of the client’s own', () => {
  // Each names another device than the request does, or another method.
  const spell = (name: string): string[] => [name, name.toLowerCase(), name.replaceAll('-', '_'), name.replaceAll('-', '.')];
  /** By these some application takes another path or host, after the check. */
  const REPLACING = ['X-Original-URL', 'X-Rewrite-URL', 'X-Forwarded-Prefix', 'X-Forwarded-Host', 'X-Forwarded-Port', 'Forwarded'];
  const contract = [
    ...spell('X-Original-URI').map((name) => [name, OWN] as const),
    ...spell('X-Original-Method').map((name) => [name, 'OPTIONS'] as const),
    ...spell('X-Authz-Target').flatMap(
      (name) =>
        [
          [name, 'device-b1'],
          [name, '*'],
        ] as const,
    ),
    ...[...REPLACING, 'X-Forwarded-Uri', 'X-Forwarded-Method', 'X-Envoy-Original-Path'].map((name) => [name, OWN] as const),
  ];

  test.each([
    ['route table', FOREIGN],
    ['parameters', FOREIGN_BY_PARAMETERS],
    ['no target', '/api/devices/'],
  ])('change no deny: %s', async (_, path) => {
    for (const one of contract) expect(await raw([['Authorization', `Bearer ${alice}`], one], { path }), one[0]).toEqual({ status: 403, reached: false });
    expect(await raw([['Authorization', `Bearer ${alice}`], ...contract], { path })).toEqual({ status: 403, reached: false });
    expect(
      await raw(
        [['Authorization', `Bearer ${alice}`], ['Connection', 'close, X-Original-URI, X-Original-Method, X-Authz-Target, Authorization'], ...contract],
        { path },
      ),
    ).toEqual({ status: 403, reached: false });
  });
  test.each([OWN, OWN_BY_PARAMETERS])('change no allow, and do not reach the application: %s', async (path) => {
    expect(await raw([['Authorization', `Bearer ${alice}`], ...contract.map(([name]) => [name, FOREIGN] as const)], { path })).toEqual({
      status: 200,
      reached: true,
    });
    for (const name of ['X-Original-URI', 'X-Original-Method', 'X-Authz-Target', ...REPLACING]) expect(stack.application.values(name), name).toEqual([]);
  });
  test('the door itself cannot be asked', async () => {
    for (const path of ['/auth/nginx', '/auth/nginx/DEVICE/READ', '/auth/nginx/../x', '//auth/nginx'])
      expect((await raw([['Authorization', `Bearer ${bob}`]], { path })).reached, path).toBe(false);
    expect((await raw([['Authorization', `Bearer ${bob}`]], { path: '/auth/nginx/DEVICE/READ' })).status).toBe(404);
  });
});
