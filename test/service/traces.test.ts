// Are checks traced at every door, by every protocol of a collector, and never at a check's cost? The service as a process.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { asksForTraces } from '../../src/traces-asked.ts';
import { API_KEY, evaluation } from '../support/api.ts';
import { startClient, type Client } from '../support/ask.ts';
import { ALLOWED, checkRequest, verdictOf } from '../support/check-requests.ts';
import { call, connectHttp2, encodeRequest, frame, messageOf } from '../support/grpc.ts';
import { loadedModules } from '../support/modules.ts';
import { startCollector, type CollectedSpan, type Collector } from '../support/otlp.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { startSidecar, tokenFor, type ServedSidecar } from '../support/sidecar.ts';
import { startBehind, type Behind } from '../support/stack.ts';

const world = JSON.stringify({
  tenants: [{ id: 't' }],
  groups: [{ id: 'staff', type: 'USER', owner: 't' }],
  users: [{ id: 'ada', owner: 't', groups: ['staff'] }],
  entities: [{ id: 'd1', type: 'DEVICE', owner: 't' }],
  roles: [{ id: 'reader', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }],
  grants: [{ userGroup: 'staff', role: 'reader' }],
});
const CALM = { 'doors.deadline': '5s' }; // a machine that does other work is no news here

let collector: Collector;
let server: TestServer;
let behind: Behind;
let databaseUrl: string;
beforeAll(async () => {
  collector = await startCollector();
  server = await startPostgres('embedded18');
  behind = await startBehind({ server, world, env: exportingTo(collector.port) });
  databaseUrl = await behind.database.urlAs('grantgate_reader');
});
afterAll(async () => {
  await behind?.close();
  await collector?.close();
  await server?.close();
});

function exportingTo(port: number, more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, OTEL_BSP_SCHEDULE_DELAY: '20', ...more };
}

let number = 0;
function newTrace(): { trace: string; span: string; traceparent: string } {
  const trace = (++number).toString(16).padStart(32, 'c');
  const span = number.toString(16).padStart(16, 'd');
  return { trace, span, traceparent: `00-${trace}-${span}-01` };
}
const checkOf = (trace: string, at = collector): Promise<CollectedSpan> =>
  at.first((span) => span.trace === trace && span.name === 'grantgate check', `the check of ${trace}`);

/** A check at the nginx door. */
async function ask({ doors }: ServedSidecar, headers: Readonly<Record<string, string>>): Promise<number> {
  const client = startClient(doors);
  const original = { 'x-original-method': 'GET', 'x-original-uri': '/api/device/d1' };
  const { status } = await client.ask({ path: '/auth/nginx', token: await tokenFor('ada'), headers: { ...original, ...headers } });
  client.close();
  return status;
}

describe('who is the parent', () => {
  test('at the gRPC door the call; where it names none, the request', async () => {
    const [ofCall, ofRequest, other] = [newTrace(), newTrace(), newTrace()];
    const session = await connectHttp2(behind.sidecar.grpcPort);
    const authorization = `Bearer ${await tokenFor('ada')}`;
    const check = async (headers: Record<string, string>, metadata: Record<string, string>): Promise<string> =>
      verdictOf(messageOf(await call(session, [frame(encodeRequest(checkRequest({ headers: { authorization, ...headers } })))], { headers: metadata })));
    expect(await check({ traceparent: other.traceparent }, { traceparent: ofCall.traceparent, tracestate: 'envoy=1' })).toBe(ALLOWED);
    expect(await check({ traceparent: ofRequest.traceparent, tracestate: 'client=1' }, {})).toBe(ALLOWED);
    session.close();
    expect(await checkOf(ofCall.trace)).toMatchObject({
      parent: ofCall.span,
      state: 'envoy=1',
      attributes: { 'grantgate.protocol': 'envoy_grpc', 'rpc.system': 'grpc', 'rpc.service': 'envoy.service.auth.v3.Authorization', 'rpc.method': 'Check' },
    });
    expect(await checkOf(ofRequest.trace)).toMatchObject({ parent: ofRequest.span, state: 'client=1' });
    expect(collector.spans.filter(({ trace }) => trace === other.trace)).toEqual([]);
  });

  test('at the api its request; what a caller spells of its own is not shown', async () => {
    const [known, unknown] = [newTrace(), newTrace()];
    const api = startClient(behind.sidecar.api);
    const question = (action: string) => ({ subject: { type: 'user', id: 'ada' }, action: { name: action }, resource: { type: 'DEVICE', id: 'd1' } });
    await api.ask({ ...evaluation(question('READ'), { headers: { traceparent: known.traceparent } }), token: API_KEY });
    await api.ask({ ...evaluation(question('my own secret'), { headers: { traceparent: unknown.traceparent } }), token: API_KEY });
    api.close();
    expect(await checkOf(known.trace)).toMatchObject({
      parent: known.span,
      attributes: { 'grantgate.protocol': 'authzen', 'grantgate.verdict': 'permit', 'grantgate.operation': 'READ' },
    });
    expect(JSON.stringify(await checkOf(unknown.trace))).not.toMatch(/secret|\bada\b/);
  });

  test('a check that cannot be decided is an error', async () => {
    const { trace, traceparent } = newTrace();
    expect(await ask(behind.sidecar, { traceparent, 'x-authz-at-least': '' })).toBe(200);
    expect(await checkOf(trace)).toMatchObject({ status: 'unset' });
    const alone = await startSidecar({ databaseUrl: 'postgres://nobody@127.0.0.1:1/none', ready: false, set: CALM, env: exportingTo(collector.port) });
    const dead = newTrace();
    expect(await ask(alone, { traceparent: dead.traceparent })).toBe(503);
    expect(await checkOf(dead.trace)).toMatchObject({ status: 'error', attributes: { 'grantgate.verdict': 'unavailable', 'error.type': 'starting' } });
    const attach = await collector.first(({ name, status }) => name === 'grantgate attach' && status === 'error', 'the attach that failed');
    expect(attach.attributes['error.type']).toBe('source');
    await alone.stop();
  });
});

describe('the environment of OpenTelemetry', () => {
  test.each([
    ['http/json', 'application/json'],
    ['grpc', 'grpc'],
  ])('%s; and what is left is sent at the stop', async (protocol, way) => {
    const port = protocol === 'grpc' ? collector.grpcPort : collector.port;
    const env = exportingTo(port, {
      OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
      OTEL_BSP_SCHEDULE_DELAY: '60000',
      OTEL_SERVICE_NAME: 'front-door',
      OTEL_TRACES_SAMPLER: 'parentbased_always_off',
    });
    const sidecar = await startSidecar({ databaseUrl, env });
    const { trace, traceparent } = newTrace();
    expect(await ask(sidecar, { traceparent })).toBe(200);
    await sidecar.stop();
    expect(await checkOf(trace)).toMatchObject({ resource: { 'service.name': 'front-door' } });
    expect(collector.ways).toContain(way);
    const own = collector.spans.filter(({ resource, parent }) => resource['service.name'] === 'front-door' && parent === '');
    expect(own, 'the sampler takes no trace that begins here').toEqual([]);
  });
  test('protobuf unless something else is said', () => expect(collector.ways).toContain('application/x-protobuf'));

  test.each<[Record<string, string>, boolean]>([
    [{}, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' }, true],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:4318/v1/traces' }, true],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: '' }, false],
    [{ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://127.0.0.1:4318' }, false],
    [{ OTEL_TRACES_EXPORTER: 'otlp' }, true],
    [{ OTEL_TRACES_EXPORTER: 'none' }, false],
    [{ OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' }, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318', OTEL_SDK_DISABLED: 'true' }, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318', OTEL_SDK_DISABLED: 'false' }, true],
    [{ OTEL_SERVICE_NAME: 'x', OTEL_TRACES_SAMPLER: 'always_on' }, false],
  ])('%j asks for traces: %s', (env, asks) => expect(asksForTraces(env)).toBe(asks));
});

test('an address that the SDK cannot work with stops the start, in words', async () => {
  const env = { ...exportingTo(1, { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }), OTEL_EXPORTER_OTLP_ENDPOINT: 'http://:::bad' };
  const starting = startSidecar({ databaseUrl, ready: false, env });
  await expect(starting).rejects.toThrow(/exit 2[^]*OTEL_\*: OpenTelemetry's SDK cannot start by what these variables say: Invalid URL/);
});

/** Of OpenTelemetry, what is for traces and for sending them. */
const OF_TRACES = /\/(node_modules\/@opentelemetry\/(sdk-node|sdk-trace|exporter-trace|otlp|instrumentation|propagator|context)[^/]*\/|src\/traces\.ts$)/;

test('nothing of it is loaded by a process that is not asked', { timeout: 60_000 }, async () => {
  /** Every module of the process, and how long it took to be ready. */
  const loaded = async (env: Record<string, string>): Promise<{ modules: readonly string[]; ms: number }> => {
    const directory = mkdtempSync(join(tmpdir(), 'grantgate-loaded-'));
    const begun = performance.now();
    const sidecar = await startSidecar({ databaseUrl, env: { ...env, NODE_V8_COVERAGE: directory } });
    const ms = performance.now() - begun;
    await sidecar.stop();
    const modules = loadedModules(directory);
    rmSync(directory, { recursive: true });
    return { modules, ms };
  };
  const without = await loaded({});
  const withTraces = await loaded(exportingTo(collector.port));
  const count = ({ modules }: typeof without): number => modules.filter((path) => OF_TRACES.test(path)).length;
  console.log(
    `modules loaded: ${without.modules.length} (${count(without)} of traces), ready after ${Math.round(without.ms)} ms; ` +
      `asked for traces: ${withTraces.modules.length} (${count(withTraces)}), after ${Math.round(withTraces.ms)} ms`,
  );
  expect(without.modules.length).toBeGreaterThan(100);
  expect(without.modules.filter((path) => OF_TRACES.test(path))).toEqual([]);
  expect(count(withTraces)).toBeGreaterThan(50);
});

describe('a collector that is not there', () => {
  const CHECKS = 320;
  let silent: Server;
  const sockets = new Set<Socket>();
  beforeAll(async () => {
    silent = createServer((socket) => void sockets.add(socket.on('error', () => undefined)));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  });
  afterAll(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
  });

  interface Asked {
    readonly sidecar: ServedSidecar;
    readonly client: Client;
    /** Of each counted check, ms. */
    readonly times: number[];
  }
  const begin = async (env: Record<string, string>): Promise<Asked> => {
    const sidecar = await startSidecar({ databaseUrl, set: { ...CALM, 'shutdown.timeout': '500ms' }, env });
    return { sidecar, client: startClient(sidecar.doors), times: [] };
  };
  /** Sampled checks, 16 at once and at each in turn: what else the machine does is felt by all. */
  async function askInTurn(all: readonly Asked[]): Promise<void> {
    const token = await tokenFor('ada');
    const one = async ({ client, times }: Asked, counted: boolean): Promise<void> => {
      const begun = performance.now();
      const headers = { 'x-original-method': 'GET', 'x-original-uri': '/api/device/d1', traceparent: newTrace().traceparent };
      const { status } = await client.ask({ path: '/auth/nginx', token, headers });
      if (counted) times.push(performance.now() - begun);
      expect(status).toBe(200);
    };
    for (const counted of [false, true])
      for (let i = 0; i < CHECKS; i += 16) for (const each of all) await Promise.all(Array.from({ length: 16 }, () => one(each, counted)));
  }
  /** The median and the slowest of a hundred, ms; how long the stop took; what was said. */
  async function end({ sidecar, client, times }: Asked) {
    client.close();
    const begun = performance.now();
    await sidecar.stop();
    const stop = performance.now() - begun;
    times.sort((a, b) => a - b);
    return { median: times[times.length >> 1]!, p99: times[Math.floor(times.length * 0.99)]!, stop, log: sidecar.log() };
  }

  test('slows no check and no stop, and is told of once', { timeout: 90_000 }, async () => {
    const begun = [
      await begin({}),
      await begin(exportingTo(1, { OTEL_EXPORTER_OTLP_TIMEOUT: '200' })), // else it tries again for ten seconds
      await begin(exportingTo((silent.address() as { port: number }).port)),
    ] as const;
    await askInTurn(begun);
    const [none, refusing, silence] = [await end(begun[0]), await end(begun[1]), await end(begun[2])];
    for (const [name, { median, p99, stop }] of Object.entries({ 'no traces': none, refuses: refusing, 'is silent': silence }))
      console.log(`a collector that ${name}: ${median.toFixed(1)} ms median, ${p99.toFixed(1)} ms p99, stopped in ${Math.round(stop)} ms`);
    for (const away of [refusing, silence]) {
      // A span costs its microseconds; to wait for somebody would be his ten seconds.
      expect(away.median).toBeLessThan(none.median * 3 + 10);
      expect(away.stop).toBeLessThan(9_000);
      const said = away.log.split('\n').filter((line) => line.includes('"event":"traces"'));
      console.log(said.join('\n'));
      expect(said).toHaveLength(1);
    }
    expect(refusing.log).toMatch(/told once an hour/);
    expect(silence.log).toMatch(/did not take the last spans within 500 ms/);
  });
});
