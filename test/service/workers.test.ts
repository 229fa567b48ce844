// Do several workers answer as one service? Real processes: a supervisor, its workers, a database.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPool } from 'policy-cache/postgres';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { ruleOf } from '../../src/workers-metrics.ts';
import { API_KEY, evaluation } from '../support/api.ts';
import { startClient, type Client } from '../support/ask.ts';
import { checkRequest } from '../support/check-requests.ts';
import { startChild } from '../support/child.ts';
import { childrenOf, isAlive, stoppedOf } from '../support/children.ts';
import { cli } from '../support/cli.ts';
import type { Metrics } from '../support/exposition.ts';
import { startGrpcClient } from '../support/grpc.ts';
import { startLoad, type Load } from '../support/load.ts';
import { startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { SIGNING_KEY, startSidecar, tokenFor, type ServedSidecar } from '../support/sidecar.ts';
import { until } from '../support/until.ts';

const WORLD = new URL('../../deploy/demo/smart-building.yaml', import.meta.url).pathname;
const MAIN = new URL('../../dist/main.js', import.meta.url).pathname;
const METER = '/api/device/tower-meter';
const MILL = '/api/device/mill-meter';
let server: TestServer;
let database: TestDatabase;
let reader: string;
/** Of most tests. */
let shared: Started;
/** One of its workers is stopped when all else begins, for it takes ten seconds to be missed. */
let hung: Started;
let slow: Socket;
/** What it was answered, heard from the first byte on: nothing is left of it once the connection is destroyed. */
let slowHeard = '';
let stuck: number;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  database = await server.database();
  reader = await database.urlAs('grantgate_reader');
  expect(await cli(['import', WORLD], { env: { DATABASE_URL: database.url } })).toMatchObject({ code: 0 });
  // One after the other: six processes that begin at once are slow on two cores.
  shared = await start({ 'replica.name': 'here', 'shutdown.delay': 200 }, () => undefined);
  hung = await start({}, () => undefined);
  slow = connect(hung.doors)
    .on('error', () => undefined)
    .on('data', (part: Buffer) => (slowHeard += part.toString()));
  const token = await tokenFor('hana');
  const whole = Object.entries({ ...asking, host: 'authz', authorization: `Bearer ${token}` }).map(([name, value]) => `${name}: ${value}\r\n`);
  slow.write(`GET /auth/nginx HTTP/1.1\r\n${whole.join('')}\r\n`);
  const id = (): string | undefined => /x-authz-decision-id: (\S{8})/i.exec(slowHeard)?.[1];
  await until(() => id() !== undefined, 'an answer to a whole request');
  const clients = await ofEach(hung, token, () => undefined);
  const beside = clients.get(id()!)!;
  const other = [...clients.values()].find((client) => client !== beside)!;
  slowHeard = '';
  slow.write('GET /auth/nginx HTTP/1.1\r\nX-Slow: ');
  const ask = (client: Client) => async () => client.ask({ path: '/auth/nginx' });
  stuck = await stoppedOf(hung.workers(), ask(other), ask(beside));
});

afterAll(async () => {
  if (isAlive(stuck)) process.kill(stuck, 'SIGCONT'); // of a run in which nobody waited until it was replaced: stopped, it sees no end
  await Promise.all([shared, hung].map((sidecar: Started | undefined) => sidecar?.stop('SIGKILL')));
  await server.close();
});

interface Started extends ServedSidecar {
  workers(): readonly number[];
}

async function start(
  set: Readonly<Record<string, string | number>> = {},
  finished: (f: () => Promise<void>) => void = onTestFinished,
  env: Readonly<Record<string, string>> = {},
): Promise<Started> {
  // None of these is about speed, and the machine does other work.
  const sidecar = await startSidecar({
    databaseUrl: reader,
    set: { workers: 2, 'doors.deadline': '5s', 'api.deadline': '5s', ...set },
    env,
  });
  finished(() => sidecar.stop('SIGKILL'));
  return Object.assign(sidecar, { workers: () => childrenOf(sidecar.pid) });
}

const asking = { 'x-original-method': 'GET', 'x-original-uri': METER };

/** Which worker: the ids of its decisions begin with letters of its own. */
async function workerOf(client: Client, token: string): Promise<string> {
  const { status, headers } = await client.ask({ path: '/auth/nginx', token, headers: asking });
  expect(status).toBe(200);
  return String(headers['x-authz-decision-id']).slice(0, 8);
}

function connectionTo(at: string | number, finished: (f: () => void) => void = onTestFinished): Client {
  const client = startClient(at, 1);
  finished(() => client.close());
  return client;
}

/** A connection to each of the two: those of the test before may still be on their way out, and counted. */
async function ofEach(sidecar: Started, token: string, finished?: (f: () => void) => void): Promise<ReadonlyMap<string, Client>> {
  const found = new Map<string, Client>();
  await until(async () => {
    const client = connectionTo(sidecar.doors, finished);
    found.set(await workerOf(client, token), client);
    return found.size === 2;
  }, 'a connection to each worker');
  return found;
}

/** By a connection of its own: a kept one may be a dead worker's. */
async function readyz(sidecar: Started): Promise<object> {
  const { status, body } = await connectionTo(sidecar.api).ask({ path: '/readyz' });
  return { status, ...(JSON.parse(body) as object) };
}

async function tally(at: string | number, connections: number): Promise<readonly number[]> {
  const token = await tokenFor('hana');
  const counts = new Map<string, number>();
  const all = Array.from({ length: connections }, () => connectionTo(at));
  for (const worker of await Promise.all(all.map((client) => workerOf(client, token)))) counts.set(worker, (counts.get(worker) ?? 0) + 1);
  return [...counts.values()];
}

test('16 connections that come at once: 8 for each of two workers, over a port and over a socket; gRPC and the api are answered, too', async () => {
  const sidecar = shared;
  expect(sidecar.workers()).toHaveLength(2);
  expect(sidecar.log()).toContain('; 2 workers');
  for (const at of [sidecar.doorsPort, sidecar.doors]) expect(await tally(at, 16), String(at)).toEqual([8, 8]);
  const token = await tokenFor('hana');
  for (const at of [`127.0.0.1:${sidecar.grpcPort}`, `unix:${sidecar.grpcSocket}`]) {
    const client = startGrpcClient(at);
    onTestFinished(() => client.close());
    const { answer } = await client.check(checkRequest({ path: METER, headers: { authorization: `Bearer ${token}` } }));
    expect(answer?.ok_response, at).toBeDefined();
    expect(await client.health(), at).toMatchObject({ answer: { status: 'SERVING' } });
  }
  const question = { subject: { type: 'user', id: 'hana' }, action: { name: 'READ' }, resource: { type: 'DEVICE', id: 'tower-meter' } };
  expect(JSON.parse((await connectionTo(sidecar.api).ask(evaluation(question))).body)).toMatchObject({ decision: true });
});

test('a revocation is refused by every worker when the barrier says so, which lists each of them', async () => {
  const sidecar = shared;
  const sql = openPool({ url: database.url, max: 1 });
  onTestFinished(() => sql.end({ timeout: 5 }));
  const token = await tokenFor('ivo');
  const clients = [...(await ofEach(sidecar, await tokenFor('hana'))).values()];
  const chiller = { path: '/auth/nginx', token, headers: { ...asking, 'x-original-uri': '/api/plugins/telemetry/DEVICE/tower-chiller/values/timeseries' } };
  const statuses = async (): Promise<readonly number[]> => Promise.all(clients.map(async (client) => (await client.ask(chiller)).status));
  expect(await statuses()).toEqual([200, 200]);
  await sql`delete from grantgate.group_permission where id = 'on-call-operates-hvac'`;
  const [row] = await sql<{ revision: string }[]>`select grantgate.revision() as revision`;
  const { status, body } = await connectionTo(sidecar.api).ask({ path: `/v1/barrier/${row!.revision}?timeout=20s`, token: API_KEY });
  expect(status, body).toBe(200);
  expect(await statuses()).toEqual([403, 403]);
  const { replicas } = JSON.parse(body) as { replicas: { id: string; state: string }[] };
  expect(replicas.filter(({ id, state }) => id.startsWith('here/') && state === 'applied')).toHaveLength(2);
});

test('one scrape: counts of all workers added up, every gauge by a rule of its own', async () => {
  const sidecar = shared;
  const before = await scraped(sidecar);
  const token = await tokenFor('hana');
  const clients = Array.from({ length: 6 }, () => connectionTo(sidecar.doors));
  for (let i = 0; i < 5; i++) await Promise.all(clients.map((client) => workerOf(client, token)));
  const metrics = await scraped(sidecar);
  expect(decisionsOf(metrics)).toBe(decisionsOf(before) + 30);
  expect(metrics.value('authz_decision_duration_seconds_count', { decision: 'allow', protocol: 'nginx' })).toBeGreaterThanOrEqual(30);
  expect(metrics.value('authz_attaches_total'), 'each follows for itself').toBeGreaterThanOrEqual(2);
  expect(metrics.value('authz_follower_state', { state: 'following' })).toBe(1);
  expect(metrics.value('authz_cache_entries', { cache: 'subjects' }), 'each knows Hana and Ivo').toBe(4);
  expect(metrics.value('authz_policy_info')).toBe(1);
  expect(metrics.value('authz_revision')).toBe(Number.parseInt((await sidecar.readyz()).revision!, 10));
  for (const { name, type } of metrics.all()) if (type === 'gauge' && name !== 'target_info') expect(ruleOf(name), name).not.toBeNull();
});

test('every check of both workers is one whole line on the same stdout', async () => {
  const token = await tokenFor('hana');
  const most = 3_000;
  // Long ids, so that what is written at once is soon more than the kernel takes.
  const ids = 'line-'.padEnd(120, '-');
  const load = await startLoad({ to: shared.doors, door: true, connections: 8, rate: 0, most, ids, asks: [{ token, path: MILL, expect: 403 }] });
  onTestFinished(() => load.stop());
  expect(await load.finished(20_000)).toMatchObject({ wrong: 0, counts: { 403: most } });
  for (let i = 0; i < most; i++) expect((await shared.line(`${ids}${i}`)).decision).toBe('deny');
});

test('settings that cannot be used end it with 2 and one line, whoever finds them', async () => {
  const args = ['serve', '--set', 'workers=2', '--set', 'api.port=0'];
  const unread = await cli([...args, '--set', 'routes.file=/none'], { env: { DATABASE_URL: reader } });
  expect(unread).toMatchObject({ code: 2, stderr: expect.stringMatching(/^grantgate: \/none: cannot be read.*\n$/) as string });
  const child = startChild(process.execPath, [MAIN, ...args], { env: { DATABASE_URL: reader } });
  expect(await child.ended).toBe('exit 2');
  expect(child.stderr(), 'told by a worker').toMatch(/^grantgate: identity\.thingsboard\.signingKey: is not set.*\n$/);
});

test('a worker that is killed: the other one answers, the service stays ready, another one comes, and what it counted is not lost', async () => {
  const sidecar = shared;
  const token = await tokenFor('hana');
  const before = [...(await ofEach(sidecar, token)).keys()];
  const known = decisionsOf(await scraped(sidecar));
  const [victim, other] = sidecar.workers();
  process.kill(victim!, 'SIGKILL');
  await until(() => !sidecar.workers().includes(victim!), 'its end');
  expect(await readyz(sidecar), 'while it is replaced').toMatchObject({ status: 200 });
  const meanwhile = new Set(await Promise.all([1, 2, 3].map(() => workerOf(connectionTo(sidecar.doors), token))));
  if (!sidecar.log().includes('it is replaced, and ready')) expect(meanwhile.size, 'who answers meanwhile').toBe(1);
  await until(() => sidecar.log().includes('it is replaced, and ready'), 'another one');
  expect(sidecar.workers()).toHaveLength(2);
  expect(sidecar.workers()).toContain(other);
  // Four connections or more are with the one that stayed: the next ones are the new one's.
  const after = await Promise.all([1, 2].map(() => workerOf(connectionTo(sidecar.doors), token)));
  expect(before, 'the new one').not.toContain(after[0]);
  const metrics = await scraped(sidecar);
  expect(decisionsOf(metrics), 'none of them is lost').toBe(known + 5);
  expect(metrics.value('authz_worker_ends_total', { how: 'signal' })).toBe(1);
  expect(metrics.value('authz_workers', { state: 'up' })).toBe(2);
  expect(sidecar.log()).toMatch(/worker [12]: it ended \(SIGKILL\); another one starts in 100 ms/);
});

test('a take-over and a stop under load: nothing is refused, cut or undecided; a supervisor that is killed leaves no process', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-workers-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const set = {
    'doors.socket': join(directory, 'doors.sock'),
    'doors.port': 'none',
    'grpc.port': 'none',
    'grpc.socket': join(directory, 'grpc.sock'),
    'doors.takeOver': 'true',
    'shutdown.delay': 300,
  };
  const first = await start(set);
  const token = await tokenFor('hana');
  const load = await startLoad({
    ...{ to: set['doors.socket'], door: true, connections: 8, rate: 400, ids: 'load-' },
    asks: [
      { token, path: METER, expect: 200 },
      { token, path: MILL, expect: 403 },
    ],
  });
  onTestFinished(() => load.stop());
  await decided(load, 100);
  const second = await start(set);
  const pids = first.workers();
  await first.stop();
  expect(pids.filter(isAlive), 'workers of the first').toEqual([]);
  await decided(load, 100);
  const { counts, wrong } = await load.period();
  expect({ ...counts, wrong }).toEqual({ 200: expect.any(Number) as number, 403: expect.any(Number) as number, wrong: 0 });
  await load.stop();
  const workers = second.workers();
  await second.stop('SIGKILL');
  await until(() => workers.every((pid) => !isAlive(pid)), 'the end of the workers of a supervisor that is killed');
}, 60_000);

test('a client that never ends its headers is cut off, as by a server that accepts for itself', async () => {
  await until(() => slow.destroyed || slowHeard !== '', 'an answer to half a request');
  expect(slowHeard).toMatch(/^HTTP\/1\.1 400 /);
  expect((await hung.metrics()).value('authz_shed_total', { cause: 'timeout' })).toBe(1);
});

test('a worker that does not answer is killed and replaced, and the other one answers meanwhile', async () => {
  const other = hung.workers().find((pid) => pid !== stuck);
  await until(() => hung.log().includes('it does not answer, and is killed'), 'looks at it', 20_000);
  await workerOf(connectionTo(hung.doors), await tokenFor('hana'));
  await until(() => hung.log().includes('it is replaced, and ready'), 'its replacement', 20_000);
  expect(hung.workers()).not.toContain(stuck);
  expect(hung.workers()).toContain(other);
  expect((await hung.metrics()).value('authz_worker_ends_total', { how: 'stuck' })).toBe(1);
});

test('a worker that ends again and again: not ready, in words; the others answer', async () => {
  const sidecar = hung;
  const token = await tokenFor('hana');
  const [kept] = sidecar.workers();
  const kill = async (): Promise<void> => {
    await until(() => sidecar.workers().length === 2, 'both workers');
    process.kill(
      sidecar.workers().find((pid) => pid !== kept)!,
      'SIGKILL',
    );
    await until(() => sidecar.workers().length === 1, 'its end');
  };
  const descriptors = /^Max open files +(\d+)/m.exec(readFileSync(`/proc/${sidecar.pid}/limits`, 'utf8'))![1]!;
  const limit = (most: string): unknown => execFileSync('/usr/bin/prlimit', ['--pid', String(sidecar.pid), `--nofile=${most}:`]);
  limit('16');
  await kill();
  await until(() => /it ended \(.*EMFILE\), \d times in a row/.test(sidecar.log()), 'a start without a descriptor left');
  limit(descriptors);
  await kill();
  await kill();
  expect(await readyz(sidecar)).toMatchObject({
    status: 503,
    state: 'starting',
    cause: expect.stringMatching(/^worker \d: it ended \(SIGKILL\), \d times in a row/) as string,
  });
  await workerOf(connectionTo(sidecar.doors), token);
  await until(() => sidecar.workers().length === 2, 'the next one');
  expect(await readyz(sidecar), 'and not only while it is away').toMatchObject({ status: 503 });
});

test('with no worker at all the api is alive, not ready, and says why', async () => {
  const answers = async (path: string): Promise<string> => {
    for (const pid of hung.workers()) process.kill(pid, 'SIGKILL'); // and again those that came meanwhile
    const { status, body } = await connectionTo(hung.api).ask({ path, token: API_KEY });
    return `${status} ${body}`;
  };
  await until(async () => /^503 .*it ended \(SIGKILL\)/.test(await answers('/readyz').catch(() => '')), 'what /readyz says', 20_000);
  await until(async () => /^503 .*no worker is up/.test(await answers('/v1/barrier/1').catch(() => '')), 'what all else says', 20_000);
  await until(async () => (await answers('/livez').catch(() => '')).startsWith('200 '), 'alive', 20_000);
  await until(async () => /authz_workers\{state="up"\} 0/.test(await answers('/metrics').catch(() => '')), 'metrics', 20_000);
});

/** Every turn of a worker's loop takes so long: Node sends it one socket each, or each second one. */
function slowTurns(ms: number): Readonly<Record<string, string>> {
  const program = `
    const cell = new Int32Array(new SharedArrayBuffer(4));
    const turn = () => { Atomics.wait(cell, 0, 0, ${ms}); setImmediate(turn); };
    if (process.argv[1].endsWith('worker.js')) turn();`;
  return { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(program)}` };
}

test('connections that come faster than slow workers take them: all are answered, and each worker says how it is meanwhile', async () => {
  const sidecar = await start({ 'doors.deadline': '30s' }, onTestFinished, slowTurns(5));
  const token = await tokenFor('hana');
  const many = 600;
  const burst = startClient(sidecar.doorsPort, many);
  onTestFinished(() => burst.close());
  let answered = 0;
  const asked = Array.from({ length: many }, async () => {
    const { status } = await burst.ask({ path: '/auth/nginx', token, headers: asking });
    answered++;
    return status;
  });
  const looks: number[] = [];
  // By connections that come after the burst, as those of a probe.
  while (answered < many) looks.push((await connectionTo(sidecar.api).ask({ path: '/readyz' })).status);
  expect(new Set(await Promise.all(asked))).toEqual(new Set([200]));
  expect(looks.length, 'looks before the last answer').toBeGreaterThan(2);
  // One look may fall into a moment in which the machine stands still for all the time that a worker has to say how it is.
  expect(looks.join(' '), 'ready all the time').not.toMatch(/503 503/);
  expect(sidecar.log()).not.toContain('it does not answer');
}, 60_000);

test('a signal to the whole group while the workers load their program is a stop, too', async () => {
  const child = startChild(process.execPath, [MAIN, 'serve', '--set', 'workers=2', '--set', 'api.port=0', '--set', 'doors.port=0', '--set', 'grpc.port=none'], {
    env: { DATABASE_URL: reader, GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: SIGNING_KEY },
  });
  onTestFinished(() => child.stop('SIGKILL'));
  let workers: readonly number[] = [];
  await until(() => (workers = childrenOf(child.pid)).length === 2, 'both processes');
  // The supervisor's own comes last, so that it may see the end of a worker first.
  for (const pid of [...workers, child.pid]) process.kill(pid, 'SIGTERM');
  expect(await child.ended, child.stderr()).toBe('exit 0');
  expect(child.stderr()).toContain('told to stop before its workers were up');
});

test("a signal to the whole group of processes is the supervisor's to answer; it ends with 0 when everything is answered", async () => {
  const sidecar = shared;
  const workers = sidecar.workers();
  const ended = sidecar.log().split('it ended').length;
  for (const pid of workers) process.kill(pid, 'SIGTERM');
  for (const pid of workers) process.kill(pid, 'SIGINT');
  const stopping = sidecar.stop('SIGINT');
  await until(() => sidecar.log().includes('stopping'), 'the signal');
  expect(workers.filter(isAlive)).toEqual(workers);
  expect(await sidecar.readyz()).toMatchObject({ status: 503, state: 'draining' });
  await stopping;
  expect(workers.filter(isAlive)).toEqual([]);
  expect(sidecar.log().split('it ended'), 'none of them by itself').toHaveLength(ended);
  expect(sidecar.log()).toContain('every check is answered, every line is written');
});

/** Of a worker that is late with its own there is what it said last; so until two scrapes say the same. */
async function scraped(sidecar: Started): Promise<Metrics> {
  let [before, metrics] = [await sidecar.metrics(), await sidecar.metrics()];
  for (; decisionsOf(before) !== decisionsOf(metrics); metrics = await sidecar.metrics()) before = metrics;
  return metrics;
}

function decisionsOf(metrics: Metrics): number {
  return (metrics.get('authz_decisions_total')?.samples ?? []).reduce((all, { value }) => all + value, 0);
}

async function decided(load: Load, more: number): Promise<void> {
  const answered = async (): Promise<number> => (await load.look()).counts[200] ?? 0;
  const before = await answered();
  await until(async () => (await answered()) >= before + more, `${more} more answers`);
}
