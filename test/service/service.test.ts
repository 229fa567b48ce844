// The whole service: against a real Postgres, as its own process where signals are the subject.

import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { startService, type Service } from '../../src/service.ts';
import { API_KEY, evaluation } from '../support/api.ts';
import { startClient, type Ask } from '../support/ask.ts';
import { cli } from '../support/cli.ts';
import { startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { SIGNING_KEY, startSidecar, tokenFor } from '../support/sidecar.ts';
import { until } from '../support/until.ts';
import { parseExposition } from '../support/exposition.ts';

const WORLD = new URL('../../deploy/demo/smart-building.yaml', import.meta.url).pathname;
let server: TestServer;
let database: TestDatabase;
let reader: string;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  database = await server.database();
  reader = await database.urlAs('grantgate_reader');
  expect(await cli(['import', WORLD], { env: { DATABASE_URL: database.url } })).toMatchObject({ code: 0 });
});
afterAll(() => server.close());

interface Running {
  readonly service: Service;
  readonly lines: { decision: string; reason: string; rule: string; request_id: string }[];
  readonly events: { level: string; event: string; detail: string }[];
}

async function start(sets: Record<string, string | number> = {}, url = reader): Promise<Running> {
  const lines: Running['lines'] = [];
  const events: Running['events'] = [];
  const all = {
    'doors.port': 0,
    'grpc.port': 0,
    'api.port': 0,
    'shutdown.delay': 0,
    'log.allowSample': 1,
    'identity.thingsboard.signingKey': SIGNING_KEY,
    'doors.deadline': '2s',
    'overload.delay': '10s', // it shares a loop with the tests
    ...sets,
  };
  const { settings } = loadConfig({ env: { DATABASE_URL: url }, sets: Object.entries(all).map(([path, value]) => `${path}=${value}`), readFile: () => '' });
  const service = await startService({
    settings,
    version: '0',
    readFile: (path) => readFileSync(path, 'utf8'),
    stdout: {
      write(text, done) {
        for (const line of text.trim().split('\n')) lines.push(JSON.parse(line) as Running['lines'][number]);
        done();
      },
    },
    log: (level, event, detail) => events.push({ level, event, detail }),
    wall: () => Date.now(),
    random: () => Math.random(),
    uuid: () => '0123456789',
    hostname: 'test',
  });
  return { service, lines, events };
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

function ask(at: { host: string } | { socketPath: string }, token: string | null, uri: string, id = 'r'): Promise<Answer> {
  const where = 'host' in at ? { host: at.host.split(':')[0], port: Number(at.host.split(':')[1]) } : at;
  const headers = {
    connection: 'keep-alive',
    'x-original-method': 'GET',
    'x-original-uri': uri,
    'x-request-id': id,
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
  };
  return new Promise((resolve, reject) => {
    request({ ...where, path: '/auth/nginx', headers, agent: false }, (response) => {
      resolve({ status: response.statusCode ?? 0, headers: response.headers });
      response.destroy();
    })
      .on('error', reject)
      .end();
  });
}

test('without a decision log and without metrics: an answer all the same', async () => {
  const { service, lines } = await start({ 'log.decisions': 'false', 'api.metrics': 'false' });
  try {
    await service.ready(10_000);
    const host = service.doors[0]!;
    expect((await ask({ host }, await tokenFor('hana'), '/api/device/tower-meter')).status).toBe(200);
    expect((await ask({ host }, null, '/api/device/tower-meter')).status).toBe(401);
    expect((await fetch(`http://${service.api}/metrics`)).status).toBe(404);
  } finally {
    await service.stop();
  }
  expect(lines, 'after the stop, which writes what is left').toEqual([]);
  expect(service.idle).toBe(true);
});

test('from a token and a path to an answer, a log line and a count', async () => {
  const { service, lines } = await start();
  try {
    await service.ready(10_000);
    const host = service.doors[0]!;
    const allowed = await ask({ host }, await tokenFor('hana'), '/api/device/tower-meter', 'one');
    expect(allowed.status).toBe(200);
    expect(allowed.headers).toMatchObject({ 'x-auth-user': 'hana', 'x-auth-tenant': 'northwind', 'x-auth-customer': 'harbour-tower', 'content-length': '0' });
    expect((await ask({ host }, await tokenFor('hana'), '/api/device/mill-meter', 'two')).status).toBe(403);
    expect((await ask({ host }, null, '/api/device/mill-meter', 'three')).status).toBe(401);
    expect((await ask({ host }, await tokenFor('hana'), '/no/such/route', 'four')).status).toBe(403);

    await until(() => lines.length === 4, 'four decision lines');
    expect(lines.map(({ request_id, decision, reason, rule }) => [request_id, decision, reason, rule])).toEqual([
      ['one', 'allow', 'generic', '6a'],
      ['two', 'deny', 'out-of-scope', '6e'],
      ['three', 'unauthenticated', 'no-credential', ''],
      ['four', 'unmapped', 'no-route', ''],
    ]);
    const metrics = parseExposition(await (await fetch(`http://${service.api}/metrics`)).text());
    expect(metrics.value('authz_decisions_total', { decision: 'allow', reason: 'generic', protocol: 'nginx', resource: 'DEVICE', operation: 'READ' })).toBe(1);
    expect(metrics.value('authz_decision_duration_seconds_count', { decision: 'deny' })).toBe(3);
    expect(metrics.value('authz_follower_state', { state: 'following' })).toBe(1);
    expect(metrics.value('authz_cache_entries', { cache: 'token' })).toBeGreaterThan(0);
    expect(metrics.value('authz_attaches_total')).toBe(1);
    expect(metrics.value('authz_resets_total', { cause: 'start' })).toBe(1);
    expect(metrics.value('authz_freshness_age_seconds')).toBeLessThan(2);
    const ready = (await (await fetch(`http://${service.api}/readyz`)).json()) as { revision: string };
    expect(metrics.value('authz_revision')).toBe(Number.parseInt(ready.revision, 10));
  } finally {
    await service.stop();
  }
});

test('the doors answer nothing of the api, and the api nothing of the doors', async () => {
  const { service } = await start();
  try {
    await service.ready(10_000);
    for (const path of ['/livez', '/readyz', '/metrics', '/healthz', '/']) expect((await fetch(`http://${service.doors[0]!}${path}`)).status, path).toBe(403);
    expect((await fetch(`http://${service.api}/auth/nginx`)).status).toBe(404);
  } finally {
    await service.stop();
  }
});

test('the api decides for whoever has a key; without any it says once what to set', async () => {
  const question = { subject: { type: 'user', id: 'hana' }, action: { name: 'READ' }, resource: { type: 'DEVICE', id: 'tower-meter' } };
  const asked = (api: string, more: Partial<Ask> = {}) => {
    const client = startClient(Number(api.split(':')[1]));
    return client.ask(evaluation(question, more)).finally(() => client.close());
  };
  const keyed = await start({ 'api.keys': API_KEY, 'api.deadline': '2s' });
  try {
    await keyed.service.ready(10_000);
    const answer = await asked(keyed.service.api, { requestId: 'asked', headers: { 'x-authz-at-least': 'latest' } });
    expect([answer.status, JSON.parse(answer.body)]).toMatchObject([200, { decision: true, context: { reason: 'generic', rule: '6a' } }]);
    await until(() => keyed.lines.length === 1, 'the decision line');
    expect(keyed.lines[0]).toMatchObject({
      request_id: 'asked',
      protocol: 'authzen',
      decision: 'allow',
      subject: 'hana',
      revision: answer.headers['x-authz-revision'],
    });
    const metrics = parseExposition(await (await fetch(`http://${keyed.service.api}/metrics`)).text());
    expect(metrics.value('authz_decisions_total', { decision: 'allow', reason: 'generic', protocol: 'authzen', resource: 'DEVICE', operation: 'READ' })).toBe(
      1,
    );
    expect(metrics.value('authz_decision_duration_seconds_count', { decision: 'allow', protocol: 'authzen' })).toBe(1);
  } finally {
    await keyed.service.stop();
  }
  const { service, events } = await start();
  try {
    for (let i = 0; i < 3; i++) expect((await asked(service.api)).status).toBe(401);
    expect(events.filter(({ event }) => event === 'api')).toEqual([
      { level: 'warn', event: 'api', detail: expect.stringContaining('GRANTGATE_API_KEYS') as string },
    ]);
  } finally {
    await service.stop();
  }
});

test('the api waits until a revision is in force at every sidecar', async () => {
  const { service } = await start({ 'api.keys': API_KEY, 'replica.name': 'here' });
  const client = startClient(Number(service.api.split(':')[1]));
  const ask = async (path: string) => {
    const { status, body } = await client.ask({ path: `/v1/barrier/${path}`, token: API_KEY });
    return { status, ...(JSON.parse(body) as object) };
  };
  try {
    await service.ready(10_000);
    const { revision } = service.state();
    const receipt = await ask(revision!);
    expect(receipt).toMatchObject({ status: 200, revision, applied: true });
    // Sidecars of other tests may be listed too, their lease over.
    expect((receipt as { replicas?: unknown[] }).replicas).toContainEqual(expect.objectContaining({ id: 'here/01234567', revision, state: 'applied' }));
    expect(await ask(`0-ffffffff-ffff-4fff-8fff-ffffffffffff`)).toMatchObject({ status: 404, code: 'unknown-revision' });
  } finally {
    client.close();
    await service.stop();
  }
});

test('without a database it listens, is alive, is not ready and says why, and every check is 503', async () => {
  const { service, lines } = await start({}, 'postgres://nobody@127.0.0.1:1/none');
  try {
    expect((await fetch(`http://${service.api}/livez`)).status).toBe(200);
    const cause = async (): Promise<string> => ((await (await fetch(`http://${service.api}/readyz`)).json()) as { cause: string }).cause;
    await until(async () => /ECONNREFUSED/.test(await cause()), 'the cause at /readyz');
    expect((await fetch(`http://${service.api}/readyz`)).status).toBe(503);
    expect((await ask({ host: service.doors[0]! }, await tokenFor('hana'), '/api/device/tower-meter')).status).toBe(503);
    expect((await ask({ host: service.doors[0]! }, null, '/api/device/tower-meter')).status).toBe(401);
    await until(() => lines.length === 2, 'two lines');
    expect(lines[0]).toMatchObject({ decision: 'unavailable', reason: 'starting' });
    await expect(service.ready(10)).rejects.toMatchObject({ code: 'starting' });
  } finally {
    await service.stop();
  }
});

test('port and socket answer beside each other; the socket is for its group alone, and goes with the service', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'grantgate-service-'));
  const socketPath = join(directory, 'doors.sock');
  const { service } = await start({ 'doors.socket': socketPath });
  try {
    await service.ready(10_000);
    expect(service.doors).toHaveLength(2);
    expect(statSync(socketPath).mode & 0o777).toBe(0o660);
    for (const at of [{ host: service.doors[0]! }, { socketPath }]) expect((await ask(at, await tokenFor('hana'), '/api/device/tower-meter')).status).toBe(200);
  } finally {
    await service.stop();
  }
  expect(() => statSync(socketPath)).toThrow(/ENOENT/);
  rmSync(directory, { recursive: true });
});

describe('what cannot be used stops the start, and leaves nothing open', () => {
  test('a taken port', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const free = createServer().listen(0, '127.0.0.1');
    await once(free, 'listening');
    const apiPort = (free.address() as AddressInfo).port;
    free.close();
    await once(free, 'close');
    await expect(start({ 'doors.port': port, 'api.port': apiPort })).rejects.toThrow(/another process listens there/);
    const again = createServer().listen(apiPort, '127.0.0.1'); // the api's port was given back
    await once(again, 'listening');
    again.close();
    taken.close();
  });
  test.each([
    [{ 'routes.file': '/nowhere.yaml' }, /\/nowhere\.yaml: cannot be read/],
    [{ 'vocabulary.file': WORLD }, /smart-building\.yaml: operations/],
    [{ 'routes.file': WORLD }, /smart-building\.yaml: /],
    [{ 'database.caFile': '/nowhere.pem' }, /database\.caFile: \/nowhere\.pem cannot be read/],
  ])('%j', async (sets, message) => {
    await expect(start(sets as Record<string, string>)).rejects.toThrow(message);
  });
});

describe('as a process', () => {
  test('SIGTERM: not ready at once, still answering and ending connections, then every line written and exit 0', async () => {
    const sidecar = await startSidecar({ databaseUrl: reader, set: { 'shutdown.delay': '3s' } });
    expect(readlinkSync(`/proc/${sidecar.pid}/exe`)).toBe(process.execPath); // tests on another Node are tests of the service on it
    const at = { socketPath: sidecar.doors };
    expect((await ask(at, await tokenFor('hana'), '/api/device/tower-meter', 'before')).headers['connection']).not.toBe('close');
    const stopped = sidecar.stop('SIGTERM');
    await until(async () => (await sidecar.readyz()).status === 503, 'not ready', 2_900);
    expect(await sidecar.readyz()).toMatchObject({ state: 'draining', cause: 'shutting down' });
    const during = await ask(at, await tokenFor('hana'), '/api/device/tower-meter', 'during');
    expect(during.status).toBe(200);
    expect(during.headers['connection']).toBe('close');
    await stopped;
    expect(await sidecar.line('during')).toMatchObject({ decision: 'allow' });
    expect(sidecar.log()).toMatch(/"event":"stopped","detail":"every check is answered/);
    await expect(ask(at, null, '/')).rejects.toThrow(/ENOENT|ECONNREFUSED/);
  });

  test('what one process was asked about is in memory when the next one says that it is ready', async () => {
    const hotSet = join(mkdtempSync(join(tmpdir(), 'grantgate-hot-')), 'ids');
    const asked = async (id: string): Promise<[cache: string, log: string]> => {
      const sidecar = await startSidecar({ databaseUrl: reader, set: { 'cache.hotSet': hotSet, 'doors.deadline': '2s' } });
      await ask({ socketPath: sidecar.doors }, await tokenFor('hana'), '/api/device/tower-meter', id);
      const { cache } = await sidecar.line(id);
      await sidecar.stop('SIGTERM');
      return [cache, sidecar.log()];
    };
    expect(await asked('first')).toEqual(['miss', expect.not.stringContaining('hot-set')]);
    expect(await asked('second')).toEqual(['hit', expect.stringContaining('"event":"warmed","detail":"1 of 1 users and 1 of 1 targets')]);
    rmSync(dirname(hotSet), { recursive: true });
  });

  test('a second signal does not wait', async () => {
    const sidecar = await startSidecar({ databaseUrl: reader, set: { 'shutdown.delay': '60s' } });
    const begun = Date.now();
    process.kill(sidecar.pid, 'SIGTERM');
    await until(async () => (await sidecar.readyz()).status === 503, 'not ready');
    await until(() => Date.now() - begun > 600, 'signals that are two'); // one wish may come twice: from the terminal and from npm
    await sidecar.stop('SIGINT');
    expect(Date.now() - begun).toBeLessThan(20_000);
    expect(sidecar.log()).toMatch(/SIGINT again: not waiting/);
  });
});

describe('commands against the database', () => {
  const env = (): { env: Record<string, string> } => ({ env: { DATABASE_URL: reader, ADMIN_DATABASE_URL: database.url } });
  const question = (user: string, operation: string, target: string, ...more: string[]): string[] => [
    'check',
    '--user',
    user,
    '--operation',
    operation,
    '--resource',
    'device',
    '--target',
    target,
    ...more,
  ];

  test.each([
    ['an allow', question('hana', 'read', 'cafe-fridge'), 0, /^allow {2}reason generic {2}rule 6a {2}revision \d+-[0-9a-f-]{36}\n$/],
    ['a deny', question('leo', 'READ', 'tower-meter'), 1, /^deny {2}reason out-of-scope {2}rule 6e/],
    ['any', question('leo', 'READ', '*'), 0, /rule 3/],
    ['CREATE for an owner', question('hana', 'CREATE', '*', '--owner', 'cafe-marina'), 0, /rule 7/],
    ['CREATE for a neighbour', question('hana', 'CREATE', '*', '--owner', 'old-mill'), 1, /out-of-scope {2}rule 7/],
    ['CREATE into a group', question('ivo', 'CREATE', '*', '--group', 'tower-hvac', '--group', 'other'), 1, /no-grant/],
    ['a user that is not there', question('nobody', 'READ', 'tower-meter'), 1, /unknown-subject {2}rule 1/],
    ['an operation that is not there', question('hana', 'FLY', 'tower-meter'), 1, /unknown-vocabulary {2}rule 0/],
  ])('check: %s', async (_, args, code, text) => {
    const run = await cli(args, env());
    expect(run.stderr).toBe('');
    expect(run.code).toBe(code);
    expect(run.stdout).toMatch(text);
  });
  test('check --json', async () => {
    const run = await cli([...question('hana', 'READ', 'tower-meter'), '--json'], env());
    expect(JSON.parse(run.stdout)).toMatchObject({ decision: 'allow', reason: 'generic', rule: '6a', tenant: 'northwind', customer: 'harbour-tower' });
  });

  test('migrate brings an empty database up, and says that nothing is to do the second time', async () => {
    const empty = await server.database('empty');
    const owner = { env: { OWNER_DATABASE_URL: empty.url } };
    expect((await cli(['migrate'], owner)).stdout).toMatch(/^applied 0001_\w+\.sql\n(applied .*\n)*the schema went from version 0 to \d+\n$/);
    expect(await cli(['migrate'], owner)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^nothing to do: the schema is at version \d+\n$/) as string,
    });
    expect(JSON.parse((await cli(['migrate', '--json'], owner)).stdout)).toMatchObject({ applied: [], statements: [] });
    // It cannot see which version that is.
    const { code, stdout } = await cli(['migrate'], { env: { OWNER_DATABASE_URL: await empty.urlAs('grantgate_reader') } });
    expect(code).toBe(1);
    expect(stdout).toMatch(/^nothing was changed\n\nThis login may not do the following[\s\S]*\ngrant grantgate_owner to \S+;\n$/);
  });
  test('import refuses what is wrong with file and line, and imports nothing', async () => {
    const files = { 'a.yaml': 'tenants:\n  - { id: other }\nusers:\n  - { id: u1, owner: nowhere }\n  - { id: hana, owner: other }\n' };
    const run = await cli(['import', 'a.yaml'], { ...env(), files });
    expect(run.code).toBe(2);
    expect(run.stdout).toBe('');
    expect(run.stderr).toMatch(/^a\.yaml:4: users\[0\]\.owner: /m);
    expect(run.stderr).toMatch(/^a\.yaml:5: users\[1\]/m);
    expect(run.stderr).toMatch(/nothing was imported: \d problems\n$/);
    expect((await cli(question('u1', 'READ', '*'), env())).stdout).toMatch(/unknown-subject/);
    expect((await cli(['import', 'gone.yaml', 'a.yaml'], { ...env(), files })).stderr).toMatch(/gone\.yaml: cannot be read/);
  });
  test('import into a database without a schema, or by a login that may only read, says what to do', async () => {
    const files = { 'a.yaml': 'tenants: [{ id: other }]' };
    const bare = await server.database('empty');
    for (const [url, way] of [
      [reader, /^grantgate: database: .*make it a member of grantgate_writer.*; nothing was imported\n$/],
      [bare.url, /^grantgate: database: .*run grantgate migrate; nothing was imported\n$/],
    ] as const) {
      const run = await cli(['import', 'a.yaml'], { env: { DATABASE_URL: url }, files });
      expect(run).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(way) as string });
    }
  });
});
