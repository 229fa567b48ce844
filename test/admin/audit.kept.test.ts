// Does the audit log keep everything that happened, and from whom? What was taken from an owner, what went with something else, and what was of
// somebody who had the same id before.

import { openWriter, insertObjects, readObjects, removeObjects, type Writer } from 'policy-cache/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { predefinedObjects } from '../../src/api/admin/create.ts';
import { hangingEffects } from '../../src/api/admin/hanging.ts';
import { OPERATOR, startTestAdministration, type TestAdministration } from '../support/admin.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';

let server: TestServer;
let admin: TestAdministration;
let writer: Writer;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  const database = await server.database();
  admin = await startTestAdministration(database);
  writer = openWriter({ url: await database.urlAs('grantgate_writer') });
  await done(OPERATOR, 'POST /v1/tenants', { id: 'acme' });
  await done(OPERATOR, 'POST /v1/tenants/acme/administrator', { id: 'ada' });
  for (const [customer, administrator] of [
    ['tower', 'tom'],
    ['mill', 'mia'],
  ] as const) {
    await done('ada', 'POST /v1/customers', { id: customer });
    await done('ada', 'POST /v1/users', { id: administrator, owner: customer, groups: [`admins:${customer}`] });
    await done(administrator, 'POST /v1/groups', { id: `meters-of-${customer}`, type: 'DEVICE' });
    await done(administrator, 'POST /v1/groups', { id: `night-of-${customer}`, type: 'USER' });
  }
  await done('ada', 'POST /v1/roles', { id: 'look', type: 'GROUP', permissions: ['READ'] });
});
afterAll(async () => {
  admin?.close();
  writer?.close();
  await server?.close();
});

async function done(by: string, request: string, body?: object): Promise<string> {
  const answer = await admin.ask(by, request, body);
  expect(answer.status, `${request}: ${JSON.stringify(answer.body)}`).toBeOneOf([200, 201]);
  return answer.headers.get('x-authz-revision') ?? '';
}

interface Row {
  readonly owner: string;
  readonly action: string;
  readonly target: string;
  readonly revision: string;
  readonly before: unknown;
  readonly after: unknown;
}
async function rowsOf(user: string, query = ''): Promise<readonly Row[]> {
  const answer = await admin.ask(user, `GET /v1/audit?limit=1000${query}`);
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  expect(answer.body).not.toHaveProperty('next');
  return (answer.body as { items: readonly Row[] }).items;
}
const told = (rows: readonly Row[]): readonly string[] => rows.map(({ action, target, owner }) => `${action} ${target} of ${owner}`);

test('whoever had a thing sees that it was taken, whoever has it that it came, and neither where it was or is', async () => {
  await done('tom', 'POST /v1/entities', { id: 'm1', type: 'DEVICE', groups: ['meters-of-tower'] });
  const revision = await done('ada', 'PUT /v1/entities/m1/owner', { owner: 'mill', groups: ['meters-of-mill'] });
  const was = { id: 'm1', type: 'DEVICE', owner: 'tower', groups: ['meters-of-tower'] };
  const is = { id: 'm1', type: 'DEVICE', owner: 'mill', groups: ['meters-of-mill'] };

  const taken = { owner: 'tower', action: 'entity.owner', target: 'm1', revision };
  const tom = await rowsOf('tom', '&target=m1');
  expect(told(tom)).toEqual(['entity.owner m1 of tower', 'entity.create m1 of tower']);
  expect(tom[0]).toMatchObject({ ...taken, before: was });
  expect(tom[0]?.after).toEqual({ id: 'm1' });
  expect(JSON.stringify(await rowsOf('tom'))).not.toContain('mill');

  const mia = await rowsOf('mia', '&target=m1');
  expect(told(mia)).toEqual(['entity.owner m1 of mill']);
  expect(mia[0]).toMatchObject({ ...taken, owner: 'mill', after: is });
  expect(mia[0]?.before).toEqual({ id: 'm1' });
  expect(JSON.stringify(await rowsOf('mia'))).not.toContain('tower');

  expect((await rowsOf('ada', '&target=m1')).slice(0, 2)).toMatchObject([
    { ...taken, owner: 'mill', before: was, after: is },
    { ...taken, before: was, after: is },
  ]);
  for (const [list, id] of [
    ['users', 'ned'],
    ['customers', 'nook'],
  ] as const) {
    await done('ada', `POST /v1/${list}`, { id, owner: 'tower' });
    await done('ada', `PUT /v1/${list}/${id}/owner`, { owner: 'mill' });
    expect((await rowsOf('tom', `&target=${id}`))[0]).toMatchObject({ before: { owner: 'tower' }, after: { id } });
  }
});

test('with the owner that it has, a thing stays in its groups and enters those that are named; one row says so', async () => {
  await done('tom', 'POST /v1/groups', { id: 'more-of-tower', type: 'DEVICE' });
  await done('tom', 'POST /v1/entities', { id: 'm2', type: 'DEVICE', groups: ['meters-of-tower'] });
  const put = async (groups?: readonly string[]): Promise<unknown> =>
    (await admin.ask('tom', 'PUT /v1/entities/m2/owner', { owner: 'tower', ...(groups && { groups }) })).body;
  expect(await put(['more-of-tower'])).toMatchObject({ owner: 'tower', groups: ['meters-of-tower', 'more-of-tower'] });
  expect(await put(['more-of-tower'])).toMatchObject({ owner: 'tower', groups: ['meters-of-tower', 'more-of-tower'] });
  expect(await put()).toMatchObject({ owner: 'tower', groups: ['meters-of-tower', 'more-of-tower'] });
  expect(told(await rowsOf('tom', '&target=m2'))).toEqual([...Array.from({ length: 3 }, () => 'entity.owner m2 of tower'), 'entity.create m2 of tower']);
});

test('a grant that goes with something has the row that it has when it is removed by hand', async () => {
  const grant = async (by: string, id: string, row: object): Promise<void> => void (await done(by, 'POST /v1/grants', { id, ...row }));
  await grant('ada', 'g-night', { userGroup: 'night-of-tower', role: 'look', entityGroup: 'meters-of-tower' });
  await grant('ada', 'g-users', { userGroup: 'users:tower', role: 'look', entityGroup: 'meters-of-tower' });
  const revision = await done('tom', 'DELETE /v1/groups/night-of-tower');
  const gone = await rowsOf('tom', '&target=g-night');
  expect(gone[0]).toMatchObject({ owner: 'tower', action: 'grant.delete', revision, after: null });
  expect(gone[0]?.before).toEqual(gone[1]?.after);
  expect(told(await rowsOf('tom')).slice(0, 2)).toEqual(['group.delete night-of-tower of tower', 'grant.delete g-night of tower']);

  // A role of the tenant: the customer sees that its grant is gone, and nothing of others.
  await grant('ada', 'g-mill', { userGroup: 'users:mill', role: 'look', entityGroup: 'meters-of-mill' });
  await done('ada', 'DELETE /v1/roles/look');
  expect(told(await rowsOf('mia')).slice(0, 1)).toEqual(['grant.delete g-mill of mill']);
  expect(told(await rowsOf('ada')).slice(0, 3)).toEqual(['role.delete look of acme', 'grant.delete g-users of tower', 'grant.delete g-mill of mill']);

  // Of a customer that goes: over its All group, and of those that it began with; not what it began with itself.
  await done('ada', 'POST /v1/customers', { id: 'shed' });
  await done('ada', 'POST /v1/roles', { id: 'see', type: 'GROUP', permissions: ['READ'] });
  await done('ada', 'POST /v1/groups/all%3ADEVICE%3Ashed/share', { id: 'g-shed', userGroup: 'users:tower', role: 'see' });
  await grant('ada', 'g-cross', { userGroup: 'users:shed', role: 'role:admin:shed' });
  await done('ada', 'DELETE /v1/customers/shed');
  expect(told(await rowsOf('tom')).slice(0, 2)).toEqual(['grant.delete g-shed of tower', 'group.share g-shed of tower']);
  expect(told(await rowsOf('ada')).slice(0, 4)).toEqual([
    'customer.delete shed of acme',
    'grant.delete g-shed of tower',
    'grant.delete g-cross of shed',
    'grant.create g-cross of shed',
  ]);
});

test('beyond so many grants, the rest is counted', async () => {
  for (const id of ['a', 'b', 'c']) await done('ada', 'POST /v1/groups', { id, type: 'USER' });
  await done('ada', 'POST /v1/roles', { id: 'much', type: 'GENERIC', permissions: { DEVICE: ['READ'] } });
  for (const userGroup of ['a', 'b', 'c']) await done('ada', 'POST /v1/grants', { id: `much-${userGroup}`, userGroup, role: 'much' });
  const told = async (most: number): Promise<unknown> =>
    writer.read(async (db) => (await hangingEffects(db, [(await readObjects(db, ['much'])).get('much')!], most)).map(({ target, before }) => [target, before]));
  const row = { id: expect.anything() as unknown, role: 'much' };
  const each = ['a', 'b', 'c'].map((userGroup) => [`much-${userGroup}`, expect.objectContaining({ ...row, userGroup })] as const);
  expect(await told(3)).toEqual(each);
  expect(await told(2)).toEqual([...each.slice(0, 2), ['much', { more: 1 }]]);
});

test('an owner whose id was used before does not see what was of the one before', async () => {
  const begin = async (administrator: string): Promise<void> => {
    await done('ada', 'POST /v1/customers', { id: 'shop' });
    await done('ada', 'POST /v1/users', { id: administrator, owner: 'shop', groups: ['admins:shop'] });
  };
  const end = async (administrator: string): Promise<void> => {
    await done('ada', `DELETE /v1/users/${administrator}`);
    await done('ada', 'DELETE /v1/customers/shop');
  };
  await begin('sal');
  await done('sal', 'POST /v1/entities', { id: 'till', type: 'DEVICE', name: 'Secret' });
  await done('ada', 'PUT /v1/entities/till/owner', { owner: 'tower' });
  expect(told(await rowsOf('sal'))).toEqual(['entity.owner till of shop', 'entity.create till of shop', 'user.create sal of shop']);
  await end('sal');
  await begin('sue');
  expect(told(await rowsOf('sue'))).toEqual(['user.create sue of shop']);
  // Now it comes from another one, even for whoever has both below.
  expect((await rowsOf('ada', '&target=till'))[0]).toMatchObject({ before: { owner: 'shop', name: 'Secret' } });
  await done('ada', 'PUT /v1/customers/shop/owner', { owner: 'tower' });
  expect((await rowsOf('tom', '&target=till')).map(({ before }) => before)).toEqual([{ id: 'till' }]);

  // Made again by somebody else than the administration, of which no row tells.
  await done('ada', 'PUT /v1/customers/shop/owner', { owner: 'acme' });
  await end('sue');
  await writer.write(async (db) => {
    const [shop, predefined] = [
      { id: 'shop', tenant: 'acme', kind: 'customer', type: 'CUSTOMER', owner: 'acme' } as const,
      predefinedObjects('shop', 'acme', 'customer'),
    ];
    await insertObjects(db, [shop, ...predefined, { id: 'sid', tenant: 'acme', kind: 'user', type: 'USER', owner: 'shop', groups: ['admins:shop'] }]);
  });
  await done('ada', 'POST /v1/entities', { id: 'scale', type: 'DEVICE', owner: 'shop' });
  expect(told(await rowsOf('sid'))).toEqual(['entity.create scale of shop']);
  expect(told(await rowsOf('ada')).filter((row) => row.endsWith(' till of shop'))).toHaveLength(2);
});

test('nor of what was removed together with that one, in whatever order', async () => {
  await done('ada', 'POST /v1/customers', { id: 'outer' });
  await done('ada', 'POST /v1/customers', { id: 'inner', owner: 'outer', title: 'Secret' });
  await done('ada', 'POST /v1/customers/bulk-delete', { ids: ['outer', 'inner'] });
  await writer.write((db) =>
    insertObjects(db, [
      { id: 'outer', tenant: 'acme', kind: 'customer', type: 'CUSTOMER', owner: 'acme' },
      ...predefinedObjects('outer', 'acme', 'customer'),
      { id: 'ole', tenant: 'acme', kind: 'user', type: 'USER', owner: 'outer', groups: ['admins:outer'] },
    ]),
  );
  await done('ada', 'POST /v1/entities', { id: 'oven', type: 'DEVICE', owner: 'outer' });
  expect(told(await rowsOf('ole'))).toEqual(['entity.create oven of outer']);
});

test('nor does a tenant', async () => {
  const begin = async (administrator: string): Promise<void> => {
    await done(OPERATOR, 'POST /v1/tenants', { id: 'globex' });
    await done(OPERATOR, 'POST /v1/tenants/globex/administrator', { id: administrator });
  };
  await begin('gus');
  await done('gus', 'POST /v1/entities', { id: 'reactor', type: 'DEVICE', name: 'Secret' });
  await done('gus', 'DELETE /v1/entities/reactor');
  expect(await rowsOf('gus')).toHaveLength(4);
  await writer.write((db) => removeObjects(db, ['gus']));
  await done(OPERATOR, 'DELETE /v1/tenants/globex');
  await begin('gwen');
  expect(told(await rowsOf('gwen'))).toEqual(['tenant.administrator gwen of globex', 'tenant.create globex of globex']);
  expect(await rowsOf('gwen', '&target=reactor')).toEqual([]);
});
