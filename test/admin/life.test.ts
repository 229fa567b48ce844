// Do the calls of the administration do what the model says, each with its rule, its revision and its audit row?

import { afterAll, beforeAll, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import { OPERATOR, startTestAdministration, type TestAdministration } from '../support/admin.ts';
import { startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';

let server: TestServer;
let database: TestDatabase;
let admin: TestAdministration;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  database = await server.database();
  admin = await startTestAdministration(database);
});
afterAll(async () => {
  admin.close();
  await server.close();
});

test('from nothing: a tenant, its first administrator, and what that makes', async () => {
  expect(await admin.ask('ada', 'GET /v1/me')).toMatchObject({ status: 401, body: { reason: 'unknown-subject' } });
  expect(await admin.ask(OPERATOR, 'POST /v1/tenants', { id: 'acme', name: 'Acme' })).toMatchObject({ status: 201, body: { id: 'acme', name: 'Acme' } });
  expect(await admin.ask(OPERATOR, 'POST /v1/tenants', { id: 'acme' })).toMatchObject({ status: 409, body: { code: 'exists' } });
  expect(await admin.ask(OPERATOR, 'POST /v1/tenants/acme/administrator', { id: 'ada', email: 'ada@acme.example' })).toMatchObject({ status: 201 });
  expect(await admin.ask(OPERATOR, 'POST /v1/tenants/acme/administrator', { id: 'eve' })).toMatchObject({ status: 422, body: { rule: '1.6' } });
  expect(await admin.ask(OPERATOR, 'GET /v1/users/ada')).toMatchObject({ status: 404 });
  expect(await admin.ask('ada', 'GET /v1/me')).toMatchObject({ status: 200, body: { kind: 'user', subject: 'ada', tenant: 'acme', owner: 'acme' } });
  expect(await admin.ask('ada', 'POST /v1/tenants', {})).toMatchObject({ status: 403, body: { reason: 'operator-only', rule: '1.6' } });

  const tower = await admin.ask('ada', 'POST /v1/customers', { id: 'tower', title: 'Tower' });
  expect(tower).toMatchObject({ status: 201, body: { id: 'tower', owner: 'acme', title: 'Tower', groups: [], details: {} } });
  expect(tower.headers.get('x-authz-revision')).toMatch(/^\d+-/);
  expect(tower.headers.get('location')).toBe('/v1/customers/tower');
  expect(await admin.ask('ada', 'POST /v1/users', { id: 'bob', owner: 'tower', groups: ['admins:tower'] })).toMatchObject({ status: 201 });
  expect(await admin.ask('bob', 'GET /v1/me')).toMatchObject({ body: { tenant: 'acme', owner: 'tower' } });
  expect(await admin.ask('bob', 'POST /v1/groups', { id: 'meters', type: 'DEVICE' })).toMatchObject({ status: 201, body: { owner: 'tower' } });
  expect(await admin.ask('bob', 'POST /v1/entities', { id: 'm1', type: 'DEVICE', groups: ['meters'] })).toMatchObject({ status: 201 });
  expect(await admin.ask('bob', 'POST /v1/entities', { id: 'm2', type: 'DEVICE', owner: 'acme' })).toMatchObject({
    status: 403,
    body: { reason: 'out-of-scope', rule: '7' },
  });
});

test('a user in All alone may do nothing, until it is given a role over a group; then that and no more', async () => {
  expect(await admin.ask('bob', 'POST /v1/users', { id: 'cy', name: 'Cy' })).toMatchObject({
    status: 201,
    body: { owner: 'tower', enabled: true, groups: [] },
  });
  expect(await admin.ask('cy', 'GET /v1/entities/m1')).toMatchObject({ status: 403, body: { reason: 'no-grant' } });
  expect(await admin.ask('bob', 'POST /v1/groups', { id: 'night', type: 'USER' })).toMatchObject({ status: 201 });
  expect(await admin.ask('bob', 'POST /v1/roles', { id: 'look', type: 'GROUP', permissions: ['READ', 'READ_TELEMETRY'] })).toMatchObject({ status: 201 });
  const grant = await admin.ask('bob', 'POST /v1/grants', { userGroup: 'night', role: 'look', entityGroup: 'meters' });
  expect(grant).toMatchObject({ status: 201, body: { userGroup: 'night', role: 'look', entityGroup: 'meters', shared: false } });
  expect(await admin.ask('bob', 'POST /v1/groups/night/members', { add: ['cy'] })).toMatchObject({ status: 200, body: { added: 1, removed: 0 } });
  expect(await admin.ask('cy', 'GET /v1/entities/m1')).toMatchObject({ status: 200, body: { id: 'm1', groups: ['meters'] } });
  expect(await admin.ask('cy', 'DELETE /v1/entities/m1')).toMatchObject({ status: 403 });
  expect(await admin.ask('bob', 'PATCH /v1/users/cy', { enabled: false })).toMatchObject({ status: 200, body: { enabled: false } });
  expect(await admin.ask('cy', 'GET /v1/entities/m1')).toMatchObject({ status: 401, body: { reason: 'subject-disabled' } });
});

test('nobody hands on more than it has', async () => {
  await admin.ask('ada', 'POST /v1/roles', {
    id: 'staff',
    owner: 'tower',
    type: 'GENERIC',
    permissions: { ALL: ['READ'], USER: ['ALL'], USER_GROUP: ['ALL'], GROUP_PERMISSION: ['ALL'] },
  });
  await admin.ask('ada', 'POST /v1/groups', { id: 'staff-of-tower', type: 'USER', owner: 'tower' });
  expect(await admin.ask('ada', 'POST /v1/grants', { userGroup: 'staff-of-tower', role: 'staff' })).toMatchObject({ status: 201 });
  expect(await admin.ask('ada', 'POST /v1/users', { id: 'dan', owner: 'tower', groups: ['staff-of-tower'] })).toMatchObject({ status: 201 });
  const refused = { status: 403, body: { reason: 'not-covered', rule: '5' } };
  expect(await admin.ask('dan', 'POST /v1/users', { id: 'dan2', groups: ['admins:tower'] })).toMatchObject(refused);
  expect(await admin.ask('dan', 'POST /v1/groups/admins%3Atower/members', { add: ['dan'] })).toMatchObject(refused);
  expect(await admin.ask('dan', 'PATCH /v1/users/bob', { email: 'dan@example.com' })).toMatchObject(refused);
  expect(await admin.ask('dan', 'POST /v1/grants', { userGroup: 'staff-of-tower', role: 'role:admin:tower' })).toMatchObject(refused);
  expect(await admin.ask('dan', 'POST /v1/users', { id: 'dan3', groups: ['staff-of-tower'] })).toMatchObject({ status: 201 });
});

test('what was seen before is not overwritten: 412 with the present state', async () => {
  const seen = await admin.ask('bob', 'GET /v1/groups/meters');
  const tag = seen.headers.get('etag') ?? '';
  expect(await admin.ask('bob', 'PATCH /v1/groups/meters', { name: 'Meters' }, { 'if-match': tag })).toMatchObject({ status: 200, body: { name: 'Meters' } });
  expect(await admin.ask('bob', 'PATCH /v1/groups/meters', { name: 'Other' }, { 'if-match': tag })).toMatchObject({
    status: 412,
    body: { current: { name: 'Meters' } },
  });
  expect(await admin.ask('bob', 'DELETE /v1/groups/meters', undefined, { 'if-match': tag })).toMatchObject({ status: 412 });
});

test('every change has its row in the audit log, with who, what and the revision', async () => {
  const sql = openPool({ url: database.url, max: 1 });
  try {
    const rows = await sql`select actor_kind, actor, action, target, revision, before, after from grantgate.audit order by id`;
    expect(rows.map(({ actor, action, target }) => `${String(actor)} ${String(action)} ${String(target)}`).slice(0, 4)).toEqual([
      ' tenant.create acme',
      ' tenant.administrator ada',
      'ada customer.create tower',
      'ada user.create bob',
    ]);
    expect(rows.at(-1)).toMatchObject({ actor: 'bob', action: 'group.update', before: { id: 'meters' }, after: { name: 'Meters' } });
  } finally {
    await sql.end();
  }
});
