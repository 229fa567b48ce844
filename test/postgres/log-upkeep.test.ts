// How does the log carry many keys, tell a writer its revision, and hear from followers? (coherence 3.3, 3.6, 3.7)

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import { servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { changesSince, customer, entity, headOf, object, seed, type Sql } from './fixture.ts';

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  let database: TestDatabase;
  let sql: Sql;
  let other: Sql;

  beforeAll(async () => {
    server = await startPostgres(kind);
    database = await server.database();
    sql = openPool({ url: database.url, max: 1 });
    other = openPool({ url: database.url, max: 1 });
    await seed(sql);
  });
  afterAll(async () => {
    await Promise.all([sql.end({ timeout: 5 }), other.end({ timeout: 5 })]);
    await server.close();
  });

  const head = (on = sql) => headOf(on);
  const since = (version: number, on = sql) => changesSince(on, version);

  describe('many keys', () => {
    const devices = (name: string, count: number) =>
      `insert into grantgate.object (id, tenant, kind, type, owner) select '${name}' || i, 't', 'entity', 'DEVICE', 'a' from generate_series(1, ${count}) i`;
    const sizes = async (statements: string): Promise<readonly (readonly [string, number])[]> => {
      await sql.unsafe('begin');
      try {
        const from = await head();
        await sql.unsafe(`${statements}; set constraints all immediate`);
        return (await since(from)).map(({ tag, keys }) => [tag, keys.length] as const);
      } finally {
        await sql.unsafe('rollback');
      }
    };

    test('rows of 10,000 keys, up to 100,000; beyond, every key of the tag', async () => {
      // without foreign keys, for speed: the log's triggers fire all the same
      const quick = 'set local session_replication_role = replica';
      expect(await sizes(`${quick}; ${devices('m', 10_000)}; delete from grantgate.object where id = 'm10000'; ${devices('n', 10_001)}`)).toEqual([
        ['o', 10_000],
        ['o', 1],
        ['o', 10_000],
        ['o', 1],
      ]);
      const [first, ...rest] = await sizes(`${quick}; ${devices('m', 100_001)}; delete from grantgate.object where id like 'm%' and id <> 'm1'`);
      expect([first, rest]).toEqual([['o', 0], Array.from({ length: 10 }, () => ['o', 10_000])]);
    });

    test('2,000 devices that change owner, and leave their groups, are one row and not 2,000', async () => {
      // What the test before rolled back is 100,000 dead rows: for a plan made after the ANALYZE of autovacuum more than 30 s (reproduced by ANALYZE here).
      await sql.unsafe('vacuum analyze grantgate.object, grantgate.membership');
      const members = `insert into grantgate.membership (tenant, group_id, member_id, type, owner) select 't', 'dg', 'm' || i, 'DEVICE', 'a' from generate_series(1, 2000) i`;
      const before = `${devices('m', 2_000)}; ${members}`;
      expect(await sizes(`${before}; update grantgate.object set owner = 'b' where id ~ '^m[0-9]'`)).toEqual([
        ['o', 2_000],
        ['o', 2_000],
        ['o', 2_000],
      ]);
      expect(await sizes(`${before}; delete from grantgate.object where id ~ '^m[0-9]'`)).toEqual([
        ['o', 2_000],
        ['o', 2_000],
        ['o', 2_000],
      ]);
      // removed from the group alone, and by the group's end
      expect(await sizes(`${before}; delete from grantgate.membership where group_id = 'dg'`)).toEqual([
        ['o', 2_000],
        ['o', 2_000],
        ['o', 2_001],
      ]);
      expect((await sizes(`${before}; delete from grantgate.object where id = 'dg'`)).slice(2).toSorted()).toEqual([
        ['g', 1],
        ['o', 1],
        ['o', 1],
        ['o', 2_001],
      ]);
    });
  });

  describe('revision()', () => {
    const NEWEST = `select version || '-' || id as r from grantgate.change order by version desc limit 1`;
    const revision = async (on: Sql): Promise<string> => (await on<[{ r: string }]>`select grantgate.revision() as r`)[0].r;
    const newest = async (): Promise<string> => (await other.unsafe<[{ r: string }]>(NEWEST))[0].r;

    test('a writer reads its own, before its commit and though others commit meanwhile', async () => {
      await sql.unsafe(`begin; ${entity('rev-1', 'DEVICE', 'a')}; set constraints all immediate`);
      const own = await revision(sql);
      await sql.unsafe('commit');
      expect(own).toBe(await newest());
      await other.unsafe(entity('rev-2', 'DEVICE', 'a'));
      expect(await newest()).not.toBe(own);
      expect((await since(Number(own.split('-')[0]) - 1)).map(({ keys }) => keys)).toEqual([['rev-1'], ['rev-2']]);
    });
    test('of several rows it is the last', async () => {
      await sql.unsafe(`begin; ${customer('rev-c', 'a')}; set constraints all immediate`);
      const own = await revision(sql);
      await sql.unsafe('commit');
      expect(own).toBe(await newest());
    });
    test('a write that touched nothing gives the newest: on a fresh connection, after a rollback, in a session that wrote before', async () => {
      const rename = `update grantgate.object set label = label || 'x' where id = 'd'`;
      const fresh = openPool({ url: database.url, max: 1 });
      await fresh.unsafe(`begin; ${rename}; set constraints all immediate`);
      expect(await revision(fresh)).toBe(await newest());
      await fresh.unsafe('commit');
      await fresh.unsafe(`begin; ${entity('rev-3', 'DEVICE', 'a')}; set constraints all immediate; rollback`);
      await fresh.unsafe(`begin; ${rename}; set constraints all immediate`);
      expect(await revision(fresh)).toBe(await newest());
      await fresh.unsafe('commit');
      await fresh.unsafe(entity('rev-4', 'DEVICE', 'a'));
      await other.unsafe(entity('rev-5', 'DEVICE', 'a'));
      await fresh.unsafe(`begin; ${rename}; set constraints all immediate`);
      expect(await revision(fresh)).toBe(await newest());
      await fresh.unsafe('commit');
      await fresh.end({ timeout: 5 });
    });
    test('the genesis row is there from the beginning', async () => {
      const empty = openPool({ url: (await server.database()).url, max: 1 });
      expect(await revision(empty)).toMatch(/^0-[0-9a-f-]{36}$/);
      await empty.end({ timeout: 5 });
    });
  });

  describe('upkeep', () => {
    test('a follower reports in a row of its own', async () => {
      const [one, two] = [
        openPool({ url: await database.urlAs('grantgate_reader'), max: 1 }),
        openPool({ url: await database.urlAs('grantgate_reader'), max: 1 }),
      ];
      const [newest] = await sql<[{ version: string; id: string }]>`select version, id from grantgate.change order by version desc limit 1`;
      const rows = () =>
        sql`select id, version, change_id, lease_until between now() and now() + interval '4 seconds' as soon from grantgate.follower order by id`;
      await one`select grantgate.report('sidecar-1', null, null, 3000)`;
      await one`select grantgate.report('sidecar-1', ${newest.version}, ${newest.id}, 3000)`;
      const there = { id: 'sidecar-1', version: newest.version, change_id: newest.id, soon: true };
      expect(await rows()).toEqual([there]);
      // A revision of another history, or one that was trimmed, says nothing.
      await two`select grantgate.report('sidecar-2', ${newest.version}, 'another id', 3000)`;
      expect(await rows()).toEqual([there, { id: 'sidecar-2', version: null, change_id: null, soon: true }]);
      await expect(two`select grantgate.report('sidecar-1', null, null, 3000)`).rejects.toMatchObject({ code: '42501' });
      await expect(one`select grantgate.report('sidecar-1', null, null, ${7_200_001})`).rejects.toMatchObject({ code: '22023' });
      // One whose lease has run out is kept for a minute.
      await sql`update grantgate.follower set lease_until = now() - interval '59 seconds' where id = 'sidecar-1'`;
      await two`select grantgate.report('sidecar-2', null, null, 0)`;
      expect((await rows()).length).toBe(2);
      await sql`update grantgate.follower set lease_until = now() - interval '61 seconds' where id = 'sidecar-1'`;
      await two`select grantgate.report('sidecar-2', null, null, 0)`;
      expect((await rows()).map(({ id }) => id)).toEqual(['sidecar-2']);
      await Promise.all([one.end({ timeout: 5 }), two.end({ timeout: 5 })]);
    });

    test('a write without rights to the log is logged all the same', async () => {
      const writer = openPool({ url: await database.urlAs('grantgate_writer'), max: 1 });
      const from = await head();
      await writer.unsafe(object('by-writer', 't', 'entity', { type: 'DEVICE', owner: 'a' }));
      expect((await since(from)).map(({ keys }) => keys)).toEqual([['by-writer']]);
      await writer.end({ timeout: 5 });
    });
  });
});
