// Is a world that comes by a request what the command loads, whole or not at all, whoever sends it and however it ends?

import { readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { openPool } from 'policy-cache/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { IMPORT_BOUNDS } from '../../src/api/admin/imports.ts';
import { apiServer, createApi } from '../../src/api/app.ts';
import { listen } from '../../src/listen.ts';
import { worldImporter } from '../../src/worldimport.ts';
import { OPERATOR, startTestAdministration, type TestAdministration } from '../support/admin.ts';
import { cli, type CliOptions, type CliRun } from '../support/cli.ts';
import { vocabulary } from '../support/doors.ts';
import { startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { connectRaw, type RawAnswer, type RawConnection } from '../support/raw.ts';
import { until } from '../support/until.ts';

const BYTES = 2_000_000;
/** Longer than a test takes. */
const IDLE_MS = 30_000;

interface Served {
  readonly database: TestDatabase;
  readonly sql: ReturnType<typeof openPool>;
  readonly admin: TestAdministration;
  readonly port: number;
  close(): Promise<void>;
}

let server: TestServer;
let served: Served;
let sql: ReturnType<typeof openPool>;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  served = await serve();
  ({ sql } = served);
});
afterAll(async () => {
  await served?.close();
  await server?.close();
});

/** The api listener, as it is served. */
async function serve({
  idle = IDLE_MS,
  bodyMs,
  now = () => 0,
}: { readonly idle?: number; readonly bodyMs?: number; readonly now?: () => number } = {}): Promise<Served> {
  const database = await server.database();
  const pool = openPool({ url: database.url, max: 1 });
  const importWorld = worldImporter({ url: await database.urlAs('grantgate_writer') }, vocabulary);
  const admin = await startTestAdministration(database, { importWorld, importBounds: { ...IMPORT_BOUNDS, bytes: BYTES, idle }, clock: { now } });
  const state = { state: 'following', fresh: true, revision: null, ageMs: 0, cause: null } as const;
  const app = createApi({ readiness: () => ({ cache: state, draining: false, overloaded: false }), administration: admin.routes });
  const api: Server = apiServer(app, bodyMs);
  const port = Number((await listen(api, { host: '127.0.0.1', port: 0 }, 'api')).split(':')[1]);
  return {
    database,
    sql: pool,
    admin,
    port,
    async close() {
      admin.close();
      await pool.end();
      api.closeAllConnections();
      await new Promise((resolve) => void api.close(resolve));
    },
  };
}

const over = (args: readonly string[], { port, token = OPERATOR, ...more }: CliOptions & { readonly port: number; readonly token?: string }): Promise<CliRun> =>
  cli(['import', ...args, '--server', `http://127.0.0.1:${port}`], { env: { GRANTGATE_CLIENT_TOKEN: token }, ...more });

async function exported(database: TestDatabase): Promise<readonly string[]> {
  const { stdout } = await cli(['export'], { env: { ADMIN_DATABASE_URL: await database.urlAs('grantgate_writer') } });
  return stdout.split('\n').filter((line) => !line.startsWith('{"kind":"export"'));
}
const stored = async (): Promise<number> => (await sql<{ n: number }[]>`select count(*)::int n from grantgate.object`)[0]!.n;
const audited = async (): Promise<number> => (await sql<{ n: number }[]>`select count(*)::int n from grantgate.audit`)[0]!.n;

test("what comes over the api is what the command loads: YAML, lines, several files, one's defaults not the other's", async () => {
  const generated = (await cli(['generate', '--tenants', '2', '--customers', '20', '--users', '30', '--entities', '50', '--seed', '7', '--quiet'])).stdout;
  const files = {
    'corpus.yaml': readFileSync(new URL('../corpus/worlds/owner-only-and-shares.yaml', import.meta.url), 'utf8'),
    'a.ndjson': `\ufeff${generated.trimEnd()}`,
    'b.ndjson': '{"kind":"customers","id":"bare","owner":"tenant-000000","title":"Ünïcode ☂"}\r\n',
    'c.json': JSON.stringify({ defaults: true, customers: [{ id: 'furnished', owner: 'bare' }] }),
  };
  const named = Object.keys(files);
  const straight = await server.database();
  expect(await cli(['import', ...named], { files, env: { ADMIN_DATABASE_URL: await straight.urlAs('grantgate_writer') } })).toMatchObject({ code: 0 });
  const sent = await over(named, { port: served.port, files });
  expect(sent, sent.stderr).toMatchObject({ code: 0, stdout: expect.stringMatching(/^imported 3 tenants, .*; revision \d+-/) as string });
  expect(await exported(served.database)).toEqual(await exported(straight));
  const ids = (await exported(served.database)).join('\n');
  expect([ids.includes('"admins:bare"'), ids.includes('"admins:furnished"')]).toEqual([false, true]);

  const rows = await sql<{ tenant: string; revision: string; after: { mode: string; rows: Record<string, number> } }[]>`
    select tenant, revision, after from grantgate.audit where action = 'import' and actor_kind = 'operator' and target = tenant and owner = tenant order by tenant`;
  expect(rows.map(({ tenant }) => tenant)).toEqual([expect.any(String), 'tenant-000000', 'tenant-000001']);
  expect(new Set(rows.map(({ revision }) => revision)).size).toBe(1);
  expect(sent.stdout).toContain(rows[0]!.revision);
  expect(rows[1]!.after).toMatchObject({ mode: 'create', rows: { tenant: 1, customer: expect.any(Number) as number, user: expect.any(Number) as number } });

  // Again: nothing is new, as upsert has it; in batches, each with its rows of the audit log.
  expect(await over(['--mode', 'upsert', '--batch', '--batch-keys', '100', ...named], { port: served.port, files })).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/0 new, 0 changed.* in [2-9] batches; revision/) as string,
  });
  expect(await exported(served.database)).toEqual(await exported(straight));
});

test('it is answered when this process has applied it', async () => {
  const line = (kind: string, row: object): string => `${JSON.stringify({ kind, ...row })}\n`;
  const body = `{"kind":"defaults"}\n${line('tenants', { id: 'fresh' })}${line('users', { id: 'zoe', owner: 'fresh', groups: ['admins:fresh'] })}`;
  const answer = await served.admin.ask(OPERATOR, 'POST /v1/import', body, { 'content-type': 'application/x-ndjson', 'x-request-id': 'r-1' });
  expect(answer).toMatchObject({ status: 200, body: { created: 8, updated: 0, batches: 1, warnings: [], counts: { tenants: 1, users: 1 } } });
  expect(answer.headers.get('x-authz-revision')).toBe((answer.body as { revision: string }).revision);
  expect(await served.admin.ask('zoe', 'GET /v1/users/zoe')).toMatchObject({ status: 200 });
  // And its administrator sees who did it.
  expect(await served.admin.ask('zoe', 'GET /v1/audit?action=import')).toMatchObject({
    body: {
      items: [{ actorKind: 'operator', actor: '', target: 'fresh', requestId: 'r-1', after: { rows: { tenant: 1, user: 1, group: 2, role: 2, grant: 2 } } }],
    },
  });
});

test('what is wrong is told with file, line and field, a hundred of it, without what is stored, and nothing is imported', async () => {
  const before = [await stored(), await audited()];
  const files = {
    'a.ndjson': '{"kind":"tenants","id":"wrong"}\n{"kind":"tenants","id":"fresh"}\n',
    'b.yaml': 'users:\n  - id: u\n    owner: nobody\n',
    'many.ndjson': Array.from({ length: 150 }, (_, i) => `{"kind":"users","id":"many-${i}","owner":"nobody"}`).join('\n'),
    'shape.yaml': 'users:\n  - { id: x }\n',
    'broken.ndjson': '{"kind":"tenants","id":"t"}\n{"kind":\n',
    'long.ndjson': `{"kind":"tenants","id":"t"}\n{"kind":"customers","id":"c","owner":"t","details":{"x":"${'x'.repeat(1_100_000)}"}}\n`,
    'cut.ndjson': '{"kind":"export","revision":"1-x"}\n{"kind":"tenants","id":"t"}\n',
  };
  const sent = await over(['a.ndjson', 'b.yaml', 'many.ndjson'], { port: served.port, files });
  expect(sent.code).toBe(2);
  expect(sent.stderr).toMatch(/^a\.ndjson:2: tenants\[1\]\.id: "fresh" is in the database already/);
  expect(sent.stderr).toMatch(/^b\.yaml:3: users\[0\]\.owner: there is no tenant or customer "nobody"/m);
  expect(sent.stderr).toMatch(/^many\.ndjson:1: users\[0\]\.owner: /m);
  expect(sent.stderr).toMatch(/… and 52 more\nnothing was imported: 152 problems\n$/);
  expect(sent.stderr).not.toContain('stored:');
  for (const [file, words] of [
    ['shape.yaml', /^shape\.yaml:2: users\[0\]\.owner/],
    ['broken.ndjson', /^broken\.ndjson:2: /],
    ['cut.ndjson', /^cut\.ndjson:\d: .*cut off/],
    ['long.ndjson', /^long\.ndjson:2: a line is longer than 1 MB/],
    ['none.ndjson', /^none\.ndjson: cannot be read/],
  ] as const)
    expect(await over([file], { port: served.port, files }), file).toMatchObject({ code: 2, stderr: expect.stringMatching(words) as string });
  const answer = await served.admin.ask(OPERATOR, 'POST /v1/import', files['a.ndjson'], { 'content-type': 'application/x-ndjson' });
  expect(answer).toMatchObject({
    status: 422,
    body: { code: 'violation', omitted: 0, problems: [{ file: 'body.ndjson', line: 2, path: 'tenants[1]', field: 'id' }] },
  });
  expect(Object.keys((answer.body as { problems: readonly [object] }).problems[0])).toEqual(['file', 'line', 'path', 'field', 'message', 'fix']);
  expect([await stored(), await audited()]).toEqual(before);
});

test('who is not the operator may not, and what is no world is refused', async () => {
  const lines = { 'content-type': 'application/x-ndjson' };
  const world = '{"kind":"tenants","id":"mine"}\n';
  expect(await served.admin.ask('zoe', 'POST /v1/import', world, lines)).toMatchObject({ status: 403, body: { reason: 'operator-only', rule: '1.6' } });
  expect((await served.admin.ask('nobody', 'POST /v1/import', world, lines)).status).toBe(401);
  expect((await served.admin.ask(OPERATOR, 'POST /v1/import', world)).status).toBe(415);
  for (const query of ['mode=replace', 'batch=5', 'batch=x', 'unknownNames=1', 'prune=true'])
    expect((await served.admin.ask(OPERATOR, `POST /v1/import?${query}`, world, lines)).status, query).toBe(400);
  const zoe = Buffer.from('zoe').toString('base64url');
  expect(await over(['w.ndjson'], { port: served.port, token: zoe, files: { 'w.ndjson': world } })).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('operator-only, rule 1.6') as string,
  });
  expect(await cli(['import', '--token-file', 'x', 'w.ndjson'], { files: { x: 'y', 'w.ndjson': world } })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--token-file') as string,
  });
  // Ten times what any buffer on the way holds: it is answered all the same, and not read.
  const large = { 'large.ndjson': `{"kind":"entities","id":"${'x'.repeat(900)}"}\n`.repeat(12_000) };
  expect(await over(['large.ndjson'], { port: served.port, files: large })).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('at most (too-large)') as string,
  });
  expect(await over(['large.ndjson'], { port: served.port, token: zoe, files: large })).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('operator-only') as string,
  });
});

/** A part of an import. */
async function half(at: Served): Promise<RawConnection> {
  const connection = await connectRaw({ port: at.port, host: '127.0.0.1' });
  connection.send(
    `POST /v1/import HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${OPERATOR}\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n`,
  );
  connection.send(chunk('{"kind":"tenants","id":"half"}\n'));
  return connection;
}
/** That has its turn. */
async function begun(at = served): Promise<RawConnection> {
  const connection = await half(at);
  await until(async () => (await locks(at)) === 1, 'the import has its turn');
  return connection;
}
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
async function locks(at = served): Promise<number> {
  const rows = await at.sql<{ n: number }[]>`select count(*)::int n from pg_locks
    where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())`;
  return rows[0]!.n;
}

test('whoever goes away in the middle has imported nothing, and the next one may', async () => {
  const before = [await stored(), await audited()];
  const connection = await begun();
  connection.destroy();
  await until(async () => (await locks()) === 0, 'the import is over');
  expect([await stored(), await audited()]).toEqual(before);
});

test('also while it waits for somebody in the database, for as long as that takes', async () => {
  const before = [await stored(), await audited()];
  const holder = openPool({ url: served.database.url, max: 1 });
  await holder.begin(async (held) => {
    await held`lock table grantgate.object in exclusive mode`;
    const connection = await begun();
    connection.send('0\r\n\r\n');
    await until(async () => {
      const rows = await sql<{ n: number }[]>`select count(*)::int n from pg_locks where not granted and relation = 'grantgate.object'::regclass`;
      return rows[0]!.n === 1;
    }, 'the import waits');
    connection.destroy();
    await until(async () => (await locks()) === 0, 'the import is over');
  });
  await holder.end();
  expect([await stored(), await audited()]).toEqual(before);
});

test('one at a time: a second one is told so; the first ends as it would have', async () => {
  const connection = await begun();
  const files = { 'w.ndjson': '{"kind":"tenants","id":"second"}\n' };
  expect(await over(['w.ndjson'], { port: served.port, files })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('another import is under way') as string,
  });
  connection.send(`${chunk('{"kind":"customers","id":"half-c","owner":"half"}\n')}0\r\n\r\n`);
  expect(await connection.answer()).toMatchObject({ status: 200 });
  connection.destroy();
  expect(await served.admin.ask(OPERATOR, 'GET /v1/tenants/half')).toMatchObject({ status: 200 });
  expect(await served.admin.ask(OPERATOR, 'GET /v1/tenants/second')).toMatchObject({ status: 404 });
});

test('whoever sends nothing more is not waited for', async () => {
  const other = await serve({ idle: 300 });
  const connection = await half(other);
  expect(await connection.answer()).toMatchObject({ status: 503, body: expect.stringContaining('nothing came for 300 ms') as string });
  connection.destroy();
  await until(async () => (await locks(other)) === 0, 'the import is over');
  expect(await other.admin.ask(OPERATOR, 'GET /v1/tenants/half')).toMatchObject({ status: 404 });
  await other.close();
});

test('whoever sends a little now and then is not waited for, and the next one may; a slow line is', async () => {
  let now = 0;
  const other = await serve({ now: () => now });
  const connection = await begun(other);
  let answer: RawAnswer | null = null;
  void connection.answer(20_000).then((given) => (answer = given));
  await until(() => {
    now += 20_000;
    connection.send(chunk('\n'));
    return answer !== null;
  }, 'it is told so');
  expect(answer).toMatchObject({ status: 408, body: expect.stringContaining('less than 4096 bytes a second') as string });
  connection.destroy();
  await until(async () => (await locks(other)) === 0, 'the import is over');
  expect(await other.admin.ask(OPERATOR, 'GET /v1/tenants/half')).toMatchObject({ status: 404 });

  // 8 KiB a second, for a quarter of an hour; then the same a tenth as fast, however fast it was before.
  const sent = async (rates: readonly number[]): Promise<number> => {
    let count = 0;
    const pieces = rates.values();
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          const { value: rate } = pieces.next();
          if (rate === undefined) return controller.close();
          now += 15_000;
          const row = Buffer.from(`{"kind":"tenants","id":"t-${rates.length}-${count++}"}\n`);
          controller.enqueue(Buffer.concat([row, Buffer.alloc(15 * rate - row.length, '\n')]));
        },
      },
      { highWaterMark: 0 },
    );
    const headers = { authorization: `Bearer ${OPERATOR}`, 'content-type': 'application/x-ndjson' };
    return (await other.admin.routes.request('/v1/import', { method: 'POST', headers, body, duplex: 'half' })).status;
  };
  const slow = Array.from({ length: 15 }, () => 8192);
  expect(await sent(slow)).toBe(200);
  expect(await sent([...slow, 819, 819, 819, 819, 819, 819, 819, 819])).toBe(408);
  await other.close();
});

test('a service that stops has imported nothing', async () => {
  const other = await serve();
  const connection = await begun(other);
  other.admin.close();
  expect((await connection.answer()).status).toBe(503);
  connection.destroy();
  await until(async () => (await locks(other)) === 0, 'the import is over');
  expect(await other.sql`select count(*)::int n from grantgate.object`).toEqual([{ n: 0 }]);
  await other.close();
});

test('a body that comes slowly is ended; that of an import, which comes as it comes, is not, once it is let in', async () => {
  const other = await serve({ bodyMs: 200 });
  const slow = async (path: string, token: string): Promise<RawConnection> => {
    const connection = await connectRaw({ port: other.port, host: '127.0.0.1' });
    connection.send(
      `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    connection.send(chunk('{'));
    return connection;
  };
  const first = await begun(other);
  const late = await slow('/v1/tenants', OPERATOR);
  expect(await late.closed()).toMatch(/^HTTP\/1\.1 408 /);
  // Nobody is let in by a path.
  const stranger = await slow('/v1/import', 'nobody');
  expect((await stranger.answer()).status).toBe(401);
  await stranger.closed();
  first.send('0\r\n\r\n');
  expect((await first.answer()).status).toBe(200);
  for (const connection of [first, late, stranger]) connection.destroy();
  await other.close();
});
