// Can a person write to the log by hand, and does a trim leave what followers stand on? (coherence 3.6; deploy/sql/README.md)

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openPool, postgresSource } from 'policy-cache/postgres';
import { cli } from '../support/cli.ts';
import { PATIENT, servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';
import { changesSince, entity, headOf, seed, tenant, type Sql } from './fixture.ts';

const README = readFileSync(new URL('../../deploy/sql/README.md', import.meta.url), 'utf8');

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  beforeAll(async () => void (server = await startPostgres(kind)));
  afterAll(() => server.close());

  describe('touch', () => {
    let database: TestDatabase;
    let sql: Sql;
    beforeAll(async () => {
      database = await server.database();
      sql = openPool({ url: await database.urlAs('grantgate_writer'), max: 1 });
    });
    afterAll(() => sql.end({ timeout: 5 }));
    const touch = async (call: string): Promise<string> => (await sql.unsafe<[{ r: string }]>(`select grantgate.touch(${call}) r`))[0].r;
    const sizesSince = async (version: number) => (await changesSince(sql, version)).map(({ tag, keys }) => [tag, keys.length]);

    test('returns the revision, as text', async () => {
      for (const call of [`'*'`, `'o'`, `'o', '{d,d2}'`, `'g', array['all:USER:a']`, `'k', '{}'`]) {
        const revision = await touch(call);
        expect([revision]).toEqual((await sql`select version || '-' || id r from grantgate.change order by version desc limit 1`).map(({ r }) => r as string));
      }
    });
    test('beside other writes of a transaction it returns the revision of them all, and what comes after is sealed at the commit', async () => {
      const admin = openPool({ url: database.url, max: 1 });
      await admin.unsafe(tenant('t'));
      const from = await headOf(admin);
      await admin.unsafe(`begin; ${entity('x', 'DEVICE', 't')}`);
      const [{ r }] = await admin<[{ r: string }]>`select grantgate.touch('r', '{role}') r`;
      expect((await changesSince(admin, from)).map(({ keys }) => keys)).toEqual([['x'], ['role']]);
      await admin.unsafe(entity('y', 'DEVICE', 't'));
      expect((await changesSince(admin, from)).length).toBe(2);
      await admin.unsafe('commit');
      const rows = await changesSince(admin, from);
      expect(rows.map(({ keys }) => keys)).toEqual([['x'], ['role'], ['y']]);
      expect(r.startsWith(`${rows[1]!.version}-`)).toBe(true);
      await admin.end({ timeout: 5 });
    });
    test('many keys: rows of 10,000, and beyond 100,000 every key', async () => {
      const keys = (count: number): string => `'o', array(select 'k' || i from generate_series(1, ${count}) i)`;
      const from = await headOf(sql);
      await touch(keys(10_001));
      await touch(keys(100_000));
      await touch(keys(100_001));
      expect(await sizesSince(from)).toEqual([['o', 10_000], ['o', 1], ...Array.from({ length: 10 }, () => ['o', 10_000]), ['o', 0]]);
    });
    test.each([
      [`'x'`, 'tag: expected one of o (object), g (user group), r (role), n (tenant or customer), k (API key), * (everything), got "x"'],
      ['null', /^tag: expected one of .* got null$/],
      [`'o', null`, 'keys: expected ids, got null'],
      [`'o', '{a,null}'`, 'keys: null cannot be an id: 1 to 255 bytes, without control characters'],
      [`'o', '{""}'`, 'keys: "" cannot be an id: 1 to 255 bytes, without control characters'],
      [`'o', array[repeat('x', 256)]`, /^keys: "x{80}" cannot be an id/],
      [`'o', array[chr(10)]`, /^keys: "\n" cannot be an id/],
      [`'o', '{{a,b},{c,d}}'`, 'keys: expected one list of ids, got an array of 2 dimensions'],
      [`'*', '{a}'`, 'keys: tag * is everything, and has none'],
    ])('touch(%s) is refused', async (call, sentence) => {
      const from = await headOf(sql);
      await expect(touch(call)).rejects.toMatchObject({
        code: '22023',
        message: typeof sentence === 'string' ? sentence : (expect.stringMatching(sentence) as string),
      });
      expect(await headOf(sql)).toBe(from);
    });
  });

  describe('trim', () => {
    let database: TestDatabase;
    let reader: string;
    let sql: Sql;
    let all: readonly number[];
    beforeEach(async () => {
      database = await server.database();
      reader = await database.urlAs('grantgate_reader');
      sql = openPool({ url: database.url, max: 2 });
      await sql.unsafe([tenant('t'), ...Array.from({ length: 6 }, (_, i) => entity(`e${i}`, 'DEVICE', 't'))].join(';'));
      all = await log();
      return () => sql.end({ timeout: 5 });
    });
    const log = async (): Promise<readonly number[]> =>
      (await sql<{ version: string }[]>`select version from grantgate.change order by 1`).map(({ version }) => Number(version));
    const trim = async (keep: string, on = sql): Promise<number> => Number((await on.unsafe<[{ n: string }]>(`select grantgate.trim(${keep}) n`))[0].n);
    const age = (from: number, to: number, hours: number) =>
      sql`update grantgate.change set at = at - ${`${hours} hours`}::interval where version between ${all.at(from)!} and ${all.at(to)!}`;

    test('takes a prefix by version, nothing younger than an hour, never the newest row, nor the newest before the time that is kept', async () => {
      expect(await trim('')).toBe(0);
      await age(0, 2, 30);
      await age(4, 4, 30); // a clock that went back: older than what came before it, and stays with it
      expect(await trim('')).toBe(2);
      expect(await log()).toEqual(all.slice(2));
      await age(3, 4, 2);
      expect(await trim(`'0 seconds'`)).toBe(2); // an hour is the least
      expect(await log()).toEqual(all.slice(4));
      await age(4, -1, 100);
      expect(await trim('')).toBe(all.length - 5);
      expect(await log()).toEqual(all.slice(-1));
      expect(await sql`select count(*)::int as n from grantgate.touched`).toEqual([{ n: 1 }]);
      expect(await trim('')).toBe(0);
      // and the log goes on
      await sql.unsafe(entity('after', 'DEVICE', 't'));
      expect((await log()).length).toBe(2);
    });

    test('after a quiet day it leaves the row that a follower stands on when the next commit comes', async () => {
      await age(0, -1, 48);
      const attachment = await postgresSource({ url: reader, limits: PATIENT }).attach({ ring: () => undefined, closed: () => undefined });
      try {
        const { head } = await attachment.pull({ cursor: 0, limit: null, ask: [] });
        await sql.unsafe(entity('next', 'DEVICE', 't'));
        expect(await trim('')).toBe(all.length - 1);
        // What the follower asks next: is my row still there, and what came after it?
        const { cursorId, changes } = await attachment.pull({ cursor: head.version, limit: 1_001, ask: [] });
        expect([cursorId, changes.map(([, , , keys]) => keys)]).toEqual([head.id, [['next']]]);
      } finally {
        attachment.close();
      }
    });

    test('leaves what a follower with a running lease has reported, for a week; one that is gone holds nothing', async () => {
      const report = (index: number, seconds: number) =>
        sql`insert into grantgate.follower (id, login, version, at, lease_until)
            values ('f', 'x', ${all[index]!}, now(), now() + ${`${seconds} seconds`}::interval)
            on conflict (id) do update set version = excluded.version, lease_until = excluded.lease_until`;
      await age(0, 4, 30);
      await report(2, 3);
      expect(await trim('')).toBe(2);
      expect(await log()).toEqual(all.slice(2));
      await report(2, -1);
      expect(await trim('')).toBe(2);
      expect(await log()).toEqual(all.slice(4));
      await age(4, 6, 10 * 24);
      await report(4, 3);
      expect(await trim('')).toBe(2);
      expect(await log()).toEqual(all.slice(6));
    });

    test('one at a time, by a lock that a login without rights cannot hold', async () => {
      await age(0, -1, 48);
      const stranger = openPool({ url: await database.urlAs('pg_monitor'), max: 1 });
      const other = openPool({ url: reader, max: 1 });
      try {
        // What held the lock of earlier versions.
        await stranger`select pg_advisory_lock(hashtextextended('grantgate.trim', 0))`;
        for (const pool of [stranger, other]) await expect(pool`select from grantgate.migration for no key update`).rejects.toMatchObject({ code: '42501' });
        await sql.begin(async (busy) => {
          await busy`select grantgate.trim('100 days')`;
          expect(await trim('', other)).toBe(0);
        });
        expect(await trim('', other)).toBe(all.length - 1);
      } finally {
        await Promise.all([stranger.end({ timeout: 5 }), other.end({ timeout: 5 })]);
      }
    });

    test('grantgate trim says how many', async () => {
      const env = { DATABASE_URL: reader };
      await age(0, -1, 30);
      expect(await cli(['trim', '--keep', '48h'], { env })).toEqual({ code: 0, stdout: 'nothing to take out of the log\n', stderr: '' });
      await age(0, 1, 30);
      expect(await cli(['trim', '--keep', '48h'], { env })).toEqual({ code: 0, stdout: '1 version taken out of the log\n', stderr: '' });
      expect(await cli(['trim', '--json'], { env })).toEqual({ code: 0, stdout: `{"trimmed":${all.length - 2}}\n`, stderr: '' });
      for (const keep of ['1', '59m', '0h', '-1h', 'soon'])
        expect(await cli(['trim', '--keep', keep], { env })).toEqual({
          code: 2,
          stdout: '',
          stderr: `grantgate: --keep: must be a time from 1h to 8760h, as 250ms, 2s or 1m, got "${keep}"\n`,
        });
      await until(async () => (await log()).length === 1, 'one row');
    });
  });

  describe('deploy/sql/README.md', () => {
    const blocks = [...README.matchAll(/^```sql\n(.*?)^```$/gms)].map((match) => match[1]!);
    test('its statements run, for a writer', async () => {
      const database = await server.database();
      const admin = openPool({ url: database.url, max: 1 });
      await seed(admin);
      const writer = openPool({ url: await database.urlAs('grantgate_writer'), max: 1 });
      try {
        expect(blocks.length).toBeGreaterThan(4);
        for (const block of blocks) await writer.unsafe(block);
        expect(await admin`select owner from grantgate.object where id in ('eva', 'd') order by id`).toEqual([{ owner: 'b' }, { owner: 'a' }]);
        const tags = (await changesSince(admin, 0)).map(({ tag, keys }) => `${tag} ${keys.join()}`);
        expect(tags.slice(-7)).toEqual(['o eva', 'o eva', 'o d,d2', 'r ', 'k ', '* ', 'o d,d2']);
      } finally {
        await Promise.all([admin.end({ timeout: 5 }), writer.end({ timeout: 5 })]);
      }
    });
    test('it names every table', async () => {
      const admin = openPool({ url: (await server.database()).url, max: 1 });
      const relations = await admin<{ name: string }[]>`
        select relname as name from pg_class where relnamespace = 'grantgate'::regnamespace and (relkind = 'r' or relname = 'version')`;
      for (const { name } of relations) expect(README).toMatch(new RegExp(`^\\|.*\`${name}\``, 'm'));
      await admin.end({ timeout: 5 });
    });
  });
});
