// Does the log name everything that a decision reads, in the order in which it became true, and nothing else? (coherence 3.3, 3.6)

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import { servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';
import { ATTEMPT, CREDENTIAL, KEY, LINK, SESSION } from './refusals.ts';
import { changesSince, customer, entity, genericRole, grant, group, headOf, member, refusal, seed, tenant, user, type Sql } from './fixture.ts';

const HASH = '0'.repeat(64);
/** Of a session, and of two others. */
const [TOKEN, SECOND, THIRD] = ['2', '3', '4'].map((digit) => digit.repeat(64)) as [string, string, string];
const RENEWABLE = SESSION({ family: '5' });

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
  ['an API key made', KEY({}), [['k', HASH]]],
  ['an API key that ends earlier', `update grantgate.api_key set expires = '2090-01-01'`, [['k', HASH]], KEY({})],
  ['an API key given to another user', `update grantgate.api_key set user_id = 'u2'`, [['k', HASH]], KEY({})],
  ['an API key with another hash', `update grantgate.api_key set hash = repeat('1', 64)`, [['k', `${HASH},${'1'.repeat(64)}`]], KEY({})],
  ['an API key taken away', `delete from grantgate.api_key`, [['k', HASH]], KEY({})],
  [
    'a user deleted: its API keys by cascade',
    `delete from grantgate.object where id = 'u'`,
    [
      ['o', 'u'],
      ['k', `${HASH},${'1'.repeat(64)}`],
    ],
    `${KEY({})}; ${KEY({ hash: '1', id: 'k1' })}`,
  ],
  ['what people call an API key', `update grantgate.api_key set name = 'x', id = 'x', created_by = 'x', expires = expires`, [], KEY({})],
  ['a session begun', RENEWABLE, [['k', TOKEN]]],
  ['a session that somebody has as another', SESSION({ actor: 'u2' }), [['k', TOKEN]]],
  ['a session renewed: another token', `update grantgate.session set hash = repeat('3', 64), renewed = now()`, [['k', `${TOKEN},${SECOND}`]], RENEWABLE],
  ['a session whose token ends earlier', `update grantgate.session set expires = '2090-01-01'`, [['k', TOKEN]], RENEWABLE],
  ['a session given to somebody else', `update grantgate.session set user_id = 'u2'`, [['k', TOKEN]], RENEWABLE],
  ['a session with an actor', `update grantgate.session set actor = 'u2'`, [['k', TOKEN]], SESSION({})],
  [
    'what a session is renewed by, and when it ends',
    `update grantgate.session set refresh = repeat('7', 64), ends = '2101-01-01', renewed = now()`,
    [],
    RENEWABLE,
  ],
  ['a session ended', `delete from grantgate.session`, [['k', TOKEN]], RENEWABLE],
  [
    'a user deleted: sessions of it and by it, by cascade',
    `delete from grantgate.object where id = 'u2'`,
    [
      ['o', 'u2'],
      ['k', `${SECOND},${THIRD}`],
    ],
    `${SESSION({})}; ${SESSION({ id: 'by', hash: '3', actor: 'u2' })}; ${SESSION({ id: 'of', hash: '4', user: 'u2' })}`,
  ],
  [
    'a user disabled: sessions of it and by it end, and its link',
    `update grantgate.user_account set enabled = false where id = 'u2'`,
    [
      ['o', 'u2'],
      ['k', SECOND],
      ['k', THIRD],
    ],
    `${SESSION({})}; ${SESSION({ id: 'by', hash: '3', actor: 'u2' })}; ${SESSION({ id: 'of', hash: '4', user: 'u2' })}; ${LINK({ user: 'u2' })}`,
  ],
  [
    'two users disabled by one statement: what ends of both is one entry',
    `update grantgate.user_account set enabled = false where id in ('u', 'u2')`,
    [
      ['o', 'u,u2'],
      ['k', `${TOKEN},${SECOND},${THIRD}`],
    ],
    `${SESSION({})}; ${SESSION({ id: 'by', hash: '3', actor: 'u2' })}; ${SESSION({ id: 'of', hash: '4', user: 'u2' })}`,
  ],
  ['another e-mail: what it logs in by', `update grantgate.user_account set email = 'New@Example.com' where id = 'u'`, [], `${CREDENTIAL({})}; ${SESSION({})}`],
  ['passwords, links, attempts', `${CREDENTIAL({})}; ${LINK({})}; ${ATTEMPT()}; delete from grantgate.credential; delete from grantgate.activation`, []],
  ['by hand', `select grantgate.touch('*')`, [['*', '']]],
  ['by hand, some keys', `select grantgate.touch('o', '{x,y}')`, [['o', 'x,y']]],
  ['by hand, every key of a tag', `select grantgate.touch('g')`, [['g', '']]],
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
