// Which states can the database never be in, and what goes with what when something is deleted? (semantics 1)

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import { servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { customer, entity, genericRole, grant, group, groupRole, member, object, refusal, seed, tenant, user, type Sql } from './fixture.ts';

const long = (bytes: number): string => 'x'.repeat(bytes);
const IN_DG = { type: 'DEVICE', owner: 'a' };
const DROP_OBJECT_KEY = 'alter table grantgate.group_permission drop constraint group_permission_object_fkey';
const permission = (role: string, type: string, permissions: string, excluded = '{}'): string =>
  `${object(role, 't', 'role', { type: 'ROLE', owner: 't' })}; insert into grantgate.role (id, tenant, type, permissions, excluded) values ('${role}', 't', '${type}', '${permissions}', '${excluded}')`;

/** Each constraint with statements that it alone refuses. */
const REFUSED: readonly (readonly [constraint: string, statements: string])[] = [
  ['object_pkey', entity('d', 'DEVICE', 'a')],
  ['object_pkey', tenant('a')], // one namespace for all
  ['object_id_bytes', entity('', 'DEVICE', 'a')],
  ['object_id_bytes', entity(long(256), 'DEVICE', 'a')],
  ['object_id_bytes', entity('ä'.repeat(128), 'DEVICE', 'a')], // bytes, not characters
  ['object_id_bytes', tenant(long(201))],
  ['object_id_bytes', customer(long(201), 't')],
  ['object_id_no_control', entity('a\u0001', 'DEVICE', 'a')],
  ['object_id_no_control', entity('a\n', 'DEVICE', 'a')],
  ['object_id_no_control', entity('a\u007f', 'DEVICE', 'a')],
  ['object_id_no_control', entity('a\u009f', 'DEVICE', 'a')],
  ['object_id_reserved', entity('*', 'DEVICE', 'a')],
  ['object_id_reserved', group('all:USER:a', 'USER', 'a')],
  ['object_id_reserved', entity('admins:a', 'DEVICE', 'a')],
  ['object_id_reserved', group('admins:b', 'USER', 'a')], // another owner's
  ['object_id_reserved', group('users:a', 'DEVICE', 'a')],
  ['object_id_reserved', tenant('users:a')],
  ['object_id_reserved', genericRole('role:admin:b', 'a')],
  ['object_id_reserved', genericRole('role:other:a', 'a')],
  ['object_id_reserved', entity('role:admin:a', 'DEVICE', 'a')],
  ['object_kind', object('x', 't', 'robot', { type: 'DEVICE', owner: 'a' })],
  ['object_type', object('x', 'x', 'tenant', { type: 'DEVICE' })],
  ['object_type', object('x', 't', 'customer', { type: 'DEVICE', owner: 'a' })],
  ['object_type', object('x', 't', 'user', { type: 'DEVICE', owner: 'a' })],
  ['object_type', object('x', 't', 'role', { type: 'USER', owner: 'a' })],
  ['object_type', object('x', 't', 'grant', { type: 'USER', owner: 'a' })],
  ['object_type', entity('x', 'USER', 'a')],
  ['object_type', entity('x', 'device', 'a')],
  ['object_type', group('x', 'ROLE', 'a')],
  ['object_tenant_is_root', object('x', 't', 'tenant', { type: 'TENANT' })],
  ['object_tenant_is_root', object('x', 'x', 'tenant', { type: 'TENANT', owner: 't' })],
  ['object_tenant_is_root', object('x', 'x', 'customer', { type: 'CUSTOMER', owner: 't' })],
  ['object_tenant_is_root', object('x', 't', 'entity', { type: 'DEVICE' })],
  ['object_not_own_owner', object('x', 't', 'customer', { type: 'CUSTOMER', owner: 'x' })],
  ['object_label_length', `update grantgate.object set label = '${long(1001)}' where id = 'd'`],
  ['object_owner_fkey', entity('x', 'DEVICE', 'nobody')],
  ['object_owner_fkey', entity('x', 'DEVICE', 'zc')], // another tenant's
  ['object_owner_fkey', entity('x', 'DEVICE', 'u')], // a user owns nothing
  ['object_owner_fkey', entity('x', 'DEVICE', 'dg')],
  ['object_owner_fkey', `update grantgate.object set owner = 'zc' where id = 'd'`],
  ['object_owner_fkey', `delete from grantgate.object where id = 'a'`],
  ['object_owner_fkey', `delete from grantgate.object where id = 't'`],
  ['object_fixed', `update grantgate.object set id = 'x' where id = 'd'`],
  ['object_fixed', `update grantgate.object set tenant = 'z' where id = 'd'`],
  ['object_fixed', `update grantgate.object set kind = 'group' where id = 'd'`],
  ['object_fixed', `update grantgate.object set type = 'ASSET' where id = 'd'`],
  ['object_fixed', `update grantgate.object set owner = 't' where id = 'dg'`],
  ['second_row', object('x', 't', 'user', { type: 'USER', owner: 'a' })],
  ['second_row', object('x', 't', 'customer', { type: 'CUSTOMER', owner: 'a' })],
  ['second_row', object('x', 't', 'role', { type: 'ROLE', owner: 'a' })],
  ['second_row', object('x', 't', 'grant', { type: 'GROUP_PERMISSION', owner: 'a' })],
  ['user_account_pkey', `insert into grantgate.user_account (id, tenant) values ('u', 't')`],
  ['user_account_object_fkey', `insert into grantgate.user_account (id, tenant) values ('d', 't')`],
  ['user_account_object_fkey', `update grantgate.user_account set tenant = 'z' where id = 'u'`],
  ['customer_pkey', `insert into grantgate.customer (id, tenant) values ('a', 't')`],
  ['customer_object_fkey', `insert into grantgate.customer (id, tenant) values ('t', 't')`],
  ['customer_details_shape', `update grantgate.customer set details = '[]' where id = 'a'`],
  ['role_pkey', `insert into grantgate.role (id, tenant, type, permissions) values ('gen', 't', 'GROUP', '[]')`],
  ['role_object_fkey', `insert into grantgate.role (id, tenant, type, permissions) values ('u', 't', 'GROUP', '[]')`],
  ['role_type', permission('x', 'OTHER', '[]')],
  ['role_permissions_shape', permission('x', 'GENERIC', '["READ"]')],
  ['role_permissions_shape', permission('x', 'GENERIC', '{"DEVICE": "READ"}')],
  ['role_permissions_shape', permission('x', 'GENERIC', '{"DEVICE": [1]}')],
  ['role_permissions_shape', permission('x', 'GENERIC', '{"DEVICE": [["READ"]]}')],
  ['role_permissions_shape', permission('x', 'GENERIC', 'null')],
  ['role_permissions_shape', permission('x', 'GROUP', '{"DEVICE": ["READ"]}')],
  ['role_permissions_shape', permission('x', 'GROUP', '["READ", null]')],
  ['role_excluded_shape', permission('x', 'GENERIC', '{}', '["READ"]')],
  ['role_excluded_shape', permission('x', 'GENERIC', '{}', '{"DEVICE": {}}')],
  ['role_excluded_shape', permission('x', 'GROUP', '[]', '{"DEVICE": ["READ"]}')],
  ['membership_pkey', member('d', 'dg', IN_DG)],
  ['membership_group_fkey', member('d2', 'nogroup', IN_DG)],
  ['membership_group_fkey', member('d2', 'd', IN_DG)], // no group
  ['membership_group_fkey', member('d2', 'ag', IN_DG)], // of another type
  ['membership_group_fkey', member('d2', 'bg', IN_DG)], // of another owner
  ['membership_group_fkey', member('d2', 'zg', IN_DG)], // of another tenant
  ['membership_member_fkey', member('nobody', 'dg', IN_DG)],
  ['membership_member_fkey', member('ag', 'ag', { type: 'ASSET', owner: 'a' })], // a group in a group
  ['membership_member_fkey', member('b', 'bg', { type: 'DEVICE', owner: 'b' })],
  [
    'membership_member_fkey',
    `delete from grantgate.membership; drop trigger "A_leave_groups" on grantgate.object; ${member('d', 'dg', IN_DG)}; update grantgate.object set owner = 'b' where id = 'd'`,
  ],
  ['group_permission_pkey', `insert into grantgate.group_permission (id, tenant, user_owner, role, role_type) values ('g1', 't', 'a', 'gen', 'GENERIC')`],
  ['group_permission_unique', grant('x', ['a', 'USER', 'ug'], ['gen', 'GENERIC'])],
  ['group_permission_unique', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'DEVICE', 'dg'])],
  [
    'group_permission_unique',
    `${grant('x', ['a', 'USER'], ['grp', 'GROUP'], ['a', 'DEVICE'])}; ${grant('y', ['a', 'USER'], ['grp', 'GROUP'], ['a', 'DEVICE'])}`,
  ], // nulls are the same
  ['group_permission_shape', grant('x', ['a', 'USER', 'ug'], ['gen', 'GENERIC'], ['a', 'DEVICE', 'dg'])],
  ['group_permission_shape', grant('x', ['a', 'USER', 'ug'], ['gen', 'GENERIC'], ['a', 'DEVICE'])],
  ['group_permission_shape', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'])],
  ['group_permission_entity_type', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'ROLE'])],
  ['group_permission_entity_type', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'any'])],
  ['group_permission_object_fkey', `insert into grantgate.group_permission (id, tenant, user_owner, role, role_type) values ('x', 't', 'a', 'gen', 'GENERIC')`],
  [
    'group_permission_object_fkey',
    `${object('x', 't', 'grant', { type: 'GROUP_PERMISSION', owner: 't' })};
    insert into grantgate.group_permission (id, tenant, user_owner, role, role_type) values ('x', 't', 'a', 'gen', 'GENERIC')`,
  ], // owner of another than the user group
  ['group_permission_object_fkey', `update grantgate.object set owner = 't' where id = 'g1'`],
  // The object row's own owner says the same, so this key is reached only without the key to that row.
  [
    'group_permission_user_owner_fkey',
    `${DROP_OBJECT_KEY}; insert into grantgate.group_permission (id, tenant, user_owner, role, role_type) values ('x', 't', 'nobody', 'gen', 'GENERIC')`,
  ],
  ['group_permission_user_group_fkey', grant('x', ['a', 'USER', 'nogroup'], ['gen', 'GENERIC'])],
  ['group_permission_user_group_fkey', grant('x', ['a', 'USER', 'dg'], ['gen', 'GENERIC'])],
  ['group_permission_user_group_fkey', grant('x', ['t', 'USER', 'ug'], ['gen', 'GENERIC'])],
  ['group_permission_role_fkey', grant('x', ['a', 'USER', 'ug'], ['norole', 'GENERIC'])],
  ['group_permission_role_fkey', grant('x', ['a', 'USER', 'ug'], ['zr', 'GROUP'], ['a', 'DEVICE', 'dg'])], // of another tenant
  ['group_permission_role_fkey', grant('x', ['b', 'USER'], ['grp', 'GENERIC'])], // the wrong type, to get around the shape
  ['group_permission_role_fkey', `update grantgate.role set type = 'GROUP', permissions = '[]' where id = 'gen'`],
  ['group_permission_entity_owner_fkey', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['nobody', 'DEVICE'])],
  ['group_permission_entity_owner_fkey', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['zc', 'DEVICE'])],
  ['group_permission_entity_group_fkey', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'DEVICE', 'nogroup'])],
  ['group_permission_entity_group_fkey', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'ASSET', 'dg'])],
  ['group_permission_entity_group_fkey', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['t', 'DEVICE', 'dg'])],
  ['object_no_cycle', `update grantgate.object set owner = 'b' where id = 'a'`],
  [
    'object_depth',
    `insert into grantgate.object (id, tenant, kind, type, owner)
    select 'deep' || i, 't', 'customer', 'CUSTOMER', case i when 1 then 't' else 'deep' || i - 1 end from generate_series(1, 1001) i`,
  ],
  ['touched_tag', `insert into grantgate.touched (tag, keys) values ('x', '{}')`],
  ['touched_pkey', `insert into grantgate.touched (n, tag, keys) overriding system value select n, 'o', '{}' from grantgate.touched limit 1`],
  ['change_pkey', `insert into grantgate.change (version, n) values (0, 0)`],
  ['follower_id', `select grantgate.report('', 1, 1)`],
  ['follower_pkey', `insert into grantgate.follower values ('f', 'x', 1, now()), ('f', 'x', 1, now())`],
  ['tenant_tree_pkey', `insert into grantgate.tenant_tree select * from grantgate.tenant_tree`],
  ['tenant_tree_tenant_fkey', `insert into grantgate.tenant_tree values ('nobody', 0, pg_current_xact_id())`],
  ['migration_pkey', `insert into grantgate.migration select * from grantgate.migration`],
];

/** Only targets for foreign keys: the primary key says more. */
const IMPLIED = ['object_whole_key', 'object_node_key', 'object_second_key', 'role_type_key'];

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  let database: TestDatabase;
  let sql: Sql;

  beforeAll(async () => {
    server = await startPostgres(kind);
    database = await server.database();
    sql = openPool({ url: database.url, max: 1 });
    await seed(sql);
  });
  afterAll(async () => {
    await sql.end({ timeout: 5 });
    await server.close();
  });

  /** What the statements leave behind, as `sql` finds it, in a transaction that is given up. */
  async function after<T>(statements: string, question: string): Promise<readonly T[]> {
    await sql.unsafe(`begin; ${statements}; set constraints all immediate`);
    try {
      return (await sql.unsafe<{ r: T }[]>(question)).map(({ r }) => r);
    } finally {
      await sql.unsafe('rollback');
    }
  }
  const OBJECTS = `select id r from grantgate.object order by id`;
  const all = (): Promise<readonly string[]> => after<string>('select', OBJECTS);

  test.each(REFUSED)('%s refuses %s', async (constraint, statements) => {
    expect(await refusal(sql, statements)).toBe(constraint);
  });

  test('every constraint of the schema is shown to refuse something', async () => {
    const rows = await sql<{ name: string }[]>`select conname as name from pg_constraint
      where connamespace = 'grantgate'::regnamespace and contype in ('c', 'f', 'p', 'u') and conname <> 'seal'`;
    const shown = new Set([...REFUSED.map(([constraint]) => constraint), ...IMPLIED]);
    expect(rows.map(({ name }) => name).filter((name) => !shown.has(name))).toEqual([]);
  });

  test('what is right is taken', async () => {
    const right = [
      entity(long(255), 'DEVICE', 'a'),
      tenant(long(200)),
      customer('c'.repeat(200), 't'),
      entity('a b/c:\u00a0é😀', 'DEVICE', 'a'),
      entity('All:x', 'DEVICE', 'a'),
      group('admins:a', 'USER', 'a'),
      group('users:a', 'USER', 'a'),
      genericRole('role:admin:a', 'a'),
      genericRole('role:user:a', 'a'),
      permission('p', 'GENERIC', '{"DEVICE": ["READ"], "ALL": []}', '{"DEVICE": ["WRITE"]}'),
      member('d', 'dg', IN_DG).replace('insert', 'delete from grantgate.membership; insert'),
      grant('x', ['a', 'USER'], ['grp', 'GROUP'], ['t', 'DEVICE']),
      grant('y', ['b', 'USER'], ['gen', 'GENERIC']),
      grant('w', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'DEVICE']),
      `update grantgate.object set label = '${long(1000)}', owner = owner`,
    ];
    for (const statements of right) expect([statements, await refusal(sql, statements)]).toEqual([statements, null]);
  });

  test('a changed owner ends the explicit memberships, and no other', async () => {
    const left = 'select member_id r from grantgate.membership order by 1';
    expect(await after('select', left)).toEqual(['b', 'd', 'u']);
    expect(await after(`update grantgate.object set owner = 'b' where id = 'd'`, left)).toEqual(['b', 'u']);
    expect(await after(`update grantgate.object set owner = 't' where id = 'u'`, left)).toEqual(['b', 'd']);
    expect(await after(`update grantgate.object set owner = 't' where id = 'b'`, left)).toEqual(['d', 'u']);
    expect(await after(`update grantgate.object set owner = 'a', label = 'x' where id in ('d', 'u', 'b')`, left)).toEqual(['b', 'd', 'u']);
    expect(await after(`update grantgate.object set owner = 'b' where id in ('d', 'd2')`, left)).toEqual(['b', 'u']);
  });

  test('a deleted group takes memberships and grants along; its members stay', async () => {
    const before = await all();
    expect(await after(`delete from grantgate.object where id = 'dg'`, OBJECTS)).toEqual(before.filter((id) => !['dg', 'g1'].includes(id)));
    expect(await after(`delete from grantgate.object where id = 'ug'`, OBJECTS)).toEqual(before.filter((id) => !['ug', 'g1', 'g2'].includes(id)));
    expect(await after(`delete from grantgate.object where id = 'ug'`, 'select member_id r from grantgate.membership order by 1')).toEqual(['b', 'd']);
  });

  test('a deleted user takes its memberships along and nothing else', async () => {
    const before = await all();
    for (const statement of [`delete from grantgate.object where id = 'u'`, `delete from grantgate.user_account where id = 'u'`]) {
      expect(await after(statement, OBJECTS)).toEqual(before.filter((id) => id !== 'u'));
      expect(await after(statement, 'select member_id r from grantgate.membership order by 1')).toEqual(['b', 'd']);
      expect(await after(statement, `select id r from grantgate.user_account`)).toEqual(['u2']);
    }
  });

  test('a row and its second row are deleted together, whichever is named', async () => {
    const before = await all();
    const without = (...gone: string[]) => before.filter((id) => !gone.includes(id));
    const both = (table: string) => `select id r from grantgate.${table} order by id`;
    for (const statement of [
      `delete from grantgate.object where id = 'g1'`,
      `delete from grantgate.group_permission where user_group = 'ug' and role = 'grp'`,
    ]) {
      expect(await after(statement, OBJECTS)).toEqual(without('g1'));
      expect(await after(statement, both('group_permission'))).toEqual(['g2']);
    }
    for (const statement of [`delete from grantgate.object where id = 'grp'`, `delete from grantgate.role where id = 'grp'`]) {
      expect(await after(statement, OBJECTS)).toEqual(without('g1', 'grp'));
      expect(await after(statement, both('role'))).toEqual(['gen', 'zr']);
    }
    for (const statement of [
      `delete from grantgate.object where id = 'zg'; delete from grantgate.object where id = 'zc'`,
      `delete from grantgate.object where id = 'zg'; delete from grantgate.customer where id = 'zc'`,
    ]) {
      expect(await after(statement, OBJECTS)).toEqual(without('zc', 'zg'));
      expect(await after(statement, both('customer'))).toEqual(['a', 'b']);
    }
    expect(await after('delete from grantgate.group_permission', OBJECTS)).toEqual(without('g1', 'g2'));
  });

  const PREDEFINED = [
    customer('n', 't'),
    group('admins:n', 'USER', 'n'),
    group('users:n', 'USER', 'n'),
    genericRole('role:admin:n', 'n'),
    genericRole('role:user:n', 'n'),
    grant('ng1', ['n', 'USER', 'admins:n'], ['role:admin:n', 'GENERIC']),
    grant('ng2', ['n', 'USER', 'users:n'], ['role:user:n', 'GENERIC']),
  ].join(';');

  test('an owner goes with its predefined groups, roles and their grants, and with what others were given over its All groups', async () => {
    const before = await all();
    expect(await after(`${PREDEFINED}; delete from grantgate.object where id = 'n'`, OBJECTS)).toEqual(before);
    expect(await after(`${PREDEFINED}; delete from grantgate.customer where id = 'n'`, OBJECTS)).toEqual(before);
    expect(
      await after(
        `${PREDEFINED}; ${grant('over', ['t', 'USER', 'tg'], ['grp', 'GROUP'], ['n', 'DEVICE'])}; delete from grantgate.object where id = 'n'`,
        OBJECTS,
      ),
    ).toEqual(before);
    const tenants = PREDEFINED.replaceAll(`'t'`, `'n'`).replace(customer('n', 'n', 'n'), tenant('n'));
    expect(await after(`${tenants}; delete from grantgate.object where id = 'n'`, OBJECTS)).toEqual(before);
  });

  test('an owner that owns anything else stays', async () => {
    const refused = (more: string) => refusal(sql, `${PREDEFINED}; ${more}; delete from grantgate.object where id = 'n'`);
    expect(await refused(entity('x', 'DEVICE', 'n'))).toBe('object_owner_fkey');
    expect(await refused(customer('x', 'n'))).toBe('object_owner_fkey');
    expect(await refused(user('x', 'n'))).toBe('object_owner_fkey');
    expect(await refused(group('x', 'USER', 'n'))).toBe('object_owner_fkey');
    expect(await refused(groupRole('x', 'n'))).toBe('object_owner_fkey');
    // a grant of its All group of users to a role of somebody else
    expect(await refused(grant('x', ['n', 'USER'], ['gen', 'GENERIC']))).toBe('object_owner_fkey');
  });

  test('a whole tenant goes by one statement', async () => {
    expect(await after(`${PREDEFINED}; delete from grantgate.object where tenant = 't'`, OBJECTS)).toEqual(['z', 'zc', 'zg', 'zr']);
    expect(await after(`delete from grantgate.object where tenant = 't'`, 'select tenant r from grantgate.tenant_tree')).toEqual(['z']);
  });

  test('a grant that is given to a group of another owner belongs to that owner from then on', async () => {
    const moved = `update grantgate.group_permission set user_owner = 't', user_group = 'tg' where id = 'g2'`;
    expect(await after(moved, `select owner r from grantgate.object where id = 'g2'`)).toEqual(['t']);
    expect(await after(moved, `select user_group r from grantgate.group_permission where id = 'g2'`)).toEqual(['tg']);
  });

  test('customers hang 1,000 deep and no deeper, by insert and by move', async () => {
    const chain = (name: string, from: number, to: number, top: string) => `
      insert into grantgate.object (id, tenant, kind, type, owner)
        select '${name}' || i, 't', 'customer', 'CUSTOMER', case i when ${from} then '${top}' else '${name}' || i - 1 end from generate_series(${from}, ${to}) i;
      insert into grantgate.customer (id, tenant) select '${name}' || i, 't' from generate_series(${from}, ${to}) i`;
    expect(await refusal(sql, chain('x', 1, 1000, 't'))).toBe(null);
    expect(await refusal(sql, `${chain('x', 1, 1000, 't')}; ${customer('y', 'x1000')}`)).toBe('object_depth');
    expect(await refusal(sql, `${chain('x', 1, 600, 't')}; ${chain('y', 1, 400, 't')}; update grantgate.object set owner = 'x600' where id = 'y1'`)).toBe(null);
    expect(await refusal(sql, `${chain('x', 1, 600, 't')}; ${chain('y', 1, 401, 't')}; update grantgate.object set owner = 'x600' where id = 'y1'`)).toBe(
      'object_depth',
    );
    expect(await refusal(sql, `${chain('x', 1, 600, 't')}; ${chain('y', 1, 401, 't')}; update grantgate.object set owner = 'x600' where id = 'y2'`)).toBe(null);
  });

  test('no statement makes a cycle', async () => {
    const ring = `insert into grantgate.object (id, tenant, kind, type, owner) values ('x', 't', 'customer', 'CUSTOMER', 'y'), ('y', 't', 'customer', 'CUSTOMER', 'x')`;
    expect(await refusal(sql, ring)).toBe('object_no_cycle');
    expect(
      await refusal(
        sql,
        `${customer('x', 't')}; ${customer('y', 't')}; update grantgate.object set owner = case id when 'x' then 'y' else 'x' end where id in ('x', 'y')`,
      ),
    ).toBe('object_no_cycle');
    // turning a pair round is no cycle
    expect(await refusal(sql, `update grantgate.object set owner = case id when 'a' then 'b' else 't' end where id in ('a', 'b')`)).toBe(null);
  });

  test('no table is truncated', async () => {
    const tables = await sql<{ name: string }[]>`select relname as name from pg_class where relnamespace = 'grantgate'::regnamespace and relkind = 'r'`;
    expect(tables).toHaveLength(12);
    for (const { name } of tables) expect(await refusal(sql, `truncate grantgate.${name} cascade`)).toMatch(/^0A000 .* cannot be truncated$/);
  });

  test('the triggers that all this rests on are named, and missed', async () => {
    const [{ broken }] = await sql<[{ broken: string[] }]>`select grantgate.broken_triggers() as broken`;
    expect(broken).toEqual([]);
    const named = await sql<{ name: string }[]>`
      select c.relname || '.' || t.tgname as name from pg_trigger t join pg_class c on c.oid = t.tgrelid
      where c.relnamespace = 'grantgate'::regnamespace and not t.tgisinternal and c.relname not in ('follower', 'migration')`;
    const dropped = await after<string[]>(
      named.map(({ name }) => `drop trigger "${name.split('.')[1]}" on grantgate."${name.split('.')[0]}"`).join(';'),
      'select grantgate.broken_triggers() r',
    );
    expect(dropped[0]).toEqual(named.map(({ name }) => name).sort());
    for (const how of ['disable', 'enable', 'enable replica']) {
      expect(await after(`alter table grantgate.touched ${how} trigger seal`, 'select grantgate.broken_triggers() r')).toEqual([['touched.seal']]);
    }
  });

  describe('rights', () => {
    let reader: Sql;
    let writer: Sql;
    beforeAll(async () => {
      reader = openPool({ url: await database.urlAs('grantgate_reader'), max: 1 });
      writer = openPool({ url: await database.urlAs('grantgate_writer'), max: 1 });
    });
    afterAll(() => Promise.all([reader.end({ timeout: 5 }), writer.end({ timeout: 5 })]));

    test('a reader reads what decisions need, and changes nothing', async () => {
      for (const table of ['object', 'customer', 'role', 'membership', 'group_permission', 'change', 'touched', 'follower', 'migration']) {
        expect(await refusal(reader, `select * from grantgate.${table}`)).toBe(null);
        expect(await refusal(reader, `delete from grantgate.${table}`)).toMatch(/^42501 /);
      }
      expect(await refusal(reader, 'select id, tenant, enabled from grantgate.user_account')).toBe(null);
      expect(await refusal(reader, 'select email from grantgate.user_account')).toMatch(/^42501 /);
      for (const call of ['revision()', 'trim()', `report('f', 1, 1000)`, 'broken_triggers()'])
        expect(await refusal(reader, `select grantgate.${call}`)).toBe(null);
      for (const call of [`touch('*')`, `append_touched('o', '{x}')`, 'grant_roles()'])
        expect(await refusal(reader, `select grantgate.${call}`)).toMatch(/^42501 /);
      for (const statement of [
        tenant('x'),
        `update grantgate.user_account set enabled = false`,
        'lock table grantgate.latch in exclusive mode',
        `select nextval('grantgate.version')`,
      ]) {
        expect(await refusal(reader, statement)).toMatch(/^42501 /);
      }
    });

    test('a writer writes the model, and reaches the log through it alone', async () => {
      expect(
        await refusal(
          writer,
          `${PREDEFINED}; ${entity('x', 'DEVICE', 'a')}; ${member('x', 'dg', IN_DG)}; update grantgate.object set owner = 'b' where id = 'x';
        update grantgate.object set owner = 't' where id = 'b'; update grantgate.user_account set enabled = false, email = 'a@b.c'; update grantgate.role set permissions = permissions;
        delete from grantgate.group_permission; delete from grantgate.role where id = 'grp'; delete from grantgate.object where id = 'n'; select grantgate.touch('*')`,
        ),
      ).toBe(null);
      for (const statement of [
        `insert into grantgate.touched (tag, keys) values ('o', '{}')`,
        'delete from grantgate.change',
        'delete from grantgate.tenant_tree',
        'lock table grantgate.latch in exclusive mode',
        `select setval('grantgate.version', 1)`,
        `select nextval('grantgate.version')`,
        'truncate grantgate.object',
        'alter table grantgate.object disable trigger all',
        'select grantgate.seal()',
        'delete from grantgate.migration',
        `update grantgate.follower set cursor = 0`,
      ])
        expect(await refusal(writer, statement)).toMatch(/^42501 /);
    });

    test('everybody else does nothing', async () => {
      const nobody = openPool({ url: await database.urlAs('pg_monitor'), max: 1 });
      expect(await refusal(nobody, 'select grantgate.revision()')).toMatch(/^42501 /);
      expect(await refusal(nobody, 'select 1 from grantgate.object')).toMatch(/^42501 /);
      await nobody.end({ timeout: 5 });
    });
  });
});
