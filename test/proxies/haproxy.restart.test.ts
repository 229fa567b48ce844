// Is a restart of the sidecar seen by a client of HAProxy? Its script asks one address, over TCP: a listener of HAProxy's own, with two
// sidecars behind it of which it takes out the one whose /readyz says that it drains.

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../src/postgres-server.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { haproxy } from '../support/proxies/haproxy.ts';
import { ALL_DECIDED, answered, inWords, startRestartable, underLoad, type Restartable } from '../support/restart.ts';
import type { ServedSidecar } from '../support/sidecar.ts';
import { until } from '../support/until.ts';

interface Ports {
  readonly doors: number;
  readonly api: number;
}

let server: TestServer;
let stack: Restartable;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  stack = await startRestartable(server, { 'doors.takeOver': 'false' });
});
afterAll(async () => {
  await stack?.close();
  await server?.close();
});

const shipped = readFileSync(new URL('../../deploy/haproxy/pool.cfg', import.meta.url), 'utf8');

/** The shipped file, with the addresses of this test. */
function pool(port: number, a: Ports, b: Ports): string {
  const changes = [
    ['bind 127.0.0.1:9194', `bind 127.0.0.1:${port}`],
    ['127.0.0.1:9191 port 9190', `127.0.0.1:${a.doors} port ${a.api}`],
    ['127.0.0.1:9291 port 9290', `127.0.0.1:${b.doors} port ${b.api}`],
    ['timeout server  1s', 'timeout server  5s'], // as long as the sidecars of restart.ts may take
  ] as const;
  return changes.reduce((text, [from, to]) => {
    expect(text.split(from), `${from} in pool.cfg`).toHaveLength(2);
    return text.replace(from, to);
  }, shipped);
}

test('two ports, one sidecar stopped and started again, then the other killed: no request fails', { timeout: 60_000 }, async () => {
  const ports = { a: { doors: await freePort(), api: await freePort() }, b: { doors: await freePort(), api: await freePort() } };
  const start = (at: Ports): Promise<ServedSidecar> =>
    stack.another({ 'doors.takeOver': 'false', 'doors.port': at.doors, 'api.port': at.api, 'shutdown.delay': '2s' });
  let a = await start(ports.a);
  const b = await start(ports.b);
  onTestFinished(async () => {
    await a.stop();
    await b.stop();
  });
  const port = await freePort();
  const proxy = await haproxy.start(
    { ...stack.upstreams, port },
    {
      spoil: (file, text) =>
        file === 'addresses.cfg' ? text + pool(port, ports.a, ports.b) : file === 'authz.lua' ? text.replace('TIMEOUT = 250', 'TIMEOUT = 5000') : text,
    },
  );
  onTestFinished(() => proxy.stop());
  const figures = await underLoad(proxy.port, async (load) => {
    await a.stop('SIGTERM');
    await answered(load, 50);
    a = await start(ports.a);
    // Of each kind: where the two are asked by turns, the allows may all be the other one's.
    const decided = async (): Promise<number> => (await a.metrics()).get('authz_decisions_total')?.samples.reduce((sum, { value }) => sum + value, 0) ?? 0;
    const before = await decided();
    await until(async () => (await decided()) > before + 20, 'checks at the new one');
    process.kill(b.pid, 'SIGKILL');
    await answered(load, 50);
  });
  console.log(`restart: HAProxy, two ports, one stopped, the other killed: ${inWords(figures)}`);
  expect(Object.keys(figures.counts).sort()).toEqual(ALL_DECIDED);
  expect(figures.wrong).toBe(0);
});
