import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { CacheState } from 'policy-cache';
import { afterEach, expect, test } from 'vitest';
import { apiServer, createApi } from '../../src/api/app.ts';

const following: CacheState = { state: 'following', fresh: true, revision: '7-00000000-0000-4000-8000-000000000000', ageMs: 12.6, cause: null };
const open: Server[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});
async function listen(parts: Partial<Parameters<typeof createApi>[0]> = {}): Promise<string> {
  const server = apiServer(createApi({ readiness: () => ({ cache: following, draining: false, overloaded: false }), ...parts }));
  open.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('readyz names state, revision, age and cause', async () => {
  const answer = await fetch(`${await listen()}/readyz`);
  expect(answer.status).toBe(200);
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(await answer.json()).toEqual({ state: 'following', revision: following.revision, age_ms: 13, cause: null });
});

test('readyz is 503 while nothing is proved, and says why', async () => {
  const url = await listen({
    readiness: () => ({
      cache: { state: 'detached', fresh: false, revision: following.revision, ageMs: 3000, cause: 'connection refused' },
      draining: false,
      overloaded: false,
    }),
  });
  const answer = await fetch(`${url}/readyz`);
  expect(answer.status).toBe(503);
  expect(await answer.json()).toEqual({ state: 'detached', revision: following.revision, age_ms: 3000, cause: 'connection refused' });
});

test('a detached cache whose lease still runs is ready', async () => {
  const url = await listen({
    readiness: () => ({ cache: { ...following, state: 'detached', cause: 'connection refused' }, draining: false, overloaded: false }),
  });
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
});

test('draining is not ready, and still alive', async () => {
  const url = await listen({ readiness: () => ({ cache: following, draining: true, overloaded: true }) });
  const answer = await fetch(`${url}/readyz`);
  expect(answer.status).toBe(503);
  expect(await answer.json()).toMatchObject({ state: 'draining', cause: 'shutting down' });
  for (const path of ['/livez', '/healthz']) expect((await fetch(url + path)).status).toBe(200);
});

test('overloaded is not ready, and still alive; what is wrong with the world is said first', async () => {
  const overloaded = { draining: false, overloaded: true };
  const url = await listen({ readiness: () => ({ cache: following, ...overloaded }) });
  const answer = await fetch(`${url}/readyz`);
  expect(answer.status).toBe(503);
  expect(await answer.json()).toMatchObject({ state: 'overloaded', revision: following.revision, cause: expect.stringMatching(/event loop/) as string });
  expect((await fetch(`${url}/livez`)).status).toBe(200);
  const behind = await listen({ readiness: () => ({ cache: { ...following, state: 'detached', fresh: false, cause: 'connection refused' }, ...overloaded }) });
  expect(await (await fetch(`${behind}/readyz`)).json()).toMatchObject({ state: 'detached', cause: 'connection refused' });
});

test('while the hot set is read it is not ready, and says so', async () => {
  const url = await listen({ readiness: () => ({ cache: following, draining: false, overloaded: false, warming: true }) });
  const answer = await fetch(`${url}/readyz`);
  expect(answer.status).toBe(503);
  expect(await answer.json()).toMatchObject({ state: 'warming', cause: expect.stringMatching(/cache\.hotSet/) as string });
});

test('before the first world there is nothing to show', async () => {
  const url = await listen({
    readiness: () => ({ cache: { state: 'starting', fresh: false, revision: null, ageMs: null, cause: 'no world yet' }, draining: false, overloaded: false }),
  });
  expect(await (await fetch(`${url}/readyz`)).json()).toEqual({ state: 'starting', revision: null, age_ms: null, cause: 'no world yet' });
});

test('metrics are text of version 0.0.4, and absent where they are switched off', async () => {
  const answer = await fetch(`${await listen({ scrape: () => Promise.resolve('# TYPE a counter\na 1\n') })}/metrics`);
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(await answer.text()).toBe('# TYPE a counter\na 1\n');
  expect((await fetch(`${await listen()}/metrics`)).status).toBe(404);
});

test('what cannot be collected is a 500 that tells a stranger nothing', async () => {
  const failures: unknown[] = [];
  const answer = await fetch(`${await listen({ scrape: () => Promise.reject(new Error('inner')), failed: (error) => failures.push(error) })}/metrics`);
  expect(answer.status).toBe(500);
  expect(await answer.text()).not.toContain('inner');
  expect(String(failures[0])).toContain('inner');
});

test('anything else is 404, other methods too', async () => {
  const url = await listen();
  expect((await fetch(`${url}/auth/nginx`)).status).toBe(404);
  expect((await fetch(`${url}/readyz`, { method: 'POST' })).status).toBe(404);
});
