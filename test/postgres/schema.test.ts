// Which states can the database never be in, and what goes with what when something is deleted? (semantics 1)

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import { servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { customer, entity, genericRole, grant, group, groupRole, member, refusal, seed, tenant, user, type Sql } from './fixture.ts';
import { ATTEMPT, CREDENTIAL, IMPLIED, IN_DG, KEY, LINK, NETWORK, REFUSED, SESSION, long, permission } from './refusals.ts';
import { codeOf } from './stress/client.ts';

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

  test.each(['read committed', 'repeatable read'])(
    'nothing is made again without its second row while another transaction deletes it, under %s',
    async (level) => {
      const other = openPool({ url: database.url, max: 1 });
      const two: readonly (readonly [id: string, table: string, first: string])[] = [
        ['u2', 'user_account', user('u2', 'a')],
        ['zc2', 'customer', customer('zc2', 'z', 'z')],
        ['zr2', 'role', groupRole('zr2', 'z', 'z')],
        ['g3', 'group_permission', grant('g3', ['a', 'USER'], ['grp', 'GROUP'], ['a', 'DEVICE', 'dg'])],
      ];
      for (const [id, table, statements] of two) {
        await sql.unsafe(`begin; delete from grantgate.object where id = '${id}'; ${statements}; commit`);
        await sql.unsafe(`begin isolation level ${level}; select count(*) from grantgate.${table}`); // takes its snapshot
        await other`delete from grantgate.object where id = ${id}`;
        const [object] = statements.split(';'); // without the row that belongs to it
        expect([id, await sql.unsafe(`${object}; commit`).then(String, codeOf)]).toEqual([id, level === 'read committed' ? '23514' : '40001']);
        await sql.unsafe('rollback');
      }
      await sql.unsafe(`begin; ${user('u2', 'a')}; commit`);
      await other.end({ timeout: 5 });
    },
  );

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

  test('whoever is disabled, by one statement over many too, has no session and no link, nor has anybody as it; enabled again it has none', async () => {
    const those = [
      SESSION({}),
      SESSION({ id: 'by', hash: '3', actor: 'u2' }),
      SESSION({ id: 'of', hash: '4', user: 'u2' }),
      LINK({}),
      LINK({ user: 'u2', hash: '1' }),
    ].join(';');
    const sessions = 'select id r from grantgate.session order by id';
    const links = 'select user_id r from grantgate.activation order by user_id';
    const left = async (statement: string) => [await after(`${those}; ${statement}`, sessions), await after(`${those}; ${statement}`, links)];
    const disabled = (where: string) => `update grantgate.user_account set enabled = false where ${where}`;
    expect(await left('select')).toEqual([
      ['by', 'of', 's'],
      ['u', 'u2'],
    ]);
    expect(await left(disabled(`id = 'u2'`))).toEqual([['s'], ['u']]);
    expect(await left(disabled(`id = 'u'`))).toEqual([['of'], ['u2']]);
    expect(await left(disabled('true'))).toEqual([[], []]);
    expect(await left(`${disabled('true')}; update grantgate.user_account set enabled = true`)).toEqual([[], []]);
    expect(await left(`set local session_replication_role = replica; ${disabled('true')}`), 'whoever writes').toEqual([[], []]);
    const networks = [CREDENTIAL({}), CREDENTIAL({ user: 'u2', login: 'x' }), NETWORK({}), NETWORK({ user: 'u2', hash: '6' }), disabled(`id = 'u2'`)].join(';');
    expect(await after(networks, 'select user_id r from grantgate.known_network')).toEqual(['u']);
    expect(await left('update grantgate.user_account set first_name = id, enabled = enabled')).toEqual([
      ['by', 'of', 's'],
      ['u', 'u2'],
    ]);
  });

  test('whoever has another e-mail logs in by that one, and by no link to the old one; without any it cannot log in', async () => {
    const those = `${CREDENTIAL({})}; ${LINK({})}; ${SESSION({})}; ${NETWORK({})}`;
    const login = `select login r from grantgate.credential where user_id = 'u'`;
    const links = 'select user_id r from grantgate.activation';
    const left = async (set: string) => {
      const statement = `update grantgate.user_account set email = 'U@Example.com' where id = 'u'; ${those}; update grantgate.user_account set ${set} where id = 'u'`;
      return [
        ...(await after<string>(statement, login)),
        ...(await after<string>(statement, links)),
        ...(await after<string>(statement, 'select id r from grantgate.session')),
        ...(await after<string>(statement, `select 'network' r from grantgate.known_network`)),
      ];
    };
    expect(await left(`email = 'New.Address@Example.com'`)).toEqual(['new.address@example.com', 's']);
    // One spelling: composed, and in small letters where they are ASCII.
    expect(await left(`email = U&'Zoe\\0308@Example.com'`)).toEqual(['zo\u00eb@example.com', 's']);
    expect(await left(`email = U&'\\00cb@Example.com'`)).toEqual(['\u00cb@example.com', 's']);
    expect(await left(`email = U&'H\\0331@Example.com'`)).toEqual(['\u1e96@example.com', 's']); // there is no such capital letter
    expect(await left(`email = email, first_name = 'X'`)).toEqual(['u@example.com', 'u', 's', 'network']);
    expect(await left(`email = null`)).toEqual(['s']);
    expect(await left(`email = ''`)).toEqual(['s']);
    const taken = `${CREDENTIAL({})}; ${CREDENTIAL({ user: 'u2', login: 'b@example.com' })}; update grantgate.user_account set email = 'B@Example.com' where id = 'u'`;
    expect(await refusal(sql, taken)).toBe('credential_login_key');
  });

  test('a deleted user takes along what it logs in by, its sessions and those that it has as others', async () => {
    const those = [
      CREDENTIAL({}),
      LINK({}),
      SESSION({}),
      SESSION({ id: 'by', hash: '3', user: 'u2', actor: 'u' }),
      SESSION({ id: 'kept', hash: '4', user: 'u2' }),
      KEY({}),
      NETWORK({}),
    ];
    for (const [table, column, left] of [
      ['credential', 'user_id', []],
      ['activation', 'user_id', []],
      ['known_network', 'user_id', []],
      ['api_key', 'id', []],
      ['session', 'id', ['kept']],
    ] as const)
      expect(await after(`${those.join(';')}; delete from grantgate.object where id = 'u'`, `select ${column} r from grantgate.${table}`), table).toEqual(left);
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
    expect(tables).toHaveLength(21);
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
      for (const table of ['object', 'customer', 'role', 'membership', 'group_permission', 'change', 'touched', 'follower', 'fleet', 'lease', 'migration']) {
        expect(await refusal(reader, `select * from grantgate.${table}`)).toBe(null);
        expect(await refusal(reader, `delete from grantgate.${table}`)).toMatch(/^42501 /);
      }
      expect(await refusal(reader, 'select id, tenant, enabled from grantgate.user_account')).toBe(null);
      expect(await refusal(reader, 'select email from grantgate.user_account')).toMatch(/^42501 /);
      expect(await refusal(reader, 'select hash, tenant, user_id, expires from grantgate.api_key')).toBe(null);
      expect(await refusal(reader, 'select hash, tenant, user_id, actor, expires from grantgate.session')).toBe(null);
      for (const statement of [
        'select name from grantgate.api_key',
        'delete from grantgate.api_key',
        'select family from grantgate.session',
        'select refresh from grantgate.session',
        'select id from grantgate.session',
        'delete from grantgate.session',
        'select user_id from grantgate.credential',
        'select user_id from grantgate.activation',
        'select account from grantgate.login_attempt',
        'select user_id from grantgate.known_network',
        SESSION({}),
      ])
        expect(await refusal(reader, statement)).toMatch(/^42501 /);
      for (const call of ['revision()', 'trim()', `report('f', null, null, 1000)`, `barrier(0, 'x')`, 'broken_triggers()'])
        expect(await refusal(reader, `select grantgate.${call}`)).toBe(null);
      expect(await refusal(reader, 'select * from grantgate.audit')).toMatch(/^42501 /);
      for (const call of [`touch('*')`, `append_touched('o', '{x}')`, 'grant_roles()', `write_audit('[]')`])
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
        delete from grantgate.group_permission; delete from grantgate.role where id = 'grp'; delete from grantgate.object where id = 'n'; select grantgate.touch('*'); select grantgate.write_audit('[]'); select * from grantgate.audit;
        ${CREDENTIAL({})}; ${LINK({})}; ${SESSION({})}; ${ATTEMPT()}; ${NETWORK({})}; delete from grantgate.known_network; update grantgate.credential set password = password; update grantgate.session set ends = ends;
        delete from grantgate.activation; delete from grantgate.session; delete from grantgate.login_attempt; delete from grantgate.credential`,
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
        'delete from grantgate.audit',
        `insert into grantgate.audit (revision, tenant, owner, actor_kind, actor, as_user, action, target, request_id) values ('', '', '', 'operator', '', '', '', '', '')`,
        `update grantgate.follower set version = 0`,
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
