// Does a writer keep to its few connections, whatever becomes of them, and does nobody wait for ever?

import { openPool, openWriter, type Statements } from 'policy-cache/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';

let server: TestServer;
let database: TestDatabase;
let url: string;
let sql: ReturnType<typeof openPool>;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  database = await server.database();
  url = await database.urlAs('grantgate_writer');
  sql = openPool({ url: database.url, max: 1 });
});
afterAll(async () => {
  await sql?.end({ timeout: 5 });
  await server?.close();
});

const backends = async (): Promise<number> =>
  (await sql`select count(*)::int n from pg_stat_activity where datname = current_database() and usename = ${new URL(url).username}`)[0]!['n'] as number;
const pid = async (db: Statements): Promise<number> => (await db.rows<{ pid: number }>('select pg_backend_pid() pid'))[0]!.pid;
const code = (error: unknown): unknown => (error as { code?: unknown }).code ?? (error as Error).message;

test('connections that are lost are made again by those who wait, and are never more than there may be', async () => {
  const writer = openWriter({ url, connections: 2 });
  const used = new Set<number>();
  const work = async (i: number): Promise<unknown> =>
    writer
      .write(async (db) => {
        used.add(await pid(db));
        if (i % 5 === 0) await db.rows('select pg_terminate_backend(pg_backend_pid())');
        if (i % 5 === 1) throw new Error('not to be written');
        if (i % 5 === 2) await db.rows("select 'x'::int");
        return 'written';
      })
      .catch(code);
  const outcomes = await Promise.all(Array.from({ length: 60 }, (_, i) => work(i)));
  expect([...new Set(outcomes.filter((_, i) => i % 5 === 0))]).toEqual(['source']);
  expect([...new Set(outcomes.filter((_, i) => i % 5 === 1))]).toEqual(['not to be written']);
  expect([...new Set(outcomes.filter((_, i) => i % 5 === 2))]).toEqual(['22P02']);
  expect([...new Set(outcomes.filter((_, i) => i % 5 > 2))]).toEqual(['written']);
  // Each that was ended, and the two that are left.
  expect(used.size).toBeLessThanOrEqual(14);
  await until(async () => (await backends()) <= 2, 'two connections at the most');
  writer.close();
  await until(async () => (await backends()) === 0, 'no connection after the end');
});

test('too many who wait are refused at once, and those who wait at the end are told', async () => {
  const writer = openWriter({ url, connections: 1 });
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const first = writer.read(async (db) => [await pid(db), await held]);
  const others = Array.from({ length: 257 }, () => writer.read(pid).catch(code));
  expect(await others[256]).toBe('overload');
  writer.close();
  release();
  expect(await Promise.all(others.slice(0, 256))).toEqual(Array.from({ length: 256 }, () => 'source'));
  await first.catch(code);
  await until(async () => (await backends()) === 0, 'no connection after the end');
});

test('a read that finds nothing keeps its connection, and a statement that is given up ends in the database too', async () => {
  const writer = openWriter({ url, connections: 1, statementMs: 300 });
  const used = new Set<number>();
  for (let i = 0; i < 3; i++)
    await writer
      .read(async (db) => {
        used.add(await pid(db));
        throw new Error('there is no such thing');
      })
      .catch(code);
  expect(used.size).toBe(1);
  const sleeping = async (): Promise<number> =>
    (await sql`select count(*)::int n from pg_stat_activity where usename = ${new URL(url).username} and state = 'active' and query like '%pg_sleep(60)%'`)[0]![
      'n'
    ] as number;
  for (const way of ['read', 'write'] as const) {
    expect(await writer[way](async (db) => db.rows('select pg_sleep(60)')).catch(code)).toBe('source');
    await until(async () => (await sleeping()) === 0, 'nothing goes on in the database');
  }
  expect(await writer.write(pid)).toBeGreaterThan(0);
  writer.close();
});

test('with nobody there, everybody is told, and the place is free again', async () => {
  const gone = new URL(url);
  gone.port = '1';
  const writer = openWriter({ url: gone.href, connections: 1 });
  const outcomes = await Promise.all(Array.from({ length: 5 }, () => writer.read(pid).catch(code)));
  expect([...new Set(outcomes)]).toEqual(['source']);
  writer.close();
});
