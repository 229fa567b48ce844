// What does a great many changes do to the log, to a follower and to the writers beside it? Each bound is shown twice: with it the
// session holds, and without it the hazard is real. The figures are printed.

import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openPool, postgresSource } from 'policy-cache/postgres';
import { PATIENT, servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';
import { changesSince, entity, headOf, seed, type Sql } from './fixture.ts';
import { CALM, follow, without } from './following.ts';

const devices = (count: number): string => `insert into grantgate.object (id, tenant, kind, type, owner)
  select 'm' || i, 't', 'entity', 'DEVICE', 'a' from generate_series(1, ${count}) i`;
/** So many keys in rows of 10,000, as changes of that size leave them; not compressed, for speed. */
const touched = (keys: number): string => `alter table grantgate.touched alter keys set storage external;
  insert into grantgate.touched (tag, keys)
    select 'o', k.keys from (select array_agg('key-' || i) from generate_series(1, 10000) i) k (keys), generate_series(1, ${keys / 10_000})`;

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  let database: TestDatabase;
  let reader: string;
  let sql: Sql;
  beforeAll(async () => void (server = await startPostgres(kind)));
  afterAll(() => server.close());
  beforeEach(async () => {
    database = await server.database();
    reader = await database.urlAs('grantgate_reader');
    sql = openPool({ url: database.url, max: 1 });
    await seed(sql);
    return () => sql.end({ timeout: 5 });
  });
  async function took(work: () => PromiseLike<unknown>): Promise<number> {
    const start = performance.now();
    await work();
    return performance.now() - start;
  }
  const say = (text: string): void => console.log(`${kind}: ${text}`);

  describe('a bulk change', () => {
    test('of more than 100,000 rows is one row, every key; of 100,000 it is rows of 10,000; and neither is a RESET', async () => {
      const following = await follow(reader);
      expect(await following.reads('u', 'm1')).toBe(false);
      const from = await headOf(sql);
      const quick = 'set local session_replication_role = replica'; // without foreign keys, for speed: they are not what is measured
      await sql.unsafe(`begin; ${quick}; ${devices(100_001)}; commit`);
      expect((await changesSince(sql, from)).map(({ tag, keys }) => [tag, keys.length])).toEqual([['o', 0]]);
      expect(await following.reads('u', 'm1')).toBe(true);
      const between = await headOf(sql);
      const written = await took(() => sql.unsafe(`begin; ${quick}; update grantgate.object set owner = 't' where id ~ '^m[0-9]' and id <> 'm100001'`));
      const committed = await took(() => sql`commit`);
      const applied = await took(async () => expect(await following.reads('u', 'm1')).toBe(false));
      expect((await changesSince(sql, between)).map(({ tag, keys }) => [tag, keys.length])).toEqual(Array.from({ length: 10 }, () => ['o', 10_000]));
      expect(await following.reads('u', 'm100001')).toBe(true);
      expect(following.upsets()).toEqual(CALM);
      say(
        `100,000 rows changed in ${(written / 1000).toFixed(1)} s, commit ${Math.round(committed)} ms, then ${Math.round(applied)} ms until a follower refused by it`,
      );
    });

    test('without rows of many keys: 2,000 rows are 2,000 versions, and a RESET', async () => {
      await without(sql, 'append_touched', /by 10000/);
      await without(sql, 'append_touched', / : i \+ 9999/);
      await sql.unsafe(`create or replace function grantgate.append_touched(tag text, keys text[]) returns void language sql
        set search_path = pg_catalog, grantgate, pg_temp as $$ insert into touched (tag, keys) select append_touched.tag, array[k] from unnest(keys) k $$`);
      const following = await follow(reader);
      await sql.unsafe(devices(2_000));
      expect(await following.reads('u', 'm1')).toBe(true);
      expect(following.upsets()).toEqual({ ...CALM, resets: { ...CALM.resets, backlog: 1 } });
    });
  });

  describe('a backlog of 5,000,000 keys', () => {
    test('one RESET, and no second attach: the pull stays within its time', async () => {
      const following = await follow(reader);
      expect(await following.reads('u', 'd')).toBe(true);
      const written = await took(() => sql.unsafe(touched(5_000_000)));
      await sql.unsafe(`update grantgate.user_account set enabled = false where id = 'u'`);
      const applied = await took(async () => expect(await following.reads('u', 'd')).toBe(false));
      expect(following.upsets()).toEqual({ ...CALM, resets: { ...CALM.resets, backlog: 1 } });
      say(`5,000,000 keys written in ${(written / 1000).toFixed(1)} s; ${Math.round(applied)} ms until a follower had begun anew`);
    });

    test('without the count that is known before anything is sent: the pull outlasts its time, and the session with it', async () => {
      await sql.unsafe('alter table grantgate.touched drop column size; alter table grantgate.touched add column size int generated always as (0) stored');
      const following = await follow(reader, {}, 500); // with the count it is some 20 ms
      await sql.unsafe(touched(5_000_000));
      await until(() => following.cache.stats.attaches > 1, 'a second attach', 20_000);
    });
  });

  test('10,000 statements of one row in one transaction: others wait for its commit alone, and a follower begins anew once', async () => {
    const following = await follow(reader);
    expect(await following.reads('u', 'd')).toBe(true);
    const other = openPool({ url: database.url, max: 1 });
    let running = true;
    const waits: number[] = [];
    const beside = (async () => {
      for (let i = 0; running; i++) waits.push(await took(() => other.unsafe(entity(`beside-${i}`, 'DEVICE', 'a'))));
    })();
    const written = await took(() =>
      sql.unsafe(`begin; set local session_replication_role = replica; do $$ begin for i in 1 .. 10000 loop
        insert into grantgate.object (id, tenant, kind, type, owner) values ('single' || i, 't', 'entity', 'DEVICE', 'a'); end loop; end $$`),
    );
    const before = waits.length;
    const from = await headOf(other);
    const held = await took(() => sql`commit`);
    running = false;
    await beside;
    const singles = (await changesSince(other, from)).flatMap(({ keys }) => keys.filter((key) => key.startsWith('single')));
    await other.end({ timeout: 5 });
    expect([singles.length, new Set(singles).size]).toEqual([10_000, 10_000]);
    expect(await following.reads('u', 'single1')).toBe(true);
    expect(await following.reads('u', 'single10000')).toBe(true);
    // While they were written, commits went on beside them; at their commit one waited for as long as that took.
    expect(before).toBeGreaterThan(10);
    const longest = Math.max(...waits.slice(before));
    const { resets, attaches } = following.upsets();
    expect([resets['backlog'], attaches]).toEqual([1, 1]);
    say(
      `10,000 single rows: written in ${(written / 1000).toFixed(1)} s beside ${before} other commits (longest ${Math.round(Math.max(...waits.slice(0, before)))} ms); the latch held for ${Math.round(held)} ms, another commit waited ${Math.round(longest)} ms`,
    );
    expect(Math.max(...waits.slice(0, before))).toBeLessThan(written);
  });

  test('without the deferral to the commit: one statement holds up everybody until its transaction ends', async () => {
    const other = openPool({ url: database.url, max: 1 });
    await sql.unsafe(`begin; set constraints all immediate; ${entity('first', 'DEVICE', 'a')}`);
    const waiting = other.unsafe(`set lock_timeout = '200ms'; ${entity('second', 'DEVICE', 'a')}`);
    await expect(waiting).rejects.toMatchObject({ code: '55P03' });
    await sql`rollback`;
    await other.end({ timeout: 5 });
  });

  describe('a log of 300,000 versions without autovacuum', () => {
    /** Past the triggers, for speed: what matters is how a pull reads it. */
    const fill = (versions: number): string => `
      alter table grantgate.change set (autovacuum_enabled = off);
      alter table grantgate.touched set (autovacuum_enabled = off);
      alter table grantgate.touched disable trigger seal;
      with t as (insert into grantgate.touched (tag, keys) select 'o', array['k' || i] from generate_series(1, ${versions}) i returning n)
        insert into grantgate.change (version, n) select nextval('grantgate.version'), n from t;
      alter table grantgate.touched enable always trigger seal`;

    /** Milliseconds of a pull that finds a commit, the median of many, and how often a table of the log was read from end to end. */
    async function pulls(): Promise<{ median: number; scans: number }> {
      const scans = async (): Promise<number> => {
        await sql`select pg_stat_clear_snapshot()`;
        return Number(
          (
            await sql<
              [{ n: string }]
            >`select sum(seq_scan) as n from pg_stat_user_tables where relid in ('grantgate.change'::regclass, 'grantgate.touched'::regclass)`
          )[0].n,
        );
      };
      const before = await scans();
      const attachment = await postgresSource({ url: reader, limits: PATIENT }).attach({ ring: () => undefined, closed: () => undefined });
      const times: number[] = [];
      try {
        let { head } = await attachment.pull({ cursor: 0, limit: null, ask: [], report: null });
        for (let i = 0; i < 100; i++) {
          await sql.unsafe(`select grantgate.touch('o', '{x${i}}')`);
          times.push(
            await took(async () => {
              const reply = await attachment.pull({ cursor: head.version, limit: 1_001, ask: [], report: null });
              expect(reply.changes).toHaveLength(1);
              head = reply.head;
            }),
          );
        }
      } finally {
        attachment.close();
      }
      // A backend tells its counts when it ends.
      await until(async () => (await sql`select 1 from pg_stat_activity where usename = ${new URL(reader).username}`).length === 0, 'the sessions to end');
      return { median: times.toSorted((a, b) => a - b)[50]!, scans: (await scans()) - before };
    }

    test('a pull costs what it costs over a short one, and reads no table from end to end', async () => {
      const short = await pulls();
      await sql.unsafe(fill(300_000));
      const long = await pulls();
      say(
        `a pull over ${await headOf(sql)} versions, never vacuumed: ${long.median.toFixed(2)} ms; over a short log ${short.median.toFixed(2)} ms (goal: <= 5 ms)`,
      );
      expect([short.scans, long.scans]).toEqual([0, 0]);
      expect(long.median).toBeLessThan(Math.max(5, 4 * short.median));

      // Without the session's settings and the look-up row by row.
      const head = await headOf(sql);
      const [plan] = await sql.begin(async (tx) => {
        await tx`set local plan_cache_mode = force_generic_plan`;
        await tx`prepare naive (bigint) as
          select c.version, c.id, t.tag, t.keys from grantgate.change c join grantgate.touched t using (n) where c.version > $1 order by 1`;
        return tx.unsafe<{ 'QUERY PLAN': readonly { readonly 'Execution Time': number }[] }[]>(`explain (analyze, format json) execute naive (${head - 1})`);
      });
      expect(JSON.stringify(plan)).toContain('Seq Scan');
      say(`a plain join over the same log: ${plan!['QUERY PLAN'][0]!['Execution Time']} ms`);
    });
  });
});
