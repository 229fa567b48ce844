// What do metrics, the decision log and traces cost a check?  npm run bench:telemetry [-- --json]
//
// Microseconds of processor of a process that answers nothing but checks from memory at the door over HTTP, asked over kept connections
// one check at a time, as proxies ask. Variants are switched on and off in one process and compared side by side in short rounds, so that
// neither a machine that does other work nor the luck of a compiler is taken for a cost. The floor is a bare node:http server that
// answers as many bytes. The decision log is on as it is by default, with one allow in a hundred; `every line` writes them all.

import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { PolicyCache, compileVocabulary, parseWorldFile } from 'policy-cache';
import { MemorySource } from 'policy-cache/memory';
import { parse } from 'yaml';
import { createAuthorize, decisionIds } from '../../dist/authorize.js';
import { hostClock } from '../../dist/clock.js';
import { createDecisionLog } from '../../dist/decisionlog.js';
import { createHttpDoors } from '../../dist/doors/http.js';
import { createAuthenticator } from '../../dist/identity.js';
import { createThingsBoardIssuer, signToken } from '../../dist/issuers/thingsboard.js';
import { listen } from '../../dist/listen.js';
import { createPdp } from '../../dist/pdp.js';
import { compileRoutes } from '../../dist/routes.js';
import { createTelemetry } from '../../dist/telemetry.js';
import { startTraces } from '../../dist/traces.js';

const LOAD = { connections: 16, checks: 1_000, rounds: 41, warm: 15 };
const GOAL = 1.1;

const SAMPLED = `Traceparent: 00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
const UNSAMPLED = SAMPLED.replace(/1$/, '0');
/**
 * `lines`: the share of allows in the decision log, null: no log; the default is one in a hundred. `door`: which one is asked.
 * @type {Readonly<Record<string, { door: 'floor' | 'plain' | 'traced', metrics?: boolean, lines?: number | null, headers?: string[] }>>}
 */
const VARIANTS = {
  floor: { door: 'floor' },
  off: { door: 'plain' },
  on: { door: 'plain', metrics: true, lines: 0.01 },
  'every line': { door: 'plain', metrics: true, lines: 1 },
  'no traces': { door: 'plain', metrics: true, lines: 0.01, headers: [UNSAMPLED] },
  unsampled: { door: 'traced', metrics: true, lines: 0.01, headers: [UNSAMPLED] },
  sampled: { door: 'traced', metrics: true, lines: 0.01, headers: [SAMPLED] },
};
/** @typedef {{ metrics: boolean, lines: number | null }} Having */
/** What is compared: each figure is the one by the other. @type {readonly { name: string, of: string, by: string, goal: number | null }[]} */
const RATIOS = [
  { name: 'telemetry.on.off', of: 'on', by: 'off', goal: GOAL },
  { name: 'telemetry.everyline.off', of: 'every line', by: 'off', goal: null },
  { name: 'traces.unsampled', of: 'unsampled', by: 'no traces', goal: GOAL },
  { name: 'traces.sampled', of: 'sampled', by: 'no traces', goal: null },
  { name: 'telemetry.off.floor', of: 'off', by: 'floor', goal: null },
];

const [, , which] = process.argv;
if (which === 'floor') await serveFloor();
else if (which === 'ours') await serve();
else await measure();

/** The parts of the service, put together as service.ts does, over memory: two doors, of which one is traced. */
async function serve() {
  const vocabulary = compileVocabulary(parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
  const { world, problems } = parseWorldFile({
    defaults: true,
    tenants: [{ id: 't1' }],
    users: [{ id: 'admin', owner: 't1', groups: ['admins:t1'] }],
    entities: [{ id: 'd1', type: 'DEVICE', owner: 't1' }],
  });
  assert.deepEqual(problems, []);
  const clock = hostClock();
  const wall = () => Date.now();
  const telemetry = createTelemetry({ vocabulary, version: 'bench', policyVersion: 'bench', wall });
  const logOf = (/** @type {number} */ allowSample) => createDecisionLog({ sink: process.stdout, allowSample, random: Math.random, wall });
  const logs = new Map([0.01, 1].map((share) => [share, logOf(share)]));
  const log = (/** @type {string} */ level, /** @type {string} */ event, /** @type {string} */ detail) =>
    void (level === 'warn' && process.stderr.write(`${event}: ${detail}\n`));
  const traces = startTraces({ version: 'bench', instance: 'bench', vocabulary, clock, wall, log });
  const cache = new PolicyCache({ vocabulary, source: new MemorySource({ world, newId: () => randomUUID() }), clock, random: Math.random });
  cache.start();
  await cache.ready(10_000);
  const key = Buffer.alloc(64, 7).toString('base64');
  const { table } = compileRoutes(vocabulary, {
    routes: [{ method: 'GET', path: '/api/device/{id}', resource: 'DEVICE', operation: 'READ', target: '{id}' }],
  });
  const issuer = createThingsBoardIssuer({ name: 'thingsboard', tenants: '*', signingKeys: [key] });
  const authenticator = createAuthenticator({ issuers: [issuer], wall, tokens: 100 });
  const authorize = createAuthorize({ table, authenticator, pdp: createPdp(cache, { deadline: 1_000 }), nextId: decisionIds('bench'), clock });
  /** @type {Having} */
  let having = { metrics: false, lines: null };
  /** @param {import('../../src/report.ts').CheckReport} check */
  const report = (check) => {
    if (having.metrics) telemetry.report(check);
    if (having.lines !== null) logs.get(having.lines)?.report(check);
    check.span?.end(check);
  };
  const ports = [];
  for (const trace of [null, traces.check]) {
    const address = await listen(createHttpDoors({ authorize, clock, report, trace }).server(), { host: '127.0.0.1', port: 0 });
    ports.push(Number(address.split(':').at(-1)));
  }
  const token = await signToken(key, { userId: 'admin', scope: 'TENANT_ADMIN', issuedAt: Math.floor(wall() / 1000), lifetime: 3_600 });
  answerParent({ ports, token }, (next) => (having = next));
}

async function serveFloor() {
  const identity = ['X-Auth-User', 'admin', 'X-Auth-Tenant', 't1', 'X-Auth-Customer', '', 'X-Authz-Decision-Id', 'bench-12345'];
  const server = createServer((_, res) => {
    res.sendDate = false;
    res.writeHead(200, ['Content-Length', '0', 'Cache-Control', 'no-store', ...identity]).end();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  answerParent({ ports: [typeof address === 'object' && address !== null ? address.port : 0], token: 'floor' }, () => undefined);
}

/** @param {{ ports: number[], token: string }} at @param {(having: Having) => void} take */
function answerParent(at, take) {
  process.on('message', (/** @type {Having} */ having) => {
    take(having);
    process.send?.(process.cpuUsage());
  });
  process.on('disconnect', () => process.exit(0));
  process.send?.(at);
}

async function measure() {
  const json = process.argv.includes('--json');
  const say = (/** @type {string} */ line) => void (json || process.stdout.write(`${line}\n`));
  let exported = 0;
  const collector = createServer((req, res) => {
    req.on('data', (/** @type {Buffer} */ part) => (exported += part.length));
    req.on('end', () => res.writeHead(200, { 'content-type': 'application/x-protobuf' }).end());
  });
  await once(collector.listen(0, '127.0.0.1'), 'listening');
  const listening = collector.address();
  assert(typeof listening === 'object' && listening !== null);
  const env = {
    ...process.env,
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${listening.port}`,
    OTEL_BSP_SCHEDULE_DELAY: '20',
    OTEL_BSP_MAX_QUEUE_SIZE: '100000', // every span is paid for
  };
  const [ours, bare] = ['ours', 'floor'].map((name) => fork(fileURLToPath(import.meta.url), [name], { env, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }));
  assert(ours && bare);
  try {
    const [at, floor] = await Promise.all(
      [ours, bare].map(async (child) => /** @type {{ ports: number[], token: string }} */ ((await once(child, 'message'))[0])),
    );
    assert(at && floor);
    const ports = { floor: floor.ports[0] ?? 0, plain: at.ports[0] ?? 0, traced: at.ports[1] ?? 0 };
    say(
      `${cpus()[0]?.model}, ${cpus().length} cores, node ${process.version}; ${LOAD.connections} connections, ${LOAD.rounds} rounds of ${LOAD.checks} checks`,
    );
    /** Microseconds of processor that so many checks of a variant take. @param {string} name */
    const cost = async (name) => {
      const { door, metrics = false, lines = null, headers = [] } = VARIANTS[name] ?? { door: 'floor' };
      const child = door === 'floor' ? bare : ours;
      const before = await cpuOf(child, { metrics, lines });
      await load(ports[door], requestOf(at.token, headers));
      if (name === 'sampled') await drained(() => exported);
      return (await cpuOf(child, { metrics, lines })) - before;
    };
    /** @type {Record<string, number[]>} */
    const cpu = Object.fromEntries(Object.keys(VARIANTS).map((name) => [name, []]));
    const ratios = RATIOS.map(() => /** @type {number[]} */ ([]));
    for (let round = -LOAD.warm; round < LOAD.rounds; round++)
      for (const [i, { of, by }] of RATIOS.entries()) {
        // Side by side, and each once before the other: a machine that gets slower is no cost of either.
        const [by1, of1, of2, by2] = [await cost(by), await cost(of), await cost(of), await cost(by)];
        if (round < 0) continue;
        ratios[i]?.push((of1 + of2) / (by1 + by2));
        cpu[of]?.push(of1, of2);
        cpu[by]?.push(by1, by2);
      }
    assert(exported > 2 * LOAD.rounds * LOAD.checks * 100, 'the collector was sent every sampled check');
    for (const [name, all] of Object.entries(cpu)) say(`${name.padEnd(10)} ${(median(all) / LOAD.checks).toFixed(1)} µs of processor a check`);
    const figures = RATIOS.map(({ name, goal }, i) => ({ name, value: Math.round(median(ratios[i] ?? []) * 1000) / 1000, goal })).map((figure) => ({
      ...figure,
      unit: 'ratio',
      met: figure.goal === null ? null : figure.value <= figure.goal,
    }));
    if (json) process.stdout.write(`${JSON.stringify({ figures })}\n`);
    else
      for (const { name, value, goal, met } of figures)
        say(`${met === null ? '       ' : met ? 'met    ' : 'NOT met'} ${name}: ${value}${goal === null ? '' : `, goal ${goal}`}`);
  } finally {
    for (const child of [ours, bare]) child.disconnect();
    collector.close();
    collector.closeAllConnections();
  }
}

/** @param {string} token @param {readonly string[]} more */
function requestOf(token, more) {
  const id = 'X-Request-Id: 0b3a2f6e6f0c4f3a9d3d8d1b7a0c9e11';
  return [
    'GET /auth/nginx HTTP/1.1',
    'Host: grantgate',
    `Authorization: Bearer ${token}`,
    'X-Original-Method: GET',
    'X-Original-URI: /api/device/d1',
    id,
    ...more,
    '',
    '',
  ].join('\r\n');
}

/** So many checks over all connections, each asking when it is answered; every answer is an allow. @param {number} port @param {string} request */
async function load(port, request) {
  let left = LOAD.checks;
  const ask = async () => {
    const socket = connect(port, '127.0.0.1').setNoDelay().setEncoding('latin1');
    await once(socket, 'connect');
    await new Promise((resolve, reject) => {
      socket.on('error', reject);
      socket.on('data', (/** @type {string} */ answer) => {
        if (!answer.startsWith('HTTP/1.1 200 ') || !answer.endsWith('\r\n\r\n')) return reject(new Error(answer));
        if (left-- > 0) socket.write(request);
        else resolve(null);
      });
      left--;
      socket.write(request);
    });
    socket.destroy();
  };
  await Promise.all(Array.from({ length: LOAD.connections }, ask));
}

/** Until nothing more comes: what the batches cost belongs to the checks that they tell of. @param {() => number} bytes */
async function drained(bytes) {
  for (let before = -1; bytes() !== before;) {
    before = bytes();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Microseconds of processor that a process has used; from now on it has these. @param {import('node:child_process').ChildProcess} child @param {Having} having */
async function cpuOf(child, having) {
  child.send(having);
  const [{ user, system }] = /** @type {[NodeJS.CpuUsage]} */ (await once(child, 'message'));
  return user + system;
}

/** @param {readonly number[]} values */
function median(values) {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}
