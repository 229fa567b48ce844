// Is the gRPC door a part of the service: its socket and port, its counts and log lines, its end?

import { lstatSync } from 'node:fs';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { ALLOWED, DENIED, NOBODY, checkRequest, identityOf, verdictOf } from '../support/check-requests.ts';
import { cli } from '../support/cli.ts';
import { connectHttp2, startGrpcClient, type GrpcClient } from '../support/grpc.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { startSidecar, tokenFor, type ServedSidecar } from '../support/sidecar.ts';
import { until } from '../support/until.ts';

const WORLD = new URL('../../deploy/demo/smart-building.yaml', import.meta.url).pathname;
const METER = '/api/device/tower-meter';
const MILL = '/api/device/mill-meter';
let server: TestServer;
let reader: string;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  const database = await server.database();
  reader = await database.urlAs('grantgate_reader');
  expect(await cli(['import', WORLD], { env: { DATABASE_URL: database.url } })).toMatchObject({ code: 0 });
});
afterAll(() => server.close());

async function start(set: Readonly<Record<string, string | number>> = {}): Promise<ServedSidecar> {
  const sidecar = await startSidecar({ databaseUrl: reader, set: { 'doors.deadline': '2s', ...set } });
  onTestFinished(() => sidecar.stop('SIGKILL'));
  return sidecar;
}
function clientOf(at: string): GrpcClient {
  const client = startGrpcClient(at);
  onTestFinished(() => client.close());
  return client;
}
/** One for each user: what is verified and known is answered on the busiest machine, too. */
const tokens = new Map<string, Promise<string>>();
function token(user: string): Promise<string> {
  const made = tokens.get(user) ?? tokenFor(user);
  tokens.set(user, made);
  return made;
}
async function verdict(client: GrpcClient, { user = 'hana', path = METER, id = 'r' }: { user?: string | null; path?: string; id?: string }): Promise<string> {
  const headers = { 'x-request-id': id, ...(user === null ? {} : { authorization: `Bearer ${await token(user)}` }) };
  const { answer, error } = await client.check(checkRequest({ path, headers }));
  if (answer === null) return `gRPC ${error}`;
  if (answer.ok_response) expect(identityOf(answer)).toMatchObject({ 'x-auth-user': user, 'x-auth-tenant': 'northwind' });
  return verdictOf(answer);
}

test('over its socket and its port: answers, log lines, counts', async () => {
  const sidecar = await start();
  expect((lstatSync(sidecar.grpcSocket).mode & 0o777).toString(8)).toBe('660');
  expect(sidecar.log()).toContain(`gRPC on 127.0.0.1:${sidecar.grpcPort} and unix:${sidecar.grpcSocket}, api on`);
  const sockets = [`unix:${sidecar.grpcSocket}`, `127.0.0.1:${sidecar.grpcPort}`];
  const warm = clientOf(sockets[0]!);
  for (const path of [METER, MILL]) await until(async () => !(await verdict(warm, { path })).startsWith('gRPC'), 'what is read of the database');
  const counts = async (): Promise<readonly number[]> => {
    const metrics = await sidecar.metrics();
    return [
      metrics.value('authz_decisions_total', { decision: 'allow', protocol: 'envoy_grpc', resource: 'DEVICE', operation: 'READ' }) ?? 0,
      metrics.value('authz_decision_duration_seconds_count', { decision: 'deny', protocol: 'envoy_grpc' }) ?? 0,
      metrics.value('authz_inflight_requests', {}) ?? NaN,
    ];
  };
  expect(await counts()).toEqual([1, 1, 0]);
  for (const [i, at] of sockets.entries()) {
    const client = clientOf(at);
    expect(await verdict(client, { id: `allow-${i}` })).toBe(ALLOWED);
    expect(await verdict(client, { path: MILL, id: `deny-${i}` })).toBe(DENIED);
    expect(await verdict(client, { user: null, id: `nobody-${i}` })).toBe(NOBODY);
    expect(await sidecar.line(`allow-${i}`)).toMatchObject({ decision: 'allow', reason: 'generic', rule: '6a', subject: 'hana', protocol: 'envoy_grpc' });
    expect(await sidecar.line(`deny-${i}`)).toMatchObject({ decision: 'deny', reason: 'out-of-scope' });
    expect(await sidecar.line(`nobody-${i}`)).toMatchObject({ decision: 'unauthenticated', reason: 'no-credential' });
  }
  expect(await counts()).toEqual([3, 5, 0]);
});

test('without a database: UNAVAILABLE, never an allow, and not serving', async () => {
  const sidecar = await startSidecar({ databaseUrl: 'postgres://nobody@127.0.0.1:1/none', ready: false });
  onTestFinished(() => sidecar.stop('SIGKILL'));
  const client = clientOf(`unix:${sidecar.grpcSocket}`);
  expect(await verdict(client, {})).toBe('gRPC 14');
  expect((await client.health()).answer).toEqual({ status: 'NOT_SERVING' });
});

test('SIGTERM: not serving at once, checks answered all the while, then every line written and exit 0', async () => {
  const sidecar = await start({ 'shutdown.delay': '1500ms' });
  const told: (string | number)[] = [];
  clientOf(`unix:${sidecar.grpcSocket}`).watch('', (what) => told.push(what));
  await until(() => told.length === 1, 'the first word of health');
  const before = clientOf(`127.0.0.1:${sidecar.grpcPort}`);
  await until(async () => (await verdict(before, {})) === ALLOWED, 'the first answer');
  const stopped = sidecar.stop('SIGTERM');
  await until(() => told.length > 1, 'the next');
  expect(told[1]).toBe('NOT_SERVING');
  const client = clientOf(`127.0.0.1:${sidecar.grpcPort}`);
  let answered = 0;
  // Until it is gone: an answer or nobody there, and nothing else.
  for (let last = ALLOWED; last !== 'gRPC 14'; answered++) {
    last = await verdict(client, { id: `during-${answered}` });
    if (last !== 'gRPC 14') expect(last).toBe(ALLOWED);
  }
  await expect(connectHttp2(sidecar.grpcPort)).rejects.toThrow(/ECONNREFUSED/);
  await stopped;
  expect(answered).toBeGreaterThan(2);
  expect(await sidecar.line(`during-${answered - 2}`)).toMatchObject({ decision: 'allow' });
  expect(told).toEqual(['SERVING', 'NOT_SERVING', 14]);
  expect(sidecar.log()).toMatch(/"event":"stopped","detail":"every check is answered/);
});
