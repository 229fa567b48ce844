// Does every import come to an end, and say which, when its input, its server or its person stops it?

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatImportProblem, importRows, openPool, type ImportRow, type Pool } from 'policy-cache/postgres';
import { importInputs } from '../../src/worldimport.ts';
import { textInput } from '../../src/worldstream.ts';
import { startChild } from '../support/child.ts';
import { startProxy } from '../support/frozen-link.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { requirePart } from '../support/require.ts';
import { vocabulary } from '../support/stack.ts';
import { until } from '../support/until.ts';

requirePart('embedded18');

const root = fileURLToPath(new URL('../..', import.meta.url));
const place = { file: 'x', line: null, path: 'tenants[0]' };
const tenant = (id: string): ImportRow => ({ ...place, kind: 'tenant', id });

let server: TestServer;
const pools: Pool[] = [];
const open = (url: string): Pool => {
  const pool = openPool({ url, max: 2 });
  pools.push(pool);
  return pool;
};
const fresh = async (): Promise<Pool> => open((await server.database()).url);

beforeAll(async () => void (server = await startPostgres('embedded18')));
afterAll(async () => {
  await Promise.all(pools.map((pool) => pool.end({ timeout: 5 })));
  await server?.close();
});

describe('what the server does not take', () => {
  test.each([1, 10_000])('in the last of %i rows, after all of them were sent, is heard', async (count) => {
    const sql = await fresh();
    const rows = Array.from({ length: count }, (_, i) => tenant(`t${i}`));
    const user: ImportRow = { ...place, kind: 'user', id: 'u', owner: 't0', lastLogin: '0000-01-01T00:00:00Z' };
    await expect(importRows(sql, [[...rows, user]], { vocabulary })).rejects.toThrow(/out of range/);
    await expect(importRows(sql, [rows], { vocabulary })).resolves.toMatchObject({ ok: true, created: count });
  });

  test('of types that no vocabulary has is told at its row', async () => {
    const text = `
tenants: [{ id: t }]
groups: [{ id: ug, type: USER, owner: t }, { id: g1, type: lower, owner: t }, { id: g2, type: ROLE, owner: t }]
entities: [{ id: e1, type: ${'A'.repeat(64)}, owner: t }, { id: e2, type: USER, owner: t }, { id: e3, type: OF_ITS_OWN, owner: t }]
roles: [{ id: r, owner: t, type: GROUP, permissions: [READ] }]
grants: [{ userGroup: ug, role: r, entityGroup: 'all:lower:t' }, { userGroup: ug, role: r, entityGroup: 'all:ROLE:t' }]`;
    const result = await importInputs(await fresh(), [textInput({ file: 'w.yaml', text })], { vocabulary, unknownNames: true });
    const fix = 'a type has at most 63 of A to Z, 0 to 9 and _, and begins with a letter';
    expect((result.ok ? [] : result.problems).map(formatImportProblem)).toEqual([
      `w.yaml:3: groups[1].type: "lower" is no type (${fix})`,
      'w.yaml:3: groups[2].type: "ROLE" is not a type that a group can have (choose another type)',
      `w.yaml:4: entities[0].type: "${'A'.repeat(64)}" is no type (${fix})`,
      'w.yaml:4: entities[1].type: "USER" is not a type that an entity can have (choose another type)',
      `w.yaml:6: grants[0].entityGroup: "lower" is no type (${fix})`,
      'w.yaml:6: grants[1].entityGroup: "ROLE" is not a type that a group can have (choose another type)',
    ]);
  });
});

describe('an input that says nothing more', () => {
  /** Rows, and then nothing for ever. */
  async function* silent(said: () => void): AsyncGenerator<readonly ImportRow[]> {
    yield [tenant('t')];
    said();
    await new Promise(() => undefined);
  }

  test.each([{}, { batch: 40 }])('does not hold an import that is to stop (%o)', async (options) => {
    const sql = await fresh();
    const stop = new AbortController();
    const importing = importRows(
      sql,
      silent(() => stop.abort(new Error('stopped'))),
      { vocabulary, signal: stop.signal, ...options },
    );
    await expect(importing).rejects.toThrow(/^import: stopped; nothing was imported$/);
    expect(await sql`select from grantgate.object`).toHaveLength(0);
  });

  test('nor one whose server is gone', async () => {
    const sql = await fresh();
    const [{ name }] = await sql<[{ name: string }]>`select current_database() as name`;
    let killing: Promise<unknown> | null = null;
    const kill = (): void => {
      killing = sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = ${name} and pid <> pg_backend_pid() and query like 'copy%'`;
      killing.catch(() => undefined); // awaited below
    };
    await expect(importRows(sql, silent(kill), { vocabulary })).rejects.toThrow(/nothing was imported$/);
    await killing;
  });

  test.each(['SIGINT', 'SIGTERM'] as const)(
    'nor the process, at %s',
    async (signal) => {
      await promisify(execFile)(process.execPath, [join(root, 'src/ready.mjs')]);
      const { url } = await server.database();
      const child = startChild(process.execPath, [join(root, 'dist/main.js'), 'import', '-'], { env: { ADMIN_DATABASE_URL: url }, listens: true });
      child.say('{"kind":"tenants","id":"t"}');
      const sql = open(url);
      await until(
        async () => (await sql`select from pg_stat_activity where datname = current_database() and query like 'copy%'`).length > 0,
        'an import that reads',
      );
      await child.stop(signal, 10_000);
      expect(await child.ended).toBe('exit 2');
      expect(child.stderr()).toContain(`stopped by ${signal}`);
    },
    60_000,
  );
});

test('a stop while everything is written in one transaction: it ends at once, and nothing is in', async () => {
  const sql = await fresh();
  const stop = new AbortController();
  await sql.begin(async (tx) => {
    await tx`lock table grantgate.latch in exclusive mode`;
    const importing = importRows(sql, [[tenant('t')]], { vocabulary, signal: stop.signal });
    importing.catch(() => undefined); // awaited below
    await until(
      async () => (await sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`).length > 0,
      'an import that writes',
    );
    stop.abort(new Error('stopped'));
    await expect(importing).rejects.toThrow(/^import: stopped; nothing was imported$/);
  });
  await until(
    async () =>
      (await sql`select from pg_stat_activity where datname = current_database() and query like '%set constraints%' and pid <> pg_backend_pid()`).length === 0,
    'its session ends',
  );
  expect(await sql`select from grantgate.object`).toHaveLength(0);
});

test('what a row refers to is deleted between two batches: the error says so', async () => {
  const sql = await fresh();
  let deleting: Promise<unknown> | null = null;
  const users = Array.from({ length: 400 }, (_, i) => `{ id: u${100 + i}, owner: t, groups: [g] }`);
  const text = `tenants: [{ id: t }]\ngroups: [{ id: g, type: USER, owner: t }]\nusers: [${users.join(', ')}]`;
  const importing = importInputs(sql, [textInput({ file: 'w.yaml', text })], {
    vocabulary,
    batch: 10,
    progress({ phase, rows }) {
      if (phase === 'writing' && rows > 5) deleting ??= sql`delete from grantgate.object where id = 'g'`.execute();
    },
  });
  await expect(importing).rejects.toThrow(/^import: somebody else deleted or moved what a row refers to meanwhile; \d+ rows are in/);
  await deleting;
});

test('a connection that ends with the commit leaves nobody sure, and the error says so', async () => {
  const { url } = await server.database();
  const proxy = await startProxy({
    port: Number(new URL(url).port),
    carrier: () => ({
      toServer(bytes, pass) {
        pass(bytes);
        if (bytes.includes('commit\0')) for (const connection of proxy.connections) connection.cut();
      },
      toClient: (bytes, pass) => pass(bytes),
    }),
  });
  try {
    const sql = open(proxy.through(url));
    await expect(importRows(sql, [[tenant('t')]], { vocabulary })).rejects.toThrow(
      /^database: .*its commit was under way, and may be in: run it again with --mode upsert$/,
    );
  } finally {
    await proxy.close();
  }
});
