// Can two transactions that each see half of a cycle both commit it? (semantics 1: never a cycle, at most 1,000 deep)

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import { servers, startPostgres, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';
import { customer, tenant, type Sql } from './fixture.ts';

// Customers x and y, each with one below it: x goes below y1 and y below x1. (With x below y and y below x the foreign keys
// alone would meet: a changed owner is a changed key of a row that the other transaction's check has locked.)
const WORLD = [tenant('t'), customer('x', 't'), customer('y', 't'), customer('x1', 'x'), customer('y1', 'y')];
const move = (id: string, below: string): string => `update grantgate.object set owner = '${below}' where id = '${id}'`;
const RESET = `update grantgate.object set owner = 't' where id in ('x', 'y')`;

const LEVELS = ['read committed', 'repeatable read', 'serializable'] as const;
const ORDERS = [
  ['x', 'y'],
  ['y', 'x'],
] as const;

/**
 * The control: the same walk behind a lock that one transaction at a time holds. Under REPEATABLE READ the second one gets the
 * lock after the first commit, and walks through its old snapshot.
 */
const ADVISORY_GUARD = `
create or replace function grantgate.guard_tree() returns trigger language plpgsql as $$
begin
  perform pg_advisory_xact_lock(4711);
  if exists (
    with recursive up (id, owner) as (
      select a.id, a.owner from after_change a where a.kind = 'customer'
      union
      select up.id, o.owner from up join grantgate.object o on o.id = up.owner)
    select from up where up.id = up.owner) then
    raise exception 'a cycle' using errcode = '23514', constraint = 'object_no_cycle';
  end if;
  return null;
end $$`;

const CYCLES = `
with recursive up (id, owner) as (
  select o.id, o.owner from grantgate.object o where o.kind = 'customer'
  union
  select up.id, o.owner from up join grantgate.object o on o.id = up.owner)
select count(*)::int as n from up where id = owner`;

/** `null`, or the constraint or code that refused it. */
async function outcome(work: PromiseLike<unknown>): Promise<string | null> {
  try {
    await work;
    return null;
  } catch (error) {
    const { constraint_name: constraint, code } = error as { constraint_name?: string; code?: string };
    return constraint ?? code ?? String(error);
  }
}

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  beforeAll(async () => void (server = await startPostgres(kind)));
  afterAll(() => server.close());

  interface Parties {
    readonly first: Sql;
    readonly second: Sql;
    readonly watcher: Sql;
  }
  async function parties(): Promise<Parties> {
    const { url } = await server.database();
    const [first, second, watcher] = [openPool({ url, max: 1 }), openPool({ url, max: 1 }), openPool({ url, max: 1 })];
    // A guard that does not hold must fail its test, not hang the ones after it.
    for (const sql of [first, second]) await sql`set lock_timeout = '5s'`;
    return { first, second, watcher };
  }
  const end = ({ first, second, watcher }: Parties) => Promise.all([first, second, watcher].map((sql) => sql.end({ timeout: 5 })));

  /** Both look, the first writes, the second writes (and waits, if it must), the first commits, the second commits. */
  async function race({ first, second, watcher }: Parties, level: string, writes: readonly [string, string]): Promise<readonly [string | null, string | null]> {
    const [[{ pid }]] = [await second<[{ pid: number }]>`select pg_backend_pid() as pid`];
    for (const sql of [first, second]) await sql.unsafe(`begin isolation level ${level}; select count(*) from grantgate.object`);
    const one = await outcome(first.unsafe(writes[0]));
    const two = outcome(second.unsafe(writes[1]));
    let over = false;
    void two.then(() => (over = true)); // never rejects
    await until(
      async () => over || (await watcher`select 1 from pg_stat_activity where pid = ${pid} and wait_event_type = 'Lock'`).length > 0,
      'the second waits',
    );
    const committed = one ?? (await outcome(first.unsafe('commit')));
    const refused = await two;
    const last = refused ?? (await outcome(second.unsafe('commit')));
    for (const sql of [first, second]) await sql.unsafe('rollback');
    return [committed, last];
  }

  describe('the guard', () => {
    let both: Parties;
    beforeAll(async () => {
      both = await parties();
      await both.first.unsafe(`begin; ${WORLD.join(';')}; commit`);
    });
    afterAll(() => end(both));
    beforeEach(async () => {
      for (const sql of [both.first, both.second]) await sql.unsafe('rollback');
      await both.first.unsafe(RESET);
    });

    test.each(LEVELS.flatMap((level) => ORDERS.map((order) => [level, ...order] as const)))('%s: %s first, then %s: one of the two', async (level, a, b) => {
      const [one, two] = await race(both, level, [move(a, `${b}1`), move(b, `${a}1`)]);
      expect(one).toBe(null);
      expect(two).toBe(level === 'read committed' ? 'object_no_cycle' : '40001');
      const [row] = await both.watcher.unsafe<[{ n: number }]>(CYCLES);
      expect(row.n).toBe(0);
    });

    test.each(LEVELS)('%s: a second that looked before, and writes after the first has committed', async (level) => {
      await both.second.unsafe(`begin isolation level ${level}; select count(*) from grantgate.object`);
      await both.first.unsafe(move('x', 'y1'));
      expect(await outcome(both.second.unsafe(move('y', 'x1')))).toBe(level === 'read committed' ? 'object_no_cycle' : '40001');
      await both.second.unsafe('rollback');
    });

    test.each(LEVELS)('%s: the first moves that a tenant ever sees', async (level) => {
      await both.first.unsafe('delete from grantgate.tenant_tree');
      const [one, two] = await race(both, level, [move('x', 'y1'), move('y', 'x1')]);
      expect([one, two]).toEqual([null, level === 'read committed' ? 'object_no_cycle' : '40001']);
    });

    test('moves of two tenants do not wait for each other, and a move in a savepoint that was given up does not count', async () => {
      await both.watcher.unsafe(`begin; ${[tenant('o'), customer('ox', 'o', 'o'), customer('oy', 'o', 'o')].join(';')}; commit`);
      await both.first.unsafe(`begin; ${move('x', 'y1')}`);
      await both.second.unsafe(`begin; set local lock_timeout = '2s'; update grantgate.object set owner = 'oy' where id = 'ox'; commit`);
      await both.first.unsafe('rollback');
      await both.first.unsafe(`begin; savepoint s; ${move('x', 'y1')}; rollback to s`);
      await both.second.unsafe(`begin; set local lock_timeout = '2s'; ${move('y', 'x1')}; commit`);
      expect(await outcome(both.first.unsafe(move('x', 'y1')))).toBe('object_no_cycle');
      await both.first.unsafe('rollback');
    });

    test.each(LEVELS)('%s: two moves that are too deep only together', async (level) => {
      const chain = (name: string, length: number) => `
        insert into grantgate.object (id, tenant, kind, type, owner)
          select '${name}' || i, 't', 'customer', 'CUSTOMER', case i when 1 then 't' else '${name}' || i - 1 end from generate_series(1, ${length}) i;
        insert into grantgate.customer (id, tenant) select '${name}' || i, 't' from generate_series(1, ${length}) i`;
      await both.first.unsafe(`begin; ${['p', 'q', 'r'].map((name) => chain(name, 334)).join(';')}; commit`);
      // 334 below 334 is fine; three times 334 is 1,002
      const [one, two] = await race(both, level, [
        `update grantgate.object set owner = 'p334' where id = 'q1'`,
        `update grantgate.object set owner = 'q334' where id = 'r1'`,
      ]);
      await both.first.unsafe(`begin; delete from grantgate.object where id ~ '^[pqr][0-9]'; commit`);
      expect([one, two]).toEqual([null, level === 'read committed' ? 'object_depth' : '40001']);
    });

    test('the counter is not in the change log', async () => {
      const before = await both.first`select count(*)::int as n from grantgate.touched`;
      await both.first`update grantgate.tenant_tree set moves = moves + 1`;
      expect(await both.first`select count(*)::int as n from grantgate.touched`).toEqual(before);
    });
  });

  describe('the control, an advisory lock', () => {
    let both: Parties;
    beforeAll(async () => {
      both = await parties();
      await both.first.unsafe(`begin; ${[ADVISORY_GUARD, ...WORLD].join(';')}; commit`);
    });
    afterAll(() => end(both));

    test('holds under READ COMMITTED', async () => {
      const [one, two] = await race(both, 'read committed', [move('x', 'y1'), move('y', 'x1')]);
      expect([one, two]).toEqual([null, 'object_no_cycle']);
      await both.first.unsafe(RESET);
    });

    test.each(ORDERS)('commits a cycle under REPEATABLE READ: %s first, then %s', async (a, b) => {
      const [one, two] = await race(both, 'repeatable read', [move(a, `${b}1`), move(b, `${a}1`)]);
      expect([one, two]).toEqual([null, null]);
      const [row] = await both.watcher.unsafe<[{ n: number }]>(CYCLES);
      expect(row.n).toBe(4);
      await both.first.unsafe(RESET);
    });
  });
});
