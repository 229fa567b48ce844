// Does an export have everything, of one moment, so that importing it gives the same database?

import { readFileSync, readdirSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileVocabulary, compileWorld, parseWorldFile, requestOf } from 'policy-cache';
import { exportRows, formatImportProblem, openPool, type ExportReport, type ExportScope, type ImportResult, type Pool } from 'policy-cache/postgres';
import { parse } from 'yaml';
import type { Names } from '../../policy-cache/test/reference.ts';
import { exportWorld } from '../../src/commands/export.ts';
import { importInputs } from '../../src/worldimport.ts';
import { FORMATS, type Format } from '../../src/exportformat.ts';
import { textInput } from '../../src/worldstream.ts';
import { startPair } from '../support/standby.ts';
import { servers, startPostgres, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';
import { dump, grantsOf, grantsOver, oddities, remove, treeOf, withoutGrants, type Dump } from './export.stored.ts';
import { awkwardText, awkwardWorlds, changeBySql, draws } from './export.worlds.ts';
import { entity, group, member, seed as seedWorld, tenant } from './fixture.ts';

const names = parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')) as Names;
const vocabulary = compileVocabulary(names);
const corpus = new URL('../corpus/worlds/', import.meta.url);
const seed = Number(process.env['GRANTGATE_SEED'] ?? Date.now() & 0x7fffffff);
/** Databases of up to twelve worlds. */
const RUNS = 2;

interface Exported {
  readonly text: string;
  readonly report: ExportReport;
}

async function exported(sql: Pool, format: Format = 'ndjson', scope: ExportScope = {}): Promise<Exported> {
  const pieces: Buffer[] = [];
  const { report } = await exportWorld(sql, { scope, format, to: { write: async (piece) => void pieces.push(Buffer.from(piece)) } });
  return { text: Buffer.concat(pieces).toString(), report };
}

async function load(sql: Pool, file: string, text: string): Promise<ImportResult> {
  return importInputs(sql, [textInput({ file, text })], { vocabulary, unknownNames: true });
}

async function loaded(sql: Pool, file: string, text: string): Promise<void> {
  const result = await load(sql, file, text);
  if (!result.ok) throw new Error(result.problems.map(formatImportProblem).join('\n'));
}

const withoutRevision = (text: string): string => text.replace(/"revision":"[^"]+"/, '');
const sizeOf = (dumped: Dump): number => Object.values(dumped).reduce((sum, rows) => sum + rows.length, 0);

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  beforeAll(async () => void (server = await startPostgres(kind)));
  afterAll(async () => server?.close());

  /** Runs in new databases, which go with it. */
  async function inDatabases<T>(count: number, work: (...pools: Pool[]) => Promise<T>): Promise<T> {
    const databases = await Promise.all(Array.from({ length: count }, () => server.database()));
    const pools = databases.map(({ url }) => openPool({ url, max: 1 }));
    try {
      return await work(...pools);
    } finally {
      await Promise.all(pools.map((pool) => pool.end({ timeout: 5 })));
      await Promise.all(databases.map((database) => database.drop()));
    }
  }

  test('a random world, exported in each format and imported, is the same database, and its export the same bytes', async () => {
    const counted = { worlds: 0, rows: 0, dormant: 0, shared: 0, all: 0, predefined: 0 };
    await fc.assert(
      fc.asyncProperty(awkwardWorlds(names), (sample) =>
        inDatabases(1 + FORMATS.length, async (first, ...others) => {
          await loaded(first, 'first.ndjson', awkwardText(sample));
          await changeBySql(first, sample.salt);
          const before = await dump(first);
          await Promise.all(
            FORMATS.map(async (format, i) => {
              const { text } = await exported(first, format);
              await loaded(others[i]!, `world.${format}`, text);
              expect(await dump(others[i]!)).toEqual(before);
              expect(withoutRevision((await exported(others[i]!, format)).text)).toBe(withoutRevision(text));
            }),
          );
          counted.worlds += sample.worlds.length;
          counted.rows += sizeOf(before);
          const odd = await oddities(first);
          for (const oddity of ['dormant', 'shared', 'all', 'predefined'] as const) counted[oddity] += odd[oddity];
        }),
      ),
      { seed, numRuns: RUNS, endOnFailure: true },
    );
    console.log(`${kind}: GRANTGATE_SEED=${seed}: ${FORMATS.join(', ')}: ${JSON.stringify(counted)}`);
    expect(Math.min(...Object.values(counted))).toBeGreaterThan(0);
  });

  test('a tenant’s part takes about as long as everything before the first ANALYZE, too', async () => {
    await inDatabases(1, async (sql) => {
      const rows = Array.from({ length: 5_000 }, (_, i) => `{"kind":"entities","id":"e${i}","type":"DEVICE","owner":"t","groups":["g"]}\n`);
      await loaded(sql, 'w.ndjson', `{"kind":"tenants","id":"t"}\n{"kind":"groups","id":"g","type":"DEVICE","owner":"t"}\n${rows.join('')}`);
      const took = async (scope: ExportScope): Promise<number> => {
        const begun = performance.now();
        expect((await exported(sql, 'ndjson', scope)).report.counts.entities).toBe(5_000);
        return performance.now() - begun;
      };
      const [whole, part] = [await took({}), await took({ tenant: 't' })];
      console.log(`${kind}: 5,000 entities before ANALYZE: everything ${whole.toFixed(0)} ms, as a tenant ${part.toFixed(0)} ms`);
      expect(part / whole).toBeLessThan(10);
    });
  });

  test('what hangs below an owner, deleted and imported from its export, is there again, less the grants of others over it', async () => {
    const counted = { tenants: 0, customers: 0, rows: 0, outside: 0, grantsLeftOut: 0 };
    await fc.assert(
      fc.asyncProperty(awkwardWorlds(names), (sample) =>
        inDatabases(1, async (sql) => {
          await loaded(sql, 'first.ndjson', awkwardText(sample));
          await changeBySql(sql, sample.salt);
          const draw = draws(sample.salt);
          const owners = await treeOf(sql);
          const ids = [...owners.keys()];
          const stored = await grantsOf(sql);
          const shared = ids.filter((id) => grantsOver(owners, stored, id).length > 0);
          for (const id of [...shared.slice(0, 1), ids.find((one) => owners.get(one) === null)!, ...Array.from({ length: 2 }, () => ids[draw(ids.length)]!)]) {
            const is = owners.get(id) === null ? 'tenant' : 'customer';
            const others = grantsOver(owners, await grantsOf(sql), id);
            const before = withoutGrants(await dump(sql), others);
            const { text, report } = await exported(sql, FORMATS[draw(3)], { [is]: id });
            expect(report.grantsLeftOut).toBe(others.length);
            await remove(sql, id);
            expect(await sql`select from grantgate.object where id = ${id}`).toHaveLength(0);
            await loaded(sql, 'again', text);
            expect(await dump(sql)).toEqual(before);
            counted[`${is}s`]++;
            counted.rows += Object.values(report.counts).reduce((sum, count) => sum + count, 0);
            counted.outside += report.outside.count;
            counted.grantsLeftOut += others.length;
          }
        }),
      ),
      { seed, numRuns: RUNS, endOnFailure: true },
    );
    console.log(`${kind}: GRANTGATE_SEED=${seed}: parts: ${JSON.stringify(counted)}`);
    expect(Math.min(...Object.values(counted))).toBeGreaterThan(0);
  });

  test('the rows are of the revision that is told, whatever is committed while they are read', async () => {
    const database = await server.database();
    const pools = Array.from({ length: 2 }, () => openPool({ url: database.url, max: 1 }));
    const [sql, writer] = pools as [Pool, Pool];
    await sql.unsafe(tenant('t'));
    /** By revision, how many commits there had been. */
    const truth = new Map<string, number>();
    const commit = (n: number): Promise<void> =>
      writer.begin(async (tx) => {
        await tx.unsafe(`${group(`g${n}`, 'DEVICE', 't')}; ${entity(`e${n}`, 'DEVICE', 't')}; ${member(`e${n}`, `g${n}`, { type: 'DEVICE', owner: 't' })}`);
        await tx`delete from grantgate.object where id in ${tx([`e${n - 3}`, `g${n - 3}`])}`;
        await tx`update grantgate.object set label = ${String(n)} where id = 't'`;
        await tx`set constraints all immediate`;
        const [{ revision }] = await tx<[{ revision: string }]>`select grantgate.revision() as revision`;
        truth.set(revision, n);
      });
    let n = 0;
    const some = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) await commit(++n);
    };
    await some();
    try {
      for (let turn = 0; turn < 5; turn++) {
        const rows: Record<string, { id: string; name?: string; groups?: string[] }[]> = {};
        const { revision } = await exportRows(sql, {
          begin: some, // the revision is known, and nothing is read yet
          async rows(list, lines) {
            (rows[list] ??= []).push(
              ...Buffer.from(lines)
                .toString()
                .trimEnd()
                .split('\n')
                .map((line) => JSON.parse(line) as { id: string }),
            );
            await some();
          },
        });
        const at = truth.get(revision)!;
        expect(at).toBeLessThan(n - 3);
        const last = [at - 2, at - 1, at].toSorted((a, b) => (`${a}` < `${b}` ? -1 : 1));
        expect(rows).toEqual({
          tenants: [{ id: 't', name: String(at) }],
          groups: last.map((i) => ({ id: `g${i}`, type: 'DEVICE', owner: 't' })),
          entities: last.map((i) => ({ id: `e${i}`, type: 'DEVICE', owner: 't', groups: [`g${i}`] })),
        });
      }
    } finally {
      await Promise.all(pools.map((pool) => pool.end({ timeout: 5 })));
    }
    console.log(`${kind}: 5 exports with ${n} commits beside them, each of its revision`);
  });

  test('a login that may not read the users is refused before anything is written, and one that may write is enough', async () => {
    const database = await server.database();
    const [reader, writer] = await Promise.all(
      ['grantgate_reader', 'grantgate_writer'].map(async (role) => openPool({ url: await database.urlAs(role), max: 1 })),
    );
    const pieces: unknown[] = [];
    const to = { write: async (piece: unknown) => void pieces.push(piece) };
    await expect(exportWorld(reader!, { scope: {}, format: 'ndjson', to })).rejects.toThrow(
      /^database: this login may not read everything.*grantgate_writer, as ADMIN_DATABASE_URL$/,
    );
    expect(pieces).toEqual([]);
    expect((await exportWorld(writer!, { scope: {}, format: 'ndjson', to })).report.counts.users).toBe(0);
    await Promise.all([reader!.end(), writer!.end()]);
  });

  test('what is no owner of the kind that is asked for is refused, and named', async () => {
    await inDatabases(1, async (sql) => {
      await seedWorld(sql);
      const refused = (scope: ExportScope): Promise<unknown> => exported(sql, 'ndjson', scope).catch((error: Error) => error.message);
      expect(await refused({ tenant: 'nobody' })).toBe('tenant: there is nothing with the id "nobody"');
      expect(await refused({ tenant: 'a' })).toBe('tenant: "a" is a customer, not a tenant: name it as customer');
      expect(await refused({ customer: 't' })).toBe('customer: "t" is a tenant, not a customer: name it as tenant');
      expect(await refused({ customer: 'd' })).toBe('customer: "d" is an entity, not a customer');
      expect(await refused({ tenant: 't', customer: 'a' })).toBe('customer: is of one tenant anyway: say a tenant or a customer');
    });
  });

  test('a writer that fails ends it, and the connection is good for the next', async () => {
    await inDatabases(1, async (sql) => {
      await seedWorld(sql);
      const failing = { write: async () => Promise.reject(new Error('the disk is full')) };
      await expect(exportWorld(sql, { scope: {}, format: 'json', to: failing })).rejects.toThrow('the disk is full');
      await expect(exportRows(sql, { begin: async () => undefined, rows: () => Promise.reject(new Error('the reader has gone')) })).rejects.toThrow(
        'the reader has gone',
      );
      expect((await exported(sql)).report.counts.entities).toBe(2);
    });
  });

  test('rows that are slowly written: the last ones, and the end behind them, have come before they are asked for', async () => {
    await inDatabases(1, async (sql) => {
      const customers = Array.from({ length: 45 }, (_, i) => `{"kind":"customers","id":"c${i}","owner":"t"}`);
      await loaded(sql, 'w.ndjson', ['{"kind":"tenants","id":"t"}', ...customers].join('\n'));
      const [{ name }] = await sql<[{ name: string }]>`select current_database() as name`;
      const watching = openPool({ url: server.url, max: 1 });
      const hasAll = async (): Promise<boolean> => {
        const [row] = await watching`select from pg_stat_activity where datname = ${name} and state = 'idle in transaction' and query like '%customer%'`;
        return row !== undefined;
      };
      try {
        let asked = 0;
        const lines: string[] = [];
        const rows = async (list: string, piece: Uint8Array): Promise<void> => {
          if (list !== 'customers') return;
          // The batch behind this one is the last: its rows, and that there are no more, are here before anybody wants them.
          if (++asked === 2) await until(hasAll, 'the end of the customers');
          lines.push(...Buffer.from(piece).toString().trimEnd().split('\n'));
        };
        await exportRows(sql, { begin: async () => undefined, rows });
        expect([asked, lines.length]).toEqual([3, 45]);
      } finally {
        await watching.end({ timeout: 5 });
      }
    });
  });

  test('an export without its end is imported by none of its rows', async () => {
    await inDatabases(1, async (sql) => {
      await seedWorld(sql);
      for (const format of ['ndjson', 'yaml'] as const) {
        const { text } = await exported(sql, format);
        const lines = text.split('\n');
        const result = await load(sql, `half.${format}`, `${lines.slice(0, -2).join('\n')}\n`);
        expect(result.ok).toBe(false);
        expect(!result.ok && result.problems.map(formatImportProblem)).toEqual([expect.stringMatching(/the export is cut off: its end is missing/)]);
      }
      const { text } = await exported(sql);
      const twice = await load(sql, 'both.ndjson', text.replace(/\{"kind":"end".*\n/, '') + text);
      expect(!twice.ok && twice.problems.map(formatImportProblem)).toEqual([expect.stringMatching(/^both\.ndjson:\d+: the export is cut off/)]);
    });
  });

  test.each(readdirSync(corpus))('%s decides the same when it comes back', async (file) => {
    const text = readFileSync(new URL(file, corpus), 'utf8');
    const { world } = parseWorldFile(parse(text));
    await inDatabases(1, async (sql) => {
      await loaded(sql, file, text);
      const back = await exported(sql, 'yaml');
      const read = parseWorldFile(parse(back.text));
      expect(read.problems).toEqual([]);
      const [given, returned] = [compileWorld(vocabulary, world), compileWorld(vocabulary, read.world)];
      for (const check of world.checks) expect(returned.decide(requestOf(vocabulary, check))).toBe(given.decide(requestOf(vocabulary, check)));
      expect(world.checks.length).toBeGreaterThan(0);
    });
  });
});

test('a standby gives the same bytes', async () => {
  const pair = await startPair('embedded18');
  try {
    await seedWorld(pair.old);
    await pair.streamed();
    expect((await exported(pair.next)).text).toBe((await exported(pair.old)).text);
  } finally {
    await pair.close();
  }
});
