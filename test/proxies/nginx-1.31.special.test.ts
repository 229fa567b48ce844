// What has changed between nginx 1.22 and 1.31 that a door must withstand? Connections to an upstream are kept without being told to,
// headers that came twice are joined, and what is announced and never sent is then read of the next user's check.

import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { chmod } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startInMemory, type InMemory } from '../support/proxies/in-front.ts';
import type { KitOptions, RunningProxy } from '../support/proxies/kit.ts';
import { nginxCurrent } from '../support/proxies/nginx-1.31.ts';
import { nginx } from '../support/proxies/nginx.ts';
import { startRelay } from '../support/proxies/relay.ts';
import { startStandIn, type StandIn } from '../support/proxies/stand-in.ts';
import { tell, wireRequest, type Heard } from '../support/proxies/wire.ts';
import { connectRaw, requestBytes } from '../support/raw.ts';

type Line = readonly [name: string, value: string];
const KITS = [nginx, nginxCurrent] as const;

let memory: InMemory;
let standIn: StandIn;
let admin: string, clerk: string;
beforeAll(async () => {
  memory = await startInMemory({
    routes: {
      routes: [
        { method: ['GET', 'POST'], path: '/api/device/{id}', resource: 'DEVICE', operation: 'READ', target: '{id}' },
        { method: ['GET', 'POST'], path: '/public/{rest...}', public: true },
      ],
    },
  });
  await chmod(memory.directory, 0o711); // workers of another user pass through
  await chmod(memory.to.socket, 0o666);
  standIn = await startStandIn(memory.application.port);
  [admin, clerk] = await Promise.all([memory.side.token('admin'), memory.side.token('clerk')]);
});
afterAll(async () => {
  await standIn?.close();
  await memory?.close();
});

async function running<T>(
  kit: (typeof KITS)[number],
  { doors = memory.to.socket, spoil }: { doors?: string; spoil?: KitOptions['spoil'] },
  use: (proxy: RunningProxy) => Promise<T>,
): Promise<T> {
  const proxy = await kit.startAt({ doors, applicationPort: memory.application.port, ...(spoil ? { spoil } : {}) });
  try {
    return await use(proxy);
  } finally {
    await proxy.stop();
  }
}

describe.each(KITS.map((kit) => [kit.name, kit] as const))('%s: bodies that are announced to the door and never sent', (_, kit) => {
  const CLEARS = /^ *proxy_set_header Content-Length .*\n/m;
  /** Each is said to be enough, and is not. */
  const NAIVE: readonly (readonly [string, KitOptions['spoil']])[] = [
    ['without the line for Content-Length', (_file, text) => text.replace(CLEARS, '')],
    ['... and with every header of the client', (_file, text) => text.replace(CLEARS, '').replace('proxy_pass_request_headers off;', '')],
    ['... and with the body', (_file, text) => text.replace(CLEARS, '').replace(/^ *proxy_pass_request_body .*\n/m, '')],
  ];
  /** The value of a header that is a request, if what comes before it is taken for a body; it has no contract header. */
  const TAIL = 'GET /auth/nginx/DEVICE/READ HTTP/1.1';

  const get = (target: string, token?: string, more: readonly Line[] = []): string =>
    requestBytes(`GET ${target} HTTP/1.1`, [['Host', 'app'], ...(token === undefined ? [] : [['Authorization', `Bearer ${token}`] as const]), ...more]);
  const post = (target: string, length: number, token?: string): string =>
    requestBytes(`POST ${target} HTTP/1.1`, [
      ['Host', 'app'],
      ...(token === undefined ? [] : [['Authorization', `Bearer ${token}`] as const]),
      ['Content-Length', String(length)],
    ]) + 'b'.repeat(length);
  const inTurn = async (port: number, requests: readonly string[]): Promise<number[]> => {
    const connection = await connectRaw({ host: '127.0.0.1', port });
    const statuses: number[] = [];
    for (const request of requests) {
      connection.send(request);
      statuses.push((await connection.answer()).status);
    }
    connection.destroy();
    return statuses;
  };

  test.each(NAIVE)('%s: ours gives the next user the own answer', async (_name, spoil) => {
    await running(kit, { spoil }, async ({ port }) => {
      const statuses: number[] = [];
      for (let i = 0; i < 10; i++)
        statuses.push(
          ...(await inTurn(port, [
            post('/public/x', 1 + 97 * i),
            get('/api/device/d1', admin),
            post('/api/device/d2', 400, clerk),
            get('/api/device/d1', clerk),
            post('/api/device/d1', 1 + 31 * i, clerk),
            get('/api/device/d2', clerk),
            get('/api/device/d1'),
          ])),
        );
      expect(statuses).toEqual(Array.from({ length: 10 }, () => [200, 200, 200, 403, 403, 200, 401]).flat());
    });
  });

  /** Most servers: it answers at once, reads no body, keeps the connection. */
  const careless = async (): Promise<{ path: string; seen: string[]; sent: () => string; close: () => Promise<void> }> => {
    const path = join(memory.directory, `careless-${kit.name}.sock`);
    const seen: string[] = [];
    let sent = '';
    const server: Server = createServer({ requireHostHeader: false }, (req, res) => {
      seen.push(req.url ?? '');
      res.writeHead(200, { 'content-length': 0 }).end();
    });
    server.on('connection', (socket) => socket.on('data', (part: Buffer) => (sent += part.toString('latin1'))));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await chmod(path, 0o666);
    return {
      path,
      seen,
      sent: () => sent,
      async close() {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  };
  test('a careless door makes the next user wait in vain; with the shipped files even that one does not', async () => {
    const door = await careless();
    try {
      for (const [spoil, next] of [
        [NAIVE[0]![1], 500],
        [undefined, 200],
      ] as const)
        await running(kit, { doors: door.path, spoil }, async ({ port }) => {
          expect(await inTurn(port, [post('/public/x', 4000), get('/api/device/d1', admin)])).toEqual([200, next]);
        });
    } finally {
      await door.close();
    }
  });
  test('a careless door takes the tail of a request for one, ours at no length', async () => {
    const spoil = NAIVE[1]![1];
    const attack = get('/api/device/d1', clerk, [['A', TAIL]]);
    const door = await careless();
    let length = 0;
    try {
      await running(kit, { doors: door.path, spoil }, async ({ port }) => {
        await inTurn(port, [attack]);
        length = door.sent().indexOf(TAIL); // nginx writes the same bytes before it for every door
        expect(length).toBeGreaterThan(100);
      });
      await running(kit, { doors: door.path, spoil }, async ({ port }) => {
        expect(await inTurn(port, [post('/public/x', length), attack])).toEqual([200, 200]);
        expect(door.seen.at(-1)).toBe('/auth/nginx/DEVICE/READ');
      });
    } finally {
      await door.close();
    }
    await running(kit, { spoil }, async ({ port }) => {
      const [reached, reports] = [memory.application.seen.length, memory.side.reports.length];
      for (let off = -5; off <= 5; off++) expect(await inTurn(port, [post('/public/x', length + off), attack])).toEqual([200, 403]);
      expect(memory.application.seen.slice(reached).every(({ url }) => url === '/public/x')).toBe(true);
      // Two checks for each pair: nothing was taken for a third.
      expect(memory.side.reports.length - reports).toBe(22);
    });
  });
});

describe('headers of an answer that come twice', () => {
  const challenge = (heard: Heard): string[] => heard.headers.filter(([name]) => name === 'www-authenticate').map(([, value]) => value);
  test.each([
    ['nginx', nginx, ['Bearer'], 'alice'],
    ['nginx-1.31', nginxCurrent, ['Bearer', 'Basic'], 'alice, mallory'],
  ] as const)('%s', async (_, kit, challenges, user) => {
    await running(kit, { doors: standIn.upstreams.socket }, async ({ port }) => {
      standIn.answer = (_req, res) => void res.writeHead(401, { 'Content-Length': 0, 'WWW-Authenticate': ['Bearer', 'Basic'] }).end();
      expect(challenge(await tell(port, wireRequest('GET /x', [])))).toEqual(challenges);
      standIn.answer = (_req, res) => void res.writeHead(200, { 'Content-Length': 0, 'X-Auth-User': ['alice', 'mallory'] }).end();
      expect((await tell(port, wireRequest('GET /x', []))).status).toBe(200);
      expect(memory.application.values('X-Auth-User')).toEqual([user]);
    });
  });
  test('ours sends each once', async () => {
    await running(nginxCurrent, {}, async ({ port }) => {
      expect(challenge(await tell(port, wireRequest('GET /api/device/d1', [])))).toEqual(['Bearer']);
      expect((await tell(port, wireRequest('GET /api/device/d1', [['Authorization', `Bearer ${admin}`]]))).status).toBe(200);
      expect(memory.application.values('X-Auth-User')).toEqual(['admin']);
    });
  });
});

describe('an upgrade', () => {
  const ask = async (port: number, protocols: readonly string[]): Promise<Heard> =>
    tell(
      port,
      wireRequest('GET /public/x', [
        ['Connection', 'Upgrade, HTTP2-Settings'],
        ...protocols.map((protocol): Line => ['Upgrade', protocol]),
        ['HTTP2-Settings', 'AAMAAABkAARAAAAAAAIAAAAA'],
        ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
        ['Sec-WebSocket-Version', '13'],
      ]),
      { head: true },
    );
  test.each(KITS.map((kit) => [kit.name, kit] as const))('%s: to no other protocol than WebSocket', async (_, kit) => {
    await running(kit, {}, async ({ port }) => {
      expect((await ask(port, ['websocket'])).status).toBe(101);
      for (const protocols of [['h2c'], ['h2c, websocket'], ['websocket, h2c'], ['h2c', 'websocket'], ['websocket', 'h2c'], ['TLS/1.0']]) {
        await ask(port, protocols);
        expect(memory.application.values('Upgrade').join(), protocols.join('|')).toMatch(/^(websocket)?$/);
      }
    });
    // Handed on as it comes it would be a tunnel, and whatever goes through it is asked of nobody.
    await running(
      kit,
      { spoil: (_file, text) => text.replace(/Upgrade +\$grantgate_upgrade/, 'Upgrade $http_upgrade').replace('"~*^websocket$" websocket', 'h2c websocket') },
      async ({ port }) => {
        await ask(port, ['h2c']);
        expect(memory.application.values('Upgrade')).toEqual(['h2c']);
      },
    );
  });
});

describe('an upstream without `keepalive`', () => {
  test.each([
    ['nginx', nginx, false],
    ['nginx-1.31', nginxCurrent, true],
  ] as const)('%s', async (_, kit, kept) => {
    const relay = await startRelay({ ...memory.to, port: 0, grpcPort: 0 });
    try {
      await running(
        kit,
        { doors: relay.upstreams.socket, spoil: (_file, text) => text.replace(/^ *keepalive(_requests|_timeout)? .*\n/gm, '') },
        async ({ port }) => {
          for (let i = 0; i < 40; i++) expect((await tell(port, wireRequest('GET /public/x', []))).status).toBe(200);
        },
      );
      console.log(`${kit.name}: 40 checks in turn by an upstream without keepalive: ${relay.accepted} connections`);
      if (kept) expect(relay.accepted).toBeLessThan(10);
      else expect(relay.accepted).toBe(40);
    } finally {
      await relay.close();
    }
  });
});
