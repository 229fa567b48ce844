// What does Caddy alone do? Old and current: it copies what the sidecar says in its own way, hands upgrades on to it, matches paths
// loosely, and answers for sites that it does not have.
//
// The checklist has what every proxy must do. Here each trap of the program stands with the configuration that falls into it.

import { createServer, type Server } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { NASTY_TARGETS } from '../corpus/targets.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { CHECKLIST_WORLD } from '../support/proxies/checklist.subject.ts';
import type { Kit, KitOptions, RunningProxy, Upstreams } from '../support/proxies/kit.ts';
import { caddyCurrent } from '../support/proxies/caddy-2.11.ts';
import { caddy } from '../support/proxies/caddy-2.6.ts';
import { permit, startStandIn, type StandIn } from '../support/proxies/stand-in.ts';
import { tell, tellThrough, wireRequest, type Reached } from '../support/proxies/wire.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startBehind, type Behind } from '../support/stack.ts';

type Line = readonly [name: string, value: string];

const IDENTITY = ['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer', 'X-Authz-Decision-Id'];
const SPOOFED = IDENTITY.map((name) => [name, 'mallory'] as const);
const HANDSHAKE: readonly Line[] = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
  ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
  ['Sec-WebSocket-Version', '13'],
];

let server: TestServer;
let behind: Behind;
/** Its sidecar believes a header of the proxy's, and no token. */
let believing: Behind;
let standIn: StandIn;
let admin: Line, clerk: Line, driver: Line;

beforeAll(async () => {
  server = await startPostgres('embedded18');
  behind = await startBehind({ server, world: CHECKLIST_WORLD });
  believing = await startBehind({
    server,
    world: CHECKLIST_WORLD,
    set: { 'doors.identity': 'header', 'doors.subjectHeader': 'X-Client-Id', 'identity.asserted.tenants': 't1' },
  });
  standIn = await startStandIn(behind.application.port);
  const bearer = async (user: string): Promise<Line> => ['Authorization', `Bearer ${await tokenFor(user)}`];
  [admin, clerk, driver] = await Promise.all([bearer('admin'), bearer('clerk'), bearer('driver')]);
});
afterAll(async () => {
  await standIn?.close();
  await believing?.close();
  await behind?.close();
  await server?.close();
});
beforeEach(() => {
  standIn.answer = permit();
  standIn.checks.length = 0;
});

interface Sent {
  readonly method?: string;
  /** Resolve at the end of the answer's head. */
  readonly head?: boolean;
}

function send(port: number, target: string, headers: readonly Line[] = [], { method = 'GET', head = false }: Sent = {}): Promise<Reached> {
  return tellThrough(behind.application, port, { bytes: wireRequest(`${method} ${target}`, headers), head });
}
const values = (name: string): string => behind.application.values(name).join('|');

describe.each<[string, Kit]>([caddy, caddyCurrent].map((kit) => [kit.name, kit]))('%s', (_, kit) => {
  /** The shipped one, before the real sidecar and before the one that stands in. */
  let proxy: RunningProxy, asking: RunningProxy;
  beforeAll(async () => {
    proxy = await kit.start(behind.upstreams);
    asking = await kit.start(standIn.upstreams);
    for (const user of [admin, clerk, driver]) for (const path of ['/api/device/d1', '/fleet/x']) await send(proxy.port, path, [user]);
  });
  afterAll(async () => {
    await proxy?.stop();
    await asking?.stop();
  });

  /** Runs another Caddy for a test: with a changed file, or before something else. */
  const through = async <T>(what: { readonly to?: Upstreams; readonly spoil?: KitOptions['spoil'] }, use: (port: number) => Promise<T>): Promise<T> => {
    const other = await kit.start(what.to ?? behind.upstreams, what.spoil ? { spoil: what.spoil } : {});
    try {
      return await use(other.port);
    } finally {
      await other.stop();
    }
  };

  describe('identity', () => {
    test('of a public route: empty, and neither the client’s nor the name of a placeholder', async () => {
      expect((await send(proxy.port, '/api/noauth/userPasswordPolicy', SPOOFED)).status).toBe(200);
      for (const name of IDENTITY) expect(behind.application.values(name), name).toEqual(['']);
    });
    test('that the sidecar leaves out is not the client’s', async () => {
      standIn.answer = permit({});
      expect((await send(asking.port, '/api/device/d1', SPOOFED)).status).toBe(200);
      // Why ours always sends all four: the old one hands on its own placeholder, as text.
      for (const name of IDENTITY) expect(behind.application.values(name), name).toEqual([kit === caddy ? `{http.reverse_proxy.header.${name}}` : '']);
    });
    test('is there, whatever the client’s Connection names', async () => {
      const connection: Line = ['Connection', ['close', ...IDENTITY].join(', ')];
      expect((await send(proxy.port, '/api/device/d1', [admin, connection])).status).toBe(200);
      expect([values('X-Auth-User'), values('X-Auth-Tenant'), values('X-Auth-Customer')]).toEqual(['admin', 't1', '']);
      await through({ spoil: (_, text) => text.replace(/^\t+header_up X-Auth-.*\n/gm, '') }, async (port) => {
        expect((await send(port, '/api/device/d1', [admin, connection])).status).toBe(200);
        expect(behind.application.values('X-Auth-User')).toEqual([]);
      });
    });
    test('without the order of `route` what the check brought is removed', async () => {
      await through({ spoil: (_, text) => text.replace(/^\troute \{$/m, '\thandle {') }, async (port) => {
        expect((await send(port, '/api/device/d1', [admin])).status).toBe(200);
        expect(values('X-Auth-User')).toBe('');
      });
    });
    test('is no template: braces of the client are text', async () => {
      expect((await send(asking.port, '/a?x={env.HOME}', [['X-Request-Id', '{http.request.method}']])).reached).toBe('/a?x={env.HOME}');
      expect(values('X-Request-Id')).toBe('{http.request.method}');
      expect(standIn.checks.map((check) => [...check.values('X-Forwarded-Uri'), ...check.values('X-Request-Id')])).toEqual([
        ['/a?x={env.HOME}', '{http.request.method}'],
      ]);
    });
  });

  describe('what the client says of its own request', () => {
    const forged = [
      'X-Forwarded-Uri',
      'X-Forwarded-Method',
      'X-Forwarded-Prefix',
      'X-Forwarded-Port',
      'X-Original-URI',
      'X-Original-Method',
      'X-Rewrite-URL',
      'Forwarded',
    ].flatMap((name) => [name, name, name.replaceAll('-', '_'), name.replaceAll('-', '.')].map((spelling) => [spelling, '/api/device/device-b1'] as const));
    test('reaches neither the sidecar nor the application', async () => {
      await send(asking.port, '/api/device/d1?a=b', forged);
      const [check] = standIn.checks;
      expect(check!.url).toBe('/auth/caddy');
      expect([check!.values('X-Forwarded-Uri'), check!.values('X-Forwarded-Method')]).toEqual([['/api/device/d1?a=b'], ['GET']]);
      for (const raw of [check!.rawHeaders, behind.application.seen.at(-1)!.rawHeaders]) expect(raw).not.toContain('/api/device/device-b1');
    });
    test('changes no decision', async () => {
      for (const line of forged) expect(await send(proxy.port, '/api/device/d1', [clerk, line]), line[0]).toMatchObject({ status: 403, reached: null });
      expect(await send(proxy.port, '/api/device/d1', [clerk, ...forged])).toMatchObject({ status: 403, reached: null });
      expect(await send(proxy.port, '/api/device/d1', [admin, ...forged])).toMatchObject({ status: 200, reached: '/api/device/d1' });
    });
    test('without its removal the application gets it', async () => {
      await through({ spoil: (_, text) => text.replace(/^\t+request_header -X-Forwarded-Uri\n/m, '') }, async (port) => {
        expect((await send(port, '/api/device/d1', [admin, ['X-Forwarded-Uri', '/forged']])).status).toBe(200);
        expect(values('X-Forwarded-Uri')).toBe('/forged');
      });
    });
  });

  describe('credentials', () => {
    test.each<[string, () => readonly Line[], string]>([
      ['one that its sender takes back by Connection', () => [admin, ['Connection', 'close, Authorization']], 'no-credential'],
      ['Authorization twice', () => [admin, clerk], 'many-credentials'],
      ['X-Authorization beside it', () => [admin, ['X-Authorization', admin[1]]], 'many-credentials'],
      ['two in one', () => [['Authorization', `${admin[1]}, ${clerk[1]}`]], 'not-bearer'],
    ])('%s: 401', async (what, lines, reason) => {
      const id = `${kit.name} ${what}`.replaceAll(/[^a-z0-9]/gi, '-');
      const answer = await send(proxy.port, '/api/device/d1', [...lines(), ['X-Request-Id', id]]);
      expect(answer).toMatchObject({ status: 401, reached: null });
      expect(answer.headers.filter(([name]) => name === 'www-authenticate')).toEqual([['www-authenticate', 'Bearer']]);
      expect((await behind.sidecar.line(id)).reason).toBe(reason);
    });
  });

  describe('a header that says who asks, where the sidecar believes one', () => {
    const named: readonly Line[] = [['X-Client-Id', 'admin']];
    const changed =
      (to: string): KitOptions['spoil'] =>
      (_, text) =>
        text.replace(/^\t+header_up -X-Client-Id$/m, to);
    const ask = async (port: number, headers: readonly Line[]): Promise<{ status: number; user: readonly string[] | null }> => {
      const { application } = believing;
      const before = application.seen.length;
      const { status } = await tell(port, wireRequest('GET /api/device/d1', headers));
      return { status, user: application.seen.length > before ? application.values('X-Auth-User') : null };
    };

    test('is not the client’s, as shipped', async () => {
      await through({ to: believing.upstreams }, async (port) => {
        for (const name of ['X-Client-Id', 'x-client-id', 'X_Client_Id', 'X.Client.Id'])
          expect(await ask(port, [[name, 'admin']]), name).toEqual({ status: 401, user: null });
        expect(await ask(port, [admin, ...named])).toEqual({ status: 401, user: null });
      });
    });
    test('is what the configuration writes, whatever the client says', async () => {
      await through({ to: believing.upstreams, spoil: changed('\t\t\theader_up X-Client-Id admin') }, async (port) =>
        expect(await ask(port, [['X-Client-Id', 'nobody']])).toEqual({ status: 200, user: ['admin'] }),
      );
    });
    test('is the client’s where nobody writes it', async () => {
      await through({ to: believing.upstreams, spoil: changed('') }, async (port) => expect(await ask(port, named)).toEqual({ status: 200, user: ['admin'] }));
    });
  });

  describe('areas', () => {
    const door = (target: string): string => (target.startsWith('/fleet/') ? '/DEVICE/READ' : target.startsWith('/estate/') ? '/ASSET/READ' : '');

    test.each([
      ['/fleet/x?a=b', '/DEVICE/READ', '*'],
      ['/estate/x', '/ASSET/READ', '*'],
      ['/fleet', '', ''],
      ['/FLEET/x', '', ''],
      ['/%66leet/x', '', ''],
      ['//fleet/x', '', ''],
      ['/x/../fleet/x', '', ''],
      ['/fleet%2fx', '', ''],
      ['/fleet;/x', '', ''],
      ['/fleet\\x', '', ''],
    ])('%s asks at /auth/caddy%s, whatever target the client names', async (path, parameters, target) => {
      for (const named of ['device-b1', '*'])
        await send(asking.port, path, [
          ['X-Authz-Target', named],
          ['Connection', 'close, X-Authz-Target'],
        ]);
      expect(standIn.checks.map((check) => [check.url, ...check.values('X-Authz-Target')])).toEqual([
        [`/auth/caddy${parameters}`, target],
        [`/auth/caddy${parameters}`, target],
      ]);
      expect(values('X-Authz-Target')).toBe('');
    });
    test('of another method: the route table', async () => {
      for (const method of ['POST', 'DELETE', 'OPTIONS', 'get']) await send(asking.port, '/fleet/x', [], { method });
      expect(new Set(standIn.checks.map(({ url }) => url))).toEqual(new Set(['/auth/caddy']));
    });
    test('whatever is sent, the sidecar is asked once, of what the application gets, by the door of its area', async () => {
      let passed = 0;
      for (const sent of NASTY_TARGETS) {
        standIn.checks.length = 0;
        const { reached } = await send(asking.port, sent);
        if (reached === null) continue;
        passed++;
        const [path] = `/auth/caddy${door(reached)}`.split('?');
        expect(
          standIn.checks.map((check) => [check.url.split('?')[0], ...check.values('X-Forwarded-Uri')]),
          sent,
        ).toEqual([[path, reached]]);
      }
      console.log(
        `${kit.name}: ${NASTY_TARGETS.length} targets past a sidecar that permits all: ${passed} passed on, each asked about once, as it was passed on`,
      );
      expect(passed).toBeGreaterThan(200);
    });
    test('chosen by a decoded path, an area would be wider than what the application knows by that name', async () => {
      expect(await send(proxy.port, '/%66leet/x', [driver])).toMatchObject({ status: 403, reached: null });
      await through(
        { spoil: (_, text) => text.replace('{http.request.method} {http.request.uri}', '{http.request.method} {http.request.uri.path}') },
        async (port) => expect(await send(port, '/%66leet/x', [driver])).toMatchObject({ status: 200, reached: '/%66leet/x' }),
      );
    });
    test('below handle_path: asked of what is left, which the application gets', async () => {
      await through(
        { spoil: (file, text) => (file === 'Caddyfile' ? text.replace('\timport grantgate\n}', '\thandle_path /v1/* {\n\t\timport grantgate\n\t}\n}') : text) },
        async (port) => {
          expect(await send(port, '/v1/api/device/d1', [admin])).toMatchObject({ status: 200, reached: '/api/device/d1' });
          expect(await send(port, '/v1/api/device/d1', [clerk])).toMatchObject({ status: 403, reached: null });
        },
      );
    });
  });

  describe('an upgrade', () => {
    test('is handed on to the sidecar, for which it is a check like any other', async () => {
      standIn.answer = (_, res) => void res.writeHead(401, { 'Content-Length': 0, 'WWW-Authenticate': 'Bearer' }).end();
      expect(await send(asking.port, '/api/device/d1', HANDSHAKE, { head: true })).toMatchObject({ status: 401, reached: null });
      const [check] = standIn.checks;
      expect([check!.values('Connection'), check!.values('Upgrade')]).toEqual([['Upgrade'], ['websocket']]);

      expect(await send(proxy.port, '/api/device/d1', HANDSHAKE, { head: true })).toMatchObject({ status: 401, reached: null });
      expect(await send(proxy.port, '/api/device/d1', [clerk, ...HANDSHAKE], { head: true })).toMatchObject({ status: 403, reached: null });
      expect(await send(proxy.port, '/api/device/d1', [admin, ...HANDSHAKE], { head: true })).toMatchObject({ status: 101, reached: '/api/device/d1' });
      expect(values('X-Auth-User')).toBe('admin');
    });
    test('to anything but a WebSocket is none: behind one to HTTP/2 everything would be unchecked', async () => {
      const willing = createServer((_, res) => void res.end('no upgrade'));
      willing.on(
        'upgrade',
        // Nobody reads it from here on, so it would not hear of its end: and a server is closed when its last connection is.
        (req, socket) =>
          void socket.end(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${req.headers.upgrade}\r\n\r\n`, () => socket.destroy()),
      );
      await new Promise<void>((resolve) => willing.listen(0, '127.0.0.1', resolve));
      const to = { ...behind.upstreams, applicationPort: (willing.address() as AddressInfo).port };
      const status = async (port: number, ...protocols: readonly string[]): Promise<number> => {
        const headers = [
          admin,
          ['Connection', 'Upgrade, HTTP2-Settings'],
          ['HTTP2-Settings', 'AAMAAABkAARAAAAAAAIAAAAA'],
          ...protocols.map((each) => ['Upgrade', each] as const),
        ] as const;
        return (await tell(port, wireRequest('GET /api/device/d1', headers), { head: true })).status;
      };
      try {
        await through({ to }, async (port) => {
          for (const protocols of [['h2c'], ['H2C'], ['h2c', 'websocket'], ['websocket', 'h2c'], ['websocket, h2c'], ['', 'h2c'], ['TLS/1.2']])
            expect(await status(port, ...protocols), protocols.join(' and ')).toBe(200);
          expect(await status(port, 'WebSocket')).toBe(101);
        });
        await through({ to, spoil: (_, text) => text.replace(/^\t+request_header Upgrade .*\n/m, '') }, async (port) =>
          expect(await status(port, 'h2c')).toBe(101),
        );
      } finally {
        willing.closeAllConnections();
        await new Promise((resolve) => willing.close(resolve));
      }
    });
    test('a sidecar with a listener for upgrades answers past its own checks', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'grantgate-upgrade-'));
      await chmod(directory, 0o711);
      const listening: Server = createServer((_, res) => void res.writeHead(401, { 'Content-Length': 0 }).end());
      listening.on('upgrade', (_, socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', () => socket.destroy()));
      const socket = join(directory, 'doors.sock');
      await new Promise<void>((resolve) => listening.listen(socket, resolve));
      try {
        await through({ to: { ...behind.upstreams, socket } }, async (port) => {
          expect(await send(port, '/api/device/d1')).toMatchObject({ status: 401, reached: null });
          expect(await send(port, '/api/device/d1', HANDSHAKE, { head: true })).toMatchObject({ status: 101, reached: '/api/device/d1' });
        });
      } finally {
        listening.closeAllConnections();
        await new Promise((resolve) => listening.close(resolve));
        await rm(directory, { recursive: true, force: true });
      }
    });
  });

  describe('what never comes to a check', () => {
    test('OPTIONS *: Go answers it itself, with nothing', async () => {
      expect(await send(asking.port, '*', [], { method: 'OPTIONS' })).toMatchObject({ status: 200, reached: null, rest: '' });
      expect(standIn.checks).toEqual([]);
    });
    test('a site with a name leaves all other names without a check: 200, and nothing of the application’s', async () => {
      for (const host of ['app.example', 'other.example', '127.0.0.1', 'app.example:80'])
        expect(await tell(proxy.port, `GET /api/device/d1 HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`), host).toMatchObject({ status: 401 });
      expect(await tell(proxy.port, 'GET /api/device/d1 HTTP/1.0\r\n\r\n')).toMatchObject({ status: 401 });
      await through({ spoil: (_, text) => text.replace(/^http:\/\/ \{$/m, 'http://app.example {') }, async (port) => {
        expect(await send(port, '/api/device/d1')).toMatchObject({ status: 401, reached: null });
        const before = behind.application.seen.length;
        expect(await tell(port, 'GET /api/device/d1 HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n')).toMatchObject({ status: 200, rest: '' });
        expect(behind.application.seen.length).toBe(before);
      });
    });
  });

  test('HTTP/2 in clear text: not taken, or the same decisions and nothing of the client’s', async () => {
    const session = connectHttp2(`http://127.0.0.1:${proxy.port}`);
    session.on('error', () => undefined);
    const ask = (user: Line): Promise<number> =>
      new Promise((resolve) => {
        const stream = session.request({
          ':path': '/api/device/d1',
          authorization: user[1],
          'x-auth-user': 'mallory',
          x_auth_user: 'mallory',
          'x-forwarded-uri': '/api/device/device-b1',
        });
        let status = 0;
        stream.on('response', (headers) => void (status = headers[':status'] ?? 0));
        stream.on('error', () => undefined).on('close', () => resolve(status));
        stream.resume().end();
      });
    try {
      const before = behind.application.seen.length;
      const denied = await ask(clerk);
      expect(denied).toBe(kit === caddy ? 0 : 403);
      expect(behind.application.seen.length).toBe(before);
      if (denied === 0) return;
      expect(await ask(admin)).toBe(200);
      expect(values('X-Auth-User')).toBe('admin');
      expect(behind.application.seen.at(-1)!.rawHeaders).not.toContain('mallory');
    } finally {
      session.destroy();
    }
  });
});
