// Are many changed at once as each would be alone: by the same rules, all or none, in one transaction, with a row of the audit log for each?

import { afterAll, beforeAll, expect, test } from 'vitest';
import { startBulk, type Bulk } from '../support/bulk.ts';

let bulk: Bulk;
let admin: Bulk['admin'];
let sql: Bulk['sql'];
let done: Bulk['done'];
let refused: Bulk['refused'];
let audited: Bulk['audited'];
beforeAll(async () => {
  bulk = await startBulk();
  ({ admin, sql, done, refused, audited } = bulk);
});
afterAll(() => bulk?.close());

test('in the order in which they were asked for, with a row and a tag each', async () => {
  const items = [
    { id: 'm3', name: 'Three' },
    { id: 'm1', name: null },
    { id: 'm2', name: 'Two' },
  ];
  const answer = await done('bob', 'POST /v1/entities/bulk-update', { items });
  expect(answer.body).toMatchObject({ items: [{ id: 'm3', name: 'Three', owner: 'tower' }, { id: 'm1' }, { id: 'm2', name: 'Two' }] });
  expect((answer.body as { items: object[] }).items[1]).not.toHaveProperty('name');
  const rows = await audited();
  for (const { id, etag } of (answer.body as { items: { id: string; etag: string }[] }).items)
    expect((await admin.ask('bob', `GET /v1/entities/${id}`)).headers.get('etag')).toBe(etag);
  expect(rows.map(({ target, owner, action }) => [target, owner, action])).toEqual(['m3', 'm1', 'm2'].map((id) => [id, 'tower', 'entity.update']));
  expect(rows[2]).toMatchObject({ before: { name: 'm2' }, after: { name: 'Two' } });
  // Of each what it says: columns of two tables, and not the same of all.
  await done('bob', 'POST /v1/users/bulk-update', {
    items: [
      { id: 'u1', name: 'One', email: 'u1@acme.example' },
      { id: 'u2', enabled: false },
      { id: 'u3', name: 'Three', email: 'u3@acme.example', firstName: 'U' },
    ],
  });
  expect((await done('bob', 'GET /v1/users?q=u')).body).toMatchObject({
    items: [
      { id: 'u1', name: 'One', email: 'u1@acme.example', enabled: true },
      { id: 'u2', enabled: false },
      { id: 'u3', name: 'Three', email: 'u3@acme.example', firstName: 'U', enabled: true },
    ],
  });
});

test('all or none, by the rules of each: what one of them lacks is said of it', async () => {
  const name = (...ids: readonly string[]) => ({ items: ids.map((id) => ({ id, name: 'x' })) });
  await refused('bob', 'POST /v1/entities/bulk-update', name('m1', 'of-acme'), {
    status: 403,
    body: { detail: expect.stringContaining('"of-acme"') as string },
  });
  await refused('bob', 'POST /v1/entities/bulk-update', name('m1', 'nobody'), { status: 404, body: { detail: 'there is no entity "nobody"' } });
  await refused('bob', 'POST /v1/entities/bulk-update', name('m1', 'u1'), { status: 404 });
  await refused('u1', 'POST /v1/users/bulk-update', name('u1'), { status: 403 });
  await done('ada', 'POST /v1/roles/bulk', {
    items: [
      { id: 'generic', owner: 'tower', type: 'GENERIC', permissions: {} },
      { id: 'of-group', owner: 'tower', type: 'GROUP', permissions: [] },
    ],
  });
  const shape = {
    items: [
      { id: 'generic', permissions: { DEVICE: ['READ'] } },
      { id: 'of-group', permissions: { DEVICE: ['READ'] } },
    ],
  };
  await refused('bob', 'POST /v1/roles/bulk-update', shape, { status: 422, body: { rule: '1', field: 'items[1].permissions' } });
  const unknown = { items: [{ id: 'generic' }, { id: 'of-group', permissions: ['NO_SUCH'] }] };
  await refused('bob', 'POST /v1/roles/bulk-update', unknown, {
    status: 422,
    body: { rule: '2', field: expect.stringMatching(/^items\[1\]\.permissions/) as string },
  });
  const fixed = {
    items: [
      { id: 'generic', name: 'x' },
      { id: 'role:admin:tower', permissions: {} },
    ],
  };
  await refused('ada', 'POST /v1/roles/bulk-update', fixed, { status: 422, body: { rule: '1.2', field: 'items[1]' } });
});

test('each hands on, or takes over, no more than whoever asks has', async () => {
  await done('ada', 'POST /v1/roles', { id: 'people', type: 'GENERIC', permissions: { USER: ['ALL'], ROLE: ['ALL'], USER_GROUP: ['ALL'] } });
  await done('ada', 'POST /v1/groups', { id: 'clerks', type: 'USER', owner: 'tower' });
  await done('ada', 'POST /v1/grants', { userGroup: 'clerks', role: 'people' });
  await done('ada', 'POST /v1/users', { id: 'clerk', owner: 'tower', groups: ['clerks'] });
  const uncovered = { status: 403, body: { reason: 'not-covered', rule: '5' } };
  const flags = (...ids: readonly string[]) => ({ items: ids.map((id) => ({ id, enabled: true })) });
  await done('clerk', 'POST /v1/users/bulk-update', flags('u1', 'u2'));
  await refused('clerk', 'POST /v1/users/bulk-update', flags('u1', 'bob', 'u2'), uncovered);
  await refused(
    'clerk',
    'POST /v1/users/bulk-update',
    {
      items: [
        { id: 'u1', name: 'x' },
        { id: 'bob', email: 'clerk@acme.example' },
      ],
    },
    uncovered,
  );
  await done('clerk', 'POST /v1/users/bulk-update', {
    items: [
      { id: 'u1', enabled: true },
      { id: 'bob', name: 'Bob' },
    ],
  });

  await done('ada', 'POST /v1/grants', { userGroup: 'clerks', role: 'generic' });
  const roles = (...permissions: readonly object[]) => ({ items: permissions.map((each, i) => ({ id: ['generic', 'people'][i], permissions: each })) });
  const all = { USER: ['ALL'], ROLE: ['ALL'], USER_GROUP: ['ALL'] };
  await done('ada', 'POST /v1/users/bulk-owner', { ids: ['clerk'], owner: 'acme' });
  await done('ada', 'POST /v1/groups', { id: 'deputies', type: 'USER' });
  await done('ada', 'POST /v1/grants', { userGroup: 'deputies', role: 'people' });
  await done('ada', 'POST /v1/groups/deputies/members', { add: ['clerk'] });
  await refused('clerk', 'POST /v1/roles/bulk-update', roles({ DEVICE: ['READ'] }, all), uncovered);
  await refused('clerk', 'POST /v1/roles/bulk-update', roles({}, { ...all, DEVICE: ['READ'] }), uncovered);
  await done('clerk', 'POST /v1/roles/bulk-update', roles({ USER: ['READ'] }, { USER: ['WRITE'], ROLE: ['WRITE'] }));
  // Users come into what the All group of their new owner has, and into the groups.
  await done('ada', 'POST /v1/roles', { id: 'devices', type: 'GENERIC', permissions: { DEVICE: ['ALL'] } });
  await done('ada', 'POST /v1/grants', { userGroup: 'all:USER:cafe', role: 'devices' });
  await done('ada', 'PATCH /v1/roles/people', { permissions: { USER: ['ALL'], CUSTOMER: ['ALL'] } });
  await refused('clerk', 'POST /v1/users/bulk-owner', { ids: ['u1', 'u2'], owner: 'cafe' }, uncovered);
});

test('an e-mail by which another one logs in is said with its place', async () => {
  const hash = '$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA';
  for (const [user, login] of [
    ['u1', 'u1@acme.example'],
    ['u3', 'u3@acme.example'],
  ] as const)
    await sql`insert into grantgate.credential (user_id, tenant, login, password) values (${user}, 'acme', ${login}, ${hash})`;
  const items = [
    { id: 'u2', email: 'u2@acme.example' },
    { id: 'u1', name: 'One' },
    { id: 'u3', email: 'U1@acme.example' },
  ];
  await refused('bob', 'POST /v1/users/bulk-update', { items }, { status: 422, body: { rule: '5', field: 'items[2].email' } });
  // Who does not log in yet may have it; of two that would log in by the same the second one is named.
  const both = [
    { id: 'u2', email: 'u1@acme.example' },
    { id: 'u3', email: 'Both@acme.example' },
    { id: 'u1', email: 'both@acme.example' },
  ];
  await refused('bob', 'POST /v1/users/bulk-update', { items: both }, { status: 422, body: { rule: '5', field: 'items[2].email' } });
});

test('named twice: refused, with both places', async () => {
  const items = ['m1', 'm2', 'm3', 'm2', 'm1'].map((id) => ({ id, name: 'x' }));
  await refused(
    'bob',
    'POST /v1/entities/bulk-update',
    { items },
    { status: 400, body: { field: 'items[3].id', detail: expect.stringContaining('[1]') as string } },
  );
  const move = { ids: ['m1', 'm2', 'm1'], owner: 'cafe' };
  await refused('bob', 'POST /v1/entities/bulk-owner', move, { status: 400, body: { field: 'ids[2]', detail: expect.stringContaining('[0]') as string } });
  for (const wrong of [
    { items: [] },
    { items: [1] },
    { items: [{ name: 'x' }] },
    { items: [{ id: 'm1', owner: 'cafe' }] },
    { items: [{ id: 'm1', etag: 'abc' }] },
  ])
    await refused('bob', 'POST /v1/entities/bulk-update', wrong, { status: 400 });
  const many = (list: string) => admin.ask('bob', `POST /v1/${list}/bulk-update`, { items: Array.from({ length: 1_001 }, (_, i) => ({ id: `no${i}` })) });
  expect([await many('customers'), await many('entities')]).toMatchObject([{ status: 400, body: { field: 'items' } }, { status: 404 }]);
});

test('a tag of one of them: what it is now is told with its place, to whoever may READ it', async () => {
  const tagOf = async (id: string): Promise<string> => (await admin.ask('ada', `GET /v1/users/${id}`)).headers.get('etag')!;
  const [one, two] = [await tagOf('u1'), await tagOf('u2')];
  await done('ada', 'PATCH /v1/users/u2', { name: 'Between' });
  const items = [
    { id: 'u1', etag: one, name: 'First' },
    { id: 'u2', etag: two, name: 'Second' },
  ];
  const now = await tagOf('u2');
  await refused(
    'ada',
    'POST /v1/users/bulk-update',
    { items },
    {
      status: 412,
      body: {
        code: 'changed',
        field: 'items[1].etag',
        detail: `items[1].etag: it is ${now} now, not ${two}`,
        current: { id: 'u2', name: 'Between', etag: now },
      },
    },
  );
  await done('ada', 'POST /v1/roles', { id: 'blind', type: 'GENERIC', permissions: { USER: ['WRITE', 'CHANGE_OWNER'] } });
  await done('ada', 'POST /v1/groups', { id: 'blinds', type: 'USER' });
  await done('ada', 'POST /v1/grants', { userGroup: 'blinds', role: 'blind' });
  await done('ada', 'POST /v1/users', { id: 'blind-user', groups: ['blinds'] });
  const hidden = await refused('blind-user', 'POST /v1/users/bulk-update', { items }, { status: 412, body: { field: 'items[1].etag' } });
  expect(JSON.stringify(hidden.body)).not.toMatch(/Between|current/);
  expect(JSON.stringify(hidden.body)).not.toContain(now);
  const done412 = await done('blind-user', 'POST /v1/users/bulk-update', { items: [items[0], { ...items[1], etag: now }] });
  expect(done412.body).toEqual({ items: [{ id: 'u1' }, { id: 'u2' }] });
  const moved = await done('blind-user', 'POST /v1/users/bulk-owner', { ids: ['u1', 'u2'], owner: 'tower' });
  expect(moved.body).toEqual({ items: [{ id: 'u1' }, { id: 'u2' }] });
});

test('to another owner, into its groups: a row under either owner for each', async () => {
  await done('ada', 'POST /v1/groups', { id: 'meters', type: 'DEVICE', owner: 'tower' });
  await done('ada', 'POST /v1/groups', { id: 'spares', type: 'DEVICE', owner: 'cafe' });
  await done('ada', 'POST /v1/groups/meters/members', { add: ['m1', 'm2'] });
  await done('ada', 'POST /v1/entities', { id: 'house', type: 'ASSET', owner: 'tower' });
  const to = { owner: 'cafe', groups: ['spares', 'spares'] };
  await refused('bob', 'POST /v1/entities/bulk-owner', { ids: ['m1', 'of-acme'], ...to }, { status: 403 });
  // By one who may move one of the two types.
  await done('bob', 'POST /v1/entities', { id: 'shed', type: 'ASSET' });
  await done('bob', 'POST /v1/groups', { id: 'movers', type: 'USER' });
  await done('bob', 'POST /v1/roles', { id: 'move', type: 'GENERIC', permissions: { ASSET: ['CHANGE_OWNER'] } });
  await done('bob', 'POST /v1/grants', { userGroup: 'movers', role: 'move' });
  await done('bob', 'POST /v1/users', { id: 'mover', groups: ['movers'] });
  const both = { ids: ['shed', 'm3'], owner: 'cafe' };
  await refused('mover', 'POST /v1/entities/bulk-owner', both, { status: 403, body: { detail: expect.stringContaining('"m3"') as string } });
  await done('mover', 'POST /v1/entities/bulk-owner', { ids: ['shed'], owner: 'cafe' });
  await refused('bob', 'POST /v1/entities/bulk-owner', { ids: ['m1'], owner: 'acme' }, { status: 403 });
  await refused('bob', 'POST /v1/entities/bulk-owner', { ids: ['m1'], owner: 'm2' }, { status: 422, body: { field: 'owner' } });
  await refused('bob', 'POST /v1/entities/bulk-owner', { ids: ['m1', 'house'], ...to }, { status: 422, body: { field: 'groups[0]', rule: '1.3' } });
  await refused('bob', 'POST /v1/entities/bulk-owner', { ids: ['m1'], owner: 'cafe', groups: ['meters'] }, { status: 422, body: { field: 'groups[0]' } });
  const answer = await done('bob', 'POST /v1/entities/bulk-owner', { ids: ['m2', 'm1'], ...to });
  expect(answer.body).toMatchObject({ items: ['m2', 'm1'].map((id) => ({ id, owner: 'cafe', groups: ['spares'] })) });
  expect((await audited()).map(({ target, owner, action }) => [target, owner, action])).toEqual([
    ['m2', 'tower', 'entity.owner'],
    ['m2', 'cafe', 'entity.owner'],
    ['m1', 'tower', 'entity.owner'],
    ['m1', 'cafe', 'entity.owner'],
  ]);
  expect((await done('bob', 'GET /v1/entities/m1')).body).toMatchObject({ owner: 'cafe', groups: ['spares'] });
});

test('customers: not below themselves, nor below each other', async () => {
  await done('ada', 'POST /v1/customers', { id: 'mill' });
  await done('ada', 'POST /v1/customers', { id: 'attic', owner: 'cafe' });
  for (const owner of ['attic', 'cafe', 'tower'])
    await refused('ada', 'POST /v1/customers/bulk-owner', { ids: ['mill', 'tower'], owner }, { status: 422, body: { rule: '1', field: 'ids[1]' } });
  await done('ada', 'POST /v1/customers/bulk-owner', { ids: ['attic', 'cafe'], owner: 'mill' });
  expect((await done('ada', 'GET /v1/customers')).body).toMatchObject({
    items: [
      { id: 'attic', owner: 'mill' },
      { id: 'cafe', owner: 'mill' },
      { id: 'mill', owner: 'acme' },
      { id: 'tower', owner: 'acme' },
    ],
  });
  await refused('bob', 'POST /v1/customers/bulk-owner', { ids: ['cafe'], owner: 'tower' }, { status: 403 });
});
