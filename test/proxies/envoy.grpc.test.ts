// What does the gRPC door get from Envoy, whatever a client sends, and what does Envoy make of a message that answers it?

import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Ask } from '../support/ask.ts';
import { startEnvoy } from '../support/proxies/envoy.ts';
import { startInMemory, startScriptedGrpcDoor, through, type InMemory, type ScriptedGrpcDoor } from '../support/proxies/in-front.ts';
import { tell, wireRequest } from '../support/proxies/wire.ts';

let behind: InMemory;
let door: ScriptedGrpcDoor;
let answer: object;
let token: string;
beforeAll(async () => {
  behind = await startInMemory();
  token = await behind.side.token('admin');
  door = await startScriptedGrpcDoor(join(behind.directory, 'scripted.sock'), () => answer);
});
afterAll(async () => {
  await door?.close();
  await behind?.close();
});
beforeEach(() => {
  answer = FORBIDDEN;
  door.seen.length = 0;
  behind.side.reports.length = 0;
});

const FORBIDDEN = { status: { code: 7 }, denied_response: { status: { code: 403 } } };

type Spoil = (text: string) => string;
const front = (grpcSocket: string, spoil?: Spoil) =>
  startEnvoy('grpc.yaml', { ...behind.to, grpcSocket }, spoil ? { spoil: (file, text) => (file === 'grpc.yaml' ? spoil(text) : text) } : {});
const mallory = Object.fromEntries(['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer', 'X.Auth.User', 'X-Auth.Tenant'].map((name) => [name, 'mallory']));
const identity = (): readonly string[] => ['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer'].map((name) => behind.application.values(name).join('|'));
/** The client's own headers come to the door and to the application, which are to do without Envoy's help. */
const unguarded: Spoil = (text) =>
  text
    .replace('x-(auth|authz|original|rewrite|envoy)-.*', 'none')
    .replace("'[^:]*[^a-z0-9:-][^:]*'", 'none')
    .replace(/ +allowed_headers:\n +patterns:\n(?: +(?:- exact:|#).*\n)+/, '');

describe('what the door gets', () => {
  /** The one message since the last look: of the request, and its headers as pairs. */
  const message = () => {
    const [{ attributes } = expect.unreachable('no check'), ...more] = door.seen.splice(0);
    expect(more).toEqual([]);
    const { method, path, headers = {}, header_map } = attributes?.request?.http ?? {};
    const list = header_map?.headers.map(({ key, raw_value }) => `${key}: ${raw_value?.toString()}`).sort();
    return { method, path, headers, list, context: attributes?.context_extensions ?? {} };
  };
  const request: Ask = {
    path: '/api/device/d1?x=1',
    method: 'DELETE',
    token: 't',
    requestId: 'r1',
    headers: { host: 'app.example', 'X-Authorization': ['Bearer 1', 'Bearer 2'], Cookie: 'a=b', 'X-Original-Uri': '/api/device/d2', ...mallory },
  };

  test('method, path and headers: those that are listed, each as it came', () =>
    through(front(door.socket), async (ask) => {
      await ask(request);
      expect(message()).toEqual({
        method: 'DELETE',
        path: '/api/device/d1?x=1',
        headers: {},
        list: ['authorization: Bearer t', 'x-authorization: Bearer 1', 'x-authorization: Bearer 2', 'x-request-id: r1'],
        context: {},
      });
    }));

  test('without encode_raw_headers, as one', () =>
    through(
      front(door.socket, (text) => text.replace('encode_raw_headers: true', 'encode_raw_headers: false')),
      async (ask) => {
        await ask(request);
        expect(message()).toMatchObject({
          headers: { authorization: 'Bearer t', 'x-authorization': 'Bearer 1,Bearer 2', 'x-request-id': 'r1' },
          list: undefined,
        });
      },
    ));

  test('a forged original path and method say nothing', () =>
    // (With use_remote_address Envoy itself takes the path away.)
    through(
      front(door.socket, (text) => unguarded(text).replace('use_remote_address: true', 'use_remote_address: false')),
      async (ask) => {
        await ask({ ...request, headers: { 'x-envoy-original-path': '/api/device/d2', 'x-original-uri': '/api/device/d2', 'x-original-method': 'GET' } });
        const { method, path, list } = message();
        expect({ method, path }).toEqual({ method: 'DELETE', path: '/api/device/d1?x=1' });
        expect(list).toContain('x-envoy-original-path: /api/device/d2');
      },
    ));

  test('a route’s parameters, and those of its virtual host, the route’s before the others', async () => {
    const hosts: Spoil = (text) =>
      text.replace(
        "domains: ['*']\n",
        `domains: ['*']
                      typed_per_filter_config:
                        envoy.filters.http.ext_authz:
                          '@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                          check_settings: { context_extensions: { resource: CUSTOMER, operation: WRITE, note: of the host } }
`,
      );
    await through(front(door.socket), async (ask) => {
      const contexts: unknown[] = [];
      for (const [method, path] of [
        ['GET', '/fleet/x'],
        ['HEAD', '/fleet/x'],
        ['GET', '/estate/x'],
        ['POST', '/fleet/x'],
        ['GET', '/'],
      ] as const) {
        await ask({ method, path });
        contexts.push(message().context);
      }
      const device = { resource: 'DEVICE', operation: 'READ', target: '*' };
      expect(contexts).toEqual([device, device, { ...device, resource: 'ASSET' }, {}, {}]);
    });
    await through(front(door.socket, hosts), async (ask) => {
      await ask({ path: '/fleet/x' });
      expect(message().context).toEqual({ resource: 'DEVICE', operation: 'READ', target: '*', note: 'of the host' });
      await ask({ path: '/' });
      expect(message().context).toEqual({ resource: 'CUSTOMER', operation: 'WRITE', note: 'of the host' });
    });
    // The real door: two of the three are no question.
    await through(front(behind.to.grpcSocket, hosts), async (ask) => {
      const before = behind.application.seen.length;
      expect([(await ask({ path: '/fleet/x', token })).status, (await ask({ path: '/api/device/d1', token })).status]).toEqual([200, 403]);
      expect(behind.side.reports.map(({ reason, route }) => [reason, route])).toEqual([
        ['generic', 'DEVICE/READ'],
        ['missing-header', ''],
      ]);
      expect(behind.application.seen.length).toBe(before + 1);
    });
  });

  test.each([
    ['as shipped', undefined, 'many-credentials'],
    ['without encode_raw_headers', (text: string) => text.replace('encode_raw_headers: true', 'encode_raw_headers: false'), 'not-bearer'],
  ])('two credentials are none, %s', (_, spoil, reason) =>
    through(front(behind.to.grpcSocket, spoil), async (__, { port }) => {
      const before = behind.application.seen.length;
      for (const name of ['Authorization', 'X-Authorization']) {
        const twice = [
          [name, `Bearer ${token}`],
          [name, `Bearer ${token}`],
        ] as const;
        const { status, headers } = await tell(port, wireRequest('GET /api/device/d1', twice));
        expect([status, headers.filter(([header]) => header === 'www-authenticate')]).toEqual([401, [['www-authenticate', 'Bearer']]]);
      }
      // Envoy joins the first one, whatever the setting.
      expect(behind.side.reports.map((each) => each.reason)).toEqual(['not-bearer', reason]);
      expect(behind.application.seen.length).toBe(before);
    }),
  );
});

describe('the identity', () => {
  test('is the door’s', () =>
    through(front(behind.to.grpcSocket), async (ask) => {
      expect((await ask({ path: '/api/device/d1', token, headers: mallory })).status).toBe(200);
      expect(identity()).toEqual(['admin', 't1', '']);
    }));
  test('would be, if the client’s own headers came to door and application: over them, empty ones too, and other spellings removed', () =>
    through(front(behind.to.grpcSocket, unguarded), async (ask) => {
      const headers = { ...mallory, 'x-envoy-auth-failure-mode-allowed': 'true', 'X-Other': 'x' };
      expect((await ask({ path: '/api/device/d1', token, headers })).status).toBe(200);
      expect(identity()).toEqual(['admin', 't1', '']);
      expect(['x-envoy-auth-failure-mode-allowed', 'x-other'].map((name) => behind.application.values(name))).toEqual([[], ['x']]);
      // Nobody was asked for: four empty ones.
      await ask({ path: '/public/x', headers });
      expect(identity()).toEqual(['', '', '']);
    }));
});

describe('messages that this door never sends', () => {
  const header = (key: string, value: string) => ({ header: { key, value } });
  const denied = (code: number) => ({ denied_response: { status: { code } } });

  test('allow, deny and error: an answer with no status, or of code 0, is an allow whatever else it says', () =>
    through(front(door.socket), async (ask) => {
      const allowed = [{ status: { code: 0 }, ok_response: {} }, {}, { ok_response: {} }, denied(401), { status: { code: 0 }, ...denied(401) }] as const;
      const refused: readonly (readonly [answer: object, status: number])[] = [
        [{ status: { code: 7 } }, 403],
        [{ status: { code: 16 } }, 403],
        [{ status: { code: 7 }, ok_response: {} }, 403],
        [{ status: { code: 16 }, ...denied(401) }, 401],
        [{ status: { code: 7 }, ...denied(200) }, 200], // of Envoy's own making
        ...[4, 7, 8, 13, 14, 16].map((grpc) => [{ grpc }, 503] as const),
      ];
      for (const row of allowed) {
        answer = row;
        const before = behind.application.seen.length;
        expect([row, (await ask({ path: '/' })).status, behind.application.seen.length]).toEqual([row, 200, before + 1]);
      }
      for (const [row, status] of refused) {
        answer = row;
        const before = behind.application.seen.length;
        expect([row, (await ask({ path: '/' })).status, behind.application.seen.length]).toEqual([row, status, before]);
      }
    }));

  test('headers to set and to remove: a value, an empty one, and both of one name', () =>
    through(front(door.socket, unguarded), async (ask) => {
      const option = {
        headers: [header('x-auth-user', 'alice'), header('x-auth-tenant', ''), header('x-auth-customer', 'c1')],
        headers_to_remove: ['X-AUTH-CUSTOMER', 'x-other'],
      };
      answer = { status: { code: 0 }, ok_response: option };
      await ask({ path: '/', headers: { 'X-Auth-User': 'mallory', 'X-Auth-Tenant': 'mallory', 'X-Auth-Customer': 'mallory', 'X-Other': 'x' } });
      expect([...identity(), behind.application.values('x-other')]).toEqual(['alice', '', '', []]);
      expect(behind.application.values('x-auth-tenant'), 'there, and empty').toEqual(['']);
      expect(behind.application.values('x-auth-customer'), 'removed').toEqual([]);
    }));

  test('a new line in a value: refused by validate_mutations, a header of its own without', async () => {
    const evil = 'Bearer\r\nX-Evil: 1';
    const said = (spoil?: Spoil) =>
      through(front(door.socket, spoil), async (_, { port }) => {
        answer = { status: { code: 16 }, denied_response: { status: { code: 401 }, headers: [header('www-authenticate', evil)] } };
        const deny = await tell(port, wireRequest('GET /', []));
        answer = { status: { code: 0 }, ok_response: { headers: [header('x-auth-user', evil)] } };
        const before = behind.application.seen.length;
        const allow = await tell(port, wireRequest('GET /', []));
        return { deny: [deny.status, deny.headers.some(([name]) => name === 'x-evil')], allow: [allow.status, behind.application.seen.length - before] };
      });
    const shipped = await said();
    const unchecked = await said((text) => text.replace('validate_mutations: true', 'validate_mutations: false'));
    console.log(`grpc: a new line in a value: ${JSON.stringify({ shipped, unchecked })}`);
    expect(shipped).toEqual({ deny: [500, false], allow: [500, 0] });
    expect(unchecked).toEqual({ deny: [401, true], allow: [503, 0] });
  });
});

test('the door renews a connection of Envoy by its age, and no check is lost', async () => {
  const young = await startInMemory({ connectionAge: 100 });
  try {
    await through(startEnvoy('grpc.yaml', young.to), async (ask) => {
      const statuses = new Map<number, number>();
      for (const until = performance.now() + 20_000; young.grpcConnections < 20 && performance.now() < until;)
        await Promise.all(
          Array.from({ length: 16 }, async () => {
            const { status } = await ask({ path: '/api/device/d1', token });
            statuses.set(status, (statuses.get(status) ?? 0) + 1);
          }),
        );
      const counts = [...statuses].map(([status, count]) => `${count} times ${status}`).join(', ');
      console.log(`grpc: ${young.grpcConnections} connections, each for about 100 ms: ${counts}`);
      expect([...statuses.keys()]).toEqual([200]);
      expect(young.grpcConnections).toBeGreaterThanOrEqual(20);
    });
  } finally {
    await young.close();
  }
});
