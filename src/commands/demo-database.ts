// Which database does the demo have, and how does it come to hold the demo's world and nothing else?

import { randomBytes } from 'node:crypto';
import { InputError, type Vocabulary } from 'policy-cache';
import { migrate, openPool } from 'policy-cache/postgres';
import { importWorlds } from '../worldimport.ts';
import { migrationFiles } from './migrate.ts';

export interface DemoWorld {
  readonly file: string;
  readonly text: string;
  readonly tenant: string;
}

type Sql = ReturnType<typeof openPool>;

/**
 * Empties the database, migrates it and imports the world: every demo begins alike. A database with anything else in it is
 * left alone.
 * @returns the URL of a login that may only read, as the service is meant to have
 */
export async function prepareDatabase(
  url: string,
  { world, vocabulary, readFile }: { world: DemoWorld; vocabulary: Vocabulary; readFile: (path: string) => string },
): Promise<string> {
  return withPool(url, async (sql) => {
    await refuseOthers(sql, world.tenant);
    await sql.unsafe('drop schema if exists grantgate cascade');
    const { statements } = await migrate(sql, migrationFiles(readFile));
    if (statements.length > 0) throw new InputError('database', `the demo's login may not do what migrate needs: ${statements.join('; ')}`);
    const result = await importWorlds(sql, [world], vocabulary);
    if (!result.ok) throw new Error(`${world.file} cannot be imported: ${result.problems[0]?.message ?? 'no reason given'}`);
    return readerUrl(sql, url);
  });
}

async function refuseOthers(sql: Sql, tenant: string): Promise<void> {
  const [found] = await sql<[{ schema: boolean }]>`select to_regclass('grantgate.object') is not null as schema`;
  if (!found.schema) return;
  const others = await sql<{ id: string }[]>`select id from grantgate.object where owner is null and id <> ${tenant} limit 1`;
  if (others[0]) throw new InputError('database', `it holds the tenant ${others[0].id}, and the demo would empty it; use an empty database`);
}

/** Reads only: what the demo serves from can change nothing. */
async function readerUrl(sql: Sql, url: string): Promise<string> {
  const password = randomBytes(18).toString('base64url');
  const [known] = await sql`select 1 from pg_roles where rolname = 'grantgate_demo'`;
  await sql.unsafe(`${known ? 'alter' : 'create'} role grantgate_demo login password '${password}'`);
  await sql.unsafe('grant grantgate_reader to grantgate_demo');
  const reader = new URL(url);
  reader.username = 'grantgate_demo';
  reader.password = password;
  return reader.href;
}

/** Runs one statement as the owner. @returns what psql would say, with the revision at which it is true */
export async function runStatement(url: string, statement: string): Promise<{ command: string; count: number; rows: readonly unknown[]; revision: string }> {
  return withPool(
    url,
    (sql) =>
      sql.begin(async (tx) => {
        const result = await tx.unsafe(statement);
        await tx`set constraints all immediate`; // numbers the commit now, so that its revision can be told
        const [{ revision }] = await tx<[{ revision: string }]>`select grantgate.revision() as revision`;
        return { command: result.command ?? 'OK', count: result.count ?? 0, rows: [...result], revision };
      }) as Promise<{ command: string; count: number; rows: readonly unknown[]; revision: string }>,
  );
}

async function withPool<T>(url: string, work: (sql: Sql) => Promise<T>): Promise<T> {
  const sql = openPool({ url, max: 1 });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}
