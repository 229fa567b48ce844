// What does a second worker give?  npm run bench:workers [-- --json] [-- --seconds 3]
//
// The whole program with `workers: 1` and `workers: 2`, the same load on each in turn, over HTTP on kept connections: rate, processor time
// for each check (supervisor and workers together), memory, and how the connections fall. The client (wrk) runs on the same machine and
// takes its part of the processors, so two workers cannot give twice the rate on two: what they could give is told beside it.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startEmbedded } from '../dist/embedded.js';
import { benchmark, median, refuse } from './figures.mjs';
import { cpuNs, residentMb, start, temporaryDirectory, until } from './processes.mjs';

const program = fileURLToPath(new URL('../src/grantgate.mjs', import.meta.url));
const world = fileURLToPath(new URL('../deploy/demo/smart-building.yaml', import.meta.url));
/** Of a proxy with two processes and a pool of eight connections each. */
const CONNECTIONS = 16;
const ROUNDS = 7;
const CORES = availableParallelism();

const { number, say, figure, finish } = benchmark('workers', { seconds: { type: 'string', default: '2' } });
const seconds = number('seconds');
const run = promisify(execFile);
const wrkVersion = await run('wrk', ['-v']).then(
  ({ stdout }) => stdout,
  (/** @type {{ code?: string, stdout?: string }} */ { code, stdout = '' }) => (code === 'ENOENT' ? null : stdout), // it ends with 1 and its version
);
if (wrkVersion === null) refuse('wrk is not installed: apt-get install wrk');

const key = randomBytes(64).toString('base64');
const database = await startEmbedded(temporaryDirectory('workers'));
const env = { DATABASE_URL: database.url, GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: key };
/** @param {readonly string[]} args */
const grantgate = async (...args) => (await run(process.execPath, [program, ...args], { env: { ...process.env, ...env } })).stdout.trim();
/** @type {Awaited<ReturnType<typeof serve>>[]} */
const served = [];
try {
  await grantgate('migrate');
  await grantgate('import', world);
  const token = await grantgate('token', '--user', 'hana', '--ttl', '2h');
  for (const workers of [1, 2]) served.push(await serve(workers));
  for (const each of served) {
    each.falls = await connectionsOf(each.port, token);
    await refuses(each.port, token);
    await load(each, token, 1);
  }
  /** @type {Map<number, { rate: number, ns: number, client: number, supervisor: number }[]>} */
  const rounds = new Map(served.map(({ workers }) => [workers, []]));
  // In turn, so that whatever else the machine does meets both.
  for (let round = 0; round < ROUNDS; round++)
    for (const each of served) {
      const found = await load(each, token, seconds);
      rounds.get(each.workers)?.push(found);
      say(
        `workers ${each.workers}: ${Math.round(found.rate)} checks/s, ${(found.ns / 1000).toFixed(1)} µs of processor each, client ${(found.client / 1000).toFixed(1)}`,
      );
    }
  report(rounds);
  finish({ wrk: /wrk (\S+)/.exec(wrkVersion)?.[1] ?? 'unknown' });
} finally {
  for (const { service } of served) await service.stop();
  await database.stop();
}

/** @param {ReadonlyMap<number, readonly { rate: number, ns: number, client: number, supervisor: number }[]>} rounds */
function report(rounds) {
  const [one = [], two = []] = [rounds.get(1), rounds.get(2)];
  const rates = (/** @type {typeof one} */ of) => of.map(({ rate }) => rate);
  const micros = (/** @type {typeof one} */ of) => of.map(({ ns }) => ns / 1000);
  const spread = (/** @type {readonly number[]} */ of) => /** @type {const} */ ([Math.min(...of), Math.max(...of)]);
  const ratios = two.map(({ rate }, i) => rate / (one[i]?.rate ?? Number.NaN));
  const most = two.map(({ ns, client }) => (CORES * 1e9) / (ns + client));
  figure('workers.1.rate', median(rates(one)), { unit: 'checks/s', spread: spread(rates(one)) });
  figure('workers.2.rate', median(rates(two)), {
    ...{ unit: 'checks/s', floor: median(rates(one)), ratio: median(ratios), spread: spread(rates(two)) },
    note: `the floor is one worker. A check costs the client ${(median(two.map(({ client }) => client)) / 1000).toFixed(1)} µs on the same ${CORES} processors, which therefore have ${Math.round(median(most))} checks/s in them at most; more is to be seen with more of them, or with the client on another machine`,
  });
  figure('workers.2.share', median(two.map(({ rate }, i) => rate / (most[i] ?? Number.NaN))), { unit: 'of what the processors have in them', least: 0.8 });
  figure('workers.1.cpu', median(micros(one)), { unit: 'µs', spread: spread(micros(one)) });
  figure('workers.2.cpu', median(micros(two)), { unit: 'µs', floor: median(micros(one)), most: 1.25, spread: spread(micros(two)) });
  figure('workers.2.supervisor', median(two.map(({ supervisor }) => supervisor / 1000)), { unit: 'µs', most: 0.5 });
  const falls = served[1]?.falls ?? [];
  figure('workers.2.connections', Math.min(...falls), { unit: `of ${CONNECTIONS} connections`, floor: CONNECTIONS / 2, least: 1 });
  for (const { workers, pids } of served)
    figure(
      `workers.${workers}.memory`,
      pids().reduce((all, pid) => all + residentMb(pid), 0),
      { unit: 'MB' },
    );
}

/** @param {number} workers */
async function serve(workers) {
  const set = { workers, 'doors.port': 0, 'grpc.port': 'none', 'api.port': 0, 'shutdown.delay': 0, 'doors.deadline': '2s', 'overload.delay': '10s' };
  const args = Object.entries(set).flatMap(([path, value]) => ['--set', `${path}=${value}`]);
  const service = start(process.execPath, [program, 'serve', ...args], { env });
  const found = (/** @type {RegExp} */ where) => Number(where.exec(service.said())?.[1] ?? Number.NaN);
  await until(() => service.said().includes('api on'), { what: `the service with ${workers} workers`, of: service });
  const [port, api] = [found(/doors on 127\.0\.0\.1:(\d+)/), found(/api on 127\.0\.0\.1:(\d+)/)];
  await until(async () => (await fetch(`http://127.0.0.1:${api}/readyz`)).ok, { what: 'a world', of: service });
  const children = (await readFile(`/proc/${service.pid}/task/${service.pid}/children`, 'utf8')).split(' ').filter(Boolean).map(Number);
  return { workers, service, port, pids: () => [service.pid, ...children], falls: /** @type {readonly number[]} */ ([]) };
}

/** The headers of a subrequest as nginx sends it. @param {string} token @param {string} [target] one that the user may read */
function headersOf(token, target = 'tower-meter') {
  return { 'X-Original-Method': 'GET', 'X-Original-URI': `/api/device/${target}`, 'X-Request-ID': 'bench', Authorization: `Bearer ${token}` };
}

/** What its user may not read, and a token that nobody signed; over as many connections as reach every worker. @param {number} port @param {string} token */
async function refuses(port, token) {
  const statusOf = async (/** @type {Record<string, string>} */ headers) => {
    const [{ statusCode }] = await once(request({ port, host: '127.0.0.1', path: '/auth/nginx', headers, agent: false }).end(), 'response');
    return /** @type {unknown} */ (statusCode);
  };
  for (let i = 0; i < CONNECTIONS; i++) {
    assert.equal(await statusOf(headersOf(token, 'mill-boiler')), 403);
    assert.equal(await statusOf(headersOf(`${token}x`)), 401);
  }
}

/** How many connections of a burst each worker answers: the ids of its decisions begin with letters of its own. @param {number} port @param {string} token */
async function connectionsOf(port, token) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  const asked = Array.from({ length: CONNECTIONS }, async () => {
    const sent = request({ port, host: '127.0.0.1', path: '/auth/nginx', headers: { ...headersOf(token), Connection: 'keep-alive' }, agent: false }).end();
    const [{ statusCode, headers }] = await once(sent, 'response');
    assert.equal(statusCode, 200);
    return { sent, worker: String(headers['x-authz-decision-id']).slice(0, 8) };
  });
  for (const { sent, worker } of await Promise.all(asked)) {
    counts.set(worker, (counts.get(worker) ?? 0) + 1);
    sent.destroy();
  }
  return [...counts.values()];
}

/**
 * Everything that was sent is answered, with 200, or it throws.
 * @param {{ port: number, pids: () => readonly number[] }} of @param {string} token @param {number} seconds
 */
async function load({ port, pids }, token, seconds) {
  const headers = Object.entries(headersOf(token)).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  const used = () => pids().map(cpuNs);
  const before = used();
  const { stdout, stderr } = await run('/bin/sh', [
    '-c',
    'wrk "$@"; times',
    'sh',
    '-t',
    '2',
    '-c',
    String(CONNECTIONS),
    '-d',
    `${seconds}s`,
    ...headers,
    `http://127.0.0.1:${port}/auth/nginx`,
  ]);
  const after = used();
  assert.doesNotMatch(stdout, /Non-2xx|Socket errors/, stdout + stderr);
  const checks = Number(/(\d+) requests in/.exec(stdout)?.[1]);
  const rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
  assert.ok(checks > 0 && rate > 0, stdout);
  // The last line of `times`: user and system time of what the shell has waited for.
  const client = [...(stdout.trim().split('\n').at(-1) ?? '').matchAll(/(\d+)m([\d.]+)s/g)].reduce(
    (all, [, minutes, rest]) => all + Number(minutes) * 60 + Number(rest),
    0,
  );
  const all = after.map((ns, i) => ns - (before[i] ?? 0));
  return { rate, ns: all.reduce((sum, ns) => sum + ns, 0) / checks, client: (client * 1e9) / checks, supervisor: (all[0] ?? 0) / checks };
}
