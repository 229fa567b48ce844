// What does Envoy make of an answer over HTTP: of what the door says, of what it leaves out, and of what only another door would say?

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startEnvoy, type Configuration } from '../support/proxies/envoy.ts';
import { startInMemory, through, type InMemory } from '../support/proxies/in-front.ts';
import { startStandIn, type StandIn } from '../support/proxies/stand-in.ts';

let behind: InMemory;
let door: StandIn;
beforeAll(async () => {
  behind = await startInMemory();
  door = await startStandIn(behind.application.port);
});
afterAll(async () => {
  await door?.close();
  await behind?.close();
});

type Spoil = (text: string) => string;
const front = (socket: string, spoil?: Spoil, configuration: Configuration = 'http.yaml') =>
  startEnvoy(configuration, { ...behind.to, socket }, spoil ? { spoil: (file, text) => (file === configuration ? spoil(text) : text) } : {});
/** The client's headers go to the application as they are, but for what the answer changes. */
const unguarded: Spoil = (text) => text.replace('x-(auth|authz|original|rewrite|envoy)-.*', 'x-(authz|original)-.*').replace("'[^:]*[^a-z0-9:-][^:]*'", 'none');
const mallory = Object.fromEntries(['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer', 'X-Authz-Decision-Id', 'X.Auth.User'].map((name) => [name, 'mallory']));
const identity = (): readonly string[] => ['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer'].map((name) => behind.application.values(name).join('|'));

describe.each<[Configuration]>([['http.yaml'], ['prefix.yaml']])('%s', (configuration) => {
  test('an allow is 200, and the identity is the door’s', async () => {
    const token = await behind.side.token('admin');
    await through(front(behind.to.socket, undefined, configuration), async (ask) => {
      expect((await ask({ path: '/api/device/d1', token, headers: mallory })).status).toBe(200);
      expect(identity()).toEqual(['admin', 't1', '']);
    });
  });

  test('if the client’s own headers passed, the door’s would overwrite them, an empty one too', async () => {
    const token = await behind.side.token('admin');
    await through(front(behind.to.socket, unguarded, configuration), async (ask) => {
      await ask({ path: '/api/device/d1', token, headers: mallory });
      // By their own names alone: that is why what has other characters in its name is removed before the check.
      expect(identity()).toEqual(['mallory|admin', 't1', '']);
    });
  });

  test('a door that names nobody leaves it to the client, were its headers not removed', async () => {
    door.answer = (_, res) => void res.writeHead(200, { 'content-length': 0 }).end();
    const ask = (spoil?: Spoil) =>
      through(front(door.upstreams.socket, spoil, configuration), async (send) => {
        expect((await send({ path: '/', headers: mallory })).status).toBe(200);
        return identity();
      });
    expect(await ask()).toEqual(['', '', '']);
    expect(await ask(unguarded)).toEqual(['mallory|mallory', 'mallory', 'mallory']);
  });

  test('204 would be a refusal', async () => {
    door.answer = (_, res) => void res.writeHead(204, { 'X-Auth-User': 'admin' }).end();
    await through(front(door.upstreams.socket, undefined, configuration), async (ask) => {
      const before = behind.application.seen.length;
      const { status, headers } = await ask({ path: '/' });
      expect([status, headers['x-auth-user'], behind.application.seen.length]).toEqual([204, undefined, before]);
    });
  });

  test('headers that the answer wants removed are removed, and win over those it sets', async () => {
    door.answer = (_, res) =>
      void res.writeHead(200, { 'content-length': 0, 'X-Auth-User': 'admin', 'x-envoy-auth-headers-to-remove': 'x-auth-user, cookie' }).end();
    await through(front(door.upstreams.socket, undefined, configuration), async (ask) => {
      await ask({ path: '/', headers: { Cookie: 'a=b', 'X-Other': 'c' } });
      expect(['X-Auth-User', 'Cookie', 'X-Other'].map((name) => behind.application.values(name))).toEqual([[], [], ['c']]);
    });
  });

  test('only what is listed passes: of an allow to the application, of a deny to the client', async () => {
    const said = { 'content-length': 0, 'X-Auth-User': 'admin', 'X-Other': 'x', 'WWW-Authenticate': 'Bearer', 'Set-Cookie': 'a=b' };
    await through(front(door.upstreams.socket, undefined, configuration), async (ask) => {
      door.answer = (_, res) => void res.writeHead(200, said).end();
      await ask({ path: '/' });
      expect(['X-Auth-User', 'X-Other', 'WWW-Authenticate', 'Set-Cookie'].map((name) => behind.application.values(name))).toEqual([['admin'], [], [], []]);
      door.answer = (_, res) => void res.writeHead(401, said).end();
      const { status, headers } = await ask({ path: '/' });
      expect([status, headers['www-authenticate'], headers['x-auth-user'], headers['x-other'], headers['set-cookie']]).toEqual([
        401,
        'Bearer',
        undefined,
        undefined,
        undefined,
      ]);
    });
  });
});

describe('http.yaml, a route with parameters', () => {
  test('has all of its own settings: without its own list, nobody would be named', async () => {
    const token = await behind.side.token('admin');
    const without: Spoil = (text) => text.replace(/^ +authorization_response: \*answer\n/m, ''); // the first: /fleet/
    await through(front(behind.to.socket), async (ask) => {
      expect((await ask({ path: '/fleet/x', token })).status).toBe(200);
      expect(identity()).toEqual(['admin', 't1', '']);
    });
    await through(front(behind.to.socket, without), async (ask) => {
      expect((await ask({ path: '/fleet/x', token, headers: mallory })).status).toBe(200);
      expect(identity()).toEqual(['', '', '']);
    });
  });
});
