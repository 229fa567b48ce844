// What does HAProxy alone do? Its Lua client asks again when nobody answers, an error in the script is no answer, and it hands on
// what it does not understand: targets byte for byte, and `Upgrade` and `Connection` of the client's choice.

import { createServer } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { IDENTITY } from '../../src/doors/identity-headers.ts';
import { haproxy } from '../support/proxies/haproxy.ts';
import { startInMemory, type InMemory } from '../support/proxies/in-front.ts';
import type { KitOptions, RunningProxy, Upstreams } from '../support/proxies/kit.ts';
import { startRelay } from '../support/proxies/relay.ts';
import { permit, startStandIn, type StandIn } from '../support/proxies/stand-in.ts';
import { tell, tellThrough, wireRequest, type Heard, type Reached } from '../support/proxies/wire.ts';
import { until } from '../support/until.ts';

type Line = readonly [name: string, value: string];

let memory: InMemory;
let upstreams: Upstreams;
let standIn: StandIn;
/** The shipped HAProxy before the real doors, and before the one that stands in. */
let deciding: RunningProxy, asking: RunningProxy;
let admin: Line;

beforeAll(async () => {
  memory = await startInMemory();
  const { port } = await memory.side.listen();
  upstreams = { ...memory.to, port, grpcPort: 0 };
  standIn = await startStandIn(memory.application.port);
  [deciding, asking] = await Promise.all([haproxy.start(upstreams), haproxy.start(standIn.upstreams)]);
  admin = ['Authorization', `Bearer ${await memory.side.token('admin')}`];
});
afterAll(async () => {
  await deciding?.stop();
  await asking?.stop();
  await standIn?.close();
  await memory?.close();
});
beforeEach(() => {
  standIn.answer = permit();
  standIn.checks.length = 0;
});

/** How long the client waited, too. */
async function send(
  { port }: { readonly port: number },
  target: string,
  headers: readonly Line[] = [],
  method = 'GET',
): Promise<Reached & { readonly ms: number }> {
  const started = performance.now();
  const answer = await tellThrough(memory.application, port, { bytes: wireRequest(`${method} ${target}`, headers) });
  return { ...answer, ms: Math.round(performance.now() - started) };
}

async function spoilt<T>(spoil: KitOptions['spoil'], to: Upstreams, use: (proxy: RunningProxy) => Promise<T>): Promise<T> {
  const proxy = await haproxy.start(to, spoil ? { spoil } : {});
  try {
    return await use(proxy);
  } finally {
    await proxy.stop();
  }
}

/** A door that permits everything, on a port that can be given up and taken again; 0: any. */
async function startPermittingDoor(on: number): Promise<{ readonly port: number; close(): Promise<void> }> {
  const server = createServer(permit());
  await new Promise<void>((resolve) => server.listen(on, '127.0.0.1', resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

const header = (name: string): string => memory.application.values(name).join('|');

describe('what the sidecar is asked', () => {
  test('has the headers of the list, every line of each, and no other of the client', async () => {
    const listed: readonly Line[] = [
      ['Authorization', 'Bearer one'],
      ['Authorization', 'Bearer two'],
      ['X-Authorization', 'Bearer three'],
      ['X-Request-Id', 'r1'],
      ['Origin', 'https://app.example'],
      ['Access-Control-Request-Method', 'GET'],
      ['X-HTTP-Method-Override', 'DELETE'],
      ['X-HTTP-Method', 'DELETE'],
      ['X-Method-Override', 'DELETE'],
    ];
    const other: readonly Line[] = ['X-Original-URI', 'X_Original_URI', 'X-Original-Method', 'X-Authz-Target', 'X-Authz-At-Least', 'X-Auth-User', 'Cookie'].map(
      (name) => [name, '*'],
    );
    await send(asking, '/api/device/d1?x=1', [...listed, ...other]);
    const [check] = standIn.checks;
    expect(check!.url).toBe('/auth/haproxy');
    for (const [name] of listed) expect(check!.values(name), name).toEqual(listed.filter(([same]) => same === name).map(([, value]) => value));
    expect([check!.values('X-Original-Method'), check!.values('X-Original-URI'), check!.values('X-Authz-Target')]).toEqual([
      ['GET'],
      ['/api/device/d1?x=1'],
      [''],
    ]);
    for (const name of ['X_Original_URI', 'X-Authz-At-Least', 'X-Auth-User', 'Cookie', 'Content-Length']) expect(check!.values(name), name).toEqual([]);
  });
  test.each([
    ['/fleet/x', '/auth/haproxy/DEVICE/READ', '*'],
    ['/estate/x?y', '/auth/haproxy/ASSET/READ', '*'],
    ['/api/devices/d1', '/auth/haproxy/DEVICE/READ', 'd1'],
    ['/api/devices/d1/x', '/auth/haproxy/DEVICE/READ', 'd1'],
    ['/api/devices/d1?x', '/auth/haproxy/DEVICE/READ', 'd1'],
    ['/api/devices/d1;x', '/auth/haproxy/DEVICE/READ', ''],
    ['/api/devices/d1%20', '/auth/haproxy/DEVICE/READ', ''],
    ['/api/devices/d1%0d%0aX-Authz-Target:%20d2', '/auth/haproxy/DEVICE/READ', ''],
    ['/api/devices/', '/auth/haproxy/DEVICE/READ', ''],
    ['/api/devices/*', '/auth/haproxy/DEVICE/READ', ''],
    ['/api/devices', '/auth/haproxy', ''],
    ['/x/../fleet/x', '/auth/haproxy', ''],
    ['//fleet/x', '/auth/haproxy', ''],
    ['/%66leet/x', '/auth/haproxy', ''],
  ])('%s: %s of "%s"', async (target, url, of) => {
    await send(asking, target);
    expect(standIn.checks.map((check) => [check.url, check.values('X-Authz-Target'), check.values('X-Original-URI')])).toEqual([[url, [of], [target]]]);
  });
  test('of a device another method than READ’s is not even asked', async () => {
    for (const path of ['/api/devices/d1', '/fleet/x', '/estate/x'])
      for (const method of ['POST', 'DELETE', 'OPTIONS', 'get']) expect(await send(asking, path, [], method)).toMatchObject({ status: 403, reached: null });
    expect(standIn.checks).toEqual([]);
  });
});

describe('a door that does not answer', () => {
  test('hangs: asked four times, each for 250 ms', async () => {
    standIn.answer = () => undefined;
    const { status, ms, reached } = await send(asking, '/x');
    expect([status, reached, standIn.checks.length]).toEqual([503, null, 4]);
    console.log(`haproxy: a door that hangs: ${status} after ${ms} ms, ${standIn.checks.length} checks`);
    expect(ms).toBeGreaterThan(900);
    expect(ms).toBeLessThan(10_000); // the client's patience is 20 s
  });
  test('resets: asked four times, at once', async () => {
    standIn.answer = (req) => void req.socket.resetAndDestroy();
    const { status, ms, reached } = await send(asking, '/x');
    expect([status, reached, standIn.checks.length]).toEqual([503, null, 4]);
    console.log(`haproxy: a door that resets: ${status} after ${ms} ms, ${standIn.checks.length} checks`);
  });
  test('is not there: found out once, then nobody waits', async () => {
    const gone = await startStandIn(memory.application.port);
    await spoilt(undefined, gone.upstreams, async (proxy) => {
      expect(await send(proxy, '/x')).toMatchObject({ status: 200, reached: '/x' });
      await gone.close();
      const first = await send(proxy, '/x');
      let later: Awaited<ReturnType<typeof send>> | null = null;
      await until(async () => (later = await send(proxy, '/x')).ms < 200, 'an answer at once');
      console.log(`haproxy: nobody listens: ${first.status} after ${first.ms} ms, later ${later!.status} after ${later!.ms} ms`);
      expect([first.status, later!.status, first.reached, later!.reached]).toEqual([503, 503, null, null]);
      expect(proxy.errors()).toContain('grantgate/door is DOWN');
    });
  });
});

describe('a door that is started anew', () => {
  test('within a second: every request waits, and none is refused', async () => {
    const door = await startPermittingDoor(0);
    await spoilt(undefined, { ...standIn.upstreams, port: door.port }, async (proxy) => {
      expect((await send(proxy, '/x')).status).toBe(200);
      await door.close();
      const closed = performance.now();
      const waiting = Promise.all(Array.from({ length: 10 }, () => send(proxy, '/x')));
      await until(() => performance.now() - closed > 300, 'the length of a restart');
      const next = await startPermittingDoor(door.port);
      const answers = await waiting;
      await next.close();
      console.log(
        `haproxy: a door away for 300 ms: ${answers.map(({ status }) => status).join()} after ${Math.max(...answers.map(({ ms }) => ms))} ms at the most`,
      );
      expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 200));
    });
  });
});

describe('an answer that is none', () => {
  test('would be a permit, were the last rule not there', async () => {
    await spoilt(
      (_, text) => text.replace(/^ +http-request deny deny_status 503 unless .*\n/m, ''),
      { ...standIn.upstreams, port: 1 },
      async (proxy) => expect(await send(proxy, '/x')).toMatchObject({ status: 200, reached: '/x' }),
    );
  });
  test.each([
    ['an error before the question', (text: string) => text.replace('local answer = ', 'error("fault") local answer = ')],
    ['an error after a permit', (text: string) => text.replace('txn:set_var("txn.grantgate_status", "200")', 'error("fault")')],
    ['an action that only returns', (text: string) => text.replace('local uri = ', 'do return end local uri = ')],
  ])('%s: refused', async (_, change) => {
    await spoilt(
      (file, text) => (file === 'authz.lua' ? change(text) : text),
      upstreams,
      async (proxy) => expect(await send(proxy, '/api/device/d1', [admin])).toMatchObject({ status: 503, reached: null }),
    );
  });
  test('a permit without identity: empty, not the client’s', async () => {
    standIn.answer = permit({});
    const forged: readonly Line[] = ['X-Auth-User', 'X_Auth_User', 'X.Auth.User', 'X-Auth-Customer', 'X_Authz-Decision.Id'].map((name) => [name, 'mallory']);
    expect(await send(asking, '/x', forged)).toMatchObject({ status: 200, reached: '/x' });
    for (const name of IDENTITY) expect(memory.application.values(name), name).toEqual(['']);
  });
});

describe('targets', () => {
  test.each(['/a%00b', '/a%zzb', '/a/../b', '//a', '/a\\b', '/a;b', '/%2e%2e/a', '/caf%C3%A9', '/a?b=%0d%0a'])(
    '%s is asked and handed on byte for byte',
    async (target) => {
      expect(await send(asking, target)).toMatchObject({ status: 200, reached: target });
      expect(standIn.checks[0]!.values('X-Original-URI')).toEqual([target]);
    },
  );
  test('* is asked as nothing, and so refused', async () => {
    await send(asking, '*', [], 'OPTIONS');
    expect(standIn.checks[0]!.values('X-Original-URI')).toEqual(['']);
    expect(await send(deciding, '*', [admin], 'OPTIONS')).toMatchObject({ status: 403, reached: null });
  });
  test('of a whole URL the application gets what was asked; another host than Host’s is refused by HAProxy', async () => {
    expect(await send(deciding, 'http://app.example/api/device/d1?x', [admin])).toMatchObject({ status: 200, reached: '/api/device/d1?x' });
    expect(await send(deciding, 'http://other.example/api/device/d1', [admin])).toMatchObject({ status: 400, reached: null });
  });
  test.each(['/a#b', '/caf\u00e9', 'a', '/a b'])('%s is refused by HAProxy', async (target) => {
    expect(await send(asking, target)).toMatchObject({ status: 400, reached: null });
    expect(standIn.checks).toEqual([]);
  });
  test('over HTTP/2, which it takes from any client that begins so', async () => {
    const session = connectHttp2(`http://127.0.0.1:${deciding.port}`);
    const status = (path: string, token: string): Promise<unknown> =>
      new Promise((resolve, reject) => {
        const stream = session.request({ ':path': path, authorization: token, 'x-auth-user': 'mallory', 'x-original-uri': '/api/device/d1' });
        stream
          .on('response', (headers) => resolve(headers[':status']))
          .on('error', reject)
          .resume();
      });
    try {
      expect(await status('/api/device/d1', admin[1])).toBe(200);
      expect(memory.application.seen.at(-1)!.url).toBe('/api/device/d1');
      expect(header('X-Auth-User')).toBe('admin');
      expect(await status('/api/device/x1', admin[1])).toBe(403);
      expect(await status('/api/noauth/../device/d1', admin[1])).toBe(403);
    } finally {
      session.close();
    }
  });
});

describe('the connection to the application', () => {
  const KEY: Line = ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='];
  const upgrade = async ({ port }: { readonly port: number }, lines: readonly Line[]): Promise<Heard> =>
    tell(port, wireRequest('GET /api/device/d1', [...lines, KEY, ['Sec-WebSocket-Version', '13']]), { head: true });

  test('is a WebSocket’s where the client asks for one', async () => {
    const lines: readonly Line[] = [
      ['Connection', 'Upgrade, X-Auth-User'],
      ['Upgrade', 'websocket'],
    ];
    const { status, headers } = await upgrade(deciding, [admin, ...lines]);
    expect(status).toBe(101);
    expect(headers).toContainEqual(['sec-websocket-accept', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=']);
    expect([header('X-Auth-User'), header('Connection').toLowerCase()]).toEqual(['admin', 'upgrade']);
    const before = memory.application.seen.length;
    expect((await upgrade(deciding, lines)).status).toBe(401);
    expect(memory.application.seen.length).toBe(before);
  });

  // Taken up by an application it would be a tunnel, and whatever goes through it is asked of nobody.
  const H2C: readonly Line[] = [
    ['Connection', 'Upgrade, HTTP2-Settings'],
    ['Upgrade', 'h2c'],
    ['HTTP2-Settings', 'AAMAAABkAARAAAAAAAIAAAAA'],
  ];
  test('becomes no other protocol', async () => {
    for (const lines of [
      H2C,
      [...H2C, ['Upgrade', 'websocket'] as const],
      H2C.map(([name, value]) => [name, value.replace('h2c', 'websocket, h2c')] as const),
    ]) {
      expect((await upgrade(deciding, [admin, ...lines])).status).not.toBe(101);
      expect([header('Upgrade'), header('Connection'), header('HTTP2-Settings')]).not.toContain('h2c');
    }
  });
  test('would, with the two lines taken out', async () => {
    await spoilt(
      (_, text) => text.replace(/^ +http-request del-header (upgrade|http2-settings) .*\n/gm, ''),
      upstreams,
      async (proxy) => {
        expect((await upgrade(proxy, [admin, ...H2C])).status).toBe(101);
        expect(header('Upgrade')).toBe('h2c');
      },
    );
  });
  test('no header is named for the next hop alone', async () => {
    const { status } = await send(deciding, '/api/device/d1', [admin, ['Connection', 'close, X-Auth-User, Authorization']]);
    expect(status).toBe(200);
    expect([header('X-Auth-User'), header('Authorization')]).toEqual(['admin', admin[1]]);
    expect(header('Connection')).not.toMatch(/auth/i);
  });
});

describe('connections to the door', () => {
  const count = async (lanes: number, overSocket = false): Promise<number> => {
    const relay = await startRelay(upstreams);
    const spoil: KitOptions['spoil'] = (file, text) =>
      file === 'authz.lua' ? text.replace('timeout = TIMEOUT', `timeout = TIMEOUT, dst = "unix@${relay.upstreams.socket}"`) : text;
    try {
      return await spoilt(overSocket ? spoil : undefined, relay.upstreams, async (proxy) => {
        await Promise.all(
          Array.from({ length: lanes }, async () => {
            for (let i = 0; i < 20; i++) expect((await send(proxy, '/api/device/d1', [admin])).status).toBe(200);
          }),
        );
        return relay.accepted;
      });
    } finally {
      await relay.close();
    }
  };
  test('are kept over TCP; over a Unix socket, with a script that names one, they are counted', async () => {
    const [one, many, socket] = [await count(1), await count(10), await count(10, true)];
    console.log(`haproxy: connections to the door, its health check's among them: TCP ${one} for 20 checks in turn, ${many} for 200 by 10, socket ${socket}`);
    expect(one).toBeLessThan(12);
    expect(many).toBeLessThan(60);
  });
});
