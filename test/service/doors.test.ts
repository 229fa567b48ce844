// Does a door read what the contract says, and answer in the one form that it allows?
//
// Everything here goes through real HTTP to a real cache; what no client library would send is written by hand.
import { describe, expect, onTestFinished, test } from 'vitest';
import { sidecar } from '../support/doors.ts';
import { connectRaw, exchange, requestBytes } from '../support/raw.ts';
import { ask, at, bearer, DOOR, expectBare, FORM, HOST, IDENTITY, reported, side, subrequest, useDoor } from '../support/subrequest.ts';
import type { Header } from '../support/subrequest.ts';

useDoor();

describe('answers', () => {
  test('200 with the whole identity set, and the connection stays', async () => {
    const connection = await connectRaw(at);
    onTestFinished(() => connection.destroy());
    const ids = new Set<string>();
    for (let i = 0; i < 5; i++) {
      connection.send(requestBytes(DOOR, subrequest()));
      const answer = await connection.answer();
      expect(answer.status).toBe(200);
      expectBare(answer);
      expect(['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer'].map((name) => answer.header(name))).toEqual(['admin', 't1', '']);
      expect(reported()).toMatchObject({
        decisionId: answer.header('X-Authz-Decision-Id'),
        requestId: 'r1',
        verdict: 'permit',
        protocol: 'nginx',
        subject: 'admin',
      });
      ids.add(answer.header('X-Authz-Decision-Id')!);
    }
    expect(ids.size).toBe(5);
    expect(connection.over).toBe(false);
  });
  test("a customer's user, and ids that are not printable ASCII", async () => {
    const clerk = await ask(subrequest({ Authorization: `Bearer ${await side.token('clerk')}`, 'X-Original-URI': '/api/device/d2' }));
    expect(IDENTITY.slice(0, 3).map((name) => clerk.header(name))).toEqual(['clerk', 't1', 'c1']);
    const zoe = await ask(subrequest({ Authorization: `Bearer ${await side.token('Zoë 100%')}`, 'X-Original-URI': '/api/device/d3' }));
    expect(zoe.status).toBe(200);
    expect(IDENTITY.slice(0, 3).map((name) => zoe.header(name))).toEqual(['Zo%C3%AB%20100%25', 't1', 'B%C3%BCro%20%251']);
  });
  test('public: 200, all four empty', async () => {
    const answer = await ask(subrequest({ 'X-Original-URI': '/public/x', Authorization: 'rubbish' }));
    expect(answer.status).toBe(200);
    expectBare(answer);
    expect(IDENTITY.map((name) => answer.header(name))).toEqual(['', '', '', '']);
    expect(reported()).toMatchObject({ verdict: 'permit', reason: 'public' });
  });
  test.each<[string, Record<string, string | null>, number, string]>([
    ['deny', { 'X-Original-URI': '/api/device/x1' }, 403, 'deny other-tenant'],
    ['unmapped', { 'X-Original-URI': '/nowhere' }, 403, 'unmapped no-route'],
    ['no credential', { Authorization: null }, 401, 'unauthenticated no-credential'],
    ['bad credential', { Authorization: 'Bearer x' }, 401, 'unauthenticated bad-token'],
  ])('%s', async (_, replace, status, expected) => {
    const answer = await ask(subrequest(replace));
    expect(answer.status).toBe(status);
    expectBare(answer);
    const { verdict, reason } = reported();
    expect(`${verdict} ${reason}`).toBe(expected);
  });
  test.each(['GET', 'POST', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'PROPFIND'])('the method of the subrequest itself does not matter: %s', async (method) => {
    const answer = await ask(subrequest(), `${method} /auth/nginx HTTP/1.1`);
    expect(answer.status).toBe(200);
    expectBare(answer);
  });
  test('HTTP/1.0, with Host and without; keep-alive only if asked for', async () => {
    for (const host of ['authz', null]) {
      const connection = await connectRaw(at);
      connection.send(requestBytes('GET /auth/nginx HTTP/1.0', subrequest({ Host: host })));
      expect((await connection.answer()).status).toBe(200);
      expect(await connection.closed()).toBe('');
    }
    const connection = await connectRaw(at);
    onTestFinished(() => connection.destroy());
    for (let i = 0; i < 2; i++) {
      connection.send(requestBytes('GET /auth/nginx HTTP/1.0', subrequest({ Connection: 'keep-alive' })));
      const answer = await connection.answer();
      expect(answer.status).toBe(200);
      expectBare(answer);
    }
  });
  test('HTTP/1.1 without Host, or with two: nothing here depends on it', async () => {
    for (const host of [null, ['a', 'b']]) {
      const answer = await ask(subrequest({ Host: host }));
      expect(answer.status).toBe(200);
      expectBare(answer);
    }
  });
  test('pipelined checks are answered in order, each on its own', async () => {
    const connection = await connectRaw(at);
    onTestFinished(() => connection.destroy());
    const uris = ['/api/device/d1', '/api/device/x1', '/public/x', '/api/device/d2', '/nowhere'];
    connection.send(uris.map((uri) => requestBytes(DOOR, subrequest({ 'X-Original-URI': uri }))).join(''));
    const statuses: number[] = [];
    for (const _ of uris) statuses.push((await connection.answer()).status);
    expect(statuses).toEqual([200, 403, 200, 200, 403]);
  });
  test('a clock and a count: durations are real, nothing is in flight afterwards', async () => {
    await ask(subrequest());
    expect(reported().durationMs).toBeGreaterThan(0);
    expect(side.doors.inFlight).toBe(0);
  });
});

describe('which door: the raw bytes', () => {
  test.each(['/auth/nginx', '/auth/nginx?', '/auth/nginx?x=/../y', '/auth/nginx?/auth/other'])('%s', async (target) => {
    expect((await ask(subrequest(), `GET ${target} HTTP/1.1`)).status).toBe(200);
  });
  test.each(['/auth/nginx/DEVICE/READ', '/auth/nginx/device/read?x', '/auth/nginx/Device/Read'])('with parameters: %s', async (target) => {
    expect((await ask(subrequest({ 'X-Authz-Target': 'd1' }), `GET ${target} HTTP/1.1`)).status).toBe(200);
    expect(reported()).toMatchObject({ resource: 'DEVICE', operation: 'READ', target: 'd1' });
  });
  const elsewhere = [
    '/',
    '/auth',
    '/auth/',
    '/auth/nginx/',
    '/auth/nginx//',
    '/auth/nginx/DEVICE',
    '/auth/nginx/DEVICE/',
    '/auth/nginx/DEVICE/READ/',
    '/auth/nginx/DEVICE/READ/x',
    '/auth/nginx//READ',
    '/auth//DEVICE/READ',
    '/AUTH/nginx',
    '/auth/Nginx',
    '/auth/nginx%20',
    '/auth/ngin%78',
    '/auth%2fnginx',
    '/auth/nginx%2fDEVICE%2fREAD',
    '//auth/nginx',
    '/./auth/nginx',
    '/x/../auth/nginx',
    '/auth/./nginx',
    '/auth/nginx/.',
    '/auth/nginx/..',
    '/auth/nginx/../nginx',
    '/auth/nginx/./DEVICE/READ',
    '/auth/nginx/DEVICE/../DEVICE/READ',
    '/auth/nginx/DEVICE/%52EAD',
    '/auth/nginx/DEVICE/READ;x',
    '/auth/nginx;x',
    '/auth/nginx#x',
    '/auth/nginx\\DEVICE\\READ',
    '/auth/nginx/../../livez',
    '/auth/nginx/%2e%2e/%2e%2e/livez',
    '/livez',
    '/readyz',
    '/metrics',
    '/auth/envoy_prefix',
    '/auth/kong',
    '/auth/none',
    '/auth/constructor',
    '/auth/__proto__',
    '*',
    'http://authz/auth/nginx',
    'http://authz/auth/nginx/DEVICE/READ',
    'https://authz/auth/nginx',
    '//authz/auth/nginx',
    `/auth/nginx/${'A'.repeat(101)}/READ`,
    `/${'a'.repeat(16_000)}`,
  ];
  test.each(elsewhere)('%s is no door', async (target) => {
    const answer = await ask(subrequest({ 'X-Authz-Target': 'd1' }), `GET ${target} HTTP/1.1`);
    expect(answer.status).toBe(403);
    expectBare(answer);
    expect(reported()).toMatchObject({ verdict: 'unmapped', reason: 'no-door', protocol: 'none' });
  });
  test('and no route, no `OPTIONS *` and no health check of this listener answers 200', async () => {
    for (const line of ['OPTIONS * HTTP/1.1', 'HEAD / HTTP/1.1', 'GET / HTTP/1.0'])
      expect((await ask([HOST, ['User-Agent', 'kube-probe/1.30']], line)).status).toBe(403);
  });
});

describe('contract headers (rule 3)', () => {
  test.each<[string, string, Record<string, string | readonly string[] | null>, string]>([
    ['no method', DOOR, { 'X-Original-Method': null }, 'missing-header'],
    ['empty method', DOOR, { 'X-Original-Method': '' }, 'missing-header'],
    ['no URI', DOOR, { 'X-Original-URI': null }, 'missing-header'],
    ['empty URI', DOOR, { 'X-Original-URI': '' }, 'missing-header'],
    ['blank URI', DOOR, { 'X-Original-URI': ' \t ' }, 'missing-header'],
    ['two methods', DOOR, { 'X-Original-Method': ['GET', 'GET'] }, 'repeated-header'],
    ['two URIs', DOOR, { 'X-Original-URI': ['/api/device/d1', '/api/device/d1'] }, 'repeated-header'],
    ['two URIs, one empty', DOOR, { 'X-Original-URI': ['/api/device/d1', ''] }, 'repeated-header'],
    ['two URIs in two spellings', DOOR, { 'x-original-uri': '/public/x' }, 'repeated-header'],
    ['underscores', DOOR, { X_Original_URI: '/public/x' }, 'repeated-header'],
    ['dots', DOOR, { 'x.original.method': 'GET' }, 'repeated-header'],
    ['mixed', DOOR, { 'X-Original_Uri': '/public/x' }, 'repeated-header'],
    ['an alias alone', DOOR, { 'X-Original-URI': null, X_Original_URI: '/api/device/d1' }, 'repeated-header'],
    ['joined methods', DOOR, { 'X-Original-Method': 'GET, GET' }, 'method'],
    ['joined URIs', DOOR, { 'X-Original-URI': '/api/device/d1, /api/device/d1' }, 'target-character'],
    ['tab inside', DOOR, { 'X-Original-URI': '/api/device/d1\tx' }, 'target-character'],
    ['beyond ASCII', DOOR, { 'X-Original-URI': '/api/device/d\u00e9' }, 'target-character'],
    ['lower-case method', DOOR, { 'X-Original-Method': 'get' }, 'method'],
    ['unknown method', DOOR, { 'X-Original-Method': 'FOO' }, 'method'],
    ['a target twice', FORM, { 'X-Authz-Target': ['d1', 'd1'] }, 'repeated-header'],
    ['a target twice where none is read', DOOR, { 'X-Authz-Target': ['d1', 'd1'] }, 'repeated-header'],
    ['a target under another name', FORM, { 'X-Authz-Target': 'd1', X_Authz_Target: '*' }, 'repeated-header'],
    ['no target', FORM, {}, 'missing-header'],
    ['empty target', FORM, { 'X-Authz-Target': '' }, 'missing-header'],
    ['target beyond ASCII', FORM, { 'X-Authz-Target': 'd\u00e9' }, 'bad-target'],
    ['with parameters: no method', FORM, { 'X-Authz-Target': 'd1', 'X-Original-Method': null }, 'missing-header'],
    ['with parameters: no URI', FORM, { 'X-Authz-Target': 'd1', 'X-Original-URI': null }, 'missing-header'],
    ['with parameters: another target than the path', FORM, { 'X-Authz-Target': '*' }, 'contradiction'],
    ['method override', DOOR, { 'X-HTTP-Method-Override': 'DELETE' }, 'method-override'],
    ['method override, another', DOOR, { 'x-http-method': 'DELETE' }, 'method-override'],
    ['method override, a third', DOOR, { 'X-Method-Override': '' }, 'method-override'],
    ['method override with underscores', DOOR, { X_HTTP_Method_Override: 'DELETE' }, 'method-override'],
  ])('%s: unmapped %s', async (_, line, replace, reason) => {
    const answer = await ask(subrequest(replace), line);
    expect(answer.status).toBe(403);
    expectBare(answer);
    expect(reported()).toMatchObject({ verdict: 'unmapped', reason });
  });
  test('the same requests without the fault pass', async () => {
    expect((await ask(subrequest())).status).toBe(200);
    expect((await ask(subrequest({ 'X-Authz-Target': 'd1' }), FORM)).status).toBe(200);
    expect((await ask(subrequest({ 'X-Authz-Target': '*', 'X-Original-URI': '/api/devices' }), FORM)).status).toBe(200);
  });
  test.each<[string, string]>([
    ['CR', '/api/device/d1\rX-Authz-Target: x'],
    ['NUL', '/api/device/d1\u0000'],
    ['a folded line', '/api/device/d1\r\n /x'],
    ['LF', '/api/device/d1\n /x'],
    ['DEL', '/api/device/d1\u007f'],
  ])('%s in a value never passes', async (_, uri) => {
    const answer = await ask(subrequest({ 'X-Original-URI': uri }));
    expect([400, 403]).toContain(answer.status);
    expectBare(answer);
  });
  test('a repeated header behind 3,000 others is seen', async () => {
    const junk = Array.from({ length: 3000 }, (_, i): Header => [`J${i}`, '1']);
    expect((await ask([...subrequest(), ...junk])).status).toBe(200);
    expect((await ask([...subrequest(), ...junk, ['X-Original-URI', '/public/x']])).status).toBe(403);
    expect((await ask([...subrequest(), ...junk, ['X-Authorization', bearer()]])).status).toBe(401);
  });
  test("other dialects' headers, identity headers and operators' marks change nothing", async () => {
    const others: Header[] = [
      'X-Forwarded-Method',
      'X-Forwarded-Uri',
      'X-Original-URL',
      'X-Rewrite-URL',
      'X-Auth-User',
      'X-Auth-Tenant',
      'X-Authz-Decision-Id',
      'x-envoy-auth-failure-mode-allowed',
      'Cookie',
      'User-Agent',
    ].flatMap((name): Header[] => [
      [name, '/public/x'],
      [name, 'true'],
    ]);
    expect((await ask([...subrequest(), ...others])).header('X-Auth-User')).toBe('admin');
    expect((await ask([...subrequest({ 'X-Original-URI': null }), ...others])).status).toBe(403);
    expect((await ask([...subrequest({ 'X-Original-URI': '/api/device/x1' }), ...others])).status).toBe(403);
  });
  test('the override rule can be turned off', async () => {
    const lax = await sidecar({ doors: { refuseMethodOverride: false } });
    onTestFinished(() => lax.close());
    expect((await exchange(await lax.listen(), requestBytes(DOOR, subrequest({ 'X-HTTP-Method-Override': 'DELETE' })))).status).toBe(200);
  });
  test('a preflight is one only with both of its headers', async () => {
    const preflight = (more: Record<string, string>) => ask(subrequest({ Authorization: null, 'X-Original-Method': 'OPTIONS', ...more }));
    expect((await preflight({ Origin: 'https://app', 'Access-Control-Request-Method': 'GET' })).status).toBe(200);
    for (const more of [{}, { Origin: 'https://app' }, { 'Access-Control-Request-Method': 'GET' }, { Origin: '', 'Access-Control-Request-Method': 'GET' }])
      expect((await preflight(more)).status).toBe(403);
  });
  test.each<[string, string | readonly string[], string]>([
    ['bounded', 'x'.repeat(129), ''],
    ['one word', 'a b', ''],
    ['printable', 'a\u00e9', ''],
    ['one', ['a', 'b'], ''],
    ['kept', 'x'.repeat(128), 'x'.repeat(128)],
  ])('the request id is %s', async (_, value, kept) => {
    expect((await ask(subrequest({ 'X-Request-Id': value }))).status).toBe(200);
    expect(reported().requestId).toBe(kept);
  });
});

describe('one credential (rule 5)', () => {
  test('either header will do', async () => {
    expect((await ask(subrequest({ Authorization: null, 'X-Authorization': bearer() }))).status).toBe(200);
  });
  test.each<[string, () => Record<string, string | readonly string[] | null>]>([
    ['both', () => ({ 'X-Authorization': bearer() })],
    ['both, one of them empty', () => ({ 'X-Authorization': '' })],
    ['Authorization twice', () => ({ Authorization: [bearer(), bearer()] })],
    ['X-Authorization twice', () => ({ Authorization: null, 'X-Authorization': [bearer(), bearer()] })],
    ['two spellings', () => ({ authorization: bearer() })],
    ['an underscore', () => ({ X_Authorization: bearer() })],
    ['an alias alone', () => ({ Authorization: null, X_Authorization: bearer() })],
    ['joined, as Envoy does', () => ({ Authorization: `${bearer()},${bearer()}` })],
    ['joined, as Node does', () => ({ Authorization: `${bearer()}, ${bearer()}` })],
    ['two words', () => ({ Authorization: `${bearer()} x` })],
    ['a byte beyond ASCII', () => ({ Authorization: `${bearer()}\u00e9` })],
    ['8 kB', () => ({ Authorization: `Bearer ${'x'.repeat(8193)}` })],
    ['16 kB', () => ({ Authorization: `Bearer ${'x'.repeat(16_384)}` })],
    ['58 kB', () => ({ Authorization: `Bearer ${'x'.repeat(58_000)}` })],
  ])('%s: 401', async (_, replace) => {
    const answer = await ask(subrequest(replace()));
    expect(answer.status).toBe(401);
    expectBare(answer);
  });
});
