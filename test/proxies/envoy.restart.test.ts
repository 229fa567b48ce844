// Is a restart of the sidecar seen by a client of Envoy? Envoy asks on a socket, which the next sidecar takes over.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { envoyGrpc, envoyHttp } from '../support/proxies/envoy.ts';
import type { RunningProxy } from '../support/proxies/kit.ts';
import { ALL_DECIDED, answered, inWords, startRestartable, underLoad, type Restartable } from '../support/restart.ts';
import type { ServedSidecar } from '../support/sidecar.ts';
import { until } from '../support/until.ts';

let server: TestServer;
beforeAll(async () => void (server = await startPostgres('embedded18')));
afterAll(() => server?.close());

describe.each([envoyHttp, envoyGrpc])('$name', (kit) => {
  let stack: Restartable;
  let current: ServedSidecar;
  let envoy: RunningProxy;
  beforeAll(async () => {
    stack = await startRestartable(server);
    current = stack.sidecar;
    // As long as the sidecars of restart.ts may take.
    envoy = await kit.start(stack.upstreams, { spoil: (_, text) => text.replaceAll('timeout: 0.5s', 'timeout: 5s') });
  });
  afterAll(async () => {
    await envoy?.stop();
    await current?.stop();
    await stack?.close();
  });
  const next = (): Promise<ServedSidecar> => stack.another({ 'doors.socket': current.doors, 'grpc.socket': current.grpcSocket });

  test('the next sidecar takes the socket over, the old one gets SIGTERM: no request fails', { timeout: 60_000 }, async () => {
    const figures = await underLoad(envoy.port, async (load) => {
      const old = current;
      current = await next();
      await old.stop('SIGTERM');
      await answered(load, 50);
    });
    console.log(`restart: ${kit.name}, socket taken over: ${inWords(figures)}`);
    expect(Object.keys(figures.counts).sort()).toEqual(ALL_DECIDED);
    expect(figures.wrong).toBe(0);
  });

  test('killed: refusals, and nothing that was not allowed before; how long until the next one answers', { timeout: 60_000 }, async () => {
    const passed = stack.application.seen.length;
    const figures = await underLoad(envoy.port, async (load) => {
      process.kill(current.pid, 'SIGKILL');
      await until(async () => ((await load.look()).counts[503] ?? 0) > 20, 'refusals');
      current = await next();
    });
    console.log(`restart: ${kit.name}, killed with -9, a new one started: ${inWords(figures)}`);
    expect(Object.keys(figures.counts).sort()).toEqual([...ALL_DECIDED, '503']);
    expect(figures.wrong).toBe(0);
    expect([...new Set(stack.application.seen.slice(passed).map(({ url }) => url))]).toEqual(['/api/device/own']);
  });
});
