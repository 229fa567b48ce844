// Is what happened found on the command line, by whoever may see it: over the api listener, and straight on the database?

import type { Server } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NEWEST, openPool, openWriter, scanAudit, type AuditFilter, type Statements } from 'policy-cache/postgres';
import { apiServer, createApi } from '../../src/api/app.ts';
import { runCli } from '../../src/cli.ts';
import { listen } from '../../src/listen.ts';
import { OPERATOR, startTestAdministration, type TestAdministration } from '../support/admin.ts';
import { cli, testHost, type CliRun } from '../support/cli.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';

let server: TestServer;
let admin: TestAdministration;
let api: Server;
let sql: ReturnType<typeof openPool>;
let at: string;
let writer: string;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  const database = await server.database();
  sql = openPool({ url: database.url, max: 1 });
  writer = await database.urlAs('grantgate_writer');
  admin = await startTestAdministration(database);
  const state = { state: 'following', fresh: true, revision: null, ageMs: 0, cause: null } as const;
  api = apiServer(createApi({ readiness: () => ({ cache: state, draining: false, overloaded: false }), administration: admin.routes }));
  at = `http://${await listen(api, { host: '127.0.0.1', port: 0 }, 'api')}`;
  for (const tenant of ['acme', 'other']) {
    await made(OPERATOR, 'tenants', { id: tenant });
    await made(OPERATOR, `tenants/${tenant}/administrator`, { id: `ada-of-${tenant}` });
  }
  await made('ada-of-acme', 'customers', { id: 'tower', title: 'The Tower' });
  await made('ada-of-acme', 'customers', { id: 'mill' });
  await made('ada-of-acme', 'users', { id: 'tom', owner: 'tower', groups: ['admins:tower'] });
  await made('ada-of-acme', 'groups', { id: 'night', type: 'USER', owner: 'acme' });
  await made('ada-of-acme', 'users', { id: 'bob', owner: 'acme', email: 'bob@acme.example' });
  await done('ada-of-acme', 'PATCH /v1/users/bob', { enabled: false, firstName: 'B\u009b31mob' });
  await done('ada-of-acme', 'POST /v1/groups/night/members', { add: ['bob'] });
  await made('ada-of-acme', 'entities', { id: 'm1', type: 'DEVICE', owner: 'mill' });
  await done('ada-of-acme', 'PUT /v1/entities/m1/owner', { owner: 'tower' });
  await done('tom', 'DELETE /v1/entities/m1');
});
afterAll(async () => {
  api?.closeAllConnections();
  api?.close();
  admin?.close();
  await sql?.end();
  await server?.close();
});

async function done(by: string, request: string, body?: object): Promise<string> {
  const answer = await admin.ask(by, request, body);
  expect(answer.status, `${request}: ${JSON.stringify(answer.body)}`).toBeOneOf([200, 201]);
  return answer.headers.get('x-authz-revision') ?? '';
}
const made = (by: string, path: string, body: object): Promise<string> => done(by, `POST /v1/${path}`, body);

const envOf = (user: string): Record<string, string> => ({ GRANTGATE_CLIENT_SERVER: at, GRANTGATE_CLIENT_TOKEN: Buffer.from(user).toString('base64url') });
const audit = (user: string, ...args: readonly string[]): Promise<CliRun> => cli(['audit', ...args], { env: envOf(user) });
const direct = (...args: readonly string[]): Promise<CliRun> => cli(['audit', '--direct', ...args], { env: { ADMIN_DATABASE_URL: writer } });
/** Without the time, which begins each line. */
function linesOf({ code, stdout, stderr }: CliRun): readonly string[] {
  expect(code, stderr).toBe(0);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ {2}/, ''));
}

test('the newest first: who, what, to what, and what is different since', async () => {
  expect(linesOf(await audit('ada-of-acme', '--limit', '9'))).toEqual([
    'tom  entity.delete m1  was type=DEVICE owner=tower',
    'ada-of-acme  entity.owner m1  owner: mill → tower',
    'ada-of-acme  entity.owner m1  owner: mill → tower',
    'ada-of-acme  entity.create m1  type=DEVICE owner=mill',
    'ada-of-acme  group.members night  added=bob',
    'ada-of-acme  user.update bob  enabled: true → false; firstName: nothing → "B\\u009b31mob"',
    'ada-of-acme  user.create bob  email=bob@acme.example owner=acme enabled=true',
    'ada-of-acme  group.create night  type=USER owner=acme',
    'ada-of-acme  user.create tom  owner=tower groups=admins:tower enabled=true',
  ]);
  // Who had it before, and who it is from, is not theirs to see.
  expect(linesOf(await audit('tom'))).toEqual([
    'tom  entity.delete m1  was type=DEVICE owner=tower',
    'ada-of-acme  entity.owner m1  came: type=DEVICE owner=tower',
    'ada-of-acme  user.create tom  owner=tower groups=admins:tower enabled=true',
  ]);
  const { stdout } = await audit('tom', '--json', '--limit', '1');
  expect(JSON.parse(stdout)).toMatchObject([{ actor: 'tom', asUser: 'tom', action: 'entity.delete', target: 'm1', before: { owner: 'tower' }, after: null }]);
});

test('what somebody looks for is found', async () => {
  const found = async (...args: readonly string[]): Promise<readonly string[]> =>
    linesOf(await audit('ada-of-acme', ...args)).map((line) => line.split('  ')[1]!);
  expect(await found('--about', 'bob')).toEqual(['group.members night', 'user.update bob', 'user.create bob']);
  expect(await found('--about', 'bob', '--from', '1h')).toHaveLength(3);
  expect(await found('--about', 'bob', '--to', '1h')).toEqual([]);
  expect(await found('--actor', 'tom')).toEqual(['entity.delete m1']);
  expect(await found('--as', 'tom')).toEqual(['entity.delete m1']);
  expect(await found('--acting')).toEqual([]);
  expect(await found('--action', 'customer.create')).toEqual(['customer.create mill', 'customer.create tower']);
  expect(await found('--target', 'tom', '--from', '2026-01-01', '--to', '9999-12-31T00:00:00+01:00')).toEqual(['user.create tom']);
  const revision = await made('ada-of-acme', 'groups', { id: 'day', type: 'USER' });
  expect(await found('--revision', revision)).toEqual(['group.create day']);
  for (const [option, value] of [
    ['--from', 'yesterday'],
    ['--from', '999999999d'],
    ['--to', '2026-13-01'],
    ['--limit', '0'],
    ['--tenant', 'acme'],
  ] as const)
    expect(await audit('ada-of-acme', option, value), option).toMatchObject({ code: 2, stderr: expect.stringContaining(`${option}: `) as string });
  expect(await audit('bob')).toMatchObject({ code: 2, stderr: expect.stringContaining('disabled') as string });
  expect(await audit('tom', '--revision', 'x')).toMatchObject({ code: 2, stderr: expect.stringContaining('revision: ') as string });
});

test('straight on the database: of every tenant in one order, or of one', async () => {
  expect(linesOf(await direct('--action', 'tenant.create'))).toEqual(['operator  tenant.create other  of other', 'operator  tenant.create acme  of acme']);
  expect(linesOf(await direct('--target', 'm1', '--limit', '1'))).toEqual(['tom  entity.delete m1  of acme  was type=DEVICE owner=tower']);
  expect(linesOf(await direct('--about', 'tom', '--limit', '1'))).toEqual(['tom  entity.delete m1  of acme  was type=DEVICE owner=tower']);
  expect(linesOf(await direct('--tenant', 'other'))).toEqual([
    'operator  tenant.administrator ada-of-other  owner=other groups=admins:other enabled=true',
    'operator  tenant.create other',
  ]);
  expect(linesOf(await direct('--tenant', 'nobody'))).toEqual([]);
});

test('followed: the oldest first, then what comes, once each, until it is told to end', async () => {
  let stdout = '';
  let end: (signal: string) => void = () => undefined;
  const host = testHost({
    env: envOf('ada-of-acme'),
    stdout: { write: (text) => (stdout += String(text)) },
    stderr: { write: (text) => (stdout += text) },
    onSignal: (ended) => ((end = ended), () => undefined),
  });
  const run = runCli(['audit', '--follow', '--limit', '2', '--action', 'entity.create'], host);
  await until(() => stdout.includes('m1'), 'what was there');
  await made('ada-of-acme', 'entities', { id: 'm2', type: 'DEVICE' });
  await until(() => stdout.includes('m2'), 'what has come');
  await made('ada-of-acme', 'entities', { id: 'm3', type: 'DEVICE' });
  await until(() => stdout.includes('m3'), 'what came then');
  end('SIGINT');
  expect(await run).toBe(0);
  expect([...stdout.matchAll(/entity\.create (\w+)/g)].map(([, id]) => id)).toEqual(['m1', 'm2', 'm3']);
  expect((await audit('ada-of-acme', '--follow', '--to', '1h')).code).toBe(2);
});

describe('in a log of 60,000 rows', () => {
  const ROWS = 60_000;
  beforeAll(async () => {
    await sql`insert into grantgate.audit (at, revision, tenant, owner, actor_kind, actor, as_user, action, target, before, after, request_id)
      select '2020-01-01T00:00:00Z'::timestamptz + n * interval '1 minute', n || '-x', 'acme', 'acme', 'user', 'u' || n % 100,
        case when n in (3, 30000) then 'tom' else 'u' || n % 100 end, case when n % 10000 = 5 then 'group.members' else 'entity.update' end, 'e' || n % 1000, null,
        case when n % 10000 = 5 then (select jsonb_build_object('added', '[]'::jsonb, 'removed', jsonb_agg('member ' || md5((n + i)::text)) || '["rare"]') from generate_series(1, 20000) i) end, ''
      from generate_series(1, ${ROWS}) n`;
    await sql`analyze grantgate.audit`;
  });
  const ask = async (query: string): Promise<{ items: readonly { readonly at: string; readonly actor: string; readonly target: string }[]; next?: string }> =>
    (await admin.ask('ada-of-acme', `GET /v1/audit?${query}`)).body as never;

  test('what is rare is found, page by page, none of which reads more than its share', async () => {
    const { items, next } = await ask('acting=true');
    expect(items).toEqual([]);
    expect(next).toBeDefined();
    expect(linesOf(await audit('ada-of-acme', '--acting'))).toEqual(['u0 as tom  entity.update e0', 'u3 as tom  entity.update e3']);
  });

  test('of whatever tenant, rows are read by its index alone, not through those of others', async () => {
    const reading = openWriter({ url: writer });
    const none = { target: null, actor: null, asUser: null, acting: false, about: null, action: null, revision: null, from: null, to: null };
    const indexesOf = async (filter: Partial<AuditFilter>): Promise<readonly unknown[]> => {
      const plans: string[] = [];
      await reading.read((db) => {
        const explained: Statements['rows'] = async (text, parameters) => {
          plans.push(JSON.stringify(await db.rows(`explain (format json) ${text}`, parameters)));
          return [];
        };
        return scanAudit({ rows: explained }, { tenant: 'other', ...none, ...filter }, { after: NEWEST, since: '0', window: 500 });
      });
      return [...plans.join('').matchAll(/Index Name": ?"(\w+)"/g)].map(([, name]) => name);
    };
    for (const filter of [{}, { actor: 'tom' }, { about: 'tom' }]) expect(await indexesOf(filter), JSON.stringify(filter)).toEqual(['audit_tenant_idx']);
    for (const filter of [{ target: 'm1' }, { target: 'm1', tenant: null }])
      expect(await indexesOf(filter), JSON.stringify(filter)).toEqual(['audit_target_idx']);
    expect(await indexesOf({ tenant: null })).toEqual(['audit_pkey']);
    reading.close();
  });

  test('a member of many is found in each of the changes that name it', async () => {
    const [{ size }] = (await sql`select sum(pg_column_size(after))::int size from grantgate.audit where action = 'group.members'`) as unknown as [
      { size: number },
    ];
    expect(size, 'more than one scan looks into').toBeGreaterThan(4_000_000);
    expect(linesOf(await audit('ada-of-acme', '--about', 'rare')).map((line) => line.slice(0, 30))).toEqual(
      Array.from({ length: ROWS / 10_000 }, () => `u5  group.members e5  removed=m`.slice(0, 30)),
    );
    expect(linesOf(await audit('ada-of-acme', '--about', 'raree'))).toEqual([]);
  });

  test('what was long ago is on the first page', async () => {
    const { items, next } = await ask('to=2020-01-02T00:00:00Z&limit=2');
    expect(items.map(({ at: when, target }) => [when, target])).toEqual([
      ['2020-01-01T23:59:00.000000Z', 'e439'],
      ['2020-01-01T23:58:00.000000Z', 'e438'],
    ]);
    expect(next).toBeDefined();
    // Before the first one, and where the clock was set back meanwhile.
    expect(await ask('to=2020-01-01T00:00:30Z')).toEqual({ items: [] });
    await sql`insert into grantgate.audit (at, revision, tenant, owner, actor_kind, actor, as_user, action, target, request_id)
      select '2020-02-11T16:00:00Z'::timestamptz - interval '50 minutes' + n * interval '1 minute', 'x', 'acme', 'acme', 'user', 'u', 'u', 'back.set', 'b' || n, '' from generate_series(1, 120) n`;
    const back = await ask('action=back.set&to=2020-02-11T15:11:30Z');
    expect(back.items.map(({ target }) => target)).toEqual(['b1']);
  });
});
