// Does an import take every good world whole, and of a bad one nothing, with every problem at its line?

import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileVocabulary, expandDefaults, parseWorldFile, type WorldFile } from 'policy-cache';
import { formatImportProblem, importRows, openPool, type ImportResult } from 'policy-cache/postgres';
import { parse } from 'yaml';
import { importInputs } from '../../src/worldimport.ts';
import type { WorldText } from '../../src/worldfiles.ts';
import { textInput } from '../../src/worldstream.ts';
import { servers, startPostgres, type TestServer } from '../support/postgres.ts';
import { BAD, BASE } from './bad-worlds.ts';
import type { Sql } from './fixture.ts';

const root = new URL('../../', import.meta.url);
const vocabulary = compileVocabulary(parse(readFileSync(new URL('policy-cache/vocabulary/thingsboard.yaml', root), 'utf8')));
const corpus = readdirSync(new URL('test/corpus/worlds/', root))
  .filter((name) => name.endsWith('.yaml'))
  .map((file): WorldText => ({ file, text: readFileSync(new URL(`test/corpus/worlds/${file}`, root), 'utf8') }));

/** As the command does it. */
async function load(sql: Sql, ...texts: readonly WorldText[]): Promise<ImportResult> {
  return importInputs(sql, texts.map(textInput), { vocabulary });
}
const yaml = (text: string, file = 'w.yaml'): WorldText => ({ file, text });
const told = (result: ImportResult): readonly string[] => (result.ok ? result.warnings : result.problems).map(formatImportProblem);

/** What is in the database, as a world file would say it. */
async function stored(sql: Sql): Promise<unknown> {
  const groups = (type: string) =>
    sql.unsafe(
      `(select coalesce(array_agg(m.group_id order by m.group_id), '{}') from grantgate.membership m where m.member_id = o.id and m.type = '${type}')`,
    );
  const side = (group: string, type: string, owner: string) => sql.unsafe(`coalesce(p.${group}, 'all:' || p.${type} || ':' || p.${owner})`);
  return {
    tenants: await sql`select id, label from grantgate.object where kind = 'tenant' order by id`,
    customers: await sql`select o.id, o.owner, o.label, ${groups('CUSTOMER')} as groups from grantgate.object o join grantgate.customer using (id) order by id`,
    groups: await sql`select id, type, owner, label from grantgate.object where kind = 'group' order by id`,
    users: await sql`select o.id, o.owner, u.enabled, ${groups('USER')} as groups from grantgate.object o join grantgate.user_account u using (id) order by id`,
    entities:
      await sql`select o.id, o.type, o.owner, (select coalesce(array_agg(m.group_id order by m.group_id), '{}') from grantgate.membership m where m.member_id = o.id) as groups
      from grantgate.object o where kind = 'entity' order by id`,
    roles: await sql`select o.id, o.owner, r.type, r.permissions, r.excluded from grantgate.object o join grantgate.role r using (id) order by id`,
    grants:
      await sql`select p.id, o.owner, ${side('user_group', 'user_type', 'user_owner')} as "userGroup", p.role, ${side('entity_group', 'entity_type', 'entity_owner')} as "entityGroup", p.shared
      from grantgate.group_permission p join grantgate.object o using (id) order by id`,
  };
}
function expected(world: WorldFile): unknown {
  const byId = <T extends { readonly id: string }>(rows: readonly T[]): readonly T[] => rows.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const owner = new Map(world.groups.map((group) => [group.id, group.owner]));
  return {
    tenants: byId(world.tenants).map(({ id, name }) => ({ id, label: name ?? null })),
    customers: byId(world.customers).map(({ id, owner, title, groups }) => ({ id, owner, label: title ?? null, groups: groups.toSorted() })),
    groups: byId(world.groups).map(({ id, type, owner, name }) => ({ id, type, owner, label: name ?? null })),
    users: byId(world.users).map(({ id, owner, enabled, groups }) => ({ id, owner, enabled, groups: groups.toSorted() })),
    entities: byId(world.entities).map(({ id, type, owner, groups }) => ({ id, type, owner, groups: groups.toSorted() })),
    roles: byId(world.roles).map((role) => ({
      id: role.id,
      owner: role.owner,
      type: role.type,
      permissions: role.permissions,
      excluded: role.type === 'GENERIC' ? role.excluded : {},
    })),
    grants: byId(world.grants).map(({ id, userGroup, role, entityGroup, shared }) => ({
      id,
      owner: owner.get(userGroup) ?? userGroup.split(':')[2],
      userGroup,
      role,
      entityGroup: entityGroup ?? null,
      shared,
    })),
  };
}

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  let base: Sql;
  const pools: Sql[] = [];
  const fresh = async (): Promise<Sql> => {
    const pool = openPool({ url: (await server.database()).url, max: 1 });
    pools.push(pool);
    return pool;
  };

  beforeAll(async () => {
    server = await startPostgres(kind);
    base = await fresh();
    expect(told(await load(base, yaml(BASE, 'base.yaml')))).toEqual([]);
  });
  afterAll(async () => {
    await Promise.all(pools.map((pool) => pool.end({ timeout: 5 })));
    await server.close();
  });

  test.each(corpus)('$file goes in as it is', async (text) => {
    const sql = await fresh();
    const result = await load(sql, text);
    const world = expandDefaults(parseWorldFile(parse(text.text)).world);
    if (!result.ok) throw new Error(told(result).join('\n'));
    expect(await stored(sql)).toEqual(expected(world));
    expect(result.counts).toEqual({
      tenants: world.tenants.length,
      customers: world.customers.length,
      groups: world.groups.length,
      users: world.users.length,
      entities: world.entities.length,
      roles: world.roles.length,
      grants: world.grants.length,
      memberships: [...world.users, ...world.entities, ...world.customers].reduce((sum, { groups }) => sum + groups.length, 0),
    });
    const [newest] = await sql<[{ r: string }]>`select version || '-' || id as r from grantgate.change order by version desc limit 1`;
    expect(result.revision).toBe(newest.r);
    expect(told(result)).toEqual(
      text.file === 'owner-only-and-shares.yaml'
        ? [
            'owner-only-and-shares.yaml:27: grants[4].entityGroup: the grant is dormant: "a", the owner of "a-ops", is neither "b", the owner of "b-dev", nor above it (shared: true hands the group over; else name a user group of an owner above (semantics 1.4))',
          ]
        : [],
    );
  });

  test('every world of the corpus is here', () => expect(corpus.length).toBeGreaterThanOrEqual(5));

  test.each(BAD)('%s', async (_what, text, said) => {
    const before = await stored(base);
    const result = await load(base, yaml(text));
    expect(result.ok).toBe(false);
    expect(told(result).toSorted()).toEqual(said.toSorted());
    expect(await stored(base)).toEqual(before);
  });

  test('problems of several files come in the order of files and lines, and one bad row keeps everything out', async () => {
    const before = await base`select count(*)::int as n from grantgate.touched`;
    const result = await load(
      base,
      yaml('entities:\n  - { id: f1, type: DEVICE, owner: a }\n  - { id: f2, type: DEVICE, owner: nobody }\n', 'second-by-name.yaml'),
      yaml('users:\n  - { id: f3, owner: nobody }\n  - { id: f1, owner: a, groups: [x] }\n', 'first-by-name.yaml'),
    );
    expect(told(result).map((text) => text.split(': ').slice(0, 3).join(': '))).toEqual(
      [
        'second-by-name.yaml:3: entities[1].owner: there is no tenant or customer "nobody" (add it to tenants or customers, or name one that exists)',
        'first-by-name.yaml:2: users[0].owner: there is no tenant or customer "nobody" (add it to tenants or customers, or name one that exists)',
        'first-by-name.yaml:3: users[1].groups[0]: there is no group "x" (add it to groups, or name one that exists)',
        'first-by-name.yaml:3: users[1].id: "f1" is used at second-by-name.yaml:2 already (an id names one thing: give one of the two another)',
      ].map((text) => text.split(': ').slice(0, 3).join(': ')),
    );
    expect(await base`select 1 from grantgate.object where id in ('f1', 'f2', 'f3')`).toHaveLength(0);
    expect(await base`select count(*)::int as n from grantgate.touched`).toEqual(before);
  });

  test('a world may add to what is there, in another file, and in any order', async () => {
    const sql = await fresh();
    expect(
      told(
        await load(
          sql,
          yaml('users: [{ id: u, owner: c, groups: [g] }]\ngroups: [{ id: g, type: USER, owner: c }]\ngrants: [{ userGroup: g, role: r }]', 'a.yaml'),
          yaml(
            'roles: [{ id: r, owner: t, type: GENERIC, permissions: { ALL: [READ] } }]\ncustomers: [{ id: c, owner: t }]\ntenants: [{ id: t, name: T }]',
            'b.yaml',
          ),
        ),
      ),
    ).toEqual([]);
    expect(
      told(
        await load(
          sql,
          yaml(
            'customers: [{ id: c2, owner: c, title: Second }]\nusers: [{ id: u2, owner: c, groups: [g], enabled: false }]\ngrants: [{ userGroup: g, role: r2, entityGroup: "all:CUSTOMER:c" }]\nroles: [{ id: r2, owner: c, type: GROUP, permissions: [READ] }]',
          ),
        ),
      ),
    ).toEqual([]);
    expect(await sql`select id, owner, label from grantgate.object where id in ('c2', 'u2', 't') order by id`).toEqual([
      { id: 'c2', owner: 'c', label: 'Second' },
      { id: 't', owner: null, label: 'T' },
      { id: 'u2', owner: 'c', label: null },
    ]);
    expect(await sql`select enabled from grantgate.user_account order by id`).toEqual([{ enabled: true }, { enabled: false }]);
  });

  test('defaults: what they add goes in, and what is wrong with it is told at its owner', async () => {
    const sql = await fresh();
    const text = yaml('defaults: true\ntenants:\n  - { id: t }\ncustomers:\n  - { id: c, owner: t }\n');
    const result = await load(sql, text);
    expect(result).toMatchObject({ ok: true, counts: { tenants: 1, customers: 1, groups: 4, roles: 4, grants: 4 } });
    expect(await sql`select id, label from grantgate.object where kind in ('group', 'role') order by id`).toEqual([
      { id: 'admins:c', label: 'Customer Administrators' },
      { id: 'admins:t', label: 'Tenant Administrators' },
      { id: 'role:admin:c', label: null },
      { id: 'role:admin:t', label: null },
      { id: 'role:user:c', label: null },
      { id: 'role:user:t', label: null },
      { id: 'users:c', label: 'Customer Users' },
      { id: 'users:t', label: 'Tenant Users' },
    ]);
    await sql`delete from grantgate.object where id = 'c'`; // goes with all that
    expect(await sql`select kind, count(*)::int as n from grantgate.object group by kind order by kind`).toEqual([
      { kind: 'grant', n: 2 },
      { kind: 'group', n: 2 },
      { kind: 'role', n: 2 },
      { kind: 'tenant', n: 1 },
    ]);
    expect(told(await load(sql, text)).map((line) => line.split('\n')[0])).toEqual([
      'w.yaml:3: tenants[0].id: "t" is in the database already, as a tenant (leave it out here, delete it there first, or import with --mode upsert, which changes what is there)',
    ]);
  });

  test('NDJSON and JSON are worlds too', async () => {
    const sql = await fresh();
    const lines = [
      '{ "kind": "tenants", "id": "t" }',
      '',
      '{ "kind": "entities", "id": "e1", "type": "DEVICE", "owner": "t" }',
      '{ "kind": "entities", "id": "e2", "type": "DEVICE", "owner": "nobody" }',
      '{ "kind": "users", "id": 5, "owner": "t" }',
    ];
    const good = lines.slice(0, 3).join('\n');
    expect(told(await load(sql, { file: 'w.ndjson', text: lines.slice(0, 4).join('\n') }))).toEqual([
      'w.ndjson:4: entities[1].owner: there is no tenant or customer "nobody" (add it to tenants or customers, or name one that exists)',
    ]);
    expect(told(await load(sql, { file: 'w.ndjson', text: lines.join('\n') }))).toEqual([
      'w.ndjson:5: users[0].id: expected a string, got number 5; put it in quotes',
    ]);
    expect(told(await load(sql, { file: 'w.ndjson', text: `${good}\n{ "kind": "robots" }\nnonsense` }))).toEqual([
      'w.ndjson:4: kind: expected one of tenants, customers, groups, users, entities, roles, grants, checks, defaults, export, end; got "robots"',
      expect.stringMatching(/^w\.ndjson:5: Unexpected token/),
    ]);
    expect(told(await load(sql, { file: 'w.ndjson', text: good }))).toEqual([]);
    expect(
      told(await load(sql, { file: 'w.json', text: '{\n  "customers": [\n    { "id": "c", "owner": "t" },\n    { "id": "x", "owner": "y" }\n  ]\n}' })),
    ).toEqual(['w.json:4: customers[1].owner: there is no tenant or customer "y" (add it to tenants or customers, or name one that exists)']);
    expect(told(await load(sql, { file: 'w.json', text: '{ "customers": [{ "id": "c", "owner": "t" }] }' }))).toEqual([]);
  });

  test('a kind of problem that stands 1,100 times is told a hundred times, and counted', async () => {
    const result = await load(
      base,
      yaml(`entities:\n${Array.from({ length: 1_100 }, (_, i) => `  - { id: many${i}, type: DEVICE, owner: nobody }`).join('\n')}`),
    );
    expect(result).toMatchObject({ ok: false, omitted: 1_000 });
    expect(told(result)).toHaveLength(100);
  });

  test('a writer may import; a reader may not', async () => {
    const database = await server.database();
    const writer = openPool({ url: await database.urlAs('grantgate_writer'), max: 1 });
    const reader = openPool({ url: await database.urlAs('grantgate_reader'), max: 1 });
    pools.push(writer, reader);
    await expect(load(reader, yaml(BASE))).rejects.toThrow(/^database: .*make it a member of grantgate_writer/);
    expect((await load(writer, yaml(BASE))).ok).toBe(true);
  });

  test('rows that did not come through the parser meet the same rules', async () => {
    const place = { file: 'x', line: null, path: 'entities[0]' };
    const entity = (id: string, path: string) => ({ ...place, path, kind: 'entity' as const, id, owner: 'a', type: 'DEVICE', groups: [] });
    const ids = ['*', 'all:DEVICE:a', 'admins:a', 'role:admin:a', 'x'.repeat(256), 'a\nb', ''];
    const result = await importRows(base, [ids.map((id, i) => entity(id, `entities[${i}]`))], { vocabulary });
    expect(told(result).map((line) => line.slice(0, 14).concat(line.slice(line.lastIndexOf('" ') + 1)))).toEqual([
      'x: entities[0] is reserved to the server (choose another id)',
      'x: entities[1] is reserved to the server (choose another id)',
      'x: entities[2] is reserved to the server (choose another id)',
      'x: entities[3] is reserved to the server (choose another id)',
      'x: entities[4] has 256 bytes; 1 to 255 are possible here (choose another id)',
      'x: entities[5] has control characters (take them out)',
      'x: entities[6] has 0 bytes; 1 to 255 are possible here (choose another id)',
    ]);
  });
});
