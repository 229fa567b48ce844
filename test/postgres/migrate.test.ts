// Does `migrate` bring any database to the schema, once, and say what it may not do?

import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InputError } from 'policy-cache';
import { migrate, openPool, type MigrationFile } from 'policy-cache/postgres';
import { servers, startOwnPostgres, type OwnServer } from '../support/postgres.ts';
import { refusal, tenant, type Sql } from './fixture.ts';

const directory = new URL('../../deploy/sql/', import.meta.url);
const files: readonly MigrationFile[] = readdirSync(directory)
  .filter((name) => name.endsWith('.sql'))
  .map((name) => ({ name, text: readFileSync(new URL(name, directory), 'utf8') }));
const names = files.map(({ name }) => name).sort();
const ROLES = ['create role grantgate_owner nologin', 'create role grantgate_writer nologin', 'create role grantgate_reader nologin'];

describe.each(servers)('on %s', (kind) => {
  // Roles belong to a whole server, so each of these databases is on one where nobody has made them.
  let server: OwnServer;
  const pools: Sql[] = [];
  const open = (url: string, max = 1): Sql => {
    const pool = openPool({ url, max });
    pools.push(pool);
    return pool;
  };
  let admin: Sql;

  beforeAll(async () => {
    server = await startOwnPostgres(kind);
    admin = open(server.url);
  });
  afterAll(async () => {
    await Promise.all(pools.map((pool) => pool.end({ timeout: 5 })));
    await server.close();
  });

  async function empty(): Promise<{ sql: Sql; url: string; name: string }> {
    const { url, name } = await server.database('empty');
    return { sql: open(url, 2), url, name };
  }
  async function login(database: { url: string }, name: string, rights: string): Promise<Sql> {
    await admin.unsafe(`create role ${name} login password '${name}' ${rights}`);
    const url = new URL(database.url);
    url.username = url.password = name;
    return open(url.href);
  }
  const rolesThere = async (): Promise<readonly string[]> =>
    (await admin<{ name: string }[]>`select rolname as name from pg_roles where rolname like 'grantgate%' order by 1`).map(({ name }) => name);
  /** Whoever owns something in the schema. */
  const owners = async (sql: Sql): Promise<readonly string[]> =>
    (
      await sql<{ name: string }[]>`
    select distinct pg_get_userbyid(owner) as name from (
      select nspowner as owner from pg_namespace where nspname = 'grantgate'
      union all select relowner from pg_class where relnamespace = 'grantgate'::regnamespace
      union all select proowner from pg_proc where pronamespace = 'grantgate'::regnamespace) o`
    ).map(({ name }) => name);
  const dropRoles = async (): Promise<void> => {
    for (const role of await rolesThere()) await admin.unsafe(`drop role ${role}`);
  };

  test('a login without any right is told what it needs, and changes nothing', async () => {
    const database = await empty();
    const sql = await login(database, 'nobody', '');
    const report = await migrate(sql, files);
    expect(report).toEqual({
      from: 0,
      to: 0,
      applied: [],
      statements: [...ROLES, 'grant grantgate_owner to nobody', `grant create on database ${database.name} to nobody`],
    });
    expect(await sql`select 1 from pg_namespace where nspname = 'grantgate'`).toHaveLength(0);
  });

  test('a login without CREATEROLE gets the schema, and the statements; run, they hand it over to the roles', async () => {
    const database = await empty();
    const sql = await login(database, 'plain_owner', '');
    await admin.unsafe(`grant create on database ${database.name} to plain_owner`);
    const statements = [...ROLES, 'grant grantgate_owner to plain_owner'];
    expect(await migrate(sql, files)).toEqual({ from: 0, to: names.length, applied: names, statements });
    expect(await owners(sql)).toEqual(['plain_owner']);
    await sql.unsafe(tenant('t')); // it works meanwhile
    expect(await migrate(sql, files)).toEqual({ from: names.length, to: names.length, applied: [], statements });

    for (const statement of statements) await admin.unsafe(statement);
    expect(await migrate(sql, files)).toEqual({ from: names.length, to: names.length, applied: [], statements: [] });
    expect(await owners(sql)).toEqual(['grantgate_owner']);
    const reader = await login(database, 'sidecar', 'in role grantgate_reader');
    expect(await refusal(reader, 'select grantgate.revision(); select * from grantgate.object')).toBe(null);
    const writer = await login(database, 'application', 'in role grantgate_writer');
    expect(await refusal(writer, `${tenant('x')}; select grantgate.touch('*')`)).toBe(null);
    expect(await migrate(sql, files)).toEqual({ from: names.length, to: names.length, applied: [], statements: [] });
    await sql.unsafe(`drop owned by plain_owner`);
    await database.sql.unsafe('drop schema grantgate cascade');
    await database.sql.unsafe('drop owned by grantgate_reader, grantgate_writer, grantgate_owner');
    await dropRoles();
  });

  test('a login with CREATEROLE makes the roles and everything else', async () => {
    const database = await empty();
    const sql = await login(database, 'maker', 'createrole');
    await admin.unsafe(`grant create on database ${database.name} to maker`);
    expect(await migrate(sql, files)).toEqual({ from: 0, to: names.length, applied: names, statements: [] });
    expect(await rolesThere()).toEqual(['grantgate_owner', 'grantgate_reader', 'grantgate_writer']);
    expect(await admin`select 1 from pg_roles where rolname like 'grantgate%' and (rolcanlogin or rolsuper or rolcreaterole or rolbypassrls)`).toHaveLength(0);
    expect(await owners(sql)).toEqual(['grantgate_owner']);
  });

  test('a schema of somebody else is left alone', async () => {
    const database = await empty();
    const sql = await login(database, 'stranger', '');
    await database.sql.unsafe('create schema grantgate');
    await expect(migrate(sql, files)).rejects.toThrow(
      'database: the schema grantgate belongs to postgres, for whom stranger may not act: run migrate as postgres',
    );
    expect(await sql`select 1 from pg_class where relnamespace = 'grantgate'::regnamespace`).toHaveLength(0);
  });

  test('whoever holds its lock, and need be no owner for that, is named', async () => {
    const { sql, ...database } = await empty();
    const holder = await login(database, 'holder', '');
    const [{ pid }] = await holder<[{ pid: number }]>`select pg_backend_pid() as pid, pg_advisory_lock(hashtextextended('grantgate.migrate', 0))`;
    await expect(migrate(sql, files, 50)).rejects.toThrow(
      `database: another migration has not ended within 0.05 s, in session ${pid} of holder: wait for it, or if there is none, select pg_terminate_backend(${pid})`,
    );
    await sql.unsafe(`select pg_terminate_backend(${pid})`);
    expect((await migrate(sql, files)).applied).toEqual(names);
    expect((await sql<{ lock_timeout: string }[]>`show lock_timeout`)[0]?.lock_timeout).toBe('0');
  });

  test('twice is once, also at the same time, also with a checkout that has other line ends', async () => {
    const { sql, url } = await empty();
    const [one, two] = await Promise.all([migrate(sql, files), migrate(open(url), files)]);
    expect([one.applied, two.applied].toSorted((a, b) => a.length - b.length)).toEqual([[], names]);
    const before = await sql`select * from grantgate.migration order by version`;
    expect(before.map(({ name, version }) => [version, name])).toEqual(names.map((name, i) => [i + 1, name]));
    expect(
      await migrate(
        sql,
        files.map(({ name, text }) => ({ name, text: text.replaceAll('\n', '\r\n') })),
      ),
    ).toEqual({ from: names.length, to: names.length, applied: [], statements: [] });
    expect(await sql`select * from grantgate.migration order by version`).toEqual(before);
    expect(await sql`select 1 from pg_locks where locktype = 'advisory'`).toHaveLength(0);
  });

  test('a later file is added; one that fails is named with its line, and leaves nothing', async () => {
    const { sql } = await empty();
    await migrate(sql, files);
    const number = String(names.length + 1).padStart(4, '0');
    const bad = { name: `${number}_bad.sql`, text: 'create table grantgate.half (id int);\n\nselect nonsense;\n' };
    await expect(migrate(sql, [...files, bad])).rejects.toThrow(`${bad.name}:3: column "nonsense" does not exist`);
    expect(await sql`select to_regclass('grantgate.half') as there`).toEqual([{ there: null }]);
    const good = { name: `${number}_good.sql`, text: 'create table grantgate.whole (id int)' };
    expect(await migrate(sql, [good, ...files])).toMatchObject({ from: names.length, to: names.length + 1, applied: [good.name] });
    expect(await owners(sql)).toEqual(['grantgate_owner']);
    // and the program that does not know it
    await expect(migrate(sql, files)).rejects.toThrow(
      `database: it is at version ${names.length + 1} and this program knows ${names.length}: use the program that migrated it, or a later one`,
    );
  });

  test('a file that was changed after it was applied is refused, with every other problem', async () => {
    const { sql } = await empty();
    await migrate(sql, files);
    const changed = files.map(({ name, text }) => ({ name, text: `${text}-- x\n` }));
    const refused = await migrate(sql, changed).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(InputError);
    expect((refused as Error).message).toBe(
      `database: ${names.map((name) => `${name} was changed after it was applied: restore it, and put the change into a new file`).join('; ')}`,
    );
    await sql`delete from grantgate.migration where version = 2`;
    await expect(migrate(sql, files)).rejects.toThrow('version 2 is missing in grantgate.migration');
  });

  test('names and numbers of files', async () => {
    const { sql } = await empty();
    await expect(migrate(sql, [{ name: 'model.sql', text: '' }])).rejects.toThrow('model.sql: a migration is called like 0001_model.sql');
    await expect(migrate(sql, [{ name: '0002_b.sql', text: '' }])).rejects.toThrow('0002_b.sql: expected number 1 here');
    await expect(
      migrate(sql, [
        { name: '0001_a.sql', text: '' },
        { name: '0001_b.sql', text: '' },
      ]),
    ).rejects.toThrow('0001_b.sql: expected number 2 here');
  });

  test('a database that is not UTF-8 is refused', async () => {
    await admin.unsafe(`create database ascii template template0 encoding 'SQL_ASCII' locale 'C'`);
    const url = new URL(server.url);
    url.pathname = '/ascii';
    await expect(migrate(open(url.href), files)).rejects.toThrow(
      'database: encoding UTF8 is needed (ids are UTF-8, compared byte by byte), this one has SQL_ASCII',
    );
  });

  test('trouble in between leaves the connection as it was', async () => {
    const { url } = await empty();
    const sql = open(url);
    await expect(migrate(sql, [{ name: '0001_bad.sql', text: 'select 1/0' }])).rejects.toThrow('0001_bad.sql: division by zero');
    expect(await sql`select current_user = session_user as same, current_setting('client_min_messages') as level`).toEqual([{ same: true, level: 'notice' }]);
    expect(await migrate(sql, files)).toMatchObject({ from: 0, to: names.length });
  });
});
