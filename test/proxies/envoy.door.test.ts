// What reaches the door through Envoy over HTTP, whatever a client sends?

import { connect, type ClientHttp2Session, type OutgoingHttpHeaders } from 'node:http2';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Ask } from '../support/ask.ts';
import { startEnvoy } from '../support/proxies/envoy.ts';
import { startInMemory, through, type InMemory } from '../support/proxies/in-front.ts';
import { startStandIn, type StandIn } from '../support/proxies/stand-in.ts';
import { tell, wireRequest } from '../support/proxies/wire.ts';

let behind: InMemory;
let door: StandIn;
let token: string;
beforeAll(async () => {
  behind = await startInMemory();
  token = await behind.side.token('admin');
  door = await startStandIn(behind.application.port);
  door.answer = (_, res) => void res.writeHead(403, { 'content-length': 0 }).end();
});
afterAll(async () => {
  await door?.close();
  await behind?.close();
});
beforeEach(() => {
  door.checks.length = 0;
  behind.side.reports.length = 0;
});

/** A check as the door gets it: its request line, and its headers but for those that say nothing of the request. */
function check(): { readonly line: string; readonly headers: Readonly<Record<string, string>> } {
  const [{ method, url, rawHeaders } = { method: '', url: '', rawHeaders: [] }, ...more] = door.checks.splice(0);
  expect(more).toEqual([]);
  const headers: Record<string, string> = {};
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    headers[name] = name in headers ? `${headers[name]} | ${rawHeaders[i + 1]!}` : rawHeaders[i + 1]!;
  }
  return { line: `${method} ${url}`, headers };
}
const scripted = (configuration: 'http.yaml' | 'prefix.yaml', spoil?: (text: string) => string) =>
  startEnvoy(
    configuration,
    { ...behind.to, socket: door.upstreams.socket },
    spoil ? { spoil: (file, text) => (file === configuration ? spoil(text) : text) } : {},
  );
const real = (configuration: 'http.yaml' | 'prefix.yaml', spoil?: (text: string) => string) =>
  startEnvoy(configuration, behind.to, spoil ? { spoil: (file, text) => (file === configuration ? spoil(text) : text) } : {});

/** What a client may forge of what Envoy, or some other proxy, says to a door. */
const FORGED = {
  'X-Original-Uri': ['/api/device/d2', '/api/device/d3'],
  'X-Original-Method': 'OPTIONS',
  'X.Original.Uri': '/api/device/d2',
  'X-Authz-Target': 'd2',
  'X-Authz-At-Least': '99-x',
  'X-Forwarded-Uri': '/api/device/d2',
  'X-Forwarded-Method': 'OPTIONS',
  'X-Envoy-Original-Path': '/api/device/d2',
  'X-Envoy-Auth-Partial-Body': 'true',
  'X-Envoy-Auth-Headers-To-Remove': 'x-original-uri',
  'X-Envoy-Auth-Failure-Mode-Allowed': 'true',
  'X-Auth-User': 'mallory',
  Cookie: 'a=b',
};
// Envoy's own, of the check that it makes.
const OWN = { 'content-length': '0', 'x-envoy-internal': 'true', 'x-envoy-expected-rq-timeout-ms': '500', 'x-request-id': 'r1' };

describe('with a constant path', () => {
  const request: Ask = { path: '/api/device/d1?x=1', method: 'DELETE', token: 't', requestId: 'r1', headers: { host: 'app.example' } };
  const expected = {
    ...OWN,
    host: 'app.example',
    authorization: 'Bearer t',
    'x-original-method': 'DELETE',
    'x-original-uri': '/api/device/d1?x=1',
  };

  test('the target and method are Envoy’s own words, and nothing else of the client’s goes', () =>
    through(scripted('http.yaml'), async (ask) => {
      await ask(request);
      const plain = check();
      expect(plain).toEqual({ line: 'DELETE /auth/envoy', headers: expected });
      await ask({ ...request, headers: { ...request.headers, ...FORGED } });
      expect(check()).toEqual(plain);
      await ask({ ...request, headers: { ...request.headers, ...FORGED, Connection: 'x-original-uri, x-original-method' } });
      expect(check()).toEqual(plain);
    }));

  test('they would be, if everything of the client’s went', () =>
    through(
      scripted('http.yaml', (text) =>
        text.replace('x-(auth|authz|original|rewrite|envoy)-.*', 'none').replace('exact: x-authorization', "safe_regex: { regex: '.*' }"),
      ),
      async (ask) => {
        await ask({ ...request, headers: { ...request.headers, ...FORGED } });
        const { headers } = check();
        expect(headers).toMatchObject({
          'x-original-method': 'DELETE',
          'x-original-uri': '/api/device/d1?x=1',
          'x-authz-target': 'd2',
          'x-auth-user': 'mallory',
        });
      },
    ));

  test('a route with parameters has a door and a target of its own', () =>
    through(scripted('http.yaml'), async (ask) => {
      for (const [path, line] of [
        ['/fleet/x?y', 'GET /auth/envoy/DEVICE/READ'],
        ['/estate/x', 'GET /auth/envoy/ASSET/READ'],
      ] as const) {
        await ask({ ...request, method: 'GET', path, headers: { ...request.headers, ...FORGED } });
        expect(check()).toEqual({ line, headers: { ...expected, 'x-original-method': 'GET', 'x-original-uri': path, 'x-authz-target': '*' } });
      }
      await ask({ ...request, method: 'POST', path: '/fleet/x' });
      expect(check().line, 'another method: the route table').toBe('POST /auth/envoy');
    }));

  test('what tells of a preflight and of another method goes', () =>
    through(scripted('http.yaml'), async (ask) => {
      const said = {
        origin: 'https://app.example',
        'access-control-request-method': 'PUT',
        'x-http-method-override': 'PUT',
        'x-http-method': 'PUT',
        'x-method-override': 'PUT',
        'x-authorization': 'Bearer u',
      };
      await ask({ ...request, headers: { ...request.headers, ...said } });
      expect(check().headers).toEqual({ ...expected, ...said });
    }));
});

describe('a header that came twice', () => {
  const twice = { 'X-Authorization': ['Bearer one', 'Bearer two'] };
  const joined = (text: string): string => text.replace('encode_raw_headers: true', 'encode_raw_headers: false');

  test('arrives twice, and without encode_raw_headers as one', async () => {
    const got = (spoil?: (text: string) => string) =>
      through(scripted('http.yaml', spoil), async (ask) => {
        await ask({ path: '/', headers: twice });
        return check().headers['x-authorization'];
      });
    expect(await got()).toBe('Bearer one | Bearer two');
    expect(await got(joined)).toBe('Bearer one,Bearer two');
  });

  test.each([
    ['as shipped', undefined, 'many-credentials'],
    ['without encode_raw_headers', joined, 'not-bearer'],
  ])('is no credential, %s', (_, spoil, reason) =>
    through(real('http.yaml', spoil), async (ask, { port }) => {
      expect((await ask({ path: '/api/device/d1', token })).status).toBe(200);
      const before = behind.application.seen.length;
      const both = [
        ['Authorization', `Bearer ${token}`],
        ['Authorization', `Bearer ${token}`],
      ] as const;
      behind.side.reports.length = 0;
      // Envoy joins this one, whatever the setting.
      const { status, headers } = await tell(port, wireRequest('GET /api/device/d1', both));
      expect([status, headers.filter(([name]) => name === 'www-authenticate')]).toEqual([401, [['www-authenticate', 'Bearer']]]);
      expect(
        (
          await tell(
            port,
            wireRequest(
              'GET /api/device/d1',
              both.map(([name, value]) => [`X-${name}`, value] as const),
            ),
          )
        ).status,
      ).toBe(401);
      expect(behind.side.reports.map((each) => each.reason)).toEqual(['not-bearer', reason]);
      expect(behind.application.seen.length).toBe(before);
    }),
  );
});

describe.each(['http.yaml', 'prefix.yaml', 'grpc.yaml'] as const)('%s: an HTTP/2 client', (configuration) => {
  /** The status; or 'reset': Envoy answers nothing. */
  const asked = (session: ClientHttp2Session, headers: OutgoingHttpHeaders): Promise<number | string> =>
    new Promise((resolve) => {
      const stream = session.request({ ':path': '/api/device/d1', ':authority': 'app.example', ...headers });
      stream.on('response', (answer) => {
        resolve(answer[':status'] ?? 0);
        stream.close();
      });
      stream.on('error', () => resolve('reset'));
      stream.on('close', () => resolve('reset'));
      stream.end();
    });

  test('is asked about like any other', () =>
    through(startEnvoy(configuration, behind.to), async (_, { port }) => {
      const session = connect(`http://127.0.0.1:${port}`);
      session.on('error', () => undefined); // told by what is asked over it
      const before = behind.application.seen.length;
      const authorization = `Bearer ${token}`;
      const mallory = { 'x-auth-user': 'mallory', 'x.auth.user': 'mallory', 'x-original-uri': '/api/device/x1' };
      expect(await asked(session, { authorization, ...mallory })).toBe(200);
      expect(behind.application.values('x-auth-user')).toEqual(['admin']);
      expect(await asked(session, { authorization, ':path': '/api/device/x1' })).toBe(403);
      expect(await asked(session, {})).toBe(401);
      expect(await asked(session, { authorization: `${authorization},${authorization}` })).toBe(401);
      expect(await asked(session, { authorization, 'x-authorization': authorization })).toBe(401);
      expect(await asked(session, { authorization, x_auth_user: 'mallory' }), 'refused by Envoy').toBe('reset');
      expect(behind.application.seen.length).toBe(before + 1);
      session.destroy();
    }));
});

describe('with a prefix', () => {
  test('the client’s own line stands behind it', () =>
    through(scripted('prefix.yaml'), async (ask) => {
      await ask({ path: '/api/device/d1?x=1', method: 'DELETE', token: 't', requestId: 'r1', headers: { host: 'app.example', ...FORGED } });
      expect(check()).toEqual({
        line: 'DELETE /auth/envoy-prefix/api/device/d1?x=1',
        headers: { ...OWN, host: 'app.example', authorization: 'Bearer t' },
      });
    }));

  // The way out of the prefix, into another door, into the form with parameters, to the listener's own paths.
  const ESCAPES = [
    '/../../livez',
    '/..//../readyz',
    '/%2e%2e/%2e%2e/readyz',
    '/.%2e/.%2e/metrics',
    '/%2E./%2e%2E/metrics',
    '/..%2f..%2flivez',
    '/..%5c..%5clivez',
    '/..\\..\\livez',
    '/../envoy',
    '/../envoy/DEVICE/READ',
    '/../nginx/DEVICE/READ',
    '/DEVICE/READ',
    '/device/read',
    '/auth/envoy/DEVICE/READ',
    '/auth/envoy-prefix/api/device/d1',
    '//auth/envoy/DEVICE/READ',
    '/./DEVICE/READ',
    '/livez',
    '/',
    '/?/api/device/d1',
  ];
  const raw = (text: string): string =>
    text
      .replace('normalize_path: true', 'normalize_path: false')
      .replace('merge_slashes: true', 'merge_slashes: false')
      .replace('path_with_escaped_slashes_action: REJECT_REQUEST', 'path_with_escaped_slashes_action: KEEP_UNCHANGED');

  test.each([
    ['as shipped', undefined],
    ['where Envoy leaves the path as it is', raw],
  ])('no path leads out of it: %s', (_, spoil) =>
    through(real('prefix.yaml', spoil), async (ask, { port }) => {
      expect((await ask({ path: '/api/device/d1', token })).status).toBe(200);
      const before = behind.application.seen.length;
      behind.side.reports.length = 0;
      for (const path of ESCAPES) {
        const { status } = await tell(
          port,
          wireRequest(`GET ${path}`, [
            ['Authorization', `Bearer ${token}`],
            ['X-Authz-Target', '*'],
          ]),
        );
        expect([400, 403], `${path}: ${status}`).toContain(status);
      }
      expect(behind.application.seen.length).toBe(before);
      for (const { protocol, verdict } of behind.side.reports) expect({ protocol, verdict }).toEqual({ protocol: 'envoy_http_prefix', verdict: 'unmapped' });
      if (spoil) expect(behind.side.reports.length, 'all but what Envoy refuses by itself came to the door').toBe(ESCAPES.length);
      console.log(
        `prefix, ${spoil ? 'paths left as they are' : 'as shipped'}: ${ESCAPES.length} ways out, ${behind.side.reports.length} refused by the door, the rest by Envoy`,
      );
    }),
  );
});
