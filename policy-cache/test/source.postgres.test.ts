// Is Postgres a source, the same as memory, and does it read by index only what it was asked for?

import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { servers, startPostgres, type TestServer } from '../../test/support/postgres.ts';
import { MemorySource } from '../src/memory.ts';
import { openPool } from '../src/postgres/pool.ts';
import { postgresSource } from '../src/postgres/source.ts';
import { parseWorldFile, type WorldFile } from '../src/worldfile.ts';
import { worlds } from './arbitraries.ts';
import { write, type Sql } from './postgres.writes.ts';
import { byText, sourceConformance, type SourceUnderTest } from './source.conformance.ts';
import { loadAll, names, seed } from './support.ts';
import type { Attachment, Source } from '../src/source.ts';

const limits = { fillMs: 5_000, pullMs: 5_000 }; // two busy cores; what the limits do is another suite's subject
const silent = { ring: () => undefined, closed: () => undefined };

async function underTest(server: TestServer): Promise<SourceUnderTest & { readonly url: string; readonly sql: Sql }> {
  const database = await server.database();
  const sql = openPool({ url: database.url, max: 1 });
  const url = await database.urlAs('grantgate_reader');
  return {
    url,
    sql,
    source: postgresSource({ url, limits }),
    commit: (...writes) =>
      sql.begin(async (transaction) => {
        await transaction`set local enable_seqscan = off`; // foreign keys are checked by plans made while tables were small
        for (const one of writes) await write(transaction, one);
        await transaction`set constraints all immediate`;
        const [row] = await transaction`select grantgate.revision() as revision`;
        const text = (row as { revision: string }).revision;
        return { version: Number(text.slice(0, text.indexOf('-'))), id: text.slice(text.indexOf('-') + 1) };
      }),
    async trim() {
      // It keeps an hour, and what was the newest before that; the log is what matters here.
      await sql`update grantgate.change set at = at - interval '2 days'`;
      await sql`select grantgate.trim(interval '1 hour')`;
    },
    async endSessions() {
      await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`;
    },
    async close() {
      await sql.end({ timeout: 5 });
      await database.drop();
    },
  };
}

/** Everything that a world's checks could read, in one order. */
async function everything(source: Source, world: WorldFile): Promise<unknown> {
  const attachment: Attachment = await source.attach(silent);
  try {
    const owners = [...world.tenants, ...world.customers].map(({ id }) => id);
    const ids = [
      ...owners,
      ...[world.groups, world.users, world.entities, world.roles].flat().map(({ id }) => id),
      ...world.grants.map(({ id }) => id),
      'nobody',
    ];
    const rows = byText((await attachment.objects(ids)).rows.map((row) => ({ ...row, groups: row.groups.toSorted() })));
    const keys = [
      ...owners.map((owner) => ({ owner, groups: [] })),
      ...rows.filter(({ kind }) => kind === 'user').map(({ owner, groups }) => ({ owner: owner!, groups })),
    ];
    const classes = (await attachment.classes(keys)).grants.map((grants) => byText(grants.map(sorted)));
    return { tree: byText((await loadAll(attachment)).tree), rows, classes };
  } finally {
    attachment.close();
  }
}

/** jsonb keeps no order of fields. */
function sorted(value: object): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, inner: unknown) =>
      inner !== null && typeof inner === 'object' && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
        : inner,
    ),
  );
}

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startPostgres(kind);
  });
  afterAll(() => server.close());

  describe('the port', () => sourceConformance(async () => underTest(server)));

  const corpus = new URL('../../test/corpus/worlds/', import.meta.url);
  const files = readdirSync(corpus).filter((name) => name.endsWith('.yaml'));
  const random = fc.sample(worlds(names), { numRuns: 5, seed }).map((world, i): [string, WorldFile] => [`random world ${i} of seed ${seed}`, world]);
  test.each([...files.map((name): [string, WorldFile] => [name, parseWorldFile(parse(readFileSync(new URL(name, corpus), 'utf8'))).world]), ...random])(
    '%s reads the same as in memory',
    async (_, world) => {
      const under = await underTest(server);
      try {
        await under.commit({ do: 'insert', world });
        expect(await everything(under.source, world)).toEqual(await everything(new MemorySource({ newId: randomUUID, world }), world));
      } finally {
        await under.close();
      }
    },
  );

  test('5,000 objects that came after the attach are read by index, and nothing but what was asked for', async () => {
    const under = await underTest(server);
    // Statements are planned while the tables are small; the statistics that would plan them anew come a minute after an import.
    await under.commit({
      do: 'insert',
      world: { ...large(20), tenants: [{ id: 'small' }], customers: [], groups: [], users: [], entities: [], roles: [], grants: [] },
    });
    await under.sql`analyze`;
    const attachment = await under.source.attach(silent);
    try {
      for (let i = 0; i < 20; i++)
        await attachment
          .objects(['nobody'])
          .then(() => attachment.classes([{ owner: 'nobody', groups: ['nobody'] }]))
          .then(() => attachment.pull({ cursor: 0, limit: 1_001, ask: [] }));
      await under.commit({ do: 'insert', world: large(5_000) });
      const scans = async () =>
        (
          await under.sql<{ name: string; scans: number; read: number }[]>`
        select relname as name, seq_scan::int as scans, idx_tup_read::int as read from (select r.relname, r.seq_scan, sum(i.idx_tup_read) as idx_tup_read
          from pg_stat_user_tables r join pg_stat_user_indexes i using (relid) group by 1, 2) x`
        ).reduce((sum, row) => ({ scans: sum.scans + row.scans, read: sum.read + row.read }), { scans: 0, read: 0 });
      await under.sql`select pg_stat_force_next_flush()`;
      const before = await scans();
      const { head } = await attachment.pull({ cursor: 0, limit: null, ask: [] });
      const users = Array.from({ length: 100 }, (_, i) => `user-${i * 12}`);
      for (let i = 0; i < 20; i++) {
        const { rows } = await attachment.objects(users);
        expect(rows).toHaveLength(100);
        const keys = rows.map(({ owner, groups }) => ({ owner: owner!, groups }));
        const { grants } = await attachment.classes(keys);
        expect(grants.every((list) => list.length > 0)).toBe(true);
        await attachment.pull({ cursor: head.version, limit: 1_001, ask: [1, head.version] });
      }
      attachment.close();
      await expect
        .poll(async () => (await under.sql`select 1 from pg_stat_activity where usename = ${new URL(under.url).username}`).length, { timeout: 20_000 })
        .toBe(0);
      const after = await scans();
      const perKey = (after.read - before.read) / (20 * 100);
      console.log(`${kind}: ${after.scans - before.scans} sequential scans, ${perKey.toFixed(1)} index tuples per user and class`);
      expect(after.scans - before.scans).toBe(0);
      expect(perKey).toBeLessThan(20);
    } finally {
      attachment.close();
      await under.close();
    }
  });
});

/** One tenant, a tenth of the objects customers, a quarter users in two groups each, a class of grants for every group. */
function large(objects: number): WorldFile {
  const customers = Array.from({ length: objects / 10 }, (_, i) => ({ id: `customer-${i}`, owner: i === 0 ? 't' : `customer-${Math.floor((i - 1) / 3)}` }));
  const owners = customers.map(({ id }) => id);
  const of = (i: number): string => owners[i % owners.length]!;
  const groups = owners.flatMap((owner) => [0, 1].map((n) => ({ id: `group-${owner}-${n}`, type: 'USER', owner })));
  const roles = Array.from({ length: 20 }, (_, i) => ({ id: `a-role-${i}`, owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }));
  return parseWorldFile({
    tenants: [{ id: 't' }],
    customers,
    groups,
    roles,
    users: Array.from({ length: objects / 4 }, (_, i) => ({ id: `user-${i}`, owner: of(i), groups: [0, 1].map((n) => `group-${of(i)}-${n}`) })),
    entities: Array.from({ length: objects / 2 }, (_, i) => ({ id: `device-${i}`, type: 'DEVICE', owner: of(i) })),
    grants: groups.map(({ id }, i) => ({ userGroup: id, role: `a-role-${i % 20}` })),
  }).world;
}
