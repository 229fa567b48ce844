// Is a service with an OpenID Connect issuer ready when it can judge its tokens, not before, and is that all that it needs?

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { startService, type Service } from '../../src/service.ts';
import { startClient } from '../support/ask.ts';
import { startChild } from '../support/child.ts';
import { cli } from '../support/cli.ts';
import { parseExposition } from '../support/exposition.ts';
import { startIssuer, type TestIssuer } from '../support/oidc.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';

let server: TestServer;
let reader: string;
let issuer: TestIssuer;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  const database = await server.database();
  reader = await database.urlAs('grantgate_reader');
  const files = { 'world.json': JSON.stringify({ defaults: true, tenants: [{ id: 't1' }], users: [{ id: 'ada', owner: 't1', groups: ['admins:t1'] }] }) };
  expect(await cli(['import', 'world.json'], { env: { DATABASE_URL: database.url }, files })).toMatchObject({ code: 0 });
  issuer = await startIssuer(['ada']);
});
afterAll(async () => {
  await issuer.close();
  await server.close();
});

const LOGIN = (): object => ({ name: 'login', issuer: issuer.url, audience: issuer.audience, tenants: '*', cooldown: '1s', refreshInterval: '1s' });

async function start(sets: Record<string, string | number>): Promise<Service> {
  const directory = mkdtempSync(join(tmpdir(), 'grantgate-oidc-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const all = {
    'doors.port': 'none',
    'doors.socket': join(directory, 'doors.sock'),
    'api.port': 0,
    'shutdown.delay': 0,
    'doors.deadline': '2s',
    'overload.delay': '10s',
    ...sets,
  };
  const { settings } = loadConfig({ env: { DATABASE_URL: reader }, sets: Object.entries(all).map(([path, value]) => `${path}=${value}`), readFile: () => '' });
  const service = await startService({
    settings,
    version: '0',
    readFile: (path) => readFileSync(path, 'utf8'),
    stdout: { write: (_, done) => done() },
    log: () => undefined,
    wall: () => Date.now(),
    random: () => Math.random(),
    uuid: () => '0123456789',
    hostname: 'test',
  });
  onTestFinished(() => service.stop()); // before the directory goes: the last one registered runs first
  return service;
}

async function ready(service: Service): Promise<{ status: number; state: string; cause: string | null }> {
  const response = await fetch(`http://${service.api}/readyz`);
  return { ...((await response.json()) as { state: string; cause: string | null }), status: response.status };
}

async function ask(service: Service, headers: Record<string, string>): Promise<number> {
  const client = startClient(service.doors[0]!.replace('unix:', ''));
  try {
    const original = { 'x-original-method': 'GET', 'x-original-uri': '/api/devices' };
    return (await client.ask({ path: '/auth/nginx', headers: { ...original, ...headers } })).status;
  } finally {
    client.close();
  }
}

test('not ready before its keys are here, with the cause; a token then cannot be decided; once they are here no failure takes it back', async () => {
  issuer.down = 503;
  const service = await start({ 'identity.oidc': JSON.stringify([LOGIN()]) });
  await service.ready(10_000);
  await until(async () => (await ready(service)).cause?.includes('503') ?? false, 'the cause');
  expect(await ready(service)).toMatchObject({
    status: 503,
    state: 'starting',
    cause: expect.stringMatching(/^login: its keys were never fetched \(.*answered 503\)$/) as string,
  });
  const authorization = `Bearer ${await issuer.token('ada')}`;
  expect(await ask(service, { authorization })).toBe(503);
  expect(await ask(service, {}), 'that there is none can be told').toBe(401);
  expect(await ask(service, { authorization: 'Bearer rubbish' })).toBe(401);

  issuer.down = null;
  await until(async () => (await ready(service)).status === 200, 'ready');
  expect(await ready(service)).toMatchObject({ state: 'following', cause: null });
  expect(await ask(service, { authorization })).toBe(200);

  issuer.down = 500;
  const failures = async (): Promise<number> =>
    parseExposition(await (await fetch(`http://${service.api}/metrics`)).text()).value('authz_jwks_refresh_total', { issuer: 'login', result: 'failure' }) ?? 0;
  const before = await failures();
  await until(async () => (await failures()) > before, 'a fetch that fails');
  expect(await ready(service)).toMatchObject({ status: 200, state: 'following' });
  expect(await ask(service, { authorization })).toBe(200);
  issuer.down = null;
});

test('too old, its keys are believed no more: not ready, and a token cannot be decided, kept or not', async () => {
  const service = await start({ 'identity.oidc': JSON.stringify([{ ...LOGIN(), maxKeyAge: '3s' }]) });
  await until(async () => (await ready(service)).status === 200, 'ready');
  const authorization = `Bearer ${await issuer.token('ada')}`;
  await until(async () => (await ask(service, { authorization })) === 200, 'keys that are not too old at the moment');
  issuer.down = 500;
  await until(async () => (await ready(service)).status === 503, 'too old');
  expect(await ready(service)).toMatchObject({
    state: 'starting',
    cause: expect.stringMatching(/^login: its keys could not be fetched for longer than maxKeyAge/) as string,
  });
  await until(async () => (await ask(service, { authorization })) === 503, 'the token that was kept');
  issuer.down = null;
  await until(async () => (await ready(service)).status === 200, 'ready again');
  await until(async () => (await ask(service, { authorization })) === 200, 'the same token');
});

test('told to stop while it waits to take over: it ends, and takes no name from the one that answers', async () => {
  const first = await start({ 'identity.oidc': JSON.stringify([LOGIN()]) });
  await until(async () => (await ready(first)).status === 200, 'ready');
  const authorization = `Bearer ${await issuer.token('ada')}`;
  issuer.down = 503;
  const sets = {
    'doors.port': 'none',
    'doors.socket': first.doors[0]!.replace('unix:', ''),
    'doors.takeOver': 'true',
    'grpc.port': 'none',
    'api.port': 0,
    'shutdown.delay': 0,
    'identity.oidc': JSON.stringify([LOGIN()]),
  };
  const args = Object.entries(sets).flatMap(([path, value]) => ['--set', `${path}=${value}`]);
  const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
  const next = startChild(process.execPath, [main, 'serve', ...args], { env: { DATABASE_URL: reader } });
  onTestFinished(() => next.stop('SIGKILL'));
  await until(() => next.stderr().includes('keys could not be fetched'), 'its wait');
  process.kill(next.pid, 'SIGTERM');
  await until(() => next.stderr().includes('told to stop before it could take over'), `its word; it says ${next.stderr()}`);
  issuer.down = null;
  expect(await next.ended).toBe('exit 0');
  expect(await ask(first, { authorization })).toBe(200);
});

test('without anybody to believe there is no service; a proxy that is believed is somebody', async () => {
  await expect(start({})).rejects.toThrow(/identity\.thingsboard\.signingKey: is not set, so no token could be believed: .*identity\.oidc/);
  const service = await start({
    'doors.identity': 'header',
    'doors.subjectHeader': 'X-Client-Id',
    'identity.asserted.tenants': 't1',
    'identity.asserted.prefix': 'user:',
  });
  await service.ready(10_000);
  expect(await ready(service)).toMatchObject({ status: 200 });
  expect(await ask(service, { 'x-client-id': 'user:ada' })).toBe(200);
  expect(await ask(service, { 'x-client-id': 'ada' })).toBe(401);
  expect(await ask(service, { authorization: `Bearer ${await issuer.token('ada')}` })).toBe(401);
});

test('two that speak for every tenant are refused at the start', async () => {
  const two = [LOGIN(), { ...LOGIN(), name: 'second', issuer: 'https://second.example' }];
  await expect(start({ 'identity.oidc': JSON.stringify(two) })).rejects.toThrow(/identity: login and second both speak for every tenant/);
  await expect(
    start({ 'identity.oidc': JSON.stringify([LOGIN()]), 'doors.identity': 'header', 'doors.subjectHeader': 'X-Client-Id', 'identity.asserted.tenants': '*' }),
  ).rejects.toThrow(/login and the proxy \(identity\.asserted\) both speak/);
});
