// What happens on the connections between client, nginx and sidecar: are they kept, are bodies left alone, can one user's request
// become part of another's?

import { readFileSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect, createServer as createRelay, type Server as NetServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { askDecided, startClient } from '../support/ask.ts';
import { startNginx } from '../support/proxies/nginx.ts';
import { connectRaw, requestBytes } from '../support/raw.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startStack, type Stack } from '../support/stack.ts';

const world = readFileSync(new URL('../corpus/worlds/generic-role-scope.yaml', import.meta.url), 'utf8');
const OWN = '/api/device/device-b1',
  FOREIGN = '/api/device/device-a1';
/** A POST that the route table lets alice make: READ on the device. */
const POST_OWN = '/api/events/DEVICE/device-b1',
  POST_FOREIGN = '/api/events/DEVICE/device-a1';

let server: TestServer;
let stack: Stack;
let alice: string, bob: string;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  stack = await startStack({ server, world, connections: 32 });
  [alice, bob] = await Promise.all([tokenFor('alice', { scope: 'CUSTOMER_USER' }), tokenFor('bob')]);
  // In memory from here on, so that no answer below is one of a check that took too long.
  for (const token of [alice, bob]) for (const path of [OWN, FOREIGN]) await askDecided(stack.client, { path, token });
});
afterAll(async () => {
  await stack?.close();
  await server?.close();
});

describe('connections to the door', () => {
  /** A socket beside the doors' that passes bytes on and counts. */
  const relay = async (): Promise<{ path: string; accepted: () => number; most: () => number; close: () => Promise<void> }> => {
    const path = `${stack.sidecar.doors}.counted`;
    let accepted = 0,
      open = 0,
      most = 0;
    const counted = createRelay((from) => {
      accepted++;
      most = Math.max(most, ++open);
      const to = connect(stack.sidecar.doors);
      from.on('close', () => open--);
      for (const [one, other] of [
        [from, to],
        [to, from],
      ] as const)
        one
          .on('error', () => undefined)
          .on('close', () => other.destroy())
          .pipe(other);
    });
    await listenForAll(counted, path);
    return {
      path,
      accepted: () => accepted,
      most: () => most,
      async close() {
        await new Promise((resolve) => counted.close(resolve));
        await rm(path, { force: true });
      },
    };
  };
  const load = async (port: number, requests: number): Promise<void> => {
    const client = startClient(port, 32);
    // Two routes, both forms, allows and denies, side by side: what belongs to one must not come out at another.
    const kinds = [
      { path: OWN, token: alice, status: 200 },
      { path: FOREIGN, token: alice, status: 403 },
      { path: '/api/devices/device-b1', token: alice, status: 200 },
      { path: '/api/devices/device-a1', token: alice, status: 403 },
      { path: FOREIGN, token: bob, status: 200 },
      { path: OWN, token: 'x', status: 401 },
    ];
    let next = 0;
    await Promise.all(
      Array.from({ length: 32 }, async () => {
        while (next < requests) {
          const kind = kinds[next++ % kinds.length]!;
          const { status } = await client.ask(kind);
          if (status !== kind.status) throw new Error(`${kind.path}: expected ${kind.status}, got ${status}`);
        }
      }),
    );
    client.close();
  };

  test('10,000 checks reuse the connections of the pool', { timeout: 120_000 }, async () => {
    const counted = await relay();
    const nginx = await startNginx({ doors: counted.path, applicationPort: stack.application.port });
    const started = performance.now();
    await load(nginx.port, 10_000);
    const seconds = (performance.now() - started) / 1000;
    console.log(
      `connections: 10,000 checks by 32 clients used ${counted.accepted()} connections to the door (${Math.round(10_000 / seconds)} checks/s through a relay)`,
    );
    await nginx.stop();
    await counted.close();
    expect(counted.accepted()).toBeLessThanOrEqual(64);
  });

  test('and without keepalive each check has its own, so this test can fail', async () => {
    const counted = await relay();
    const nginx = await startNginx({
      doors: counted.path,
      applicationPort: stack.application.port,
      spoil: (_, text) => text.replace(/keepalive 64;.*\n/, '\n'),
    });
    await load(nginx.port, 300);
    await nginx.stop();
    await counted.close();
    expect(counted.accepted()).toBe(300);
  });

  test('only the owner and the group of the socket may connect', () => {
    expect((statSync(stack.sidecar.doors).mode & 0o777).toString(8)).toBe('660');
  });
});

describe('bodies', () => {
  test('Expect: 100-continue', async () => {
    const connection = await connectRaw({ host: '127.0.0.1', port: stack.nginx.port });
    connection.send(
      requestBytes(`POST ${POST_OWN} HTTP/1.1`, [
        ['Host', 'app'],
        ['Authorization', `Bearer ${alice}`],
        ['Content-Length', '4'],
        ['Expect', '100-continue'],
        ['Connection', 'close'],
      ]),
    );
    connection.send('body');
    const all = await connection.closed();
    expect(all).toMatch(/^HTTP\/1\.1 (100 Continue\r\n\r\nHTTP\/1\.1 )?200 /);
    expect(stack.application.seen.at(-1)!.body.toString()).toBe('body');
  });
});

describe('a configuration that announces bodies to the door and never sends them', () => {
  const naive = (_: string, text: string): string =>
    text.replace(/^ *proxy_set_header Content-Length .*\n/m, '').replace('proxy_pass_request_headers off;', '');
  /** A value that would be a request, if what comes before it were taken for a body. */
  const SMUGGLED = ['A', 'GET /auth/nginx/DEVICE/READ HTTP/1.1'] as const;
  const attack = requestBytes(`GET ${FOREIGN} HTTP/1.1`, [['Host', 'app'], ['Authorization', `Bearer ${'x'.repeat(20)}`], SMUGGLED]);

  /** A door of the kind that most servers would be: it answers at once, reads no body, and goes on with the connection. */
  const careless = async (): Promise<{ seen: string[]; sent: () => string; port: number; close: () => Promise<void> }> => {
    const seen: string[] = [];
    let sent = '';
    const keeps: Server = createServer({ requireHostHeader: false }, (req, res) => {
      seen.push(req.url ?? '');
      res.writeHead(200, { 'content-length': 0 }).end();
    });
    keeps.on('connection', (socket) => socket.on('data', (part: Buffer) => (sent += part.toString('latin1'))));
    const path = join(stack.nginx.directory, 'careless.sock');
    await listenForAll(keeps, path);
    const nginx = await startNginx({ doors: path, applicationPort: stack.application.port, spoil: naive });
    return {
      seen,
      sent: () => sent,
      port: nginx.port,
      async close() {
        await nginx.stop();
        keeps.closeAllConnections();
        await new Promise((resolve) => keeps.close(resolve));
      },
    };
  };
  const exchangeOn = async (port: number, ...requests: string[]): Promise<number[]> => {
    const connection = await connectRaw({ host: '127.0.0.1', port });
    const statuses: number[] = [];
    for (const request of requests) {
      connection.send(request);
      statuses.push((await connection.answer()).status);
    }
    connection.destroy();
    return statuses;
  };
  const post = (token: string, length: number): string =>
    requestBytes(`POST ${POST_OWN} HTTP/1.1`, [
      ['Host', 'app'],
      ['Authorization', `Bearer ${token}`],
      ['Content-Length', String(length)],
    ]) + 'b'.repeat(length);
  /** Bytes of the subrequest of `attack` that come before the smuggled one: nginx writes the same ones for every sidecar. */
  let prefix = 0;

  test('a careless sidecar makes the next user wait in vain, and takes the tail of a request for a request', async () => {
    const door = await careless();
    expect(await exchangeOn(door.port, attack)).toEqual([200]);
    prefix = door.sent().indexOf(SMUGGLED[1]);
    await door.close();
    const victim = await careless();
    expect(await exchangeOn(victim.port, post('x', 4000), requestBytes(`GET ${OWN} HTTP/1.1`, [['Host', 'app']]))).toEqual([200, 500]);
    expect(await exchangeOn(victim.port, post('x', prefix), attack)).toEqual([200, 200]);
    expect(victim.seen.at(-1)).toBe('/auth/nginx/DEVICE/READ');
    await victim.close();
  });

  test('ours ends the connection: every next user is answered, and rightly', async () => {
    const nginx = await startNginx({ doors: stack.sidecar.doors, applicationPort: stack.application.port, spoil: naive });
    const client = startClient(nginx.port, 4);
    const statuses: number[] = [];
    for (let i = 0; i < 25; i++) {
      for (const ask of [
        { method: 'POST', path: POST_OWN, token: alice, body: 'b'.repeat(1 + 37 * i) },
        { path: FOREIGN, token: bob },
        { path: FOREIGN, token: alice },
        { method: 'POST', path: POST_FOREIGN, token: alice, body: 'b'.repeat(400) },
        { path: OWN, token: alice },
        { path: OWN },
      ])
        statuses.push((await client.ask(ask)).status);
    }
    expect(statuses).toEqual(Array.from({ length: 25 }, () => [200, 200, 403, 403, 200, 401]).flat());
    client.close();
    await nginx.stop();
  });

  test('ours takes no tail for a request', async () => {
    const nginx = await startNginx({ doors: stack.sidecar.doors, applicationPort: stack.application.port, spoil: naive });
    const before = stack.application.seen.length;
    const own = attack.replace('x'.repeat(20), alice);
    expect(prefix).toBeGreaterThan(100);
    for (let off = -3; off <= 3; off++) {
      expect(await exchangeOn(nginx.port, post(alice, prefix + alice.length - 20 + off), own)).toEqual([200, 403]);
      expect(await exchangeOn(nginx.port, post(bob, prefix + off), attack)).toEqual([200, 401]);
    }
    expect(stack.application.seen.slice(before).filter(({ url }) => url !== POST_OWN)).toEqual([]);
    await nginx.stop();
  });
});

/** nginx's workers may connect to the socket. */
async function listenForAll(server: NetServer, path: string): Promise<void> {
  const before = process.umask(0);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  process.umask(before);
}
