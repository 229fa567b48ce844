// What does Traefik alone do? It cleans paths before it asks, knows other spellings of a header, may believe a proxy before it.
//
// The checklist has what every proxy must do. Here each trap of the program stands with the configuration that falls into it.

import { connect as connectHttp2 } from 'node:http2';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { NASTY_TARGETS } from '../corpus/targets.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { CHECKLIST_WORLD } from '../support/proxies/checklist.subject.ts';
import type { KitOptions, Upstreams } from '../support/proxies/kit.ts';
import { permit, startStandIn, type StandIn } from '../support/proxies/stand-in.ts';
import { traefik } from '../support/proxies/traefik.ts';
import { tell, tellThrough, wireRequest, type Reached } from '../support/proxies/wire.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startBehind, startProxied, type Proxied } from '../support/stack.ts';

type Line = readonly [name: string, value: string];

let server: TestServer;
let stack: Proxied;
let standIn: StandIn;
/** The shipped Traefik, before the one that stands in. */
let asking: Awaited<ReturnType<typeof traefik.start>>;
let admin: Line, clerk: Line, driver: Line;

beforeAll(async () => {
  server = await startPostgres('embedded18');
  stack = await startProxied(traefik, { server, world: CHECKLIST_WORLD });
  standIn = await startStandIn(stack.application.port);
  asking = await traefik.start(standIn.upstreams);
  const bearer = async (user: string): Promise<Line> => ['Authorization', `Bearer ${await tokenFor(user)}`];
  [admin, clerk, driver] = await Promise.all([bearer('admin'), bearer('clerk'), bearer('driver')]);
  // In memory from here on, so that no answer below is one of a check that took too long.
  for (const user of [admin, clerk, driver])
    for (const path of ['/api/device/d1', '/api/device/device-b1', '/fleet/x']) await send(stack.proxy.port, path, [user]);
});
afterAll(async () => {
  await asking?.stop();
  await standIn?.close();
  await stack?.close();
  await server?.close();
});
beforeEach(() => {
  standIn.answer = permit();
  standIn.checks.length = 0;
});

function send(port: number, target: string, headers: readonly Line[] = [], method = 'GET'): Promise<Reached> {
  return tellThrough(stack.application, port, { bytes: wireRequest(`${method} ${target}`, headers) });
}

/** Runs another Traefik for a test: with a changed file, or before something else. */
async function through<T>(what: { readonly to?: Upstreams; readonly spoil?: KitOptions['spoil'] }, use: (port: number) => Promise<T>): Promise<T> {
  const proxy = await traefik.start(what.to ?? stack.upstreams, what.spoil ? { spoil: what.spoil } : {});
  try {
    return await use(proxy.port);
  } finally {
    await proxy.stop();
  }
}

describe('behind a proxy that it believes', () => {
  const FORGED: readonly Line[] = [
    ['X-Forwarded-Uri', '/api/device/device-b1'],
    ['X-Forwarded-Method', 'OPTIONS'],
    ['X-Forwarded-Prefix', '/api/device/device-b1'],
    ['X-Forwarded-Host', 'evil.example'],
    ['X-Forwarded-Port', '1'],
    ['X-Real-Ip', '10.0.0.1'],
  ];
  const believes = (text: string): string => text.replace(/^ {4}http:$/m, '    forwardedHeaders: { insecure: true }\n$&');
  const trusts = (text: string): string => text.replace('trustForwardHeader: false', 'trustForwardHeader: true');
  const keeps = (text: string): string => text.replace(/^ +X-Forwarded-(Uri|Method): ''\n/gm, '');
  const inBoth =
    (dynamic: (text: string) => string): KitOptions['spoil'] =>
    (file, text) =>
      file === 'traefik.yaml' ? believes(text) : dynamic(text);

  test.each<[string, KitOptions['spoil'] | null]>([
    ['nobody, as shipped', null],
    ['everybody', inBoth((text) => text)],
    ['everybody, and the check would take over what the client says: that is gone by then', inBoth(trusts)],
    ['everybody, and only the check is deaf to the client', inBoth(keeps)],
  ])('%s: what the client says of the request changes no decision', async (_, spoil) => {
    await through(spoil ? { spoil } : {}, async (port) => {
      for (const line of FORGED) expect(await send(port, '/api/device/d1', [clerk, line]), line[0]).toMatchObject({ status: 403, reached: null });
      expect(await send(port, '/api/device/d1', [clerk, ...FORGED])).toMatchObject({ status: 403, reached: null });
      const other = FORGED.map(([name, value]) => [name, value.replace('device-b1', 'none')] as const);
      expect(await send(port, '/api/device/d1', [admin, ...other])).toMatchObject({ status: 200, reached: '/api/device/d1' });
    });
  });
  test('both taken out: the client says what is checked', async () => {
    await through({ spoil: inBoth((text) => keeps(trusts(text))) }, async (port) => {
      const forged: Line = ['X-Forwarded-Uri', '/api/device/device-b1'];
      expect(await send(port, '/api/device/d1', [clerk])).toMatchObject({ status: 403, reached: null });
      expect(await send(port, '/api/device/d1', [clerk, forged])).toMatchObject({ status: 200, reached: '/api/device/d1' });
    });
  });
});

describe('what the sidecar is asked', () => {
  test('has the headers of the list, and no other of the client', async () => {
    const listed: readonly Line[] = [
      ['Authorization', 'Bearer x'],
      ['X-Authorization', 'Bearer x'],
      ['X-Request-Id', 'r1'],
      ['Origin', 'https://app.example'],
      ['Access-Control-Request-Method', 'GET'],
      ['X-HTTP-Method-Override', 'GET'],
      ['X-HTTP-Method', 'GET'],
      ['X-Method-Override', 'GET'],
    ];
    const others = ['Cookie', 'X-Authz-Target', 'X-Authz-At-Least', 'X-Auth-User', 'X-Original-URI', 'X-Forwarded-Prefix', 'Content-Type'].map(
      (name) => [name, 'mallory'] as const,
    );
    const handshake: readonly Line[] = [
      ['Connection', 'Upgrade'],
      ['Upgrade', 'websocket'],
    ];
    standIn.answer = (_, res) => void res.writeHead(403, { 'Content-Length': 0 }).end();
    await tell(asking.port, wireRequest('GET /api/x?a=b', [...listed, ...others, ...handshake]), { head: true });
    const [check, ...more] = standIn.checks;
    expect(more).toEqual([]);
    expect(check!.url).toBe('/auth/traefik');
    const names = check!.rawHeaders.filter((_, i) => i % 2 === 0).filter((name) => !name.startsWith('X-Forwarded-'));
    const own = ['Host', 'User-Agent', 'Accept-Encoding'];
    expect(new Set(names.map((name) => name.toLowerCase()))).toEqual(new Set([...own, ...listed.map(([name]) => name)].map((name) => name.toLowerCase())));
    expect(check!.values('X-Forwarded-Uri')).toEqual(['/api/x?a=b']);
    expect(check!.values('X-Forwarded-Method')).toEqual(['GET']);
    expect(check!.rawHeaders).not.toContain('mallory');
  });
  test('where the sidecar believes a header of the proxy’s, the client’s own does not get there', async () => {
    const believing = await startBehind({
      server,
      world: CHECKLIST_WORLD,
      set: { 'doors.identity': 'header', 'doors.subjectHeader': 'X-Client-Id', 'identity.asserted.tenants': 't1' },
    });
    try {
      await through({ to: believing.upstreams }, async (port) => {
        for (const name of ['X-Client-Id', 'X_Client_Id', 'X.Client.Id'])
          expect(await tell(port, wireRequest('GET /api/device/d1', [[name, 'admin']])), name).toMatchObject({ status: 401 });
      });
      expect(believing.application.seen).toEqual([]);
      const lists: KitOptions['spoil'] = (_, text) => text.replace('          - X-Request-Id\n', '$&          - X-Client-Id\n');
      await through({ to: believing.upstreams, spoil: lists }, async (port) =>
        expect(await tell(port, wireRequest('GET /api/device/d1', [['X-Client-Id', 'admin']]))).toMatchObject({ status: 200 }),
      );
    } finally {
      await believing.close();
    }
  });
  test.each([
    ['/fleet/x?a=b', '/auth/traefik/DEVICE/READ'],
    ['/estate/x', '/auth/traefik/ASSET/READ'],
  ])('%s: with parameters, whatever target the client names', async (path, door) => {
    for (const target of ['device-b1', '']) {
      const { reached } = await send(asking.port, path, [
        ['X-Authz-Target', target],
        ['Connection', 'close, X-Authz-Target'],
      ]);
      expect(reached).toBe(path);
      expect(standIn.checks.at(-1)).toMatchObject({ url: door });
      expect(standIn.checks.at(-1)!.values('X-Authz-Target')).toEqual(['*']);
      expect(stack.application.values('X-Authz-Target')).toEqual([]);
    }
  });
  test('of another method below it: the route table', async () => {
    await send(asking.port, '/fleet/x', [], 'DELETE');
    expect(standIn.checks.at(-1)!.url).toBe('/auth/traefik');
    expect(standIn.checks.at(-1)!.values('X-Authz-Target')).toEqual([]);
  });
});

describe('paths', () => {
  test.each([
    ['/a/../b', '/b'],
    ['/a/%2e%2e/b', '/b'],
    ['/a/./b', '/a/b'],
    ['//a//b', '/a/b'],
    ['/%61', '/a'],
    ['/a\\b', '/a%5Cb'],
    ['/café', '/caf%C3%A9'],
    ['/x/../fleet/x', '/fleet/x'],
    ['/fleet/../api', '/api'],
    ['/a;/b', '/a;/b'],
    ['/a?x;y', '/a?x&y'],
  ])('%s is cleaned to %s, for the sidecar as for the application', async (sent, cleaned) => {
    expect((await send(asking.port, sent)).reached).toBe(cleaned);
    expect(standIn.checks.map((check) => check.values('X-Forwarded-Uri'))).toEqual([[cleaned]]);
  });
  test.each(['/a%2fb', '/a%2Fb', '/fleet%2fx', '/a%zz', '/a#b'])('%s is refused, and nobody is asked', async (sent) => {
    expect(await send(asking.port, sent)).toMatchObject({ status: 400, reached: null });
    expect(standIn.checks).toEqual([]);
  });
  test('whatever is sent, the sidecar is asked of what the application gets, by the door of its area', async () => {
    let passed = 0;
    let cleaned = 0;
    const areas = ['/fleet', '/fleet/x', '/FLEET/x', '/%66leet/x', '//fleet/x', '/fleet/../estate/x', '/estate/%2e%2e/fleet/x', '/fleet;/x', '/fleet%5Cx'];
    for (const sent of [...NASTY_TARGETS, ...areas]) {
      standIn.checks.length = 0;
      const { reached } = await send(asking.port, sent);
      if (reached === null) continue;
      passed++;
      if (reached !== sent) cleaned++;
      const door = reached.startsWith('/fleet/') ? '/DEVICE/READ' : reached.startsWith('/estate/') ? '/ASSET/READ' : '';
      expect(
        standIn.checks.map((check) => [check.url, ...check.values('X-Forwarded-Uri')]),
        sent,
      ).toEqual([[`/auth/traefik${door}`, reached]]);
    }
    console.log(
      `traefik: ${NASTY_TARGETS.length + areas.length} targets past a sidecar that permits all: ${passed} passed on, ${cleaned} of them cleaned; each asked about as it was passed on`,
    );
    expect(cleaned).toBeGreaterThan(20);
  });

  const strip =
    (middlewares: string): KitOptions['spoil'] =>
    (file, text) =>
      file === 'traefik.yaml'
        ? text
        : text
            .replace('[grantgate-remove, grantgate-routes]', middlewares)
            .replace(/^ {2}middlewares:$/m, '$&\n    strip: { stripPrefix: { prefixes: [/v1] } }');
  test('a prefix that is stripped before the check: asked of what is left, which the application gets', async () => {
    await through({ spoil: strip('[strip, grantgate-remove, grantgate-routes]') }, async (port) => {
      expect(await send(port, '/v1/api/device/d1', [admin])).toMatchObject({ status: 200, reached: '/api/device/d1' });
      expect(await send(port, '/v1/api/device/d1', [clerk])).toMatchObject({ status: 403, reached: null });
    });
  });
  test('one that is stripped after the check: asked of the whole, for which there is no row', async () => {
    await through({ spoil: strip('[grantgate-remove, grantgate-routes, strip]') }, async (port) => {
      expect(await send(port, '/v1/api/device/d1', [admin])).toMatchObject({ status: 403, reached: null });
      expect(await send(port, '/api/device/d1', [admin])).toMatchObject({ status: 200, reached: '/api/device/d1' });
    });
  });
});

describe('names of headers with _ or .', () => {
  const spoofed: readonly Line[] = [
    ['X_Auth_User', 'mallory'],
    ['X.Auth.User', 'mallory'],
    ['X_Auth-Customer', 'mallory'],
    ['X-Authz_Target', 'mallory'],
    ['Other_Header', 'mallory'],
  ];
  const arrived = (): readonly string[] => {
    const { rawHeaders } = stack.application.seen.at(-1)!;
    return rawHeaders.filter((_, i) => rawHeaders[i + 1] === 'mallory').map((name) => name.toLowerCase());
  };
  const strategy =
    (to: string): KitOptions['spoil'] =>
    (_, text) =>
      text.replace('aliasHeadersStrategy: delete', to);

  test('are gone', async () => {
    expect((await send(stack.proxy.port, '/api/device/d1', [admin, ...spoofed])).status).toBe(200);
    expect(arrived()).toEqual([]);
    expect(stack.application.values('X-Auth-User')).toEqual(['admin']);
  });
  test('reject instead of delete: 400, and nobody is asked', async () => {
    await through({ spoil: strategy('aliasHeadersStrategy: reject'), to: standIn.upstreams }, async (port) => {
      standIn.checks.length = 0;
      for (const line of spoofed.slice(0, 2)) expect(await send(port, '/api/device/d1', [line])).toMatchObject({ status: 400, reached: null });
      expect(standIn.checks).toEqual([]);
    });
  });
  test('without it they reach the application, beside the sidecar’s', async () => {
    await through({ spoil: strategy('aliasHeadersStrategy: keep') }, async (port) => {
      expect((await send(port, '/api/device/d1', [admin, ...spoofed])).status).toBe(200);
      expect(arrived()).toEqual(expect.arrayContaining(['x_auth_user', 'x.auth.user']));
    });
  });
});

describe('an answer that is not ours', () => {
  test('a relative redirect goes to the client as it is; without preserveLocationHeader it names the sidecar’s address', async () => {
    standIn.answer = (_, res) => void res.writeHead(302, { 'Content-Length': 0, Location: '/login' }).end();
    const location = async (port: number): Promise<readonly string[]> => {
      const { headers, reached } = await send(port, '/api/device/d1');
      expect(reached).toBeNull();
      return headers.filter(([name]) => name === 'location').map(([, value]) => value);
    };
    expect(await location(asking.port)).toEqual(['/login']);
    await through({ to: standIn.upstreams, spoil: (_, text) => text.replace('preserveLocationHeader: true', 'preserveLocationHeader: false') }, async (port) =>
      expect(await location(port)).toEqual([`http://127.0.0.1:${standIn.upstreams.port}/login`]),
    );
  });
  test('a permit with a body that is too long is no permit', async () => {
    for (const [length, status] of [
      [4096, 200],
      [4097, 401],
    ] as const) {
      standIn.answer = (_, res) => void res.writeHead(200, { 'Content-Length': length }).end('x'.repeat(length));
      expect(await send(asking.port, '/api/device/d1')).toMatchObject({ status, reached: status === 200 ? '/api/device/d1' : null });
    }
  });
  test('a permit that leaves identity out: the client’s is gone all the same', async () => {
    standIn.answer = permit({});
    const spoofed = ['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer', 'X-Authz-Decision-Id', 'X-Auth-Role', 'X-Authz-Other'].map(
      (name) => [name, 'mallory'] as const,
    );
    expect((await send(asking.port, '/api/device/d1', spoofed)).status).toBe(200);
    for (const [name] of spoofed) expect(stack.application.values(name), name).toEqual([]);
  });
});

test('an upgrade to anything but a WebSocket is not handed on: behind one to HTTP/2 everything would be unchecked', async () => {
  const connection: Line = ['Connection', 'Upgrade, HTTP2-Settings'];
  for (const protocols of [['h2c'], ['h2c', 'websocket'], ['websocket, h2c']]) {
    const upgrades = protocols.map((each) => ['Upgrade', each] as const);
    expect(await send(asking.port, '/api/device/d1', [connection, ['HTTP2-Settings', 'AAMAAABkAARAAAAAAAIAAAAA'], ...upgrades])).toMatchObject({ status: 200 });
    expect(stack.application.values('Upgrade'), protocols.join(' and ')).toEqual([]);
  }
});

describe('what never comes to a check', () => {
  test('OPTIONS *: Go answers it itself, with nothing', async () => {
    const heard = await send(asking.port, '*', [], 'OPTIONS');
    expect(heard).toMatchObject({ status: 200, reached: null, rest: '' });
    expect(await send(asking.port, '*')).toMatchObject({ status: 404, reached: null });
    expect(standIn.checks).toEqual([]);
  });
  test('a Unix socket is no address of a door: 500', async () => {
    const onSocket: KitOptions['spoil'] = (_, text) => text.replace(/env "GRANTGATE_DOOR" .*?"http:[^"]*"/, `"unix://${stack.upstreams.socket}"`);
    await through({ spoil: onSocket }, async (port) => expect(await send(port, '/api/device/d1', [admin])).toMatchObject({ status: 500, reached: null }));
  });
  test('a router whose check is not there is no router: an area falls to the route table, the rest is 404', async () => {
    await through({ spoil: (_, text) => text.replace(/^ {4}grantgate-device-read:$/m, '    other:') }, async (port) => {
      expect(await send(port, '/fleet/x', [driver])).toMatchObject({ status: 403, reached: null });
      expect(await send(port, '/api/device/d1', [admin])).toMatchObject({ status: 200, reached: '/api/device/d1' });
    });
  });
});

test('HTTP/2 in clear text, which every entry point takes: the same decisions, and nothing of the client’s', async () => {
  const session = connectHttp2(`http://127.0.0.1:${stack.proxy.port}`);
  const ask = (user: Line): Promise<number> =>
    new Promise((resolve, reject) => {
      const stream = session.request({
        ':path': '/api/device/d1',
        authorization: user[1],
        'x-auth-user': 'mallory',
        x_auth_user: 'mallory',
        'x-forwarded-uri': '/api/device/device-b1',
      });
      let status = 0;
      stream.on('response', (headers) => void (status = headers[':status'] ?? 0));
      stream.on('error', reject).on('close', () => resolve(status));
      stream.resume().end();
    });
  try {
    const before = stack.application.seen.length;
    expect(await ask(clerk)).toBe(403);
    expect(stack.application.seen.length).toBe(before);
    expect(await ask(admin)).toBe(200);
    expect(stack.application.values('X-Auth-User')).toEqual(['admin']);
    expect(stack.application.seen.at(-1)!.rawHeaders).not.toContain('mallory');
  } finally {
    session.close();
  }
});
