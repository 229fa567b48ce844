// Is a restart of the sidecar seen by a client of nginx? Not if it is a planned one, in either of the two ways that the README names;
// if it is killed, as refusals and nothing else, and not at all where there are two.

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { startNginx } from '../support/proxies/nginx.ts';
import type { Started } from '../support/proxies/start.ts';
import { ALL_DECIDED, answered, inWords, startRestartable, underLoad, type Restartable } from '../support/restart.ts';
import type { ServedSidecar } from '../support/sidecar.ts';
import { until } from '../support/until.ts';

let server: TestServer;
let stack: Restartable;
let nginx: Started;
/** The one that has the socket. */
let current: ServedSidecar;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  stack = await startRestartable(server);
  current = stack.sidecar;
  nginx = await behindNginx(current.doors);
});
afterAll(async () => {
  await current?.stop();
  await nginx?.stop();
  await stack?.close();
  await server?.close();
});

/** As long as the sidecars of restart.ts may take. */
function patient(file: string, text: string): string {
  return file === 'grantgate.conf' ? text.replace(/(proxy_read_timeout +)500ms/, '$15s') : text;
}

function behindNginx(doors: string): Promise<Started> {
  return startNginx({ doors, applicationPort: stack.application.port, spoil: patient });
}

describe('one socket', () => {
  test('the next sidecar takes it over when it is ready, the old one then gets SIGTERM: no request fails', { timeout: 60_000 }, async () => {
    const figures = await underLoad(nginx.port, async (load) => {
      const old = current;
      current = await stack.another({ 'doors.socket': old.doors, 'shutdown.delay': '20s' });
      await old.stop('SIGTERM');
      await answered(load, 50);
    });
    console.log(`restart: nginx, socket taken over: ${inWords(figures)}`);
    expect(Object.keys(figures.counts).sort()).toEqual(ALL_DECIDED);
    expect(figures.wrong).toBe(0);
  });

  test('SIGTERM first, and the next one takes over while the old one drains: no request fails', { timeout: 60_000 }, async () => {
    const old = current;
    const allowed = async (): Promise<number | undefined> => (await old.metrics()).value('authz_decisions_total', { decision: 'allow' });
    const figures = await underLoad(nginx.port, async (load) => {
      process.kill(old.pid, 'SIGTERM');
      await until(async () => (await old.readyz()).state === 'draining', 'the drain');
      await answered(load, 20);
      current = await stack.another({ 'doors.socket': old.doors });
      await answered(load, 50);
      // Whoever was connected to the old one has been told to connect anew.
      const before = await allowed();
      await answered(load, 50);
      expect(await allowed()).toBe(before);
      await old.stop('SIGTERM'); // again: at once
    });
    console.log(`restart: nginx, socket taken over during a drain: ${inWords(figures)}`);
    expect(Object.keys(figures.counts).sort()).toEqual(ALL_DECIDED);
    expect(figures.wrong).toBe(0);
  });

  test('killed: refusals, and nothing that was not allowed before; how long until the next one answers', { timeout: 60_000 }, async () => {
    const passed = stack.application.seen.length;
    const figures = await underLoad(nginx.port, async (load) => {
      process.kill(current.pid, 'SIGKILL');
      await until(async () => ((await load.look()).counts[500] ?? 0) > 20, 'refusals');
      current = await stack.another({ 'doors.socket': current.doors });
    });
    console.log(`restart: nginx, killed with -9, a new one started: ${inWords(figures)}`);
    expect(Object.keys(figures.counts).sort()).toEqual([...ALL_DECIDED, '500']);
    expect(figures.wrong).toBe(0);
    const urls = new Set(stack.application.seen.slice(passed).map(({ url }) => url));
    expect([...urls]).toEqual(['/api/device/own']);
  });
});

test('two sockets, one stopped, then the other killed: no request fails', { timeout: 60_000 }, async () => {
  const socket = join(stack.directory, 'b.sock');
  const second = await stack.another({ 'doors.socket': socket });
  onTestFinished(() => second.stop());
  // As the README has it. Without max_fails=0 nginx gives up a server for 10 s, and then has none when the other one goes.
  const both = await behindNginx(`${current.doors} max_fails=0; server unix:${socket} max_fails=0`);
  onTestFinished(() => both.stop());
  const figures = await underLoad(both.port, async (load) => {
    await current.stop('SIGTERM');
    await answered(load, 50);
    current = await stack.another({ 'doors.socket': current.doors });
    await answered(load, 50);
    process.kill(second.pid, 'SIGKILL');
    await answered(load, 50);
  });
  console.log(`restart: nginx, two sockets, one stopped, the other killed: ${inWords(figures)}`);
  expect(Object.keys(figures.counts).sort()).toEqual(ALL_DECIDED);
  expect(figures.wrong).toBe(0);
});
