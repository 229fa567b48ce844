// Does the log name everything that a decision reads, in the order in which it became true, and nothing else? (coherence 3.3, 3.6)

import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import { servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';
import { customer, entity, genericRole, grant, group, member, object, refusal, seed, tenant, user, type Sql } from './fixture.ts';

type Touched = readonly [tag: string, keys: string];

/** The table of coherence 3.6: what is done, after what was there before, and what it touches. */
const CHANGES: readonly (readonly [what: string, statement: string, touched: readonly Touched[], before?: string])[] = [
  [
    'a tenant created',
    tenant('n'),
    [
      ['o', 'n'],
      ['n', 'n'],
    ],
  ],
  [
    'a tenant deleted',
    `delete from grantgate.object where id = 'n'`,
    [
      ['o', 'n'],
      ['n', 'n'],
    ],
    tenant('n'),
  ],
  [
    'a customer created',
    customer('n', 'a'),
    [
      ['o', 'n'],
      ['n', 'n'],
    ],
  ],
  [
    'a customer moved',
    `update grantgate.object set owner = 't' where id = 'b'`,
    [
      ['o', 'b'],
      ['n', 'b'],
    ],
  ],
  [
    'a customer deleted',
    `delete from grantgate.customer where id = 'n'`,
    [
      ['o', 'n'],
      ['n', 'n'],
    ],
    customer('n', 'a'),
  ],
  ['a user created', user('n', 'a'), [['o', 'n']]],
  ['a user given to another owner, and its memberships with it', `update grantgate.object set owner = 't' where id = 'u'`, [['o', 'u']]],
  ['a user disabled', `update grantgate.user_account set enabled = false where id = 'u'`, [['o', 'u']]],
  ['a user deleted, and its memberships with it', `delete from grantgate.user_account where id = 'u'`, [['o', 'u']]],
  ['an entity created', entity('n', 'DEVICE', 'a'), [['o', 'n']]],
  ['an entity given to another owner', `update grantgate.object set owner = 'b' where id = 'd'`, [['o', 'd']]],
  ['an entity deleted', `delete from grantgate.object where id = 'd'`, [['o', 'd']]],
  ['a group created', group('n', 'USER', 'a'), [['o', 'n']]],
  [
    'an entity group deleted: members and grants by cascade',
    `delete from grantgate.object where id = 'dg'`,
    [
      ['o', 'dg'],
      ['o', 'd'],
      ['o', 'g1'],
      ['g', 'ug'],
    ],
  ],
  [
    'a user group deleted: members and grants by cascade',
    `delete from grantgate.object where id = 'ug'`,
    [
      ['o', 'ug'],
      ['o', 'u'],
      ['o', 'g1,g2'],
      ['g', 'ug'],
    ],
  ],
  ['a membership added', member('d2', 'dg', { type: 'DEVICE', owner: 'a' }), [['o', 'd2']]],
  ['a membership removed', `delete from grantgate.membership where member_id = 'd'`, [['o', 'd']]],
  ['a membership changed', `update grantgate.membership set member_id = 'd2' where member_id = 'd'`, [['o', 'd,d2']]],
  [
    'a grant added',
    grant('n', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'DEVICE']),
    [
      ['o', 'n'],
      ['g', 'ug'],
    ],
  ],
  [
    'a grant to All users added',
    grant('n', ['a', 'USER'], ['gen', 'GENERIC']),
    [
      ['o', 'n'],
      ['g', 'all:USER:a'],
    ],
  ],
  [
    'a grant changed: shared',
    `update grantgate.group_permission set shared = true where id = 'g1'`,
    [
      ['g', 'ug'],
      ['o', 'g1'],
    ],
  ],
  [
    'a grant changed: its entities',
    `update grantgate.group_permission set entity_group = null where id = 'g1'`,
    [
      ['g', 'ug'],
      ['o', 'g1'],
    ],
  ],
  [
    'a grant changed: its user group',
    `update grantgate.group_permission set user_group = null where id = 'g1'`,
    [
      ['g', 'all:USER:a,ug'],
      ['o', 'g1'],
    ],
  ],
  [
    'a grant changed: a user group of another owner',
    `update grantgate.group_permission set user_owner = 't', user_group = 'tg' where id = 'g2'`,
    [
      ['g', 'tg,ug'],
      ['o', 'g2'],
      ['o', 'g2'],
    ],
  ],
  [
    'a grant removed',
    `delete from grantgate.group_permission where id = 'g1'`,
    [
      ['o', 'g1'],
      ['g', 'ug'],
    ],
  ],
  [
    'a grant removed, by its object',
    `delete from grantgate.object where id = 'g1'`,
    [
      ['o', 'g1'],
      ['g', 'ug'],
    ],
  ],
  ['a role created', genericRole('n', 'a'), [['o', 'n']]],
  ['a role edited: permissions', `update grantgate.role set permissions = '{"DEVICE": ["READ"]}' where id = 'gen'`, [['r', 'gen']]],
  ['a role edited: excluded', `update grantgate.role set excluded = '{"DEVICE": ["READ"]}' where id = 'gen'`, [['r', 'gen']]],
  [
    'a role deleted: its grants by cascade',
    `delete from grantgate.role where id = 'gen'`,
    [
      ['o', 'gen'],
      ['o', 'g2'],
      ['g', 'ug'],
    ],
  ],
  ['by hand', `select grantgate.touch('*')`, [['*', '']]],
  ['by hand, some keys', `select grantgate.touch('o', 'x', 'y')`, [['o', 'x,y']]],
  ['name, title, label', `update grantgate.object set label = 'new name'`, []],
  ['e-mail, names, last login', `update grantgate.user_account set email = 'x@y.z', first_name = 'X', last_name = 'Y', last_login = now()`, []],
  ['what is known of a customer', `update grantgate.customer set details = '{"city": "X"}'`, []],
  [
    'updates that change nothing',
    `update grantgate.object set owner = owner; update grantgate.user_account set enabled = enabled; update grantgate.membership set owner = owner;
     update grantgate.role set permissions = permissions; update grantgate.group_permission set shared = shared`,
    [],
  ],
  ['statements that meet no row', `delete from grantgate.object where id = 'nobody'; update grantgate.role set permissions = '[]' where id = 'nobody'`, []],
];

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

  const head = async (on = sql): Promise<number> => Number((await on<[{ v: string }]>`select max(version) as v from grantgate.change`)[0].v);
  /** What the versions above this one say. */
  const since = (version: number, on = sql) => on<{ version: string; tag: string; keys: string[] }[]>`
    select c.version, t.tag, t.keys from grantgate.change c join grantgate.touched t using (n) where c.version > ${version} order by c.version`;
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

    test('10,000 statements of one row in one transaction', async () => {
      const start = performance.now();
      await sql.unsafe(`begin; set local session_replication_role = replica; do $$ begin for i in 1 .. 10000 loop
        insert into grantgate.object (id, tenant, kind, type, owner) values ('single' || i, 't', 'entity', 'DEVICE', 'a'); end loop; end $$`);
      const written = performance.now();
      const from = await head(other);
      await sql.unsafe('commit');
      const committed = performance.now();
      console.log(`${kind}: 10,000 inserts ${Math.round(written - start)} ms, their commit ${Math.round(committed - written)} ms`);
      const rows = await since(from);
      expect([rows.length, new Set(rows.flatMap(({ keys }) => keys)).size]).toEqual([10_000, 10_000]);
      expect(committed - written).toBeLessThan(10_000);
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
    test('trim takes a prefix by version, nothing younger than an hour, never the newest row', async () => {
      const { url } = await server.database();
      const db = openPool({ url, max: 1 });
      const blocker = openPool({ url, max: 1 });
      await db.unsafe([tenant('t'), ...Array.from({ length: 6 }, (_, i) => entity(`e${i}`, 'DEVICE', 't'))].join(';'));
      const log = async () =>
        (
          await db<
            { version: string; keys: string[] | null }[]
          >`select c.version, t.keys from grantgate.change c left join grantgate.touched t using (n) order by 1`
        ).map(({ version }) => Number(version));
      const all = await log();
      const trim = async (keep: string, on = db): Promise<number> => Number((await on.unsafe<[{ n: string }]>(`select grantgate.trim(${keep}) n`))[0].n);
      const age = (from: number, to: number, hours: number) =>
        db`update grantgate.change set at = at - ${`${hours} hours`}::interval where version between ${all[from]!} and ${all[to]!}`;

      expect(await trim('')).toBe(0);
      await age(0, 1, 30);
      await age(3, 3, 30); // a clock that went back: older than what came before it, and stays with it
      expect(await trim('')).toBe(2);
      expect(await log()).toEqual(all.slice(2));
      await age(2, 3, 2);
      expect(await trim(`'0 seconds'`)).toBe(2); // an hour is the least
      expect(await log()).toEqual(all.slice(4));
      await age(4, all.length - 1, 100);
      await blocker`select pg_advisory_lock(hashtextextended('grantgate.trim', 0))`;
      expect(await trim('')).toBe(0); // somebody is at it
      await blocker`select pg_advisory_unlock_all()`;
      expect(await trim('')).toBe(all.length - 5);
      expect(await log()).toEqual(all.slice(-1));
      expect(await db`select count(*)::int as n from grantgate.touched`).toEqual([{ n: 1 }]);
      expect(await trim('')).toBe(0);
      // and the log goes on
      await db.unsafe(entity('after', 'DEVICE', 't'));
      expect((await log()).length).toBe(2);
      await Promise.all([db.end({ timeout: 5 }), blocker.end({ timeout: 5 })]);
    });

    test('a follower reports in a row of its own', async () => {
      const [one, two] = [
        openPool({ url: await database.urlAs('grantgate_reader'), max: 1 }),
        openPool({ url: await database.urlAs('grantgate_reader'), max: 1 }),
      ];
      await one`select grantgate.report('sidecar-1', 5, 3000)`;
      await one`select grantgate.report('sidecar-1', 7, 3000)`;
      const rows = await sql<{ id: string; cursor: string; soon: boolean }[]>`
        select id, cursor, lease_until between now() and now() + interval '4 seconds' as soon from grantgate.follower`;
      expect(rows).toEqual([{ id: 'sidecar-1', cursor: '7', soon: true }]);
      await expect(two`select grantgate.report('sidecar-1', 9, 3000)`).rejects.toMatchObject({ code: '42501' });
      await expect(one`select grantgate.report('sidecar-1', 9, ${3_600_001})`).rejects.toMatchObject({ code: '22023' });
      await sql`update grantgate.follower set lease_until = now() - interval '2 days'`;
      await two`select grantgate.report('sidecar-2', 1, 0)`;
      expect(await sql`select id from grantgate.follower`).toEqual([{ id: 'sidecar-2' }]);
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
