// Does each proxy's door read the headers of its own proxy, and nobody else's?

import { describe, expect, test } from 'vitest';
import { DIALECTS, doorPath, entranceOf, targetOf } from '../../src/doors/dialects.ts';
import type { Dialect } from '../../src/doors/dialects.ts';
import { ask, bearer, expectBare, HOST, IDENTITY, reported, side, useDoor } from '../support/subrequest.ts';
import type { Header } from '../support/subrequest.ts';

useDoor();

type Headed = Dialect & { readonly origin: { readonly kind: 'headers'; readonly method: string; readonly uri: string; readonly url: boolean } };
const headed = DIALECTS.filter((dialect): dialect is Headed => dialect.origin.kind === 'headers');
const written = (dialect: Headed, uri: string): string => (dialect.origin.url ? `https://app.example:8443${uri}` : uri);

/** Every pair of headers that some dialect reads the original request from, naming `method` and `uri`. */
const ofOthers = (own: Dialect, method: string, uri: string): Header[] => {
  const mine = own.origin.kind === 'headers' ? [own.origin.method, own.origin.uri] : [];
  const names = new Map(headed.flatMap((other) => [[other.origin.method, method] as const, [other.origin.uri, written(other, uri)] as const]));
  return [...names].filter(([name]) => !mine.includes(name));
};
const original = (dialect: Headed, method: string, uri: string): Header[] => [
  [dialect.origin.method, method],
  [dialect.origin.uri, written(dialect, uri)],
];

test('the doors are those of the contract', () => {
  expect(DIALECTS.map(doorPath)).toEqual(
    ['nginx', 'ingress-nginx', 'envoy', 'envoy-prefix', 'traefik', 'caddy', 'haproxy', 'apisix'].map((name) => `/auth/${name}`),
  );
  expect(new Set(DIALECTS.map(({ protocol }) => protocol)).size).toBe(DIALECTS.length);
});

describe.each(headed.map((dialect) => [dialect.name, dialect] as const))('/auth/%s', (_, dialect) => {
  const door = `GET ${doorPath(dialect)} HTTP/1.1`;
  const form = `GET ${doorPath(dialect)}/DEVICE/READ HTTP/1.1`;
  const who = (): Header[] => [HOST, ['Authorization', bearer()]];
  const verdict = async (headers: readonly Header[], line = door): Promise<string> => {
    const answer = await ask(headers, line);
    expectBare(answer);
    const { protocol, verdict: said, reason } = reported();
    expect(protocol).toBe(dialect.protocol);
    return `${answer.status} ${said} ${reason}`;
  };

  test('the route table', async () => {
    expect(await verdict([...who(), ...original(dialect, 'GET', '/api/device/d1')])).toBe('200 permit generic');
    expect(await verdict([...who(), ...original(dialect, 'GET', '/api/device/x1?d=1')])).toBe('403 deny other-tenant');
    expect(await verdict([...who(), ...original(dialect, 'DELETE', '/api/device/x1')])).toBe('403 deny other-tenant');
    expect(await verdict([HOST, ...original(dialect, 'GET', '/api/device/d1')])).toBe('401 unauthenticated no-credential');
    expect(await verdict([...who(), ...original(dialect, 'GET', '//api/device/d1')])).toBe('403 unmapped empty-segment');
  });
  test.each(['POST', 'HEAD', 'OPTIONS', 'PROPFIND'])('whatever method asks: %s', async (method) => {
    const headers = [...who(), ...original(dialect, 'GET', '/api/device/d1')];
    expect((await ask(headers, door.replace('GET', method))).status).toBe(200);
  });
  test('the form with parameters', async () => {
    const asked = original(dialect, 'GET', '/fleet/x');
    expect(await verdict([...who(), ...asked, ['X-Authz-Target', 'd1']], form)).toBe('200 permit generic');
    expect(await verdict([...who(), ...asked, ['X-Authz-Target', '*']], form)).toBe('200 permit generic');
    expect(await verdict([...who(), ...asked, ['X-Authz-Target', 'x1']], form)).toBe('403 deny other-tenant');
    expect(await verdict([...who(), ...asked], form)).toBe('403 unmapped missing-header');
    expect(await verdict([...who(), ...original(dialect, 'GET', '/api/device/x1'), ['X-Authz-Target', 'd1']], form)).toBe('403 unmapped contradiction');
  });
  test('the query of its own path is not read', async () => {
    const headers = [...who(), ...original(dialect, 'GET', '/api/device/x1')];
    expect(await verdict(headers, `GET ${doorPath(dialect)}?/api/device/d1 HTTP/1.1`)).toBe('403 deny other-tenant');
  });
  test('the headers of another proxy are not read, nor missed', async () => {
    const theirs = ofOthers(dialect, 'GET', '/api/device/d1');
    expect(theirs.length).toBeGreaterThanOrEqual(2);
    expect(await verdict([...who(), ...theirs, ...original(dialect, 'GET', '/api/device/x1')])).toBe('403 deny other-tenant');
    expect(await verdict([...who(), ...theirs])).toBe('403 unmapped missing-header');
    expect(await verdict([...who(), ...ofOthers(dialect, 'PATCH', '/nowhere'), ...original(dialect, 'GET', '/api/device/d1')])).toBe('200 permit generic');
  });
  test('its own twice, or in another spelling', async () => {
    const asked = original(dialect, 'GET', '/api/device/d1');
    for (const [name, value] of asked)
      for (const spelling of [name, name.toUpperCase(), name.replaceAll('-', '_'), name.replaceAll('-', '.'), name.replace('-', '_')])
        expect(await verdict([...who(), ...asked, [spelling, value]]), spelling).toBe('403 unmapped repeated-header');
  });
});

describe('/auth/ingress-nginx', () => {
  const asked = (url: string): Header[] => [HOST, ['Authorization', bearer()], ['X-Original-Method', 'GET'], ['X-Original-URL', url]];
  test.each([
    ['http://app/api/device/d1', 200, 'generic'],
    ['https://[::1]:8443/api/device/d1?x=http://y/z', 200, 'generic'],
    ['https://a_b.c-d.example/api/device/d1', 200, 'generic'],
    ['/api/device/d1', 403, 'bad-url'],
    ['//app/api/device/d1', 403, 'bad-url'],
    ['http://app', 403, 'bad-url'],
    ['http:///api/device/d1', 403, 'bad-url'],
    ['http://app?/api/device/d1', 403, 'bad-url'],
    ['http://app#/api/device/d1', 403, 'bad-url'],
    ['http://u@app/api/device/d1', 403, 'bad-url'],
    ['http://a\\b/api/device/d1', 403, 'bad-url'],
    ['http://a%2fb/api/device/d1', 403, 'bad-url'],
    ['ftp://app/api/device/d1', 403, 'bad-url'],
    ['HTTP://app/api/device/d1', 403, 'bad-url'],
    ['http://app//api/device/d1', 403, 'empty-segment'],
    ['http://app/x/../api/device/d1', 403, 'dot-segment'],
    ['http://app/http://app/api/device/d1', 403, 'empty-segment'],
  ])('%s', async (url, status, reason) => {
    expect((await ask(asked(url), 'GET /auth/ingress-nginx HTTP/1.1')).status).toBe(status);
    expect(reported().reason).toBe(reason);
  });
  test('what is cut off a URL is its beginning, byte for byte', () => {
    expect(targetOf('http://h/%2e?a=b c')).toBe('/%2e?a=b c');
    expect(targetOf('http://h')).toBeNull();
  });
});

describe('/auth/envoy-prefix', () => {
  const who = (): Header[] => [HOST, ['Authorization', bearer()]];
  test.each([
    ['GET', '/api/device/d1', 200, 'generic'],
    ['GET', '/api/device/d1?x=/api/device/x1', 200, 'generic'],
    ['HEAD', '/api/device/d1', 200, 'generic'],
    ['GET', '/api/device/x1', 403, 'other-tenant'],
    ['DELETE', '/api/device/x1', 403, 'other-tenant'],
    ['POST', '/api/device/d1', 403, 'no-route'],
    ['PROPFIND', '/api/device/d1', 403, 'method'],
    ['GET', '', 403, 'missing-header'],
    ['GET', '?/api/device/d1', 403, 'missing-header'],
    ['GET', '/', 403, 'no-route'],
    ['GET', '/DEVICE/READ', 403, 'no-route'],
    ['GET', '/../envoy/DEVICE/READ', 403, 'dot-segment'],
    ['GET', '/../../livez', 403, 'dot-segment'],
    ['GET', '/%2e%2e/%2e%2e/readyz', 403, 'dot-segment'],
    ['GET', '/.%2e/.%2e/metrics', 403, 'dot-segment'],
    ['GET', '//api/device/d1', 403, 'empty-segment'],
    ['GET', '/auth/envoy', 403, 'no-route'],
    ['GET', '/api/device/d1#x', 403, 'fragment'],
    ['GET', '/api/device/d%31', 403, 'percent-encoded'],
  ])('%s %s', async (method, target, status, reason) => {
    const answer = await ask([...who(), ['X-Authz-Target', 'd1'], ['X-Original-URI', '/api/device/d1']], `${method} /auth/envoy-prefix${target} HTTP/1.1`);
    expect(answer.status).toBe(status);
    expectBare(answer);
    expect(reported()).toMatchObject({ protocol: 'envoy_http_prefix', reason });
  });
  test('no contract header is read, however often and however it is spelled', async () => {
    const theirs = ofOthers(
      DIALECTS.find(({ name }) => name === 'envoy-prefix')!,
      'GET',
      '/api/device/d1',
    );
    const twice = [...theirs, ...theirs, ...theirs.map(([name, value]) => [name.replaceAll('-', '_'), value] as const)];
    const ours: Header[] = [
      ['X-Authz-Target', 'd1'],
      ['X_Authz_Target', '*'],
      ['X-Authz-At-Least', 'rubbish'],
    ];
    expect((await ask([...who(), ...twice, ...ours], 'GET /auth/envoy-prefix/api/device/x1 HTTP/1.1')).status).toBe(403);
    expect(reported().reason).toBe('other-tenant');
    expect((await ask([...who(), ...twice, ...ours], 'GET /auth/envoy-prefix/api/device/d1 HTTP/1.1')).status).toBe(200);
  });
  test('a body that is announced ends the connection; the method is the client’s', async () => {
    const answer = await ask([...who(), ['Content-Length', '5']], 'DELETE /auth/envoy-prefix/api/device/d1 HTTP/1.1');
    expect([answer.status, answer.header('connection')]).toEqual([200, 'close']);
    expect(reported()).toMatchObject({ method: 'DELETE', operation: 'DELETE', target: 'd1' });
  });
  test('a 200 of a public route has the four headers, empty', async () => {
    const answer = await ask([HOST], 'GET /auth/envoy-prefix/public/x HTTP/1.1');
    expect(IDENTITY.map((name) => answer.header(name))).toEqual(['', '', '', '']);
  });
});

test('no parameters behind a door that has none, no door under a name that begins like one', () => {
  const doors = new Map(DIALECTS.map((dialect) => [doorPath(dialect), { dialect }]));
  expect(entranceOf(doors, '/auth/envoy/DEVICE/READ')).toMatchObject({ resource: 'DEVICE', operation: 'READ', uri: null });
  expect(entranceOf(doors, '/auth/envoy-prefix/DEVICE/READ')).toMatchObject({ resource: null, operation: null, uri: '/DEVICE/READ' });
  for (const url of ['/auth/envoy-prefixed/DEVICE/READ', '/auth/envoy-/x', '/auth/', '/auth', '/', '', 'auth/envoy', '/auth//'])
    expect(entranceOf(doors, url), url).toBeNull();
  expect(side.faults).toEqual([]);
});
