// The page on users, played: what an administrator does there by the API, and what each user may do after each step, asked through nginx.
//
// The request is sent when the change is answered, and not a moment later: whatever it says, the sidecar has applied it by then.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { OPERATOR } from '../support/admin.ts';
import { askDecided, startClient, type Client } from '../support/ask.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { requirePart } from '../support/require.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startStack, type Stack } from '../support/stack.ts';

requirePart('nginx');

let server: TestServer;
let stack: Stack;
let api: Client;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  // A machine that does other work is no news here.
  stack = await startStack({ server, world: '{"tenants": []}', administered: true, set: { 'identity.local.enabled': 'true' } });
  api = startClient(stack.sidecar.api);
});
afterAll(async () => {
  api?.close();
  await stack?.close();
  await server?.close();
});

/** The token of a session is sent as it is; everybody else is somebody for whom ThingsBoard has signed one. */
const tokenOf = async (by: string): Promise<string> => (by === OPERATOR || by.startsWith('gs_') ? by : tokenFor(by));

/** A change by the API, which must be made. */
async function does(by: string, request: string, body?: unknown): Promise<Record<string, unknown>> {
  const [method = '', path = ''] = request.split(' ');
  const answer = await api.ask({
    method,
    path,
    token: await tokenOf(by),
    ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  });
  expect(answer.status, `${by}: ${request}: ${answer.body}`).toBeOneOf([200, 201]);
  return JSON.parse(answer.body) as Record<string, unknown>;
}

/** By the API, and refused: the status, and why. */
async function refused(by: string, request: string, body?: unknown): Promise<unknown> {
  const [method = '', path = ''] = request.split(' ');
  const headers = { 'content-type': 'application/json' };
  const answer = await api.ask({ method, path, token: await tokenOf(by), ...(body === undefined ? {} : { body: JSON.stringify(body), headers }) });
  return { status: answer.status, ...(JSON.parse(answer.body) as object) };
}

/** What nginx's client is answered. */
async function may(user: string, request: string): Promise<number> {
  const [method = 'GET', path = ''] = request.split(' ');
  return (await askDecided(stack.client, { method, path, token: await tokenOf(user) })).status;
}

test('from an empty database to a building with its people', async () => {
  expect(await may('ada', 'GET /api/device/m1'), 'nobody is known yet').toBe(403);
  await does(OPERATOR, 'POST /v1/tenants', { id: 'acme', name: 'Acme' });
  await does(OPERATOR, 'POST /v1/tenants/acme/administrator', { id: 'ada', email: 'ada@acme.example' });
  for (const customer of ['tower', 'mill']) await does('ada', 'POST /v1/customers', { id: customer });
  await does('ada', 'POST /v1/groups', { id: 'meters', type: 'DEVICE', owner: 'tower' });
  await does('ada', 'POST /v1/entities/bulk', {
    items: [
      { id: 'm1', type: 'DEVICE', owner: 'tower', groups: ['meters'] },
      { id: 'm2', type: 'DEVICE', owner: 'tower' },
      { id: 'x1', type: 'DEVICE', owner: 'mill' },
    ],
  });
  expect(await may('ada', 'GET /api/device/m1')).toBe(200);
  expect(await may('ada', 'DELETE /api/device/x1')).toBe(200);
});

test('a user created straight into a predefined group has what the group has, at once', async () => {
  await does('ada', 'POST /v1/users', { id: 'ben', owner: 'tower', groups: ['users:tower'] });
  expect(await may('ben', 'GET /api/device/m1'), 'read-only').toBe(200);
  expect(await may('ben', 'DELETE /api/device/m1'), 'read-only').toBe(403);
  expect(await may('ben', 'POST /api/rpc/oneway/m1'), 'the stock read-only user may send RPC').toBe(200);
  expect(await may('ben', 'GET /api/device/x1'), 'another customer').toBe(403);
  await does('ada', 'POST /v1/users', { id: 'hana', owner: 'tower', groups: ['admins:tower'] });
  expect(await may('hana', 'DELETE /api/device/m1'), 'a customer administrator').toBe(200);
  expect(await may('hana', 'GET /api/device/x1'), 'of its own customer').toBe(403);
});

test('a user in All alone may do nothing', async () => {
  await does('hana', 'POST /v1/users', { id: 'cy' });
  for (const request of ['GET /api/device/m1', 'GET /api/device/m2', 'GET /api/customer/tower']) expect(await may('cy', request), request).toBe(403);
});

test('a group, a role, and the users who are put into it', async () => {
  await does('hana', 'POST /v1/groups', { id: 'night', type: 'USER', name: 'Night shift' });
  await does('hana', 'POST /v1/roles', { id: 'look', type: 'GROUP', permissions: ['READ'] });
  await does('hana', 'POST /v1/grants', { userGroup: 'night', role: 'look', entityGroup: 'meters' });
  expect(await may('cy', 'GET /api/device/m1')).toBe(403);
  await does('hana', 'POST /v1/groups/night/members', { add: ['cy'] });
  expect(await may('cy', 'GET /api/device/m1'), 'in the group').toBe(200);
  expect(await may('cy', 'GET /api/device/m2'), 'not in it').toBe(403);
  await does('hana', 'POST /v1/groups/meters/members', { add: ['m2'], remove: ['m1'] });
  expect(await may('cy', 'GET /api/device/m1')).toBe(403);
  expect(await may('cy', 'GET /api/device/m2')).toBe(200);
  await does('hana', 'PATCH /v1/roles/look', { permissions: [] });
  expect(await may('cy', 'GET /api/device/m2'), 'the role gives nothing').toBe(403);
  await does('hana', 'PATCH /v1/roles/look', { permissions: ['READ', 'DELETE'] });
  expect(await may('cy', 'DELETE /api/device/m2')).toBe(200);
});

test('owner and groups are changed, with immediate effect', async () => {
  await does('ada', 'PUT /v1/users/cy/owner', { owner: 'mill', groups: ['users:mill'] });
  expect(await may('cy', 'GET /api/device/m2'), 'it has left the groups of the tower').toBe(403);
  expect(await may('cy', 'GET /api/device/x1'), 'and is a user of the mill').toBe(200);
  await does('ada', 'PUT /v1/users/cy/owner', { owner: 'tower', groups: ['night'] });
  expect(await may('cy', 'GET /api/device/x1')).toBe(403);
  expect(await may('cy', 'GET /api/device/m2')).toBe(200);
  await does('ada', 'PUT /v1/entities/m2/owner', { owner: 'mill' });
  expect(await may('cy', 'GET /api/device/m2'), 'an entity leaves its groups with its owner').toBe(403);
  expect(await may('ada', 'GET /api/device/m2')).toBe(200);
});

test('a group is shared with the users of another customer', async () => {
  await does('ada', 'POST /v1/roles', { id: 'lend', type: 'GROUP', permissions: ['READ'] });
  await does('ada', 'POST /v1/groups', { id: 'millers', type: 'USER', owner: 'mill' });
  await does('ada', 'POST /v1/users', { id: 'mira', owner: 'mill', groups: ['millers'] });
  await does('hana', 'POST /v1/groups/meters/members', { add: ['m1'] });
  expect(await may('mira', 'GET /api/device/m1')).toBe(403);
  const { id } = await does('ada', 'POST /v1/groups/meters/share', { userGroup: 'millers', role: 'lend' });
  expect(await may('mira', 'GET /api/device/m1')).toBe(200);
  await does('ada', `DELETE /v1/grants/${encodeURIComponent(String(id))}`);
  expect(await may('mira', 'GET /api/device/m1')).toBe(403);
});

test('disabled, enabled, and a group that is deleted takes what it granted, and leaves its members', async () => {
  expect(await may('cy', 'GET /api/device/m1')).toBe(200);
  await does('hana', 'PATCH /v1/users/cy', { enabled: false });
  expect(await may('cy', 'GET /api/device/m1')).toBe(403);
  await does('hana', 'PATCH /v1/users/cy', { enabled: true });
  expect(await may('cy', 'GET /api/device/m1')).toBe(200);
  await does('hana', 'DELETE /v1/groups/night');
  expect(await may('cy', 'GET /api/device/m1')).toBe(403);
  expect(await does('hana', 'GET /v1/users/cy')).toMatchObject({ owner: 'tower', groups: [] });
});

test('a user is deleted, and what is there stays', async () => {
  await does('hana', 'DELETE /v1/users/ben');
  expect(await may('ben', 'GET /api/device/m1')).toBe(403);
  expect(await may('hana', 'GET /api/device/m1')).toBe(200);
});

test('a user is given a link, sets its password by it, once, and logs in by that; disabled, it is out at once', async () => {
  const email = 'dora@tower.example';
  await does('hana', 'POST /v1/users', { id: 'dora', owner: 'tower', groups: ['users:tower'], email });
  const password = 'a password for the tower';
  expect(await refused('dora', 'POST /v1/auth/login', { email, password }), 'before there is one').toMatchObject({ status: 401 });
  const { link } = await does('hana', 'POST /v1/users/dora/activation', {});
  const token = String(link).split('#token=')[1];
  const first = String((await does('dora', 'POST /v1/auth/activate', { token, password }))['accessToken']);
  expect(await may(first, 'GET /api/device/m1'), 'logged in with that').toBe(200);
  expect(await may(first, 'DELETE /api/device/m1'), 'as what it is').toBe(403);
  for (const _ of ['a second time', 'a third time'])
    expect(await refused('dora', 'POST /v1/auth/activate', { token, password })).toMatchObject({ status: 401 });
  const second = String((await does('dora', 'POST /v1/auth/login', { email, password }))['accessToken']);
  expect([await may(first, 'GET /api/device/m1'), await may(second, 'GET /api/device/m1')]).toEqual([200, 200]);
  await does(first, 'POST /v1/auth/logout', {});
  expect([await may(first, 'GET /api/device/m1'), await may(second, 'GET /api/device/m1')], 'of that session alone').toEqual([401, 200]);
  await does('hana', 'PATCH /v1/users/dora', { enabled: false });
  expect(await may(second, 'GET /api/device/m1')).toBe(401);
  await does('hana', 'PATCH /v1/users/dora', { enabled: true });
  expect(await may(second, 'GET /api/device/m1'), 'it logs in again').toBe(401);
  const third = String((await does('dora', 'POST /v1/auth/login', { email, password }))['accessToken']);
  expect(await may(third, 'GET /api/device/m1')).toBe(200);
});

test('an administrator logs in as a user: it may what that one may, both are in the logs, and it lasts while it may do that', async () => {
  await does('ada', 'POST /v1/users', { id: 'piet', owner: 'tower', groups: ['admins:tower'] });
  const token = String((await does('piet', 'POST /v1/users/dora/login', { lifetime: 600 }))['accessToken']);
  expect(await does(token, 'GET /v1/me')).toMatchObject({ subject: 'dora', actor: 'piet' });
  const asked = await askDecided(stack.client, { path: '/api/device/m1', token, requestId: 'as-dora' });
  expect(asked.status).toBe(200);
  expect(await stack.sidecar.line(asked.requestId)).toMatchObject({ decision: 'allow', subject: 'dora', actor: 'piet' });
  expect(await may(token, 'DELETE /api/device/m1'), 'piet may, dora may not').toBe(403);
  expect(await does('hana', 'GET /v1/users/dora/sessions')).toMatchObject({ items: [{ user: 'dora', actor: 'piet' }, { user: 'dora' }] });
  const byAda = String((await does('ada', 'POST /v1/users/hana/login', {}))['accessToken']);
  await does(byAda, 'PATCH /v1/users/dora', { firstName: 'Dora' });
  expect(await does('ada', 'GET /v1/audit?target=dora&action=user.update&limit=1')).toMatchObject({
    items: [{ actor: 'ada', asUser: 'hana', target: 'dora' }],
  });
  expect(await refused(byAda, 'POST /v1/users/dora/keys', {}), 'nothing that outlives it').toMatchObject({ status: 403, reason: 'acting', rule: '5' });
  expect(await refused('dora', 'POST /v1/users/piet/login', {})).toMatchObject({ status: 403, reason: 'no-grant' });
  expect(await refused('piet', 'POST /v1/users/ada/login', {}), 'nobody as one who has more').toMatchObject({ status: 403 });

  await does('hana', 'POST /v1/groups/admins%3Atower/members', { remove: ['piet'] });
  expect(await may(token, 'GET /api/device/m1'), 'piet may not any more').toBe(403);
  expect(await refused(token, 'GET /v1/me')).toMatchObject({ status: 403, reason: 'no-grant' });
  await does('ada', 'POST /v1/groups/admins%3Atower/members', { add: ['piet'] });
  expect(await may(token, 'GET /api/device/m1')).toBe(200);
  await does('hana', 'PATCH /v1/users/piet', { enabled: false });
  expect(await may(token, 'GET /api/device/m1'), 'and nothing of one who is disabled is good').toBe(401);
});

test('what an administrator of a customer may not do, the API does not do either', async () => {
  expect(await refused('hana', 'POST /v1/users', { id: 'eve', owner: 'mill' })).toMatchObject({ status: 403, reason: 'out-of-scope', rule: '7' });
  expect(await refused('hana', 'POST /v1/groups/admins%3Aacme/members', { add: ['hana'] })).toMatchObject({ status: 403, rule: '5' });
  expect(await refused('hana', 'PUT /v1/users/cy/owner', { owner: 'acme' })).toMatchObject({ status: 403 });
  expect(await refused('cy', 'DELETE /v1/users/hana')).toMatchObject({ status: 403, reason: 'no-grant' });
  expect(await refused('hana', 'DELETE /v1/customers/mill')).toMatchObject({ status: 403 });
});
