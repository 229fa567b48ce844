// Does the log name everything that a decision reads, in the order in which it became true, and nothing else? (coherence 3.3, 3.6)

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import { servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';
import { changesSince, customer, entity, headOf, refusal, seed, type Sql } from './fixture.ts';
import { CHANGES, type Touched } from './log.changes.ts';

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
  const sorted = (rows: readonly Touched[]): readonly Touched[] => rows.toSorted((a, b) => (a.join() < b.join() ? -1 : 1));

  describe('the table of 3.6', () => {
    for (const [what, statement, touched, before] of CHANGES) {
      // Then taken back, by a transaction that is never committed: the seals are made to run inside it.
      test(what, async () => {
        await sql.unsafe(`begin; ${before ?? 'select'}; set constraints all immediate`);
        try {
          const from = await head();
          await sql.unsafe(`set constraints all deferred; ${statement}; set constraints all immediate`);
          const rows = (await since(from)).map(({ tag, keys }): Touched => [tag, keys.toSorted().join()]);
          expect(sorted(rows)).toEqual(sorted(touched));
        } finally {
          await sql.unsafe('rollback');
        }
      });
    }

    test('the same under session_replication_role = replica, where foreign keys are silent, and with them their cascades', async () => {
      for (const [what, statement, touched, before] of CHANGES) {
        if (/cascade|by its object/.test(what)) continue;
        await sql.unsafe(`begin; ${before ?? 'select'}; set constraints all immediate`);
        const from = await head();
        await sql.unsafe(`set local session_replication_role = replica; set constraints all deferred; ${statement}; set constraints all immediate`);
        const rows = (await since(from)).map(({ tag, keys }): Touched => [tag, keys.toSorted().join()]);
        await sql.unsafe('rollback');
        for (const row of touched) expect([what, ...rows]).toContainEqual(row);
      }
    });
  });

  describe('order', () => {
    test('a reader that follows the versions loses nothing where one that follows the sequence does', async () => {
      // "Gap": a writes first, b writes and commits, the reader moves on, a commits.
      const from = await head();
      const [{ n: sequence }] = await sql<[{ n: string }]>`select max(n) as n from grantgate.touched`;
      const third = openPool({ url: database.url, max: 1 });
      await sql.unsafe(`begin; ${entity('gap-a', 'DEVICE', 'a')}`);
      await other.unsafe(entity('gap-b', 'DEVICE', 'a'));
      const seen = { versions: await head(third), rows: (await since(from, third)).flatMap(({ keys }) => keys) };
      const [{ n: cursor }] = await third<[{ n: string }]>`select max(n) as n from grantgate.touched`;
      expect([seen.rows, Number(cursor) > Number(sequence)]).toEqual([['gap-b'], true]);
      await sql.unsafe('commit');
      expect((await since(seen.versions, third)).flatMap(({ keys }) => keys)).toEqual(['gap-a']);
      const control = await third<{ keys: string[] }[]>`select keys from grantgate.touched where n > ${cursor}`;
      expect(control).toEqual([]); // the event that a sequence loses
      await third.end({ timeout: 5 });
    });

    test('the order of versions is the order of commits, while eight writers hurry; the plain sequence jumps', async () => {
      const writers = Array.from({ length: 8 }, () => openPool({ url: database.url, max: 1 }));
      const from = await head();
      let done = false;
      const levels = ['read committed', 'repeatable read'];
      const work = Promise.all(
        writers.map(async (writer, w) => {
          for (let i = 0; i < 25; i++) {
            await writer.unsafe(`begin isolation level ${levels[(w + i) % 2]}; ${entity(`hurry-${w}-${i}`, 'DEVICE', 'a')}`);
            await writer.unsafe(`select pg_sleep(${((w * 7 + i * 3) % 5) / 1000})`); // some sit longer between write and commit
            await writer.unsafe(i % 6 === 5 ? 'rollback' : 'commit');
          }
        }),
      ).finally(() => (done = true));
      let [version, sequence] = [from, Number((await other<[{ n: string }]>`select max(n) as n from grantgate.touched`)[0].n)];
      const byVersion: string[] = [];
      const bySequence: string[] = [];
      for (let last = false; !last;) {
        last = done;
        const rows = await since(version, other);
        byVersion.push(...rows.flatMap(({ keys }) => keys));
        version = Number(rows.at(-1)?.version ?? version);
        const plain = await other<{ n: string; keys: string[] }[]>`select n, keys from grantgate.touched where n > ${sequence} order by n`;
        bySequence.push(...plain.flatMap(({ keys }) => keys));
        sequence = Number(plain.at(-1)?.n ?? sequence);
      }
      await work;
      const there = await other<{ id: string }[]>`select id from grantgate.object where id like 'hurry-%'`;
      expect(there).toHaveLength(8 * 21);
      expect(byVersion.toSorted()).toEqual(there.map(({ id }) => id).sort());
      expect(bySequence.length).toBeLessThan(there.length); // the control
      console.log(`${kind}: ${there.length} commits; by version ${byVersion.length} seen, by the plain sequence ${bySequence.length}`);
      await Promise.all(writers.map((writer) => writer.end({ timeout: 5 })));
    });

    test('a transaction that wrote and waits does not hold up a commit; REPEATABLE READ writers never meet at the latch', async () => {
      await sql.unsafe(`begin isolation level repeatable read; ${entity('wait-a', 'DEVICE', 'a')}`);
      await other.unsafe(`begin isolation level repeatable read; set local lock_timeout = '2s'; ${entity('wait-b', 'DEVICE', 'a')}; commit`);
      await sql.unsafe('commit');
    });
  });

  describe('what is not committed', () => {
    test('a rollback leaves no row; a savepoint that was given up leaves none of its own', async () => {
      const from = await head();
      await sql.unsafe(`begin; ${entity('gone', 'DEVICE', 'a')}; rollback`);
      expect(await since(from)).toEqual([]);
      await sql.unsafe(
        `begin; ${entity('kept', 'DEVICE', 'a')}; savepoint s; ${entity('lost', 'DEVICE', 'a')}; rollback to s; ${entity('kept-too', 'DEVICE', 'a')}; commit`,
      );
      expect((await since(from)).map(({ keys }) => keys)).toEqual([['kept'], ['kept-too']]);
    });

    test('a sequence behind the log raises, and the write is refused', async () => {
      const [{ last }] = await sql<[{ last: string }]>`select last_value as last from grantgate.version`;
      await sql`select setval('grantgate.version', 1)`;
      expect(await refusal(sql, entity('behind', 'DEVICE', 'a'))).toBe('55000 grantgate.version is behind the log');
      await expect(sql.unsafe(entity('behind', 'DEVICE', 'a'))).rejects.toMatchObject({ code: '55000', hint: 'grantgate doctor --repair' });
      await sql`select setval('grantgate.version', ${last}::bigint)`;
      expect(await sql`select 1 from grantgate.object where id = 'behind'`).toHaveLength(0);
    });
  });

  describe('the doorbell', () => {
    let rings: string[] = [];
    let listener: Sql;
    beforeAll(async () => {
      listener = openPool({ url: database.url, max: 1 });
      await listener.listen('grantgate', (payload) => void rings.push(payload));
    });
    afterAll(() => listener.end({ timeout: 5 }));
    /** What rang before a ring of our own. */
    async function rungBy(statements: string): Promise<readonly string[]> {
      const last = `the last of ${statements.slice(0, 100)}`;
      rings = [];
      await sql.unsafe(statements);
      await sql`select pg_notify('grantgate', ${last})`;
      await until(() => rings.includes(last), 'the last ring');
      return rings.slice(0, -1);
    }

    test('rings once for a commit, without content', async () => {
      expect(
        await rungBy(
          `begin; ${entity('ring-1', 'DEVICE', 'a')}; ${customer('ring-c', 'a')}; delete from grantgate.membership where member_id = 'nobody'; commit`,
        ),
      ).toEqual(['']);
    });
    test('does not ring for what changes nothing, nor for a rollback', async () => {
      const from = await head();
      expect(await rungBy(`update grantgate.object set label = 'x', owner = owner; update grantgate.user_account set email = 'x', enabled = enabled`)).toEqual(
        [],
      );
      expect(await rungBy(`begin; ${entity('ring-2', 'DEVICE', 'a')}; rollback`)).toEqual([]);
      expect(await head()).toBe(from);
    });
    test('rings under session_replication_role = replica', async () => {
      expect(await rungBy(`begin; set local session_replication_role = replica; ${entity('ring-3', 'DEVICE', 'a')}; commit`)).toEqual(['']);
    });
  });
});
