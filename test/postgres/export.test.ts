// Does an export have everything, of one moment, so that importing it gives the same database?

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileVocabulary } from 'policy-cache';
import { formatImportProblem, openPool, type ExportReport, type ExportScope, type ImportResult } from 'policy-cache/postgres';
import { parse } from 'yaml';
import type { Names } from '../../policy-cache/test/reference.ts';
import { exportWorld } from '../../src/commands/export.ts';
import { importInputs } from '../../src/commands/import.ts';
import { FORMATS, type Format } from '../../src/exportformat.ts';
import { textInput } from '../../src/worldstream.ts';
import { servers, startPostgres, type TestServer } from '../support/postgres.ts';
import { awkwardText, awkwardWorlds, changeBySql, draws, dump, type Dump } from './export.worlds.ts';
import type { Sql } from './fixture.ts';

const names = parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')) as Names;
const vocabulary = compileVocabulary(names);
const seed = Number(process.env['GRANTGATE_SEED'] ?? Date.now() & 0x7fffffff);
const WORLDS = 15;

interface Exported {
  readonly text: string;
  readonly report: ExportReport;
}

async function exported(sql: Sql, format: Format = 'ndjson', scope: ExportScope = {}): Promise<Exported> {
  const pieces: Buffer[] = [];
  const { report } = await exportWorld(sql, { scope, format, to: { write: async (piece) => void pieces.push(Buffer.from(piece)) } });
  return { text: Buffer.concat(pieces).toString(), report };
}

async function load(sql: Sql, file: string, text: string): Promise<ImportResult> {
  return importInputs(sql, [textInput({ file, text })], { vocabulary, unknownNames: true });
}

async function loaded(sql: Sql, file: string, text: string): Promise<void> {
  const result = await load(sql, file, text);
  if (!result.ok) throw new Error(result.problems.map(formatImportProblem).join('\n'));
}

const withoutRevision = (text: string): string => text.replace(/"revision":"[^"]+"/, '');
/** Everything that has an owner at or below this one, and itself. */
async function remove(sql: Sql, root: string): Promise<void> {
  const inside = await insideOf(sql, root);
  await sql`delete from grantgate.object where id = ${root} or owner in ${sql(inside)}`;
}

async function insideOf(sql: Sql, root: string): Promise<readonly string[]> {
  const tree = await treeOf(sql);
  return [...tree.keys()].filter((id) => chainOf(tree, id).includes(root));
}

type Tree = ReadonlyMap<string, string | null>;
async function treeOf(sql: Sql): Promise<Tree> {
  const rows = await sql<{ id: string; owner: string | null }[]>`select id, owner from grantgate.object where kind in ('tenant', 'customer')`;
  return new Map(rows.map(({ id, owner }) => [id, owner]));
}
function chainOf(tree: Tree, id: string): readonly string[] {
  const above = tree.get(id) ?? null;
  return above === null ? [id] : [id, ...chainOf(tree, above)];
}

interface GrantRow {
  readonly id: string;
  readonly user_owner: string;
  readonly user_group: string | null;
  readonly role_owner: string;
  readonly entity_owner: string | null;
  readonly entity_group: string | null;
  readonly shared: boolean;
}
async function grantsOf(sql: Sql): Promise<readonly GrantRow[]> {
  return sql<GrantRow[]>`select p.*, o.owner role_owner from grantgate.group_permission p join grantgate.object o on o.id = p.role`;
}

/** Grants of groups outside that go when what hangs below the owner goes. */
async function grantsOver(sql: Sql, root: string): Promise<readonly string[]> {
  const inside = await insideOf(sql, root);
  const touches = ({ role_owner, entity_owner }: GrantRow): boolean => inside.includes(role_owner) || (entity_owner !== null && inside.includes(entity_owner));
  return (await grantsOf(sql)).filter((grant) => !inside.includes(grant.user_owner) && touches(grant)).map(({ id }) => id);
}

function withoutGrants(dumped: Dump, ids: readonly string[]): Dump {
  const kept = (rows: readonly string[]): readonly string[] => rows.filter((row) => !ids.includes((JSON.parse(row) as { id: string }).id));
  return { ...dumped, object: kept(dumped.object), group_permission: kept(dumped.group_permission) };
}

/** Is what the random worlds are to have in them? */
async function oddities(sql: Sql): Promise<Readonly<Record<'dormant' | 'shared' | 'all' | 'predefined', number>>> {
  const tree = await treeOf(sql);
  const grants = await grantsOf(sql);
  const [{ predefined }] = await sql<[{ predefined: number }]>`select count(*)::int predefined from grantgate.object where id ~ '^(admins|users|role):'`;
  return {
    dormant: grants.filter((grant) => !grant.shared && grant.entity_owner !== null && !chainOf(tree, grant.entity_owner).includes(grant.user_owner)).length,
    shared: grants.filter(({ shared }) => shared).length,
    all: grants.filter((grant) => grant.user_group === null || (grant.entity_owner !== null && grant.entity_group === null)).length,
    predefined,
  };
}

const sizeOf = (dumped: Dump): number => Object.values(dumped).reduce((sum, rows) => sum + rows.length, 0);

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  beforeAll(async () => void (server = await startPostgres(kind)));
  afterAll(async () => server?.close());

  /** Runs in new databases, which go with it. */
  async function inDatabases<T>(count: number, work: (...pools: Sql[]) => Promise<T>): Promise<T> {
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
          await loaded(first!, 'first.ndjson', awkwardText(sample));
          await changeBySql(first!, sample.salt);
          const before = await dump(first!);
          await Promise.all(
            FORMATS.map(async (format, i) => {
              const { text } = await exported(first!, format);
              await loaded(others[i]!, `world.${format}`, text);
              expect(await dump(others[i]!)).toEqual(before);
              expect(withoutRevision((await exported(others[i]!, format)).text)).toBe(withoutRevision(text));
            }),
          );
          counted.worlds++;
          counted.rows += sizeOf(before);
          const odd = await oddities(first!);
          for (const of of ['dormant', 'shared', 'all', 'predefined'] as const) counted[of] += odd[of];
        }),
      ),
      { seed, numRuns: WORLDS },
    );
    console.log(`${kind}: GRANTGATE_SEED=${seed}: ${FORMATS.join(', ')}: ${JSON.stringify(counted)}`);
    expect(Math.min(...Object.values(counted))).toBeGreaterThan(0);
  });

  test('what hangs below an owner, deleted and imported from its export, is there again, less the grants of others over it', async () => {
    const counted = { tenants: 0, customers: 0, rows: 0, outside: 0, grantsLeftOut: 0 };
    await fc.assert(
      fc.asyncProperty(awkwardWorlds(names), (sample) =>
        inDatabases(1, async (sql) => {
          await loaded(sql!, 'first.ndjson', awkwardText(sample));
          await changeBySql(sql!, sample.salt);
          const owners = await sql!<{ id: string; kind: 'tenant' | 'customer' }[]>`
            select id, kind from grantgate.object where kind in ('tenant', 'customer') order by id`;
          const draw = draws(sample.salt);
          for (const { id, kind: is } of Array.from({ length: 3 }, () => owners[draw(owners.length)]!)) {
            const others = await grantsOver(sql!, id);
            const before = withoutGrants(await dump(sql!), others);
            const { text, report } = await exported(sql!, FORMATS[draw(3)], { [is]: id });
            expect(report.grantsLeftOut).toBe(others.length);
            await remove(sql!, id);
            expect(await sql!`select from grantgate.object where id = ${id}`).toHaveLength(0);
            await loaded(sql!, 'again', text);
            expect(await dump(sql!)).toEqual(before);
            counted[`${is}s`]++;
            counted.rows += Object.values(report.counts).reduce((sum, count) => sum + count, 0);
            counted.outside += report.outside.count;
            counted.grantsLeftOut += others.length;
          }
        }),
      ),
      { seed, numRuns: WORLDS },
    );
    console.log(`${kind}: GRANTGATE_SEED=${seed}: parts: ${JSON.stringify(counted)}`);
    expect(Math.min(...Object.values(counted))).toBeGreaterThan(0);
  });
});
