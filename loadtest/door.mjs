// What does a check cost at the door of the real program, beside a bare Node server that answers the same bytes?  npm run bench:door [-- --json]
//
// `grantgate serve` on the embedded Postgres with a small world, everything by its defaults: metrics are counted, the decision log is on and written to
// /dev/null (whoever read it would take the processors that nginx and both servers share: four hundred lines a second, each a wake-up). Its checks
// are hits: token, user and target are in memory. The floor is loadtest/stubs.mjs, a process of its own. The two take turns in short rounds, floor, ours,
// ours, floor, and the processor time of each is read from the kernel: on a machine that does other work that holds, a rate does not.
// Every answer is checked before anything is timed, through each door, and again in each round.
// Needs nginx, wrk and h2load (Debian: apt-get install nginx-light wrk nghttp2-client); a lane whose program is missing is said to be missing.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startEmbedded } from '../dist/embedded.js';
import { checkRequests, grpcCheck, h2load } from './door-grpc.mjs';
import { ask, askAll } from './door-http.mjs';
import { startNginx, wrk } from './door-nginx.mjs';
import { benchmark, median } from './figures.mjs';
import { findProgram } from './k6/programs.mjs';
import { grpcPermits } from './served.mjs';
import { cpuNs, start, succeeded, temporaryDirectory, until } from './processes.mjs';

/** All of it within a minute. */
const ROUNDS = { door: 15, other: 4, nginx: 3, grpc: 6, tail: 4 };
/** Of one round, and of its floor's. */
const CHECKS = { door: 2_000, grpc: 4_000, tail: 12_000 }; // of a run of 50 ms, one turn of another process is the tail
const SECONDS = 1;
const USERS = 20;
const DEVICES = 200;
// The gRPC door is HTTP/2 of our own over node:net (src/doors/h2): one write for a whole answer, no object of Node's for a stream. Of node:http2, which is the
// floor, three native calls an answer and the stream object with its listeners cost most. Around it our own share was 20 µs: now the whole check is less.
// The tail: nothing of a call outlives a young collection (--trace-gc, 60,000 calls: the heap after each is 12.0 MB at first and 12.1 at last, 0.4 ms each, one for 1,450
// calls); the floor's grows by what is promoted, 0.8 ms each and up to 5.5, one for 930. What is left is those 0.4 ms and the turns of other processes.
const CPU = { unit: 'µs of processor a check', most: 1.25 };
// Of one run over the Unix socket, floor 13.0 µs: ours 16.2, without the decision log 15.7, without metrics too 15.2. By V8's sampler the system call of the
// write is two fifths of a check; the decision with its route, identity and cache a tenth, the four identity headers a fortieth.
const NGINX = {
  ...{ unit: 'requests/s', least: 0.9 },
  costs:
    "nginx, wrk and the server share two processors, so that the rate is that of their sum. What is left of our own is 3 µs a check; node:http's are the rest. Less would need a parser and a writer of HTTP/1.1 of our own on node:net",
};
const GRPC = { unit: 'µs of processor a check', most: 1.3 };
const TAIL = { unit: 'ms at 16 calls of one connection', most: 1 };

const bench = benchmark('door');
const program = fileURLToPath(new URL('../src/grantgate.mjs', import.meta.url));
const key = Buffer.alloc(64, 7);
const directory = temporaryDirectory('door');
/** What is to be ended, last first. @type {(() => Promise<unknown>)[]} */
const ends = [];
try {
  await measure();
} finally {
  for (const end of ends.toReversed()) await end();
}

async function measure() {
  const ours = await startOurs();
  const allowed = Array.from({ length: DEVICES }, (_, i) => ({ user: `user-${i % USERS}`, uri: `/api/device/device-${i}` }));
  const denied = allowed.map(({ uri }) => ({ user: 'stranger', uri }));
  const permits = allowed.map(requestOf);
  const denies = denied.map(requestOf);
  // Tokens are verified and pieces read: on a busy machine not always within the deadline of a check, and that is a 503.
  for (const request of [...permits, ...denies]) await until(async () => (await ask({ port: ours.http }, request)).status !== 503, { what: 'a first answer' });
  const sample = await ask({ port: ours.http }, permits[0] ?? '');
  const floor = await startStub(
    'http',
    JSON.stringify(sample.headers.flatMap(([name, value]) => (/^(connection|keep-alive)$/i.test(name) ? [] : [name, value]))),
  );
  for (const at of [{ port: ours.http }, { path: ours.socket }]) await checkHttp(at, { permits, denies });

  await httpLane('door.cpu', { ours: { port: ours.http, requests: permits }, floor: { port: floor.port }, most: CPU.most });
  await httpLane('door.cpu.deny', { ours: { port: ours.http, requests: denies, status: 403 }, floor: { port: floor.port } });
  // As many rounds as over TCP: of four, the ratio of the same build was 1.26 to 1.49.
  await httpLane('door.unix', { ours: { path: ours.socket, requests: permits }, floor: { path: floor.socket }, rounds: ROUNDS.door });

  /** @param {string} name @param {{ ours: Lane & { requests: readonly string[] }, floor: import('./door-http.mjs').Place, most?: number, rounds?: number }} lanes */
  async function httpLane(name, { ours: lane, floor: place, most, rounds = most === undefined ? ROUNDS.other : ROUNDS.door }) {
    const cost = async (/** @type {boolean} */ mine) =>
      spent(mine ? ours.pid : floor.pid, CHECKS.door, () =>
        askAll(mine ? lane : place, lane.requests, { checks: CHECKS.door, status: mine ? (lane.status ?? 200) : 200 }),
      );
    figureOf(name, await turns(rounds, cost), {
      unit: CPU.unit,
      ...(most === undefined ? {} : { most }),
    });
  }

  const lanes = [
    { needs: ['nginx', 'wrk'], goals: { 'door.nginx.rate': NGINX }, run: () => nginxLane(ours, floor, { allowed, denied }) },
    { needs: ['h2load'], goals: { 'grpc.cpu': GRPC, 'grpc.p99': TAIL }, run: () => grpcLanes(ours, allowed[0] ?? { user: '', uri: '' }) },
  ];
  for (const { needs, goals, run } of lanes) {
    const missing = needs.filter((name) => findProgram(name) === undefined);
    const note = `${missing.join(' and ')} missing: apt-get install nginx-light wrk nghttp2-client`;
    if (missing.length === 0) await run();
    else for (const [name, { unit, ...goal }] of Object.entries(goals)) bench.figure(name, Number.NaN, { unit, ...goal, of: 'ratio', note });
  }
  bench.finish();
}

/** @typedef {import('./door-http.mjs').Place & { status?: number }} Lane */
/** @typedef {{ user: string, uri: string }} Question */
/** @typedef {Awaited<ReturnType<typeof startOurs>>} Ours */

/** `grantgate serve` as anybody would start it, ready. */
async function startOurs() {
  const postgres = await startEmbedded(directory);
  ends.push(() => postgres.stop());
  const env = { DATABASE_URL: postgres.url, GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: key.toString('base64') };
  const run = (/** @type {string[]} */ ...args) => succeeded(start(process.execPath, [program, ...args], { env }), `grantgate ${args[0]}`);
  const file = join(directory, 'world.json');
  await writeFile(file, JSON.stringify(world()));
  await run('migrate');
  await run('import', file);
  const [socket, grpcSocket] = [join(directory, 'http.sock'), join(directory, 'grpc.sock')];
  const settings = ['doors.port=0', `doors.socket=${socket}`, 'grpc.port=0', `grpc.socket=${grpcSocket}`, 'api.port=0', 'shutdown.delay=0ms'];
  const serve = start(process.execPath, [program, 'serve', ...settings.flatMap((setting) => ['--set', setting])], { env, stdout: 'ignore' });
  ends.push(() => serve.stop());
  const port = (/** @type {string} */ what) => Number(new RegExp(`${what} on 127\\.0\\.0\\.1:(\\d+)`).exec(serve.said())?.[1]);
  await until(async () => port('api') > 0 && (await fetch(`http://127.0.0.1:${port('api')}/readyz`)).status === 200, { what: 'grantgate serve', of: serve });
  return { pid: serve.pid, socket, http: port('doors'), grpc: port('gRPC'), api: port('api') };
}

function world() {
  return {
    tenants: [{ id: 'tenant' }],
    customers: Array.from({ length: 10 }, (_, i) => ({ id: `customer-${i}`, owner: i < 3 ? 'tenant' : `customer-${i - 3}` })),
    groups: [{ id: 'staff', type: 'USER', owner: 'tenant' }],
    users: [
      ...Array.from({ length: USERS }, (_, i) => ({ id: `user-${i}`, owner: 'tenant', groups: ['staff'] })),
      { id: 'stranger', owner: 'customer-9', groups: [] },
    ],
    entities: Array.from({ length: DEVICES }, (_, i) => ({ id: `device-${i}`, type: 'DEVICE', owner: `customer-${i % 10}` })),
    roles: [{ id: 'reader', owner: 'tenant', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }],
    grants: [{ id: 'grant', userGroup: 'staff', role: 'reader' }],
  };
}

/** @param {'http' | 'grpc'} kind @param {string} answer */
async function startStub(kind, answer) {
  const socket = join(directory, `${kind}-stub.sock`);
  const stub = start(process.execPath, [fileURLToPath(new URL('stubs.mjs', import.meta.url)), kind, socket, answer]);
  ends.push(() => stub.stop());
  const port = () => Number(/port (\d+)/.exec(stub.said())?.[1] ?? 0);
  await until(() => port() > 0, { what: `the ${kind} floor`, of: stub });
  return { pid: stub.pid, socket, port: port() };
}

/** Permit, deny, a token that is none, a path that no row has. @param {import('./door-http.mjs').Place} at @param {{ permits: readonly string[], denies: readonly string[] }} requests */
async function checkHttp(at, { permits, denies }) {
  for (const [i, request] of permits.entries()) {
    const { status, headers } = await ask(at, request);
    const identity = headers.filter(([name]) => name.startsWith('X-Auth')).map(([, value]) => value);
    assert.equal(status, 200);
    assert.deepEqual(identity.slice(0, 3), [`user-${i % USERS}`, 'tenant', '']);
    assert.match(identity[3] ?? '', /^[\w-]+$/);
  }
  for (const request of denies) assert.equal((await ask(at, request)).status, 403);
  assert.equal((await ask(at, requestOf({ user: 'user-0', uri: '/nowhere' }))).status, 403);
  assert.equal((await ask(at, (permits[0] ?? '').replace('Bearer ', 'Bearer x'))).status, 401);
}

/** What nginx asks, with the shipped configuration. @param {Question} question */
function requestOf({ user, uri }) {
  const id = 'X-Request-Id: 0b3a2f6e6f0c4f3a9d3d8d1b7a0c9e11';
  const head = ['GET /auth/nginx HTTP/1.1', 'Host: grantgate', `Authorization: Bearer ${token(user)}`, 'X-Original-Method: GET', `X-Original-URI: ${uri}`, id];
  const trace = `Traceparent: 00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`;
  return [...head, trace, '', ''].join('\r\n');
}

/** As ThingsBoard signs it. @param {string} user */
function token(user) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { userId: user, scopes: ['TENANT_ADMIN'], enabled: true, isPublic: false, sub: user, iss: 'thingsboard.io', iat: now, exp: now + 3600 };
  const signed = [{ alg: 'HS512' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  return `${signed}.${createHmac('sha512', key).update(signed).digest('base64url')}`;
}

/** Through nginx over a unix socket. @param {Ours} ours @param {{ socket: string, pid: number }} floor @param {{ allowed: readonly Question[], denied: readonly Question[] }} questions */
async function nginxLane(ours, floor, { allowed, denied }) {
  const proxies = await Promise.all([ours.socket, floor.socket].map((socket, i) => startNginx(join(directory, `nginx-${i}`), socket)));
  for (const proxy of proxies) ends.push(() => proxy.stop());
  const [mine, bare] = proxies;
  assert(mine && bare);
  const send = async (/** @type {Question} */ { user, uri }, bearer = token(user)) =>
    (await fetch(`http://127.0.0.1:${mine.port}${uri}`, { headers: { Authorization: `Bearer ${bearer}` } })).status;
  for (const question of allowed) assert.equal(await send(question), 200);
  for (const question of denied.slice(0, 10)) assert.equal(await send(question), 403);
  assert.equal(await send({ user: 'user-0', uri: '/nowhere' }), 403);
  assert.equal(await send({ user: 'user-0', uri: '/api/device/device-0' }, 'x'), 401);
  const script = join(directory, 'wrk.lua');
  const asked = allowed.map(({ user, uri }) => `wrk.format("GET", "${uri}", { Host = "app.example", Authorization = "Bearer ${token(user)}" })`);
  await writeFile(
    script,
    `local all = {}\ninit = function() all = { ${asked.join(',\n')} } end\nlocal i = 0\nrequest = function() i = i % #all + 1 return all[i] end\n`,
  );
  const rate = async (/** @type {boolean} */ isOurs) => wrk(isOurs ? mine.port : bare.port, { script, seconds: SECONDS });
  figureOf('door.nginx.rate', await turns(ROUNDS.nginx, rate), NGINX);
}

/** @param {Ours} ours @param {Question} question */
async function grpcLanes(ours, question) {
  const request = (/** @type {Question} */ { user, uri }, bearer = token(user)) => checkRequests(uri, bearer);
  const permit = request(question);
  const { frame, ...allowed } = await grpcCheck(ours.grpc, permit);
  assert.deepEqual({ ...allowed, headers: allowed.headers.slice(0, 3) }, { code: 0, status: 0, headers: [question.user, 'tenant', ''] });
  assert.equal((await grpcCheck(ours.grpc, request({ ...question, user: 'stranger' }))).status, 403);
  assert.equal((await grpcCheck(ours.grpc, request({ ...question, uri: '/nowhere' }))).status, 403);
  assert.equal((await grpcCheck(ours.grpc, request(question, 'x'))).status, 401);
  const floor = await startStub('grpc', frame.toString('hex'));
  assert((await grpcCheck(floor.port, permit)).frame.equals(frame));
  const file = join(directory, 'check');
  await writeFile(file, permit);

  const before = await grpcPermits(ours.api);
  let asked = 0;
  const load = async (/** @type {boolean} */ mine, /** @type {{ connections: number, streams: number, checks: number }} */ size) => {
    if (mine) asked += size.checks;
    return h2load(mine ? ours.grpc : floor.port, { ...size, file, log: `${file}.log`, ...(mine ? {} : { bytes: frame.length }) });
  };
  const cost = async (/** @type {boolean} */ mine) =>
    spent(mine ? ours.pid : floor.pid, CHECKS.grpc, () => load(mine, { connections: 4, streams: 16, checks: CHECKS.grpc }));
  figureOf('grpc.cpu', await turns(ROUNDS.grpc, cost), GRPC);
  const tail = async (/** @type {boolean} */ mine) => (await load(mine, { connections: 1, streams: 16, checks: CHECKS.tail })).p99;
  figureOf('grpc.p99', await turns(ROUNDS.tail, tail), TAIL);
  // Whatever a call is answered, it is 200 to h2load. Counted at the end, for to count costs the processor that is measured.
  assert.equal((await grpcPermits(ours.api)) - before, asked, 'calls of h2load that were permitted');
}

/** Microseconds of processor for each of so many checks. @param {number} pid @param {number} checks @param {() => Promise<unknown>} load */
async function spent(pid, checks, load) {
  const before = cpuNs(pid);
  await load();
  return (cpuNs(pid) - before) / 1000 / checks;
}

/**
 * Floor, ours, ours, floor: a machine that gets slower meanwhile is no cost of either.
 * @param {number} rounds @param {(ours: boolean) => Promise<number>} one
 */
async function turns(rounds, one) {
  const found = { ours: /** @type {number[]} */ ([]), floor: /** @type {number[]} */ ([]), ratio: /** @type {number[]} */ ([]) };
  const warm = rounds > ROUNDS.nginx ? 3 : 1;
  for (let round = -warm; round < rounds; round++) {
    const [floor1, ours1, ours2, floor2] = [await one(false), await one(true), await one(true), await one(false)];
    if (round < 0) continue; // compiled meanwhile
    found.floor.push(floor1, floor2);
    found.ours.push(ours1, ours2);
    found.ratio.push((ours1 + ours2) / (floor1 + floor2));
  }
  return found;
}

/** @param {string} name @param {Awaited<ReturnType<typeof turns>>} found @param {{ unit: string, most?: number, least?: number, costs?: string }} goal */
function figureOf(name, { ours, floor, ratio }, goal) {
  bench.figure(name, median(ours), { ...goal, floor: median(floor), ratio: median(ratio), spread: [Math.min(...ours), Math.max(...ours)] });
}
