// What can a caller say that makes the administration tell what it must not, do what nobody may, or fail?

import { openWriter, type Writer } from 'policy-cache/postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { removeAction } from '../../src/api/admin/change.ts';
import { OPERATOR, startTestAdministration, type TestAdministration } from '../support/admin.ts';
import { vocabulary } from '../support/doors.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';

let server: TestServer;
let admin: TestAdministration;
let writer: Writer;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  const database = await server.database();
  admin = await startTestAdministration(database);
  writer = openWriter({ url: await database.urlAs('grantgate_writer') });
  for (const tenant of ['acme', 'other']) {
    await made(OPERATOR, 'POST /v1/tenants', { id: tenant });
    await made(OPERATOR, `POST /v1/tenants/${tenant}/administrator`, { id: `admin-of-${tenant}` });
    const by = `admin-of-${tenant}`;
    await made(by, 'POST /v1/customers', { id: `c-${tenant}` });
    await made(by, 'POST /v1/groups', { id: `g-${tenant}`, type: 'DEVICE' });
    await made(by, 'POST /v1/groups', { id: `u-${tenant}`, type: 'USER' });
    await made(by, 'POST /v1/entities', { id: `e-${tenant}`, type: 'DEVICE' });
    await made(by, 'POST /v1/users', { id: `user-${tenant}` });
    await made(by, 'POST /v1/roles', { id: `r-${tenant}`, type: 'GROUP', permissions: ['READ'] });
    await made(by, 'POST /v1/grants', { id: `p-${tenant}`, userGroup: `u-${tenant}`, role: `r-${tenant}`, entityGroup: `g-${tenant}` });
  }
});
afterAll(async () => {
  admin?.close();
  writer?.close();
  await server?.close();
});

const ADMIN = 'admin-of-acme';
async function made(by: string, request: string, body?: unknown): Promise<void> {
  const answer = await admin.ask(by, request, body);
  expect(answer.status, `${request}: ${JSON.stringify(answer.body)}`).toBeOneOf([200, 201]);
}
const audited = async (): Promise<number> => (await writer.read((db) => db.rows<{ n: number }>('select count(*)::int n from grantgate.audit')))[0]!.n;

describe('another tenant', () => {
  const ids = ['other', 'c-other', 'g-other', 'u-other', 'e-other', 'user-other', 'r-other', 'p-other', 'admins:other', 'role:admin:other', 'all:USER:other'];
  const fields: readonly (readonly [string, (id: string) => unknown])[] = [
    ...['customers', 'users', 'groups', 'roles', 'grants', 'entities', 'tenants'].flatMap((list) => [[`GET /v1/${list}/{id}`, () => undefined] as const]),
    ['PATCH /v1/users/{id}', () => ({ enabled: false })],
    ['DELETE /v1/entities/{id}', () => undefined],
    ['DELETE /v1/grants/{id}', () => undefined],
    ['PUT /v1/entities/{id}/owner', () => ({ owner: 'acme' })],
    ['POST /v1/entities/bulk-delete', (id) => ({ ids: ['e-acme', id] })],
    ['POST /v1/entities/bulk-update', (id) => ({ items: [{ id: 'e-acme', name: 'x' }, { id }] })],
    ['POST /v1/users/bulk-update', (id) => ({ items: [{ id, enabled: false, etag: '"x"' }] })],
    ['POST /v1/entities/bulk-owner', (id) => ({ ids: ['e-acme', id], owner: 'acme' })],
    ['POST /v1/entities/bulk-owner', (id) => ({ ids: ['e-acme'], owner: id })],
    ['POST /v1/entities/bulk-owner', (id) => ({ ids: ['e-acme'], owner: 'acme', groups: [id] })],
    ['POST /v1/groups/{id}/members', () => ({ add: ['e-acme'] })],
    ['POST /v1/groups/g-acme/members', (id) => ({ add: [id] })],
    ['POST /v1/groups/g-acme/members', (id) => ({ add: ['e-acme', id], remove: ['e-acme'] })],
    ['POST /v1/groups/{id}/share', () => ({ userGroup: 'u-acme', role: 'r-acme' })],
    ['POST /v1/groups/g-acme/share', (id) => ({ userGroup: id, role: 'r-acme' })],
    ['POST /v1/groups/g-acme/share', (id) => ({ userGroup: 'u-acme', role: id })],
    ['POST /v1/entities', (id) => ({ type: 'DEVICE', owner: id })],
    ['POST /v1/entities', (id) => ({ type: 'DEVICE', groups: [id] })],
    ['POST /v1/users', (id) => ({ owner: id })],
    ['POST /v1/users', (id) => ({ groups: [id] })],
    ['POST /v1/customers', (id) => ({ owner: id })],
    ['POST /v1/roles', (id) => ({ owner: id, type: 'GROUP', permissions: [] })],
    ['POST /v1/groups', (id) => ({ owner: id, type: 'DEVICE' })],
    ['POST /v1/grants', (id) => ({ userGroup: id, role: 'r-acme', entityGroup: 'g-acme' })],
    ['POST /v1/grants', (id) => ({ userGroup: 'u-acme', role: id, entityGroup: 'g-acme' })],
    ['POST /v1/grants', (id) => ({ userGroup: 'u-acme', role: 'r-acme', entityGroup: id })],
    ['PUT /v1/entities/e-acme/owner', (id) => ({ owner: id })],
    ['PUT /v1/entities/e-acme/owner', (id) => ({ owner: 'acme', groups: [id] })],
  ];

  test('in whatever field: refused as if there were no such thing, and the answer is the same for an id that nobody has', async () => {
    const before = await audited();
    let asked = 0;
    for (const [request, body] of fields) {
      const answer = async (named: string) => {
        const said = await admin.ask(ADMIN, request.replace('{id}', encodeURIComponent(named)), body(named));
        return `${said.status} ${JSON.stringify(said.body).replaceAll(named, '…')}`;
      };
      const ask = async (id: string): Promise<void> => {
        const theirs = await answer(id);
        expect(theirs, `${request} ${id}`).toMatch(/^4(03|04|22) /);
        // As long, and of the same kind: what is reserved stays so.
        expect(theirs, `${request} ${id}`).toBe(await answer(id.replace('other', 'othez')));
        asked++;
      };
      await Promise.all(ids.map(ask));
    }
    console.log(`hostile: ${asked} calls with ids of another tenant, none accepted, none answered otherwise than for an id that nobody has`);
    expect(await audited()).toBe(before);
  });
});

describe('odd texts', () => {
  const odd = [
    'a/b',
    '100 %',
    '%2e%2e',
    'Zoë ☂ 𝒳',
    '__proto__',
    'constructor',
    'bulk',
    'a?b#c',
    '"quoted"',
    "o'neil",
    'back\\slash',
    'x'.repeat(255),
    ' ',
    'GET /v1/me',
  ];
  test('as ids: found again under the same, in their own place in the path', async () => {
    for (const id of odd) {
      await made(ADMIN, 'POST /v1/entities', { id, type: 'DEVICE', name: id });
      const path = `/v1/entities/${encodeURIComponent(id)}`;
      expect(await admin.ask(ADMIN, `GET ${path}`)).toMatchObject({ status: 200, body: { id, name: id } });
      await made(ADMIN, `PATCH ${path}`, { name: null });
      await made(ADMIN, 'POST /v1/groups/g-acme/members', { add: [id] });
      await made(ADMIN, `DELETE ${path}`);
      expect((await admin.ask(ADMIN, `GET ${path}`)).status).toBe(404);
    }
  });
  test('that are no ids, or reserved ones, are malformed wherever they stand', async () => {
    for (const id of [
      '',
      '*',
      'all:DEVICE:acme',
      'admins:acme',
      'users:x',
      'role:x',
      'a\u0000b',
      'a\nb',
      '\ud800',
      'x'.repeat(256),
      'ü'.repeat(128),
      1,
      null,
      {},
      [],
    ]) {
      expect(await admin.ask(ADMIN, 'POST /v1/entities', { id, type: 'DEVICE' }), JSON.stringify(id)).toMatchObject({ status: 400, body: { field: 'id' } });
    }
    for (const id of ['%00', '%0a', '%C2%80', 'x'.repeat(256)]) expect((await admin.ask(ADMIN, `GET /v1/entities/${id}`)).status, id).toBe(400);
  });
  test.each([
    ['name', { name: 'a\u0000' }],
    ['name', { name: '\udfff' }],
    ['name', { name: 'ü'.repeat(501) }],
    ['type', { type: 'X'.repeat(64) }],
    ['type', { type: '' }],
    ['__proto__', '{"type": "DEVICE", "__proto__": {"owner": "acme"}}'],
  ])('in the field %s: %j', async (field, given) => {
    const body = typeof given === 'string' ? given : { type: 'DEVICE', ...given };
    expect(await admin.ask(ADMIN, 'POST /v1/entities', body)).toMatchObject({ status: 400, body: { field } });
  });
  test('in what else is known of a customer, and in a role', async () => {
    for (const details of [{ a: '\u0000' }, { 'a\u0000': 1 }, { a: ['\ud800'] }, [], 'x'])
      expect(await admin.ask(ADMIN, 'POST /v1/customers', { details }), JSON.stringify(details)).toMatchObject({ status: 400, body: { field: 'details' } });
    // Read, each of those is 309 digits.
    const long = (count: number) => ({ details: { x: { y: Array.from({ length: count }, (_, i) => (i % 2 === 0 ? 1e308 : -1e-300)) } } });
    expect(await admin.ask(ADMIN, 'POST /v1/customers', long(10_000))).toMatchObject({ status: 400, body: { field: 'details' } });
    expect(await admin.ask(ADMIN, 'POST /v1/customers', '{"details": {"x": 1e400}}')).toMatchObject({ status: 400, body: { field: 'details' } });
    expect(await admin.ask(ADMIN, 'POST /v1/customers', long(1_000))).toMatchObject({ status: 201 });
    for (const body of ['{"details": {"__proto__": 1}}', '{"details": {"a": {"__proto__": {"b": 1}}}}'])
      expect(await admin.ask(ADMIN, 'POST /v1/customers', body)).toMatchObject({ status: 400, body: { field: '__proto__' } });
    const role = (permissions: object) => admin.ask(ADMIN, 'POST /v1/roles', { type: 'GENERIC', permissions });
    for (const permissions of [{ constructor: ['ALL'] }, { toString: [] }, { DEVICE: ['constructor'] }, { NO_SUCH: ['READ'] }])
      expect(await role(permissions), JSON.stringify(permissions)).toMatchObject({ status: 422, body: { rule: '2' } });
    expect(await role({ ['X'.repeat(64)]: [] })).toMatchObject({ status: 400 });
  });
  test('a body that is none', async () => {
    const post = (body: string, type = 'application/json') => admin.ask(ADMIN, 'POST /v1/entities', body, { 'content-type': type });
    for (const body of ['', '[]', '"x"', 'null', '{', '{"a":'.repeat(40) + '1' + '}'.repeat(40)]) expect((await post(body)).status, body).toBe(400);
    expect(await post('{"type": "DEVICE"}', 'text/plain')).toMatchObject({ status: 415, body: { code: 'media-type' } });
    expect(await post(JSON.stringify({ type: 'DEVICE', name: 'x'.repeat(9_000_000) }))).toMatchObject({ status: 413 });
  });
});

test('whoever may change or remove a thing, and not READ it, is not shown it', async () => {
  await made(ADMIN, 'POST /v1/roles', { id: 'blind', type: 'GENERIC', permissions: { USER: ['WRITE', 'DELETE', 'CHANGE_OWNER'] } });
  await made(ADMIN, 'POST /v1/groups', { id: 'g-blind', type: 'USER' });
  await made(ADMIN, 'POST /v1/grants', { userGroup: 'g-blind', role: 'blind' });
  await made(ADMIN, 'POST /v1/users', { id: 'blind-user', groups: ['g-blind'] });
  await made(ADMIN, 'POST /v1/users', { id: 'unseen', email: 'unseen@acme.example' });
  const other = { 'if-match': '"another"' };
  const refused = { status: 412, body: { detail: 'it is not as If-Match says' } };
  for (const [request, body] of [['PATCH /v1/users/unseen', {}], ['DELETE /v1/users/unseen'], ['PUT /v1/users/unseen/owner', { owner: 'acme' }]] as const) {
    const hidden = await admin.ask('blind-user', request, body, other);
    expect(hidden).toMatchObject(refused);
    expect(hidden.body).not.toHaveProperty('current');
    expect((await admin.ask(ADMIN, request, body, other)).body).toHaveProperty('current.email', 'unseen@acme.example');
  }
  const changed = await admin.ask('blind-user', 'PATCH /v1/users/unseen', { name: 'Un Seen' });
  expect(changed).toMatchObject({ status: 200, body: { id: 'unseen' } });
  expect(Object.keys(changed.body as object)).toEqual(['id']);
  expect(changed.headers.get('etag')).toBeNull();
  expect(changed.headers.get('x-authz-revision')).not.toBeNull();
  expect((await admin.ask(ADMIN, 'GET /v1/users/unseen')).body).toMatchObject({ name: 'Un Seen', email: 'unseen@acme.example' });
});

test('what the database would choke on is refused before', async () => {
  for (const time of ['0000-01-01T00:00:00Z', '2026-01-01T00:00:00-23:59', '2026-01-01T00:00:00%2B16:00'])
    expect(await admin.ask(ADMIN, `GET /v1/audit?from=${time}`), time).toMatchObject({ status: 400, body: { field: 'from' } });
  for (const time of ['0001-01-01T00:00:00%2B15:59', '9999-12-31T23:59:59.999999-15:59', '2026-01-01T00:00:00Z'])
    expect(await admin.ask(ADMIN, `GET /v1/audit?from=${time}&to=${time}`), time).toMatchObject({ status: 200 });
  await made(ADMIN, 'POST /v1/roles', { id: 'generic', type: 'GENERIC', permissions: {} });
  const written = await admin.ask(ADMIN, 'GET /v1/audit?target=generic');
  const [row] = (written.body as { readonly items: readonly [{ readonly at: string }] }).items;
  const later = row.at.replace(/\d{6}Z$/, (fraction) => `${String((Number.parseInt(fraction, 10) + 1) % 1_000_000).padStart(6, '0')}Z`);
  for (const [from, found] of [
    [row.at, 1],
    [later, later > row.at ? 0 : 1],
  ] as const)
    expect(await admin.ask(ADMIN, `GET /v1/audit?target=generic&from=${from}`), from).toHaveProperty('body.items.length', found);
  const wrong = { status: 422, body: { rule: '1' } };
  expect(await admin.ask(ADMIN, 'PATCH /v1/roles/r-acme', { permissions: { DEVICE: ['READ'] } })).toMatchObject({ ...wrong, body: { field: 'permissions' } });
  expect(await admin.ask(ADMIN, 'PATCH /v1/roles/generic', { permissions: [] })).toMatchObject({ ...wrong, body: { field: 'permissions' } });
  expect(await admin.ask(ADMIN, 'PATCH /v1/roles/r-acme', { excluded: {} })).toMatchObject({ ...wrong, body: { field: 'excluded' } });
});

test('a condition that is not looked at refuses the change', async () => {
  const requests = [
    ['POST /v1/groups/g-acme/members', { add: ['e-acme'] }],
    ['POST /v1/entities/bulk-delete', { ids: ['e-acme'] }],
    ['POST /v1/entities/bulk-update', { items: [{ id: 'e-acme', name: 'x' }] }],
    ['POST /v1/entities/bulk-owner', { ids: ['e-acme'], owner: 'acme' }],
  ] as const;
  for (const [request, body] of requests)
    expect(await admin.ask(ADMIN, request, body, { 'if-match': '"another"' }), request).toMatchObject({ status: 400, body: { field: 'If-Match' } });
  expect((await admin.ask(ADMIN, 'GET /v1/entities/e-acme')).status).toBe(200);
});

test('however many are removed at once are read at once', async () => {
  let statements = 0;
  const named = ['e-acme', 'user-acme', 'g-acme'].map((id, i) => ({ list: (['entities', 'users', 'groups'] as const)[i]!, id }));
  const who = { caller: { kind: 'operator' }, tenant: 'acme', owner: '' } as const;
  const read = await writer.read((db) => removeAction(vocabulary, named).read({ rows: (text, given) => (statements++, db.rows(text, given)) }, who));
  expect([read.map(({ id }) => id), statements]).toEqual([named.map(({ id }) => id), 1]);
});

test('If-Match: tags or *, and nothing that only looks like it', async () => {
  const change = (tag: string) => admin.ask(ADMIN, 'PATCH /v1/groups/g-acme', { name: 'x' }, { 'if-match': tag });
  const tag = async (): Promise<string> => (await admin.ask(ADMIN, 'GET /v1/groups/g-acme')).headers.get('etag')!;
  for (const given of ['', 'abc', '"', '"a" "b"', '*, "a"', 'w/"a"', (await tag()).slice(1)]) expect((await change(given)).status, given).toBe(400);
  for (const given of ['"a"', `W/${await tag()}`, '"a", "b"']) expect((await change(given)).status, given).toBe(412);
  for (const given of ['*', ' * ']) expect((await change(given)).status, given).toBe(200);
  expect((await change(await tag())).status).toBe(200);
  expect((await change(`"a",${await tag()}`)).status).toBe(200);
  expect((await admin.ask(ADMIN, 'PATCH /v1/groups/nobody', { name: 'x' }, { 'if-match': '*' })).status).toBe(404);
});

describe('who may do nothing', () => {
  test('the operator, inside of a tenant', async () => {
    const before = await audited();
    for (const request of ['POST /v1/users', 'POST /v1/customers'])
      expect(await admin.ask(OPERATOR, request, {}), request).toMatchObject({ status: 403, body: { reason: 'users-only', rule: '1.6' } });
    expect(await admin.ask(OPERATOR, 'POST /v1/grants', { userGroup: 'u-acme', role: 'r-acme', entityGroup: 'g-acme' })).toMatchObject({ status: 403 });
    for (const request of ['GET /v1/users/user-acme', 'DELETE /v1/users/user-acme', 'GET /v1/customers/acme'])
      expect((await admin.ask(OPERATOR, request)).status, request).toBe(404);
    expect(await audited()).toBe(before);
  });
  test('a user without any permission: it cannot even do nothing', async () => {
    const before = await audited();
    for (const body of [{}, { add: [] }, { add: [], remove: [] }])
      expect((await admin.ask('user-acme', 'POST /v1/groups/g-acme/members', body)).status).toBe(400);
    for (const body of [{ add: ['e-acme'] }, { remove: ['nobody'] }])
      expect((await admin.ask('user-acme', 'POST /v1/groups/g-acme/members', body)).status).toBe(403);
    for (const [list, id] of [
      ['users', 'user-acme'],
      ['groups', 'g-acme'],
    ])
      expect((await admin.ask('user-acme', `POST /v1/${list}/bulk-update`, { items: [{ id }] })).status, list).toBe(403);
    for (const request of ['PATCH /v1/users/user-acme', 'PATCH /v1/groups/g-acme'])
      expect((await admin.ask('user-acme', request, {})).status, request).toBe(403);
    for (const request of ['POST /v1/tenants', 'POST /v1/tenants/acme/administrator']) expect((await admin.ask(ADMIN, request, {})).status, request).toBe(403);
    expect(await audited()).toBe(before);
  });
  test('somebody who has less above a user than the user has beside it: nobody is taken over from below', async () => {
    await made(ADMIN, 'POST /v1/users', { id: 'low', owner: 'c-acme' });
    await made(ADMIN, 'POST /v1/groups', { id: 'lows', type: 'USER', owner: 'c-acme' });
    await made(ADMIN, 'POST /v1/groups/lows/members', { add: ['low'] });
    await made(ADMIN, 'POST /v1/roles', { id: 'r-write', type: 'GROUP', permissions: ['READ', 'WRITE'] });
    await made(ADMIN, 'POST /v1/groups/u-acme/share', { userGroup: 'lows', role: 'r-write' });
    await made(ADMIN, 'POST /v1/users', { id: 'high', groups: [] });
    await made(ADMIN, 'POST /v1/groups', { id: 'bare', type: 'USER' });
    await made(ADMIN, 'POST /v1/groups/bare/members', { add: ['high'] });
    await made(ADMIN, 'POST /v1/groups/bare/share', { userGroup: 'lows', role: 'r-write' });
    expect(await admin.ask('low', 'PATCH /v1/users/high', { firstName: 'High' })).toMatchObject({ status: 200 });
    for (const change of [{ email: 'low@example.com' }, { enabled: false }])
      expect(await admin.ask('low', 'PATCH /v1/users/high', change)).toMatchObject({ status: 403, body: { reason: 'out-of-scope', rule: '5' } });
  });
});

test("what the database refuses is told in the words of the model, without anybody's row", async () => {
  const again = await admin.ask(ADMIN, 'POST /v1/grants', { id: 'twice', userGroup: 'u-acme', role: 'r-acme', entityGroup: 'g-acme' });
  expect(again).toMatchObject({ status: 422, body: { rule: '1', detail: 'this user group has this role on this entity group already' } });
  const taken = await admin.ask(ADMIN, 'POST /v1/entities', { id: 'e-other', type: 'DEVICE' });
  expect(taken.status).toBe(409);
  expect(JSON.stringify(taken.body)).toContain('e-other is used already');
  const owner = await admin.ask(ADMIN, 'DELETE /v1/customers/c-acme');
  expect(owner).toMatchObject({ status: 422, body: { rule: '1.5' } });
  expect(JSON.stringify([again.body, owner.body])).not.toMatch(/Key|Failing row|duplicate|violates|p-acme|"low"/);
  expect(await admin.ask(ADMIN, 'POST /v1/entities', { id: 'named-twice', type: 'DEVICE', groups: ['g-acme', 'g-acme'] })).toMatchObject({
    status: 201,
    body: { groups: ['g-acme'] },
  });
  expect(await admin.ask(ADMIN, 'PUT /v1/entities/named-twice/owner', { owner: 'acme', groups: ['g-acme'] })).toMatchObject({
    status: 200,
    body: { groups: ['g-acme'] },
  });
});

test('who may read nothing is not told whose a thing is', async () => {
  const by = 'user-acme';
  await made(ADMIN, 'POST /v1/customers', { id: 'hidden' });
  await made(ADMIN, 'POST /v1/groups', { id: 'users-there', type: 'USER', owner: 'hidden' });
  await made(ADMIN, 'POST /v1/groups', { id: 'things-there', type: 'DEVICE', owner: 'hidden' });
  await made(ADMIN, 'POST /v1/roles', { id: 'role-there', owner: 'hidden', type: 'GROUP', permissions: ['READ'] });
  for (const [request, body] of [
    ['POST /v1/users', { groups: ['users-there'] }],
    ['POST /v1/entities', { type: 'DEVICE', groups: ['things-there'] }],
    ['POST /v1/grants', { userGroup: 'u-acme', role: 'role-there', entityGroup: 'g-acme' }],
    ['POST /v1/grants', { userGroup: 'users-there', role: 'role-there', entityGroup: 'g-acme' }],
    ['POST /v1/groups/things-there/members', { add: ['e-acme'] }],
    ['GET /v1/groups/things-there', undefined],
  ] as const) {
    const answer = await admin.ask(by, request, body);
    expect(answer.status, request).toBeOneOf([403, 422]);
    expect(JSON.stringify(answer.body), request).not.toContain('hidden');
  }
});
