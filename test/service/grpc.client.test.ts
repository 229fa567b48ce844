// Does the gRPC door answer clients that know nothing of it: grpc-js, and grpcurl of the Go library that Envoy's own tools use?

import { execFile } from 'node:child_process';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ALLOWED, DENIED, NOBODY, checkRequest, identityOf, verdictOf, type Asked } from '../support/check-requests.ts';
import { sidecar, type Sidecar } from '../support/doors.ts';
import { PROTOS, startGrpcClient, type CheckResponse, type GrpcClient } from '../support/grpc.ts';
import { isMissing, requirePart } from '../support/require.ts';

let side: Sidecar;
let port: number;
let client: GrpcClient;
let bearer: Record<string, string>;
beforeAll(async () => {
  side = await sidecar();
  port = await side.listenGrpc();
  client = startGrpcClient(`127.0.0.1:${port}`);
  bearer = { authorization: `Bearer ${await side.token('admin')}` };
});
afterAll(async () => {
  client.close();
  await side.close();
});
beforeEach(() => void (side.reports.length = 0));

async function ask(asked: Asked): Promise<CheckResponse> {
  const { answer, error } = await client.check(checkRequest(asked));
  if (answer === null) throw new Error(`gRPC ${error}`);
  return answer;
}

test('an allow: the identity, all of it, and what is taken away of the client', async () => {
  const answer = await ask({ headers: { ...bearer, 'x-request-id': 'r1' } });
  expect(answer).toEqual({
    status: { code: 0 },
    ok_response: {
      headers: [
        { header: { key: 'x-auth-user', value: 'admin' } },
        { header: { key: 'x-auth-tenant', value: 't1' } },
        { header: { key: 'x-auth-customer', value: '' } },
        { header: { key: 'x-authz-decision-id', value: expect.stringMatching(/^test-/) as string } },
      ],
      headers_to_remove: ['x-envoy-auth-failure-mode-allowed'],
    },
  });
  expect(side.reports).toEqual([
    expect.objectContaining({
      protocol: 'envoy_grpc',
      verdict: 'permit',
      requestId: 'r1',
      method: 'GET',
      route: '/api/device/{id}',
      target: 'd1',
      tenant: 't1',
    }),
  ]);
  expect(identityOf(answer)['x-authz-decision-id']).toBe(side.reports[0]!.decisionId);
});

test('a deny and a missing credential: answers, with the status that the client is to see and nothing of the identity', async () => {
  expect(await ask({ method: 'DELETE', headers: { authorization: `Bearer ${await side.token('reader')}` } })).toEqual({
    status: { code: 7 },
    denied_response: { status: { code: 403 } },
  });
  expect(await ask({})).toEqual({
    status: { code: 16 },
    denied_response: { status: { code: 401 }, headers: [{ header: { key: 'www-authenticate', value: 'Bearer' } }] },
  });
  expect(side.reports.map(({ verdict, reason }) => `${verdict} ${reason}`)).toEqual(['deny no-grant', 'unauthenticated no-credential']);
});

test("a customer's user, ids that are not printable ASCII, and a public route, which names nobody", async () => {
  const as = async (user: string, path: string): Promise<readonly (string | undefined)[]> => {
    const answer = await ask({ path, headers: { authorization: `Bearer ${await side.token(user)}` } });
    expect(verdictOf(answer)).toBe(ALLOWED);
    return Object.values(identityOf(answer));
  };
  expect((await as('clerk', '/api/device/d2')).slice(0, 3)).toEqual(['clerk', 't1', 'c1']);
  expect((await as('Zoë 100%', '/api/device/d3')).slice(0, 3)).toEqual(['Zo%C3%AB%20100%25', 't1', 'B%C3%BCro%20%251']);
  expect(await as('nobody', '/public/x')).toEqual(['', '', '', '']);
});

/** With a good credential, where the row brings none. */
const asks: readonly (readonly [what: string, asked: Asked, verdict: string, reason: string])[] = [
  ['a query is no part of the path', { path: '/api/device/d1?x=/../y' }, ALLOWED, 'generic'],
  ['not mapped', { path: '/nowhere' }, DENIED, 'no-route'],
  ['another tenant', { path: '/api/device/x1' }, DENIED, 'other-tenant'],
  ['no method', { method: '' }, DENIED, 'missing-header'],
  ['no path', { path: '' }, DENIED, 'missing-header'],
  ['a dot segment', { path: '/api/device/../device/d1' }, DENIED, 'dot-segment'],
  ['a scheme and host', { path: 'https://app/api/device/d1' }, DENIED, 'target-form'],
  [
    'headers of other doors are any header',
    { headers: { 'x-original-uri': '/api/device/x1', 'x-original-method': 'PUT', 'x-forwarded-uri': '/x', 'x-authz-target': 'x1' } },
    ALLOWED,
    'generic',
  ],
  ['the revision is not read', { headers: { 'x-authz-at-least': 'nonsense' } }, ALLOWED, 'generic'],
  ['a method in a header', { headers: { 'x-http-method-override': 'DELETE' } }, DENIED, 'method-override'],
  ['… in another spelling', { headers: { x_method_override: 'DELETE' } }, DENIED, 'method-override'],
  [
    'preflight, without a credential',
    { method: 'OPTIONS', headers: { authorization: '', origin: 'https://a', 'access-control-request-method': 'GET' } },
    ALLOWED,
    'public',
  ],
  ['OPTIONS that is none', { method: 'OPTIONS' }, DENIED, 'preflight'],
  ['two credentials that Envoy joined', { headers: { authorization: 'Bearer a,Bearer b' } }, NOBODY, 'not-bearer'],
  ['two credentials', { headers: { 'x-authorization': 'Bearer b' } }, NOBODY, 'many-credentials'],
  ['… one in another spelling', { headers: { x_authorization: 'Bearer b' } }, NOBODY, 'many-credentials'],
  ['not a token', { headers: { authorization: 'Basic YTpi' } }, NOBODY, 'not-bearer'],
  ['parameters', { path: '/elsewhere', context: { resource: 'DEVICE', operation: 'READ', target: 'd1' } }, ALLOWED, 'generic'],
  ['… in small letters, beside words of others', { path: '/x', context: { resource: 'device', operation: 'read', target: '*', a: 'b' } }, ALLOWED, 'generic'],
  ['… without a target', { context: { resource: 'DEVICE', operation: 'READ' } }, DENIED, 'missing-header'],
  ['… with an empty one', { context: { resource: 'DEVICE', operation: 'READ', target: '' } }, DENIED, 'missing-header'],
  ['… without an operation', { context: { resource: 'DEVICE', target: 'd1' } }, DENIED, 'missing-header'],
  ['… without a resource', { context: { operation: 'READ', target: 'd1' } }, DENIED, 'missing-header'],
  ['… a target alone', { context: { target: 'd1' } }, DENIED, 'missing-header'],
  ['… that are none of ours', { context: { resource: 'DRAGON', operation: 'READ', target: 'd1' } }, DENIED, 'unknown-resource'],
  ['… a target beyond ASCII', { context: { resource: 'DEVICE', operation: 'READ', target: 'dé' } }, DENIED, 'bad-target'],
  ['… another thing than the table says', { context: { resource: 'DEVICE', operation: 'READ', target: 'd2' } }, DENIED, 'contradiction'],
  ['words of others alone', { context: { team: 'x' } }, ALLOWED, 'generic'],
  ['header_map', { list: [] }, NOBODY, 'no-credential'],
  ['both encodings of headers', { more: { header_map: { headers: [{ key: 'a', value: 'b' }] } } }, DENIED, 'repeated-header'],
  [
    'a body that was cut off: nothing is decided by it',
    { headers: { 'x-envoy-auth-partial-body': 'true' }, more: { body: '{"id":', size: 6 } },
    ALLOWED,
    'generic',
  ],
  [
    '… and where it would be, nothing is',
    { method: 'POST', path: '/api/device', headers: { 'x-envoy-auth-partial-body': 'true' }, more: { body: '{"id":"d1"}' } },
    DENIED,
    'id-in-body',
  ],
];
test.each(asks)('%s', async (_, asked, verdict, reason) => {
  const answer = await ask({ ...asked, headers: { ...bearer, ...asked.headers } });
  expect(`${verdictOf(answer)} ${side.reports[0]?.reason}`).toBe(`${verdict} ${reason}`);
  expect(side.reports).toHaveLength(1);
});

test('header_map: one credential, or none', async () => {
  const { authorization = '' } = bearer;
  const verdict = async (...list: (readonly [string, string])[]): Promise<string> => verdictOf(await ask({ list }));
  expect(await verdict(['authorization', authorization])).toBe(ALLOWED);
  expect(await verdict(['x-authorization', authorization], ['a', 'b'])).toBe(ALLOWED);
  expect(await verdict(['authorization', authorization], ['authorization', authorization])).toBe(NOBODY);
  expect(await verdict(['authorization', authorization], ['x.authorization', authorization])).toBe(NOBODY);
  const both = { key: 'authorization', value: authorization, raw_value: Buffer.from(authorization) };
  expect(verdictOf(await ask({ list: [], more: { header_map: { headers: [both] } } }))).toBe(DENIED);
  expect(verdictOf(await ask({ list: [], more: { header_map: { headers: [{ key: 'authorization', value: authorization }] } } }))).toBe(ALLOWED);
});

test('at least as fresh as a revision: where the service says that clients may ask so', async () => {
  const asked = await sidecar({ grpc: { atLeast: true } });
  const own = startGrpcClient(`127.0.0.1:${await asked.listenGrpc()}`);
  try {
    const { authorization = '' } = bearer;
    const verdict = async (...list: (readonly [string, string])[]): Promise<string> =>
      verdictOf((await own.check(checkRequest({ list: [['authorization', authorization], ...list] }))).answer ?? {});
    expect(await verdict(['x-authz-at-least', 'latest'])).toBe(ALLOWED);
    expect(await verdict(['x-authz-at-least', '']), 'empty is none').toBe(ALLOWED);
    expect(await verdict(['x-authz-at-least', 'nonsense'])).toBe(DENIED);
    expect(await verdict(['x-authz-at-least', 'latest'], ['x-authz-at-least', 'latest'])).toBe(DENIED);
    expect(asked.reports.map(({ reason }) => reason)).toEqual(['generic', 'generic', 'bad-revision', 'repeated-header']);
  } finally {
    own.close();
    await asked.close();
  }
});

test("the client's own identity headers: written over, and in every other spelling taken away", async () => {
  const mine = ['x-auth-user', 'x-auth-tenant', 'x-auth-customer', 'x-authz-decision-id'];
  const spellings = [...mine, 'x-envoy-auth-failure-mode-allowed'].flatMap((name) => [
    name.replaceAll('-', '_'),
    name.replaceAll('-', '.'),
    name.replaceAll('-', '~'),
    name.replace('-', '_'),
  ]);
  const answer = await ask({ headers: { ...bearer, ...Object.fromEntries([...mine, ...spellings, 'x_auth_users'].map((name) => [name, 'mallory'])) } });
  expect(Object.keys(identityOf(answer))).toEqual(mine);
  expect(Object.values(identityOf(answer))).not.toContain('mallory');
  expect(answer.ok_response?.headers_to_remove?.toSorted()).toEqual(['x-envoy-auth-failure-mode-allowed', ...spellings].toSorted());
});

describe.skipIf(isMissing('grpcurl'))('grpcurl', () => {
  const grpcurl = (...args: readonly string[]): Promise<{ code: number; text: string }> =>
    new Promise((resolve) => {
      const shared = ['-plaintext', '-max-time', '10', '-import-path', PROTOS, '-proto', 'ext_authz.proto', '-proto', 'health.proto'];
      execFile(requirePart('grpcurl'), [...shared, ...args], (error, stdout, stderr) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, text: stdout + stderr }),
      );
    });
  const check = async (asked: Asked): Promise<CheckResponse> => {
    const { code, text } = await grpcurl('-d', JSON.stringify(checkRequest(asked)), `127.0.0.1:${port}`, 'envoy.service.auth.v3.Authorization/Check');
    expect(code, text).toBe(0);
    const {
      status = {},
      okResponse,
      deniedResponse,
    } = JSON.parse(text) as {
      status?: { code?: number };
      okResponse?: CheckResponse['ok_response'];
      deniedResponse?: CheckResponse['denied_response'];
    };
    return {
      status: { code: 0, ...status },
      ...(okResponse ? { ok_response: okResponse } : {}),
      ...(deniedResponse ? { denied_response: deniedResponse } : {}),
    };
  };
  test('allow, deny, no credential', async () => {
    const allowed = await check({ headers: bearer });
    expect(verdictOf(allowed)).toBe(ALLOWED);
    expect(identityOf(allowed)).toMatchObject({ 'x-auth-user': 'admin', 'x-auth-tenant': 't1' });
    expect(verdictOf(await check({ path: '/nowhere', headers: bearer }))).toBe(DENIED);
    expect(verdictOf(await check({}))).toBe(NOBODY);
  });
  test('health', async () => {
    const health = (service: string): Promise<{ code: number; text: string }> =>
      grpcurl('-d', JSON.stringify({ service }), `127.0.0.1:${port}`, 'grpc.health.v1.Health/Check');
    expect(JSON.parse((await health('envoy.service.auth.v3.Authorization')).text)).toEqual({ status: 'SERVING' });
    expect(await health('other')).toMatchObject({ code: 64 + 5, text: expect.stringContaining('NotFound') as string });
  });
});
