// Is a restart of the sidecar seen by a client of HAProxy? Its script asks one address, over TCP: a listener of HAProxy's own, with two
// sidecars behind it of which it takes out the one whose /readyz says that it drains.

import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../src/postgres-server.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { haproxy } from '../support/proxies/haproxy.ts';
import { ALL_DECIDED, answered, inWords, startRestartable, underLoad, type Restartable } from '../support/restart.ts';
import type { ServedSidecar } from '../support/sidecar.ts';
import { until } from '../support/until.ts';

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

/** As the README has it, checked more often. */
function pool(port: number, servers: readonly { readonly doors: number; readonly api: number }[]): string {
  return `
listen grantgate
    bind 127.0.0.1:${port}
    mode http
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host grantgate
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    retries 3
    option redispatch
    retry-on conn-failure empty-response
    default-server check inter 100ms fall 1 rise 1
${servers.map(({ doors, api }, i) => `    server s${i} 127.0.0.1:${doors} port ${api}\n`).join('')}`;
}

test('two ports, one sidecar stopped and started again, then the other killed: no request fails', { timeout: 60_000 }, async () => {
  const ports = { a: { doors: await freePort(), api: await freePort() }, b: { doors: await freePort(), api: await freePort() } };
  const start = (at: { doors: number; api: number }): Promise<ServedSidecar> =>
    stack.another({ 'doors.takeOver': 'false', 'doors.port': at.doors, 'api.port': at.api, 'shutdown.delay': '1s' });
  let a = await start(ports.a);
  const b = await start(ports.b);
  onTestFinished(async () => {
    await a.stop();
    await b.stop();
  });
  const port = await freePort();
  const proxy = await haproxy.start(
    { ...stack.upstreams, port },
    // As long as the sidecars of restart.ts may take.
    {
      spoil: (file, text) =>
        file === 'addresses.cfg' ? text + pool(port, [ports.a, ports.b]) : file === 'authz.lua' ? text.replace(/TIMEOUT *= *\d+/, 'TIMEOUT = 5000') : text,
    },
  );
  onTestFinished(async () => {
    console.log(proxy.errors());
    await proxy.stop();
  });
  const figures = await underLoad(proxy.port, async (load) => {
    await a.stop('SIGTERM');
    await answered(load, 50);
    a = await start(ports.a);
    const before = (await a.metrics()).value('authz_decisions_total', { decision: 'allow' }) ?? 0;
    await until(async () => ((await a.metrics()).value('authz_decisions_total', { decision: 'allow' }) ?? 0) > before + 20, 'checks at the new one');
    process.kill(b.pid, 'SIGKILL');
    await answered(load, 50);
  });
  console.log(`restart: HAProxy, two ports, one stopped, the other killed: ${inWords(figures)}`);
  expect(Object.keys(figures.counts).sort()).toEqual(ALL_DECIDED);
  expect(figures.wrong).toBe(0);
});
