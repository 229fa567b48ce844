// Is our own gRPC door faster than the library would be?  npm run bench:grpc [-- --json]
//
// Three servers, each a process of its own, asked the same CheckRequest as Envoy sends it: ours; one of grpc-js and proto-loader around
// the same pipeline; and bare node:http2 that reads nothing and answers constant bytes, which nothing over node:http2 can beat. h2load asks them in turn,
// in short rounds, and the processor time of the server is counted: on a machine that does other work that holds, a rate does not.
// Every server's answer is compared before anything is timed.

import assert from 'node:assert/strict';
import { execFile, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http2';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Server, ServerCredentials, credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { PolicyCache, compileVocabulary, parseWorldFile } from 'policy-cache';
import { MemorySource } from 'policy-cache/memory';
import { parse } from 'yaml';
import { createAuthorize, decisionIds } from '../../dist/authorize.js';
import { hostClock } from '../../dist/clock.js';
import { createGrpcDoor } from '../../dist/doors/grpc.js';
import { readHeaders, readerOf } from '../../dist/doors/headers.js';
import { createAuthenticator } from '../../dist/identity.js';
import { createThingsBoardIssuer, signToken } from '../../dist/issuers/thingsboard.js';
import { createPdp } from '../../dist/pdp.js';
import { compileRoutes } from '../../dist/routes.js';

/** Connections, streams of each, checks of a round, rounds: as Envoy with four workers. */
const LOAD = { connections: 4, streams: 16, checks: 12_000, rounds: 7 };
const KINDS = /** @type {const} */ (['floor', 'ours', 'grpc-js']);
/** @typedef {(typeof KINDS)[number]} Kind */
const GOAL = 1.2; // less than that would not be worth a codec of our own

const run = promisify(execFile);
const protos = fileURLToPath(new URL('../support/protos', import.meta.url));
/** @type {any} */
const { Authorization } = /** @type {any} */ (loadPackageDefinition(loadSync('ext_authz.proto', { keepCase: true, includeDirs: [protos] }))).envoy.service.auth
  .v3;
const service = Authorization.service;

const kind = KINDS.find((each) => each === process.argv[2]);
if (kind !== undefined) await serve(kind);
else await measure();

/** @param {Kind} which */
async function serve(which) {
  const { authorize, token, clock } = await pipeline();
  const answer = await (which === 'ours' ? ours(authorize, clock) : which === 'grpc-js' ? library(authorize) : floor());
  process.on('message', () => process.send?.(process.cpuUsage()));
  process.on('disconnect', () => process.exit(0));
  process.send?.({ port: answer, token });
}

/** The service's own, over memory. */
async function pipeline() {
  const vocabulary = compileVocabulary(parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
  const { world, problems } = parseWorldFile({
    defaults: true,
    tenants: [{ id: 't1' }],
    users: [{ id: 'admin', owner: 't1', groups: ['admins:t1'] }],
    entities: [{ id: 'd1', type: 'DEVICE', owner: 't1' }],
  });
  assert.deepEqual(problems, []);
  const clock = hostClock();
  const cache = new PolicyCache({ vocabulary, source: new MemorySource({ world, newId: () => randomUUID() }), clock, random: Math.random });
  cache.start();
  await cache.ready(10_000);
  const key = Buffer.alloc(64, 7).toString('base64');
  const { table } = compileRoutes(vocabulary, {
    routes: [{ method: 'GET', path: '/api/device/{id}', resource: 'DEVICE', operation: 'READ', target: '{id}' }],
  });
  const wall = () => Date.now();
  const authenticator = createAuthenticator({
    issuers: [createThingsBoardIssuer({ name: 'thingsboard', tenants: '*', signingKeys: [key] })],
    wall,
    tokens: 100,
  });
  const authorize = createAuthorize({ table, authenticator, pdp: createPdp(cache, { deadline: 1000 }), nextId: decisionIds('bench'), clock });
  const token = await signToken(key, { userId: 'admin', scope: 'TENANT_ADMIN', issuedAt: Math.floor(wall() / 1000), lifetime: 3600 });
  return { authorize, token, clock };
}

/** @param {import('../../src/authorize.ts').Authorize} authorize @param {import('policy-cache').Clock} clock */
async function ours(authorize, clock) {
  const server = createGrpcDoor({ authorize, clock, random: Math.random, ready: () => true, report: () => undefined }).server();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return portOf(server);
}

/** The same check around the library: it decodes, the headers are read as at every door, the answer is an object. @param {import('../../src/authorize.ts').Authorize} authorize */
async function library(authorize) {
  const reader = readerOf({ origin: { kind: 'request-line' }, target: null, atLeast: null });
  const server = new Server();
  server.addService(service, {
    /** @param {any} call @param {(error: null, answer: object) => void} done */
    async Check(call, done) {
      const { method, path, headers: map } = call.request.attributes.request.http;
      const { preflight, requestId, credential, credentials: count, cookies, origin } = readHeaders(reader, Object.entries(map).flat());
      const said = { protocol: 'envoy_grpc', method, uri: path, preflight, requestId, credential, credentials: count, cookies, origin };
      const outcome = authorize({ ...said, asserted: null, timeout: null, atLeast: null, parameters: null, problem: null });
      const { verdict, subject, tenant, customer, decisionId } = outcome instanceof Promise ? await outcome : outcome;
      const set = { 'x-auth-user': subject, 'x-auth-tenant': tenant, 'x-auth-customer': customer, 'x-authz-decision-id': decisionId };
      const headers = Object.entries(set).map(([key, value]) => ({ header: { key, value } }));
      if (verdict !== 'permit') done(null, { status: { code: 7 }, denied_response: { status: { code: 403 } } });
      else done(null, { status: { code: 0 }, ok_response: { headers, headers_to_remove: ['x-envoy-auth-failure-mode-allowed'] } });
    },
  });
  return promisify(server.bindAsync.bind(server))('127.0.0.1:0', ServerCredentials.createInsecure());
}

/** As long an answer as ours, of constant bytes. */
async function floor() {
  const headers = ['x-auth-user', 'x-auth-tenant', 'x-auth-customer', 'x-authz-decision-id'].map((key) => ({ header: { key, value: 'constant' } }));
  const answer = { status: { code: 0 }, ok_response: { headers, headers_to_remove: ['x-envoy-auth-failure-mode-allowed'] } };
  const message = service.Check.responseSerialize(answer);
  const frame = Buffer.concat([Buffer.alloc(5), message]);
  frame.writeUInt32BE(message.length, 1);
  const server = createServer();
  server.on('stream', (stream) => {
    stream.on('error', () => undefined);
    stream.resume().on('end', () => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(frame);
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return portOf(server);
}

/** @param {import('node:net').Server} server */
function portOf(server) {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function measure() {
  const json = process.argv.includes('--json');
  const say = (/** @type {string} */ line) => void (json || process.stdout.write(`${line}\n`));
  await run('h2load', ['--version']).catch(() => assert.fail('needs h2load (Debian package nghttp2-client: apt-get install nghttp2-client)'));
  const directory = mkdtempSync(join(tmpdir(), 'grantgate-bench-'));
  const children = KINDS.map((which) => fork(fileURLToPath(import.meta.url), [which]));
  try {
    const servers = await Promise.all(children.map(async (child) => /** @type {{ port: number, token: string }} */ ((await once(child, 'message'))[0])));
    const file = join(directory, 'request');
    /** @type {Record<Kind, { cpu: number[], rate: number[] }>} */
    const figures = { floor: { cpu: [], rate: [] }, ours: { cpu: [], rate: [] }, 'grpc-js': { cpu: [], rate: [] } };
    const requests = servers.map(({ token }) => checkRequest(token));
    for (const [i, which] of KINDS.entries()) await expectAllow(which, servers[i]?.port ?? 0, requests[i] ?? {});
    const bytes = requests.map((request) => framed(service.Check.requestSerialize(request)));
    say(
      `${cpus()[0]?.model}, ${cpus().length} cores, node ${process.version}; ${LOAD.connections} connections of ${LOAD.streams} streams, ${bytes[0]?.length} bytes a check`,
    );
    for (let round = -1; round < LOAD.rounds; round++) {
      for (const i of shuffled(KINDS.map((_, index) => index))) {
        const [which, child] = [KINDS[i] ?? 'floor', children[i]];
        assert(child);
        writeFileSync(`${file}.${i}`, bytes[i] ?? '');
        const before = await cpuOf(child);
        const rate = await load(servers[i]?.port ?? 0, `${file}.${i}`);
        const cpu = ((await cpuOf(child)) - before) / LOAD.checks;
        if (round < 0) continue; // to be compiled
        figures[which].cpu.push(cpu);
        figures[which].rate.push(rate);
      }
    }
    report(figures, { json, say });
  } finally {
    for (const child of children) child.disconnect();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** @param {Record<Kind, { cpu: number[], rate: number[] }>} figures @param {{ json: boolean, say: (line: string) => void }} to */
function report(figures, { json, say }) {
  const ratio = (/** @type {'cpu' | 'rate'} */ what, /** @type {Kind} */ of, /** @type {Kind} */ to) =>
    median(figures[of][what].map((value, i) => value / (figures[to][what][i] ?? NaN)));
  for (const which of KINDS)
    say(`${which.padEnd(8)} ${median(figures[which].cpu).toFixed(1)} µs of processor a check, ${Math.round(median(figures[which].rate))} checks/s`);
  const rows = [
    { name: 'grpc.cpu.grpc-js/ours', value: ratio('cpu', 'grpc-js', 'ours'), goal: GOAL },
    { name: 'grpc.cpu.ours/floor', value: ratio('cpu', 'ours', 'floor'), goal: null },
    { name: 'grpc.rate.ours/grpc-js', value: ratio('rate', 'ours', 'grpc-js'), goal: null },
  ].map(({ name, value, goal }) => ({ name, value: Math.round(value * 100) / 100, unit: 'ratio', goal, met: goal === null ? null : value >= goal }));
  if (json) process.stdout.write(`${JSON.stringify({ figures: rows })}\n`);
  else
    for (const { name, value, goal, met } of rows)
      say(`${met === null ? '       ' : met ? 'met    ' : 'NOT met'} ${name}: ${value}${goal === null ? '' : `, goal ${goal}`}`);
}

/** What Envoy sends of a browser's request. @param {string} token */
function checkRequest(token) {
  const headers = {
    ':authority': 'app.example',
    ':method': 'GET',
    ':path': '/api/device/d1',
    ':scheme': 'https',
    accept: 'application/json, text/plain, */*',
    'accept-encoding': 'gzip, deflate, br, zstd',
    'accept-language': 'en-GB,en;q=0.9',
    authorization: `Bearer ${token}`,
    cookie: 'session=1234567890abcdef; theme=dark',
    referer: 'https://app.example/devices',
    'sec-fetch-dest': 'empty',
    'sec-fetch-mode': 'cors',
    'sec-fetch-site': 'same-origin',
    'user-agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36',
    'x-forwarded-for': '192.0.2.7',
    'x-forwarded-proto': 'https',
    'x-request-id': '0b3a2f6e-6f0c-4f3a-9d3d-8d1b7a0c9e11',
  };
  const http = { id: '1234567890', method: 'GET', headers, path: '/api/device/d1', host: 'app.example', scheme: 'https', protocol: 'HTTP/1.1' };
  return { attributes: { source: { principal: '' }, destination: {}, request: { time: { seconds: 1, nanos: 1 }, http } } };
}

/** @param {Kind} which @param {number} port @param {object} request */
async function expectAllow(which, port, request) {
  const client = new Authorization(`127.0.0.1:${port}`, credentials.createInsecure());
  const answer = await promisify(client.Check.bind(client))(request);
  client.close();
  assert.equal(answer.status.code, 0);
  const { headers, headers_to_remove: removed } = answer.ok_response;
  const keys = headers.map((/** @type {{ header: { key: string } }} */ { header }) => header.key);
  assert.deepEqual(keys, ['x-auth-user', 'x-auth-tenant', 'x-auth-customer', 'x-authz-decision-id']);
  assert.deepEqual(removed, ['x-envoy-auth-failure-mode-allowed']);
  assert.equal(headers[0].header.value, which === 'floor' ? 'constant' : 'admin');
}

/** Checks a second; every one must have been answered. @param {number} port @param {string} file */
async function load(port, file) {
  const { connections, streams, checks } = LOAD;
  const headers = ['content-type: application/grpc', 'te: trailers', 'grpc-timeout: 5S'].flatMap((header) => ['-H', header]);
  const options = ['-c', connections, '-m', streams, '-n', checks, '-t', 1, '-d', file].map(String);
  const { stdout } = await run('h2load', [...options, ...headers, `http://127.0.0.1:${port}/envoy.service.auth.v3.Authorization/Check`]);
  assert.match(stdout, new RegExp(`${checks} succeeded, 0 failed, 0 errored`), stdout);
  return Number(/([\d.]+) req\/s/.exec(stdout)?.[1]);
}

/** Microseconds of processor that a server has used. @param {import('node:child_process').ChildProcess} child */
async function cpuOf(child) {
  child.send('cpu');
  const [{ user, system }] = /** @type {[NodeJS.CpuUsage]} */ (await once(child, 'message'));
  return user + system;
}

/** @param {Buffer} message */
function framed(message) {
  const frame = Buffer.concat([Buffer.alloc(5), message]);
  frame.writeUInt32BE(message.length, 1);
  return frame;
}

/** @param {readonly number[]} list */
function shuffled(list) {
  return list
    .map((value) => ({ value, key: Math.random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ value }) => value);
}

/** @param {readonly number[]} values */
function median(values) {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}
