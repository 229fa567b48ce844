// Does a Caddy ask the sidecar, and nobody else, who may pass?
//
// Before 2.11.5 a dial that is late finds the address of the application in the request, which the check shares with what follows it: a
// connection in the pool for checks over which the application is asked, and its 200 is a permit (github.com/caddyserver/caddy/pull/7859).
// With 2.6.2 and `keepalive 60s` the first check came to the application after 0.1 to 12 s of what is sent here, and after 20,000 requests
// of clients that wait for their answer. So an old one keeps no connection to the sidecar.

import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { caddyCurrent } from '../support/proxies/caddy-2.11.ts';
import { caddy } from '../support/proxies/caddy-2.6.ts';
import { CHECKLIST_WORLD } from '../support/proxies/checklist.subject.ts';
import { startRecorder } from '../support/proxies/recorder.ts';
import { startRelay } from '../support/proxies/relay.ts';
import { tell, wireRequest } from '../support/proxies/wire.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startBehind, type Behind } from '../support/stack.ts';
import { until } from '../support/until.ts';

const PATH = '/api/device/device-b1';
const CHECKS = 10;
const CLIENTS = 32;
/** Rounds of so many clients, each of which goes away within so long. */
const [ROUNDS, LEAVES_WITHIN_MS] = [60, 20];

let server: TestServer;
let behind: Behind;
let asking: string;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  behind = await startBehind({ server, world: CHECKLIST_WORLD });
  asking = wireRequest(`GET ${PATH}`, [
    ['Authorization', `Bearer ${await tokenFor('clerk')}`],
    ['Connection', 'keep-alive'],
  ]);
});
afterAll(async () => {
  await behind?.close();
  await server?.close();
});

describe.each([caddy, caddyCurrent].map((kit) => [kit.name, kit] as const))('%s', (_, kit) => {
  test(`${CHECKS} checks, one after the other: ${kit.pools ? 'by one connection' : 'each by a connection of its own'}`, async () => {
    const relay = await startRelay(behind.upstreams);
    const proxy = await kit.start(relay.upstreams);
    try {
      let late = 0; // than Caddy waits: on a machine that stood still, and then the connection is given up
      for (let i = 0; i < CHECKS; i++) if ((await tell(proxy.port, asking)).status !== 200) late++;
      if (kit.pools) expect(relay.accepted).toBeLessThanOrEqual(1 + late);
      else expect(relay.accepted).toBe(CHECKS);
      expect(late).toBeLessThan(CHECKS / 2);
    } finally {
      await proxy.stop();
      await relay.close();
    }
  });

  test('clients that break off: no check comes to the application, and nothing that was not checked', async () => {
    const recorder = await startRecorder();
    const proxy = await kit.start({ ...behind.upstreams, applicationPort: recorder.port });
    const breakOff = (): Promise<void> =>
      new Promise((resolve) => {
        const socket = connect(proxy.port, '127.0.0.1', () => {
          socket.write(asking);
          setTimeout(() => socket.resetAndDestroy(), Math.random() * LEAVES_WITHIN_MS);
        });
        socket.on('error', () => undefined).on('close', () => resolve());
      });
    try {
      for (let i = 0; i < ROUNDS; i++) await Promise.all(Array.from({ length: CLIENTS }, breakOff));
      await until(async () => (await tell(proxy.port, asking)).status === 200, 'an answer to who waits for it');
      const came = recorder.requests.map(({ url, headers }) => `${url} ${headers.find(([name]) => name.toLowerCase() === 'x-auth-user')?.[1]}`);
      expect(new Set(came)).toEqual(new Set([`${PATH} clerk`]));
      console.log(`${kit.name}: ${ROUNDS * CLIENTS} clients broke off, ${came.length} requests came to the application, each of them checked`);
    } finally {
      await proxy.stop();
      await recorder.close();
    }
  });
});
