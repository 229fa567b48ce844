// Does an import change what is there to what is given, and nothing else; and do batches of it end where one transaction ends, with no
// sidecar left behind, whatever comes between?

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatImportProblem, importRows, openPool, type ImportOptions, type ImportResult, type ImportRow } from 'policy-cache/postgres';
import { importInputs } from '../../src/worldimport.ts';
import { generateWorld } from '../../src/generate/rows.ts';
import { shapeOf } from '../../src/generate/shape.ts';
import { textInput } from '../../src/worldstream.ts';
import { servers, startPostgres, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';
import { vocabulary } from '../support/stack.ts';
import { dump } from './export.stored.ts';
import { CALM, follow } from './following.ts';
import type { Sql } from './fixture.ts';

type TransactionSql = Parameters<Parameters<Sql['begin']>[1]>[0];

const seed = Number(process.env['GRANTGATE_SEED'] ?? Date.now() & 0x7fffffff);

type Options = Omit<ImportOptions, 'vocabulary' | 'read'>;
async function load(sql: Sql, text: string, options: Options = {}): Promise<ImportResult> {
  return importInputs(sql, [textInput({ file: 'w.yaml', text })], { vocabulary, ...options });
}
const told = (result: ImportResult): readonly string[] => (result.ok ? [] : result.problems).map(formatImportProblem);
const done = (result: ImportResult): { created: number; updated: number; batches: number } => {
  if (!result.ok) throw new Error(told(result).join('\n'));
  return { created: result.created, updated: result.updated, batches: result.batches };
};
const upsert = { mode: 'upsert' } as const;

const WORLD = `
tenants: [{ id: t, name: T }, { id: z }]
customers: [{ id: a, owner: t, title: A, groups: [cg], details: { floors: 3 } }, { id: b, owner: a }, { id: c, owner: t }]
groups:
  - { id: cg, type: CUSTOMER, owner: t }
  - { id: ug, type: USER, owner: a, name: People }
  - { id: ug2, type: USER, owner: a }
  - { id: dg, type: DEVICE, owner: a }
  - { id: cd, type: DEVICE, owner: c }
users: [{ id: u, owner: a, enabled: false, groups: [ug], name: Uma, email: u@example.org, firstName: U, lastName: M, lastLogin: 2026-11-27T09:30:00.123456Z }]
entities: [{ id: d, type: DEVICE, owner: a, groups: [dg], name: Boiler }, { id: e, type: ASSET, owner: b }]
roles:
  - { id: gen, owner: t, type: GENERIC, permissions: { DEVICE: [READ] }, excluded: { DEVICE: [WRITE] } }
  - { id: grp, owner: t, type: GROUP, permissions: [READ] }
grants:
  - { id: g1, userGroup: ug, role: gen }
  - { userGroup: ug, role: grp, entityGroup: dg }
`;

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  const pools: Sql[] = [];
  const fresh = async (): Promise<Sql & { readonly address: string }> => {
    const { url } = await server.database();
    const pool = openPool({ url, max: 2 });
    pools.push(pool);
    return Object.assign(pool, { address: url });
  };
  const world = async (): Promise<Awaited<ReturnType<typeof fresh>>> => {
    const sql = await fresh();
    done(await load(sql, WORLD));
    return sql;
  };
  const touched = async (sql: Sql): Promise<readonly string[]> =>
    (await sql<{ key: string }[]>`select distinct tag || ':' || k as key from grantgate.touched, unnest(keys) k order by key`).map(({ key }) => key);

  beforeAll(async () => void (server = await startPostgres(kind)));
  afterAll(async () => {
    await Promise.all(pools.map((pool) => pool.end({ timeout: 5 })));
    await server?.close();
  });

  describe('what is given again', () => {
    test('and is the same, touches nothing', async () => {
      const sql = await world();
      const [before, log] = [await dump(sql), await sql`select * from grantgate.touched`];
      for (const options of [upsert, { ...upsert, batch: 10 }]) {
        const result = await load(sql, WORLD, options);
        expect(done(result)).toMatchObject({ created: 0, updated: 0 });
        const [{ newest }] = await sql<[{ newest: string }]>`select grantgate.revision() as newest`;
        expect(result).toMatchObject({ revision: newest });
      }
      expect(await dump(sql)).toEqual(before);
      expect(await sql`select * from grantgate.touched`).toEqual(log);
    });

    test('and leaves something out, leaves it as it is', async () => {
      const sql = await world();
      const before = await dump(sql);
      const bare = `
customers: [{ id: a, owner: t }]
users: [{ id: u, owner: a }]
entities: [{ id: d, type: DEVICE, owner: a }]
roles: [{ id: gen, owner: t, type: GENERIC, permissions: { DEVICE: [READ] } }]
grants: [{ id: g1, userGroup: ug, role: gen }, { userGroup: ug, role: grp, entityGroup: dg }]`;
      expect(done(await load(sql, bare, upsert))).toMatchObject({ created: 0, updated: 0 });
      expect(await dump(sql)).toEqual(before);
    });

    test.each<[string, string, number, readonly string[]]>([
      ['the name of a tenant', 'tenants: [{ id: t, name: New }]', 1, []],
      ['who is enabled', 'users: [{ id: u, owner: a, enabled: true }]', 1, ['o:u']],
      ['an address', 'users: [{ id: u, owner: a, email: v@example.org }]', 1, []],
      ['a group more and one less', 'users: [{ id: u, owner: a, groups: [ug2] }]', 1, ['o:u']],
      ['all groups less', 'entities: [{ id: d, type: DEVICE, owner: a, groups: [] }]', 1, ['o:d']],
      ['another owner, and a group of it', 'entities: [{ id: d, type: DEVICE, owner: c, groups: [cd] }]', 1, ['o:d']],
      ['another owner alone ends the groups', 'entities: [{ id: d, type: DEVICE, owner: c }]', 1, ['o:d']],
      ['a customer that hangs elsewhere', 'customers: [{ id: b, owner: c }]', 1, ['n:b', 'o:b']],
      ['one that leaves its group', 'customers: [{ id: a, owner: t, groups: [] }]', 1, ['o:a']],
      ['details', 'customers: [{ id: a, owner: t, details: {} }]', 1, []],
      ['what a role allows', 'roles: [{ id: gen, owner: t, type: GENERIC, permissions: { DEVICE: [READ, WRITE] } }]', 1, ['r:gen']],
      ['what it excludes', 'roles: [{ id: gen, owner: t, type: GENERIC, permissions: { DEVICE: [READ] }, excluded: {} }]', 1, ['r:gen']],
      ['a share', 'grants: [{ userGroup: ug, role: grp, entityGroup: dg, shared: true }]', 1, ['g:ug', 'o:grant:ug>grp>dg']],
      ['to whom a role is given', 'grants: [{ id: g1, userGroup: ug2, role: gen }]', 1, ['g:ug', 'g:ug2', 'o:g1']],
      ['a new one beside one that is there', 'entities: [{ id: d, type: DEVICE, owner: a }, { id: d9, type: DEVICE, owner: a, groups: [dg] }]', 0, ['o:d9']],
    ])('%s', async (_what, text, updated, keys) => {
      const sql = await world();
      await sql`delete from grantgate.touched`;
      expect(done(await load(sql, text, upsert)).updated).toBe(updated);
      expect(await touched(sql)).toEqual(keys);
      expect(done(await load(sql, text, { ...upsert, batch: 10 }))).toMatchObject({ created: 0, updated: 0 });
    });

    test('a grant that was given no id is the one of the same three, whatever its id', async () => {
      const sql = await world();
      expect(done(await load(sql, 'grants: [{ userGroup: ug, role: gen, shared: true }]', upsert))).toMatchObject({ created: 0, updated: 1 });
      expect(await sql`select id, shared from grantgate.group_permission where role = 'gen'`).toEqual([{ id: 'g1', shared: true }]);
    });

    test('defaults are added where they are missing, and what is there is left alone', async () => {
      const sql = await world();
      const text = 'defaults: true\ntenants: [{ id: t }]\n';
      expect(done(await load(sql, text, upsert))).toMatchObject({ created: 6, updated: 0 });
      await sql`update grantgate.object set label = 'Ours' where id = 'admins:t'`;
      await sql`delete from grantgate.object where id = 'role:user:t'`;
      expect(done(await load(sql, text, upsert))).toMatchObject({ created: 2, updated: 0 });
      expect(await sql`select label from grantgate.object where id = 'admins:t'`).toEqual([{ label: 'Ours' }]);
    });
  });

  describe('what cannot be', () => {
    test.each<[string, string, string]>([
      ['another kind', 'entities: [{ id: u, type: DEVICE, owner: a }]', '"u" is in the database as a user that cannot become this one'],
      ['another type', 'entities: [{ id: d, type: ASSET, owner: a }]', '"d" is in the database as an entity that cannot'],
      ['another tenant', 'entities: [{ id: d, type: DEVICE, owner: z }]', '"d" is in the database as an entity that cannot'],
      ['a tenant below another', 'customers: [{ id: z, owner: t }]', '"z" is in the database as a tenant that cannot'],
      ['another owner of a group', 'groups: [{ id: dg, type: DEVICE, owner: c }]', '"dg" is in the database as a group that cannot'],
      ['a role of the other type', 'roles: [{ id: grp, owner: t, type: GENERIC, permissions: {} }]', '"grp" is in the database as a role that cannot'],
    ])('%s, with both versions', async (_what, text, said) => {
      const sql = await world();
      const before = await dump(sql);
      for (const options of [upsert, { ...upsert, batch: 10 }]) {
        const problems = told(await load(sql, text, options));
        expect(problems).toEqual([expect.stringContaining(said)]);
        expect(problems[0]).toMatch(/\n {2}stored: \{"kind":"[a-z]+","id":.*\}\n {2}given: {2}\{"kind" ?: ?"[a-z]+".*\}$/);
      }
      expect(await dump(sql)).toEqual(before);
    });

    test('a ring through customers that are there', async () => {
      const sql = await world();
      expect(told(await load(sql, 'customers: [{ id: a, owner: b }]', upsert))).toEqual([expect.stringContaining('"a" would be above itself: a → b → a')]);
    });

    test('a grant of the same three as another that stays', async () => {
      const sql = await world();
      expect(told(await load(sql, 'grants: [{ id: g9, userGroup: ug, role: gen }]', upsert))).toEqual([
        expect.stringContaining('role "gen" is given to "ug" for the same entities in the database (g1) already'),
      ]);
    });

    test('a batch that no pull carries', async () => {
      const sql = await fresh();
      for (const batch of [9, 50_001, 12.5, Number.NaN]) await expect(load(sql, WORLD, { batch })).rejects.toThrow(/^batch: expected 10 to 50000 keys/);
    });
  });

  const generated = (sizes: { readonly customers: number; readonly users: number; readonly entities: number; readonly seed: number }): string =>
    [...generateWorld(shapeOf(sizes))].map((row) => `${JSON.stringify(row)}\n`).join('');

  test('batches end where one transaction ends, and none changes more keys than it may', async () => {
    const counted = { worlds: 0, rows: 0, batches: 0, largest: 0 };
    await fc.assert(
      fc.asyncProperty(fc.nat(0x7fffffff), fc.integer({ min: 10, max: 300 }), async (number, batch) => {
        const [whole, batched] = [await fresh(), await fresh()];
        // The second world has ids of the first, with other owners, groups and roles.
        const worlds = [0, 1].map((i) => generated({ customers: 12, users: 40, entities: 120, seed: (number + i) >>> 0 }));
        const before = await whole`select 1 from grantgate.change`;
        for (const [i, text] of worlds.entries()) {
          const mode = i === 0 ? 'create' : 'upsert';
          const file = [textInput({ file: 'w.ndjson', text })];
          const one = await importInputs(whole, file, { vocabulary, mode });
          const many = await importInputs(batched, [textInput({ file: 'w.ndjson', text })], { vocabulary, mode, batch });
          expect(many.ok).toBe(one.ok);
          if (!one.ok || !many.ok) continue; // the second one may want a device to become an asset
          expect({ created: many.created, updated: many.updated }).toEqual({ created: one.created, updated: one.updated });
          counted.batches += many.batches;
          counted.rows += many.created + many.updated;
        }
        expect(before).toHaveLength(1);
        expect(await dump(batched)).toEqual(await dump(whole));
        const commits = await batched<{ keys: number }[]>`
          select sum(t.size)::int as keys from grantgate.change c join grantgate.touched t using (n) group by c.xmin::text order by 1 desc`;
        expect(commits[0]!.keys).toBeLessThanOrEqual(batch);
        counted.largest = Math.max(counted.largest, commits[0]!.keys / batch);
        counted.worlds++;
      }),
      { seed, numRuns: 3, endOnFailure: true },
    );
    console.log(`${kind}: GRANTGATE_SEED=${seed}: ${JSON.stringify(counted)}`);
    expect(counted.largest).toBeGreaterThan(0.5);
  }, 60_000);

  test('a sidecar follows a batched import without beginning anew, and answers all the while', async () => {
    const sql = await world();
    const following = await follow(sql.address);
    expect(await following.reads('u', 'd')).toBe(false); // not enabled
    let answered = 0;
    let over = false;
    const asking = (async () => {
      for (; !over; answered++) expect(await following.reads('u', 'd')).toBe(false);
    })();
    const rows = 20_000;
    const text = Array.from({ length: rows }, (_, i) => `{"kind":"entities","id":"n${i}","type":"DEVICE","owner":"a","groups":["dg"]}\n`).join('');
    const result = await importInputs(sql, [textInput({ file: 'w.ndjson', text })], { vocabulary, batch: 5_000 });
    over = true;
    await asking;
    expect(done(result)).toMatchObject({ created: rows, batches: Math.ceil((2 * rows) / 4_996) });
    expect(following.upsets()).toEqual(CALM);
    expect(answered).toBeGreaterThan(10);
    done(await load(sql, 'users: [{ id: u, owner: a, enabled: true }]', upsert));
    expect(await following.reads('u', `n${rows - 1}`)).toBe(true);
    console.log(`${kind}: ${answered} answers during ${rows} rows in ${done(result).batches} batches, no RESET`);
  }, 60_000);

  describe('an import that is interrupted', () => {
    const text = generated({ customers: 10, users: 30, entities: 100, seed: 7 });
    const input = () => [textInput({ file: 'w.ndjson', text })];
    const rest = async (sql: Sql): Promise<void> => {
      const whole = await fresh();
      done(await importInputs(whole, input(), { vocabulary }));
      done(await importInputs(sql, input(), { vocabulary, mode: 'upsert', batch: 40 }));
      expect(await dump(sql)).toEqual(await dump(whole));
    };

    test('by its caller, between two batches', async () => {
      const sql = await fresh();
      const stop = new AbortController();
      const progress: ImportOptions['progress'] = ({ phase, rows }) => {
        if (phase === 'writing' && rows > 40) stop.abort(new Error('stopped by SIGINT'));
      };
      await expect(importInputs(sql, input(), { vocabulary, batch: 40, progress, signal: stop.signal })).rejects.toThrow(
        /^import: stopped by SIGINT; \d+ rows are in, at revision \d+-[-0-9a-f]{36}: run it again with --mode upsert to go on$/,
      );
      await rest(sql);
    });

    test.each([undefined, 40])('by its caller, at once while rows are awaited that never come (batch: %s)', async (batch) => {
      const sql = await fresh();
      const stop = new AbortController();
      const pieces = (async function* () {
        yield Buffer.from(text);
        stop.abort(new Error('stopped by SIGINT'));
        await new Promise(() => undefined);
      })();
      const stopped = importInputs(sql, [{ file: 'w.ndjson', pieces }], { vocabulary, ...(batch === undefined ? {} : { batch }), signal: stop.signal });
      await expect(stopped).rejects.toThrow(/^import: stopped by SIGINT; nothing was imported$/);
      await rest(sql);
    });

    test('by a lost connection, while it writes batches', async () => {
      const sql = await fresh();
      let ended: Promise<unknown> | null = null;
      const progress: ImportOptions['progress'] = ({ phase, rows }) => {
        if (phase === 'writing' && rows > 40) ended ??= killWaiting(sql);
      };
      const many = generated({ customers: 10, users: 30, entities: 2_000, seed: 7 });
      await expect(importInputs(sql, [textInput({ file: 'w.ndjson', text: many })], { vocabulary, batch: 20, progress })).rejects.toThrow(
        /^import: .*rows are in, at revision .*--mode upsert/,
      );
      await ended;
      expect(done(await importInputs(sql, [textInput({ file: 'w.ndjson', text: many })], { vocabulary, ...upsert })).created).toBeGreaterThan(0);
    });

    test.each([
      ['in one transaction', {}],
      ['in batches', { batch: 40 }],
    ])('by a lost connection, while it reads: nothing is in (%s)', async (_how, options) => {
      const sql = await fresh();
      const before = await dump(sql);
      async function* rows(): AsyncGenerator<readonly ImportRow[]> {
        const place = { file: 'x', line: null, path: 'tenants' };
        for (let i = 0; i < 2_000; i++) {
          yield Array.from({ length: 1_000 }, (_, j) => ({ ...place, kind: 'tenant' as const, id: `t${i}-${j}` }));
          if (i === 5) await kill(sql);
        }
      }
      await expect(importRows(sql, rows(), { vocabulary, ...options })).rejects.toThrow();
      expect(await dump(sql)).toEqual(before);
    });

    test('by somebody who writes one of its ids meanwhile', async () => {
      const sql = await fresh();
      let other: Promise<unknown> | null = null;
      const progress: ImportOptions['progress'] = ({ phase, rows }) => {
        if (phase === 'writing' && rows > 40)
          other ??= whileWaiting(
            sql,
            (tx) => tx`insert into grantgate.object (id, tenant, kind, type) values ('zz-somebody', 'zz-somebody', 'tenant', 'TENANT')`,
          );
      };
      const many = generated({ customers: 10, users: 30, entities: 2_000, seed: 7 });
      // By its id the last of the entities, which are the last but for grants.
      const last = '{"kind":"tenants","id":"zz"}\n{"kind":"entities","id":"zz-somebody","type":"DEVICE","owner":"zz"}\n';
      await expect(importInputs(sql, [textInput({ file: 'w.ndjson', text: many + last })], { vocabulary, batch: 20, progress })).rejects.toThrow(
        /^import: somebody else wrote one of the same ids meanwhile; \d+ rows are in/,
      );
      await other;
    }, 60_000);
  });
});

/** Ends the session that imports. */
async function kill(sql: Sql): Promise<void> {
  await sql`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and state <> 'idle' and pid <> pg_backend_pid() and backend_type = 'client backend'`;
}

/** The same, in the middle of a commit. */
async function killWaiting(sql: Sql): Promise<void> {
  await whileWaiting(sql, (tx) => tx`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`);
}

/** Does something while the import waits for the latch of the log: it commits a batch, and more of them come. */
async function whileWaiting(sql: Sql, work: (tx: TransactionSql) => PromiseLike<unknown>): Promise<void> {
  await sql.begin(async (tx) => {
    await tx`lock table grantgate.latch in exclusive mode`;
    const waits = async (): Promise<boolean> =>
      (await tx`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`).length > 0;
    await until(waits, 'a session that waits for the latch');
    await work(tx);
  });
}
