// What could make the log lie to a follower, and does each guard hold? Each hazard is shown twice: with its guard the follower
// refuses what was revoked, and without it the hazard is real.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import { cli } from '../support/cli.ts';
import { servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { customer, entity, grant, refusal, seed, user, type Sql } from './fixture.ts';
import { CALM, follow, without } from './following.ts';

const REVOKED = `update grantgate.user_account set enabled = false where id = 'u'`;

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

  describe('session_replication_role = replica', () => {
    const asReplica = (statement: string): Promise<unknown> => sql.unsafe(`begin; set local session_replication_role = replica; ${statement}; commit`);

    test('what it changes is followed all the same', async () => {
      const following = await follow(reader);
      expect(await following.reads('u', 'd')).toBe(true);
      await asReplica(REVOKED);
      expect(await following.reads('u', 'd')).toBe(false);
      expect(following.upsets()).toEqual(CALM);
    });
    test('a trigger that is not ENABLE ALWAYS: what was revoked is allowed for ever', async () => {
      const following = await follow(reader);
      expect(await following.reads('u', 'd')).toBe(true);
      await sql`alter table grantgate.user_account enable trigger log_update`;
      await asReplica(REVOKED);
      expect(await following.reads('u', 'd')).toBe(true);
      expect((await cli(['doctor', '--repair'], { env: { DATABASE_URL: reader, OWNER_DATABASE_URL: database.url } })).code).toBe(0);
      expect(await following.reads('u', 'd')).toBe(false);
    });
  });

  describe('a sequence behind the log', () => {
    /** As after a restore of the sequence alone, or a fail-over that lost it; the log has been trimmed since, so no number clashes. */
    async function fallBehind(): Promise<void> {
      await sql`update grantgate.change set at = at - interval '2 days'`;
      await sql`select grantgate.trim()`;
      await sql`select setval('grantgate.version', 1)`;
    }

    test('no write goes through until the doctor has mended it', async () => {
      const following = await follow(reader);
      expect(await following.reads('u', 'd')).toBe(true);
      await fallBehind();
      await expect(sql.unsafe(REVOKED)).rejects.toMatchObject({ code: '55000', hint: 'grantgate doctor --repair' });
      expect(await following.reads('u', 'd')).toBe(true);
      expect((await cli(['doctor', '--repair'], { env: { DATABASE_URL: reader, OWNER_DATABASE_URL: database.url } })).code).toBe(0);
      await sql.unsafe(REVOKED);
      expect(await following.reads('u', 'd')).toBe(false);
      expect(following.upsets()).toEqual(CALM);
    });
    test('without the guard: a revocation is numbered below the cursor, and never heard of', async () => {
      await without(sql, 'seal', /if v <= .*?end if;/s);
      const following = await follow(reader);
      expect(await following.reads('u', 'd')).toBe(true);
      await fallBehind();
      await sql.unsafe(REVOKED);
      expect(await following.reads('u', 'd')).toBe(true);
      expect(following.upsets()).toEqual(CALM);
    });
  });

  describe('TRUNCATE', () => {
    test.each([
      'truncate grantgate.membership',
      'truncate grantgate.user_account, grantgate.membership, grantgate.group_permission',
      'truncate grantgate.object cascade',
      'truncate only grantgate.membership restart identity',
      'truncate grantgate.touched, grantgate.change',
      'truncate grantgate.follower',
    ])('%s is refused, by a superuser and as replica too', async (statement) => {
      for (const role of ['origin', 'replica'])
        expect(await refusal(sql, `set local session_replication_role = ${role}; ${statement}`)).toMatch(/^0A000 grantgate\.\w+ cannot be truncated$/);
    });
    test('without the guard: whoever was in a group stays in it', async () => {
      const following = await follow(reader);
      expect(await following.reads('u', 'd')).toBe(true);
      await sql`alter table grantgate.membership disable trigger refuse_truncate`;
      await sql`truncate grantgate.membership`;
      expect(await following.reads('u', 'd')).toBe(true);
      await sql`select grantgate.touch('o')`;
      expect(await following.reads('u', 'd')).toBe(false);
    });
  });

  test('more changed keys than are remembered one by one: what is forgotten counts as changed', async () => {
    const following = await follow(reader, { touched: 1_000 });
    expect(await following.reads('u', 'd')).toBe(true);
    await sql.unsafe(REVOKED);
    for (let i = 0; i < 5; i++) await sql`select grantgate.touch('o', array(select 'other-' || ${i}::text || '-' || n from generate_series(1, 500) n))`;
    expect(await following.reads('u', 'd')).toBe(false);
    expect(following.upsets()).toEqual(CALM);
  });

  describe('customers that are moved at the same time', () => {
    const seedNumber = Number(process.env['GRANTGATE_SEED'] ?? Date.now() % 1_000_000);
    const CUSTOMERS = Array.from({ length: 12 }, (_, i) => `c${i}`);
    const MOVES = 60;
    beforeEach(async () => {
      const parts = CUSTOMERS.flatMap((id, i) => [
        customer(id, i === 0 ? 't' : CUSTOMERS[Math.floor((i - 1) / 2)]!),
        user(`u-${id}`, id),
        entity(`d-${id}`, 'DEVICE', id),
        grant(`g-${id}`, [id, 'USER'], ['gen', 'GENERIC']),
      ]);
      await sql.unsafe(`begin; ${parts.join(';')}; commit`);
    });

    /** Writers that move customers at random, at two isolation levels. How many moves stood, and how many were refused. */
    async function moveAround(): Promise<{ moved: number; refused: number }> {
      let [moved, refused] = [0, 0];
      const writers = await Promise.all(
        [1, 2, 3].map(async (number) => {
          const writer = openPool({ url: database.url, max: 1 });
          await writer`set lock_timeout = '10s'`;
          const next = numbers(seedNumber * 10 + number);
          return { writer, next };
        }),
      );
      await Promise.all(
        writers.map(async ({ writer, next }) => {
          for (let i = 0; i < MOVES; i++) {
            const [one, below] = [next(CUSTOMERS.length), next(CUSTOMERS.length + 1)];
            const owner = CUSTOMERS[below] ?? 't';
            const level = next(2) === 0 ? 'read committed' : 'repeatable read';
            try {
              await writer.unsafe(`begin isolation level ${level}; update grantgate.object set owner = '${owner}' where id = '${CUSTOMERS[one]!}'; commit`);
              moved++;
            } catch {
              refused++;
              await writer`rollback`;
            }
          }
          await writer.end({ timeout: 5 });
        }),
      );
      return { moved, refused };
    }

    test('a follower that watched has the tree of the table', async () => {
      const following = await follow(reader);
      const { moved, refused } = await moveAround();
      const above = new Set(
        (
          await sql<{ user: string; device: string }[]>`
            with recursive up (id, owner) as (
              select o.id, o.id from grantgate.object o where o.id = any(${CUSTOMERS})
              union all
              select up.id, o.owner from up join grantgate.object o on o.id = up.owner where o.kind = 'customer')
            select 'u-' || up.owner as user, 'd-' || up.id as device from up where up.owner <> 't'`
        ).map((row) => `${row.user} ${row.device}`),
      );
      const allowed: string[] = [];
      for (const subject of CUSTOMERS)
        for (const thing of CUSTOMERS) if (await following.reads(`u-${subject}`, `d-${thing}`)) allowed.push(`u-${subject} d-${thing}`);
      console.log(`${kind}: GRANTGATE_SEED=${seedNumber}: ${moved} moves, ${refused} refused; ${allowed.length} of ${CUSTOMERS.length ** 2} may`);
      expect(allowed.toSorted()).toEqual([...above].toSorted());
      expect(moved).toBeGreaterThan(MOVES / 2);
      expect(following.upsets()).toEqual(CALM);
    });

    test('without the guard: a cycle is committed, and each in it is above all the others', async () => {
      const following = await follow(reader);
      expect(await following.reads('u-c5', 'd-c3')).toBe(false); // c5 hangs below c2, c3 below c1
      for (const name of ['guard_tree_insert', 'guard_tree_update']) await sql.unsafe(`drop trigger ${name} on grantgate.object`);
      const second = openPool({ url: database.url, max: 1 });
      await sql.unsafe(`begin; update grantgate.object set owner = 'c3' where id = 'c2'`);
      await second.unsafe(`begin; update grantgate.object set owner = 'c5' where id = 'c1'`);
      await sql`commit`;
      await second`commit`;
      await second.end({ timeout: 5 });
      expect(await following.reads('u-c5', 'd-c3')).toBe(true);
    });
  });
});

/** Small whole numbers below `most`, the same for the same seed. */
function numbers(seedNumber: number): (most: number) => number {
  let state = seedNumber >>> 0;
  return (most) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
}
