// Does an API key, or a session as another user, come and go by the administration, to whom it may, and is it refused at every door from the answer on that says it is gone?

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import { OPERATOR, startTestAdministration, type AdminAnswer, type TestAdministration } from '../support/admin.ts';
import { startClient, type Client } from '../support/ask.ts';
import { ALLOWED, NOBODY, checkRequest, verdictOf } from '../support/check-requests.ts';
import { cli } from '../support/cli.ts';
import { startGrpcClient, type GrpcClient } from '../support/grpc.ts';
import { startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { startSidecar, tokenFor, type ServedSidecar } from '../support/sidecar.ts';

let server: TestServer;
interface Body {
  readonly id: string;
  readonly key: string;
  readonly created: string;
  readonly expires: string;
  readonly items: readonly { readonly id: string }[];
  readonly field?: string;
  readonly reason?: string;
  readonly code?: string;
  readonly rule?: string;
}
const bodyOf = ({ body }: AdminAnswer): Body => body as Body;

beforeAll(async () => {
  server = await startPostgres('embedded18');
});
afterAll(() => server.close());

describe('the calls', () => {
  let database: TestDatabase;
  let admin: TestAdministration;
  let sql: ReturnType<typeof openPool>;
  beforeAll(async () => {
    database = await server.database();
    admin = await startTestAdministration(database);
    sql = openPool({ url: database.url, max: 1 });
    await admin.ask(OPERATOR, 'POST /v1/tenants', { id: 'acme' });
    await admin.ask(OPERATOR, 'POST /v1/tenants/acme/administrator', { id: 'ada' });
    await admin.ask('ada', 'POST /v1/customers', { id: 'tower' });
    await admin.ask('ada', 'POST /v1/users', { id: 'hana', owner: 'tower', groups: ['admins:tower'] });
    await admin.ask('ada', 'POST /v1/users', { id: 'ben', owner: 'tower', groups: ['users:tower'] });
  });
  afterAll(async () => {
    await sql?.end({ timeout: 5 });
    admin?.close();
  });

  test('made, told once, listed without the key, and taken away; each with its revision and its audit row', async () => {
    const made = await admin.ask('hana', 'POST /v1/users/ben/keys', { name: 'the gateway', lifetime: 3_600 });
    expect(made).toMatchObject({ status: 201, body: { name: 'the gateway', createdBy: 'hana', key: expect.stringMatching(/^gg_[\w-]{43}$/) as unknown } });
    expect(made.headers.get('x-authz-revision')).toMatch(/^\d+-/);
    expect(made.headers.get('cache-control')).toBe('no-store');
    const { key, ...shown } = bodyOf(made);
    expect(Date.parse(shown.expires) - Date.parse(shown.created)).toBeCloseTo(3_600_000, -3);
    expect(await admin.ask('hana', 'GET /v1/users/ben/keys')).toMatchObject({ status: 200, body: { items: [shown] } });
    const gone = await admin.ask('hana', `DELETE /v1/users/ben/keys/${shown.id}`);
    expect(gone).toMatchObject({ status: 200, body: { removed: 1 } });
    expect(gone.headers.get('x-authz-revision')).toMatch(/^\d+-/);
    expect(await admin.ask('hana', 'GET /v1/users/ben/keys')).toMatchObject({ body: { items: [] } });
    expect(await admin.ask('hana', `DELETE /v1/users/ben/keys/${shown.id}`)).toMatchObject({ status: 404 });

    const audit = await sql`select action, actor, target, owner, before, after, revision from grantgate.audit where action like 'user.key.%' order by id`;
    expect(audit).toMatchObject([
      { action: 'user.key.create', actor: 'hana', target: 'ben', owner: 'tower', before: null, after: { key: shown } },
      { action: 'user.key.delete', actor: 'hana', target: 'ben', before: { key: shown }, after: null, revision: gone.headers.get('x-authz-revision') },
    ]);
    const everything = JSON.stringify([await sql`select * from grantgate.audit`, await sql`select * from grantgate.touched`, made.headers]);
    expect(everything).not.toContain(key);
    expect(everything).not.toContain(key.slice(3));
  });

  test('when it ends: 90 days, so many seconds, or a time to come', async () => {
    const ends = async (body: object) => {
      const answer = await admin.ask('ada', 'POST /v1/users/ben/keys', body);
      const { created, expires, field } = bodyOf(answer);
      return answer.status === 201 ? Math.round((Date.parse(expires) - Date.parse(created)) / 1_000) : `${answer.status} ${field}`;
    };
    expect(await ends({})).toBe(90 * 86_400);
    expect(await ends({ lifetime: 60 })).toBe(60);
    const soon = new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 7_200_000);
    expect(await ends({ expires: soon.toISOString() })).toBeGreaterThan(7_190);
    expect(await ends({ expires: soon.toISOString().replace('Z', '+03:00') })).toBe('422 expires');
    expect(await ends({ expires: '2020-01-01T00:00:00Z' })).toBe('422 expires');
    for (const expires of ['tomorrow', '2100-01-01', 'infinity', 5]) expect(await ends({ expires })).toBe('400 expires');
    for (const lifetime of [0, -1, 1.5, 1e12, '60']) expect(await ends({ lifetime })).toBe('400 lifetime');
    expect(await ends({ lifetime: 60, expires: soon.toISOString() })).toBe('400 lifetime');
    expect(await ends({ hash: 'mine' })).toBe('400 hash');
  });

  test('to whom it may: WRITE on the user, and nobody is taken over who has more', async () => {
    const of = async (by: string, user: string) => {
      const answer = await admin.ask(by, `POST /v1/users/${user}/keys`, {});
      const { reason, code, rule = '' } = bodyOf(answer);
      return answer.status === 201 ? 201 : `${answer.status} ${reason ?? code} ${rule}`.trim();
    };
    expect(await of('ada', 'ada')).toBe(201);
    expect(await of('ada', 'hana')).toBe(201);
    expect(await of('hana', 'hana')).toBe(201);
    expect(await of('ben', 'hana')).toMatch(/^403 no-grant/);
    expect(await of('ben', 'ben')).toMatch(/^403 no-grant/);
    expect(await of('hana', 'ada')).toMatch(/^403/);
    expect(await of(OPERATOR, 'ada')).toMatch(/^40[34]/);
    expect(await of('ada', 'nobody')).toBe('404 not-found');
    expect(await of('ada', 'tower')).toBe('404 not-found');
    // Who may WRITE it and has less than it: covers.
    const editor = { id: 'editor', owner: 'tower', type: 'GENERIC', permissions: { USER: ['READ', 'WRITE'] } };
    expect(await admin.ask('ada', 'POST /v1/roles', editor)).toMatchObject({ status: 201 });
    await admin.ask('ada', 'POST /v1/groups', { id: 'desk', type: 'USER', owner: 'tower' });
    await admin.ask('ada', 'POST /v1/grants', { userGroup: 'desk', role: 'editor' });
    await admin.ask('ada', 'POST /v1/users', { id: 'dina', owner: 'tower', groups: ['desk'] });
    await admin.ask('ada', 'POST /v1/users', { id: 'eli', owner: 'tower' });
    expect(await of('dina', 'eli')).toBe(201);
    expect(await of('dina', 'hana')).toBe('403 not-covered 5');
    const { id } = bodyOf(await admin.ask('ada', 'GET /v1/users/hana/keys')).items[0]!;
    expect(await admin.ask('dina', `DELETE /v1/users/hana/keys/${id}`)).toMatchObject({ status: 403, body: { reason: 'not-covered' } });
    expect(await admin.ask('ben', 'GET /v1/users/hana/keys')).toMatchObject({ status: 403 });
    // A key is found below its own user alone.
    expect(await admin.ask('ada', `DELETE /v1/users/eli/keys/${id}`)).toMatchObject({ status: 404 });
  });

  test('a hundred of one user, and no more', async () => {
    await admin.ask('ada', 'POST /v1/users', { id: 'many', owner: 'tower' });
    await sql`insert into grantgate.api_key (hash, id, tenant, user_id, expires, created_by)
      select encode(sha256(i::text::bytea), 'hex'), 'many-' || i, 'acme', 'many', now() + interval '1 day', '' from generate_series(1, 100) i`;
    expect(await admin.ask('ada', 'POST /v1/users/many/keys', {})).toMatchObject({ status: 422, body: { rule: '5' } });
    expect(bodyOf(await admin.ask('ada', 'GET /v1/users/many/keys')).items).toHaveLength(100);
    await admin.ask('ada', 'DELETE /v1/users/many/keys/many-1');
    expect(await admin.ask('ada', 'POST /v1/users/many/keys', {})).toMatchObject({ status: 201 });
  });
});

describe('with the service', () => {
  const DEVICE = '/api/device/m1';
  let writing: ServedSidecar;
  let other: ServedSidecar;
  const clients: { close(): void }[] = [];
  const doors = new Map<ServedSidecar, { readonly http: Client; readonly grpc: GrpcClient }>();
  let api: Client;
  beforeAll(async () => {
    const database = await server.database();
    const databaseUrl = await database.urlAs('grantgate_reader');
    const set = { 'identity.apiKeys': 'true', 'identity.local.enabled': 'true', 'doors.deadline': '2s', 'doors.atLeast': 'true' };
    const env = { ADMIN_DATABASE_URL: await database.urlAs('grantgate_writer'), GRANTGATE_OPERATOR_SECRETS: OPERATOR };
    [writing, other] = await Promise.all([startSidecar({ databaseUrl, set, env }), startSidecar({ databaseUrl, set })]);
    for (const sidecar of [writing, other]) {
      const pair = { http: startClient(sidecar.doors), grpc: startGrpcClient(`unix:${sidecar.grpcSocket}`) };
      doors.set(sidecar, pair);
      clients.push(pair.http, pair.grpc);
    }
    clients.push((api = startClient(writing.api)));
    await change(OPERATOR, 'POST /v1/tenants', { id: 'acme' });
    await change(OPERATOR, 'POST /v1/tenants/acme/administrator', { id: 'ada' });
    await change('ada', 'POST /v1/entities', { id: 'm1', type: 'DEVICE' });
    await change('ada', 'POST /v1/users', { id: 'ben', groups: ['users:acme'] });
  }, 60_000);
  afterAll(async () => {
    for (const client of clients) client.close();
    await Promise.all([writing?.stop(), other?.stop()]);
  });

  async function change(by: string, request: string, body?: unknown) {
    const [method = '', path = ''] = request.split(' ');
    const token = by === OPERATOR ? OPERATOR : await tokenFor(by);
    const sent = body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
    const answer = await api.ask({ method, path, token, ...sent });
    expect(answer.status, `${request}: ${answer.body}`).toBeOneOf([200, 201]);
    return { ...(JSON.parse(answer.body) as { id: string; key: string }), revision: String(answer.headers['x-authz-revision']) };
  }
  async function asked(sidecar: ServedSidecar, key: string): Promise<readonly [http: number, grpc: string]> {
    const { http, grpc } = doors.get(sidecar)!;
    const headers = { 'x-original-method': 'GET', 'x-original-uri': DEVICE };
    const scheme = key.startsWith('gg_') ? 'ApiKey' : 'Bearer';
    const answer = await http.ask({ path: '/auth/nginx', headers: { ...headers, authorization: `${scheme} ${key}` } });
    const { answer: told, error } = await grpc.check(checkRequest({ path: DEVICE, headers: { authorization: `Bearer ${key}` } }));
    if (answer.status === 200) expect(answer.headers['x-auth-user']).toBe('ben');
    return [answer.status, told === null ? `gRPC ${error}` : verdictOf(told)];
  }

  test('ten keys, each good at once, and refused at the next request where the revision of its end is shown', async () => {
    for (let i = 0; i < 10; i++) {
      const { id, key, revision } = await change('ada', 'POST /v1/users/ben/keys', {});
      expect(await asked(writing, key), 'at the sidecar that wrote it, at once').toEqual([200, ALLOWED]);
      await other.reached(revision);
      expect(await asked(other, key)).toEqual([200, ALLOWED]);
      const gone = await change('ada', `DELETE /v1/users/ben/keys/${id}`);
      expect(await asked(writing, key), 'at the sidecar that wrote it, at once').toEqual([401, NOBODY]);
      await other.reached(gone.revision);
      expect(await asked(other, key), 'at another').toEqual([401, NOBODY]);
    }
  }, 60_000);

  test('a user who is deleted takes its keys along; the revision may be asked for with the request', async () => {
    await change('ada', 'POST /v1/users', { id: 'cy', groups: ['users:acme'] });
    const { key } = await change('ada', 'POST /v1/users/cy/keys', {});
    const { revision } = await change('ada', 'DELETE /v1/users/cy');
    const headers = { 'x-original-method': 'GET', 'x-original-uri': DEVICE, authorization: `Bearer ${key}`, 'x-authz-at-least': revision };
    expect((await doors.get(other)!.http.ask({ path: '/auth/nginx', headers })).status).toBe(401);
    expect(await asked(writing, key)).toEqual([401, NOBODY]);
  });

  test('the command line: key, keys, unkey', async () => {
    const env = { GRANTGATE_CLIENT_TOKEN: await tokenFor('ada') };
    const run = async (...args: string[]) => {
      const { code, stdout, stderr } = await cli(['user', ...args, '--server', `http://127.0.0.1:${writing.api}`, '--json'], { env });
      expect([code, stderr]).toEqual([0, '']);
      return JSON.parse(stdout) as { id: string; key: string; items: unknown[] };
    };
    const { id, key } = await run('key', 'ben', '--name', 'cli', '--ttl', '2h');
    expect(await asked(writing, key)).toEqual([200, ALLOWED]);
    expect((await run('keys', 'ben')).items).toMatchObject([{ id, name: 'cli', createdBy: 'ada' }]);
    await run('unkey', 'ben', id);
    expect(await asked(writing, key)).toEqual([401, NOBODY]);
  });

  test('the command line: login-as, sessions, end-session; what is ended is refused at every sidecar, as a key is', async () => {
    const env = { GRANTGATE_CLIENT_TOKEN: await tokenFor('ada') };
    const run = async (...args: string[]) => {
      const { code, stdout, stderr } = await cli(['user', ...args, '--server', `http://127.0.0.1:${writing.api}`], { env });
      expect([code, stderr]).toEqual([0, '']);
      return stdout.trimEnd();
    };
    const token = await run('login-as', 'ben', '--ttl', '5m');
    expect(token, 'alone, to be put where a token is wanted').toMatch(/^gs_[\w-]{43}$/);
    expect(await asked(writing, token)).toEqual([200, ALLOWED]);
    const { items } = JSON.parse(await run('sessions', 'ben', '--json')) as { items: { id: string; actor: string; created: string; expires: string }[] };
    expect(items).toMatchObject([{ user: 'ben', actor: 'ada' }]);
    expect(Date.parse(items[0]!.expires) - Date.parse(items[0]!.created)).toBeCloseTo(300_000, -2);
    expect(await run('sessions', 'ben')).toMatch(/^[\w-]{36} {2}user=ben {2}actor=ada {2}created=/);
    const [said, revision = ''] = (await run('end-session', 'ben', items[0]!.id)).split('\nrevision ');
    expect(said).toBe('1 ended');
    expect(await asked(writing, token)).toEqual([401, NOBODY]);
    await other.reached(revision);
    expect(await asked(other, token)).toEqual([401, NOBODY]);
    expect(await run('end-session', 'ben')).toMatch(/^0 ended\nrevision /);
  });

  test("what is the operator's is not done with a key, whoever has it", async () => {
    const { key } = await change('ada', 'POST /v1/users/ada/keys', {});
    const world = { files: { 'w.ndjson': '{"kind":"tenants","id":"mine"}\n' } };
    const send = (token: string) =>
      cli(['import', '--server', `http://127.0.0.1:${writing.api}`, 'w.ndjson'], { env: { GRANTGATE_CLIENT_TOKEN: token }, ...world });
    expect(await send(key)).toMatchObject({ code: 1, stderr: expect.stringContaining('operator-only, rule 1.6') as unknown });
    expect(await send(await tokenFor('ada'))).toMatchObject({ code: 1, stderr: expect.stringContaining('operator-only, rule 1.6') as unknown });
    expect(await send(OPERATOR)).toMatchObject({ code: 0, stdout: expect.stringContaining('imported 1 tenants') as unknown });
    expect((await api.ask({ path: '/v1/tenants/mine', token: OPERATOR })).status).toBe(200);
  });

  test('nowhere in a log', () => {
    for (const sidecar of [writing, other]) expect(sidecar.log()).not.toMatch(/g[gs]_[\w-]{10}/);
  });
});
