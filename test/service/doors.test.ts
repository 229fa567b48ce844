// Does a door do what the contract says, byte for byte, on a real socket?
//
// Everything here goes through real HTTP to a real cache; what no client library would send is written by hand.
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { createHttpDoors, headerValue } from '../../src/doors/http.ts';
import { hostClock } from '../../src/clock.ts';
import type { DoorRequest, Outcome } from '../../src/authorize.ts';
import type { CheckReport } from '../../src/report.ts';
import { listen } from '../../src/listen.ts';
import { NASTY_TARGETS } from '../corpus/targets.ts';
import { sidecar } from '../support/doors.ts';
import type { Sidecar } from '../support/doors.ts';
import { connectRaw, exchange, requestBytes } from '../support/raw.ts';
import type { RawAnswer } from '../support/raw.ts';

type Header = readonly [name: string, value: string];
type Where = { host: string; port: number };

let side: Sidecar;
let at: Where;
let bearer: string;

beforeAll(async () => {
  side = await sidecar();
  at = await side.listen();
  bearer = `Bearer ${await side.token('admin')}`;
});
afterAll(() => side.close());
beforeEach(() => void (side.reports.length = 0));

const HOST: Header = ['Host', 'authz'];
/** The headers of nginx's subrequest for an allowed GET of d1; `replace` changes, removes (null) or repeats (a list) some. */
function subrequest(replace: Readonly<Record<string, string | readonly string[] | null>> = {}): Header[] {
  const headers: Record<string, string | readonly string[] | null> = {
    Host: 'authz', Authorization: bearer, 'X-Original-Method': 'GET', 'X-Original-URI': '/api/device/d1', 'X-Request-Id': 'r1', ...replace,
  };
  return Object.entries(headers).flatMap(([name, value]) => (value === null ? [] : typeof value === 'string' ? [[name, value] as const] : value.map((each) => [name, each] as const)));
}
const DOOR = 'GET /auth/nginx HTTP/1.1';
const FORM = 'GET /auth/nginx/DEVICE/READ HTTP/1.1';

function ask(headers: readonly Header[], line = DOOR): Promise<RawAnswer> {
  return exchange(at, requestBytes(line, headers));
}
/** The one report since the last look. */
function reported(): CheckReport {
  const [report, ...more] = side.reports.splice(0);
  expect(more).toEqual([]);
  return report!;
}

const IDENTITY = ['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer', 'X-Authz-Decision-Id'];
/** What every answer is, whatever it says. */
function expectBare(answer: RawAnswer): void {
  expect(answer.header('content-length')).toBe('0');
  expect(answer.header('cache-control')).toBe('no-store');
  for (const name of ['transfer-encoding', 'server', 'x-powered-by', 'location', 'date']) expect(answer.header(name)).toBeUndefined();
  expect(answer.header('www-authenticate')).toBe(answer.status === 401 ? 'Bearer' : undefined);
  for (const name of IDENTITY) expect(answer.header(name) === undefined, `${name} on ${answer.status}`).toBe(answer.status !== 200);
}

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
      expect(reported()).toMatchObject({ decisionId: answer.header('X-Authz-Decision-Id'), requestId: 'r1', verdict: 'permit', protocol: 'nginx', subject: 'admin' });
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
    '/', '/auth', '/auth/', '/auth/nginx/', '/auth/nginx//', '/auth/nginx/DEVICE', '/auth/nginx/DEVICE/', '/auth/nginx/DEVICE/READ/', '/auth/nginx/DEVICE/READ/x', '/auth/nginx//READ', '/auth//DEVICE/READ',
    '/AUTH/nginx', '/auth/Nginx', '/auth/nginx%20', '/auth/ngin%78', '/auth%2fnginx', '/auth/nginx%2fDEVICE%2fREAD', '//auth/nginx', '/./auth/nginx', '/x/../auth/nginx', '/auth/./nginx', '/auth/nginx/.', '/auth/nginx/..', '/auth/nginx/../nginx', '/auth/nginx/./DEVICE/READ', '/auth/nginx/DEVICE/../DEVICE/READ', '/auth/nginx/DEVICE/%52EAD', '/auth/nginx/DEVICE/READ;x', '/auth/nginx;x', '/auth/nginx#x', '/auth/nginx\\DEVICE\\READ',
    '/auth/nginx/../../livez', '/auth/nginx/%2e%2e/%2e%2e/livez', '/livez', '/readyz', '/metrics', '/auth/envoy', '/auth/traefik', '/auth/none', '/auth/constructor', '/auth/__proto__', '*',
    'http://authz/auth/nginx', 'http://authz/auth/nginx/DEVICE/READ', 'https://authz/auth/nginx', '//authz/auth/nginx', `/auth/nginx/${'A'.repeat(101)}/READ`, `/${'a'.repeat(16_000)}`,
  ];
  test.each(elsewhere)('%s is no door', async (target) => {
    const answer = await ask(subrequest({ 'X-Authz-Target': 'd1' }), `GET ${target} HTTP/1.1`);
    expect(answer.status).toBe(403);
    expectBare(answer);
    expect(reported()).toMatchObject({ verdict: 'unmapped', reason: 'no-door', protocol: 'none' });
  });
  test('and no route, no `OPTIONS *` and no health check of this listener answers 200', async () => {
    for (const line of ['OPTIONS * HTTP/1.1', 'HEAD / HTTP/1.1', 'GET / HTTP/1.0']) expect((await ask([HOST, ['User-Agent', 'kube-probe/1.30']], line)).status).toBe(403);
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
    ['a target under another name', FORM, { 'X-Authz-Target': 'd1', 'X_Authz_Target': '*' }, 'repeated-header'],
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
  test.each<[string, string]>([['CR', '/api/device/d1\rX-Authz-Target: x'], ['NUL', '/api/device/d1\u0000'], ['a folded line', '/api/device/d1\r\n /x'], ['LF', '/api/device/d1\n /x'], ['DEL', '/api/device/d1\u007f']])('%s in a value never passes', async (_, uri) => {
    const answer = await ask(subrequest({ 'X-Original-URI': uri }));
    expect([400, 403]).toContain(answer.status);
    expectBare(answer);
  });
  test('a repeated header behind 3,000 others is seen', async () => {
    const junk = Array.from({ length: 3000 }, (_, i): Header => [`J${i}`, '1']);
    expect((await ask([...subrequest(), ...junk])).status).toBe(200);
    expect((await ask([...subrequest(), ...junk, ['X-Original-URI', '/public/x']])).status).toBe(403);
    expect((await ask([...subrequest(), ...junk, ['X-Authorization', bearer]])).status).toBe(401);
  });
  test("other dialects' headers, identity headers and operators' marks change nothing", async () => {
    const others: Header[] = ['X-Forwarded-Method', 'X-Forwarded-Uri', 'X-Original-URL', 'X-Rewrite-URL', 'X-Auth-User', 'X-Auth-Tenant', 'X-Authz-Decision-Id', 'x-envoy-auth-failure-mode-allowed', 'Cookie', 'User-Agent']
      .flatMap((name): Header[] => [[name, '/public/x'], [name, 'true']]);
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
    for (const more of [{}, { Origin: 'https://app' }, { 'Access-Control-Request-Method': 'GET' }, { Origin: '', 'Access-Control-Request-Method': 'GET' }]) expect((await preflight(more)).status).toBe(403);
  });
  test.each<[string, string | readonly string[], string]>([
    ['bounded', 'x'.repeat(129), ''], ['one word', 'a b', ''], ['printable', 'a\u00e9', ''], ['one', ['a', 'b'], ''], ['kept', 'x'.repeat(128), 'x'.repeat(128)],
  ])('the request id is %s', async (_, value, kept) => {
    expect((await ask(subrequest({ 'X-Request-Id': value }))).status).toBe(200);
    expect(reported().requestId).toBe(kept);
  });
});

describe('one credential (rule 5)', () => {
  test('either header will do', async () => {
    expect((await ask(subrequest({ Authorization: null, 'X-Authorization': bearer }))).status).toBe(200);
  });
  test.each<[string, () => Record<string, string | readonly string[] | null>]>([
    ['both', () => ({ 'X-Authorization': bearer })],
    ['both, one of them empty', () => ({ 'X-Authorization': '' })],
    ['Authorization twice', () => ({ Authorization: [bearer, bearer] })],
    ['X-Authorization twice', () => ({ Authorization: null, 'X-Authorization': [bearer, bearer] })],
    ['two spellings', () => ({ authorization: bearer })],
    ['an underscore', () => ({ X_Authorization: bearer })],
    ['an alias alone', () => ({ Authorization: null, X_Authorization: bearer })],
    ['joined, as Envoy does', () => ({ Authorization: `${bearer},${bearer}` })],
    ['joined, as Node does', () => ({ Authorization: `${bearer}, ${bearer}` })],
    ['two words', () => ({ Authorization: `${bearer} x` })],
    ['a byte beyond ASCII', () => ({ Authorization: `${bearer}\u00e9` })],
    ['8 kB', () => ({ Authorization: `Bearer ${'x'.repeat(8193)}` })],
    ['16 kB', () => ({ Authorization: `Bearer ${'x'.repeat(16_384)}` })],
    ['58 kB', () => ({ Authorization: `Bearer ${'x'.repeat(58_000)}` })],
  ])('%s: 401', async (_, replace) => {
    const answer = await ask(subrequest(replace()));
    expect(answer.status).toBe(401);
    expectBare(answer);
  });
});

describe('a body that is owed ends the connection (rule 4)', () => {
  const smuggled = (): string => requestBytes(DOOR, subrequest({ 'X-Request-Id': 'smuggled' }));
  test.each<[string, Record<string, string>]>([
    ['Content-Length', { 'Content-Length': '400' }], ['chunked', { 'Transfer-Encoding': 'chunked' }], ['1 MB', { 'Content-Length': '1048576' }], ['zero spelled otherwise', { 'Content-Length': '00' }],
  ])('%s announced and never sent: answered at once, then closed', async (_, announce) => {
    const connection = await connectRaw(at);
    connection.send(requestBytes(DOOR, subrequest(announce)));
    const answer = await connection.answer();
    expect(answer.status).toBe(200);
    expect(answer.header('connection')).toBe('close');
    expectBare(answer);
    expect(await connection.closed()).toBe('');
  });
  test('Content-Length: 0 owes nothing', async () => {
    const connection = await connectRaw(at);
    onTestFinished(() => connection.destroy());
    for (let i = 0; i < 3; i++) {
      connection.send(requestBytes(DOOR, subrequest({ 'Content-Length': '0' })));
      const answer = await connection.answer();
      expect(answer.status).toBe(200);
      expect(answer.header('connection')).not.toBe('close');
    }
  });
  // The attacker chose a length such that the next subrequest of the pool, or its own tail, would be read as a request.
  test.each<[string, string, (tail: string) => Record<string, string>]>([
    ['the next request on that connection', '', (tail) => ({ 'Content-Length': String(tail.length) })],
    ['a tail behind a short body', 'xxxxx', () => ({ 'Content-Length': '5' })],
    ['a tail behind the last chunk', '3\r\nabc\r\n0\r\n\r\n', () => ({ 'Transfer-Encoding': 'chunked' })],
    ['a tail behind an empty chunked body', '0\r\n\r\n', () => ({ 'Transfer-Encoding': 'chunked' })],
    ['a tail in a body that is longer', 'xxxxx', (tail) => ({ 'Content-Length': String(tail.length + 500) })],
  ])('%s is not answered: in one piece, in two, and after a check that had to wait', async (_, body, announce) => {
    for (const uri of ['/api/device/d1', '/nowhere', `/api/device/never-asked-${Math.random()}`]) for (const apart of [false, true]) {
      const connection = await connectRaw(at);
      const [first, tail] = [requestBytes(DOOR, subrequest({ 'X-Original-URI': uri, ...announce(smuggled()) })), `${body}${smuggled()}`];
      connection.send(apart ? first : `${first}${tail}`);
      const answer = await connection.answer();
      if (apart) connection.send(tail);
      expect(answer.header('connection')).toBe('close');
      expect(await connection.closed()).toBe('');
      connection.destroy();
    }
    expect(side.reports.filter(({ requestId }) => requestId === 'smuggled')).toEqual([]);
    side.reports.length = 0;
  });
  test('a request to no door ends its connection too', async () => {
    const connection = await connectRaw(at);
    connection.send(requestBytes('POST /x HTTP/1.1', [HOST, ['Content-Length', '5']]) + 'xxxxx' + smuggled());
    expect((await connection.answer()).status).toBe(403);
    expect(await connection.closed()).toBe('');
    expect(side.reports.length).toBe(1);
  });
  test('both lengths at once are no request', async () => {
    const answer = await ask(subrequest({ 'Content-Length': '5', 'Transfer-Encoding': 'chunked' }));
    expect(answer.status).toBe(400);
    expectBare(answer);
  });
});

describe('special requests (rule 9)', () => {
  test.each(['100-continue', '100-Continue', 'something-else'])('Expect: %s is an ordinary check, without 1xx, and the last one', async (expect100) => {
    for (const [replace, status] of [[{}, 200], [{ 'X-Original-URI': '/api/device/x1' }, 403], [{ Authorization: null }, 401]] as const) {
      const connection = await connectRaw(at);
      connection.send(requestBytes(DOOR, subrequest({ Expect: expect100, ...replace })));
      const answer = await connection.answer();
      expect(answer.status).toBe(status);
      expect(answer.header('connection')).toBe('close');
      expectBare(answer);
      expect(await connection.closed()).toBe('');
    }
  });
  test.each<[string, Record<string, string>]>([
    ['websocket', { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version': '13' }],
    ['h2c', { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c', 'HTTP2-Settings': 'AAMAAABkAAQAoAAAAAIAAAAA' }],
  ])('Upgrade: %s is an ordinary check', async (_, upgrade) => {
    const connection = await connectRaw(at);
    onTestFinished(() => connection.destroy());
    connection.send(requestBytes(DOOR, subrequest(upgrade)));
    const allowed = await connection.answer();
    expect(allowed.status).toBe(200);
    expectBare(allowed);
    expect(allowed.header('upgrade')).toBeUndefined();
    for (const [replace, status] of [[{ 'X-Original-URI': '/api/device/x1' }, 403], [{ Authorization: null }, 401]] as const)
      expect((await ask(subrequest({ ...upgrade, ...replace }))).status).toBe(status);
    const server = side.doors.server();
    expect([server.listenerCount('upgrade'), server.listenerCount('connect')]).toEqual([0, 0]);
  });
  test('CONNECT gets no answer at all', async () => {
    const connection = await connectRaw(at);
    connection.send(requestBytes('CONNECT authz:443 HTTP/1.1', subrequest()));
    expect(await connection.closed()).toBe('');
  });
  test('an HTTP/2 preface gets a bare 400 or nothing', async () => {
    const connection = await connectRaw(at);
    connection.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    expect(await connection.closed()).toMatch(/^(HTTP\/1\.1 400 Bad Request\r\nContent-Length: 0\r\n.*)?$/s);
  });
  test.each<[string, string, number]>([
    ['garbage', '\u0016\u0003\u0001\u0002\u0000\u0001', 400],
    ['no version (HTTP/0.9)', 'GET /auth/nginx\r\n\r\n', 403],
    ['a space in the target', requestBytes('GET /auth/nginx x HTTP/1.1', [HOST]), 400],
    ['a header name with a space', requestBytes(DOOR, [HOST, ['X Y', '1']]), 400],
    ['a negative length', requestBytes(DOOR, [HOST, ['Content-Length', '-1']]), 400],
    ['two lengths', requestBytes(DOOR, [HOST, ['Content-Length', '1'], ['Content-Length', '2']]), 400],
    ['70 kB of headers', requestBytes(DOOR, [HOST, ['X', 'x'.repeat(70_000)]]), 431],
    ['1 MB of headers', requestBytes(DOOR, [HOST, ['X', 'x'.repeat(1_048_576)]]), 431],
  ])('%s gets a bare answer and the end', async (_, bytes, status) => {
    const connection = await connectRaw(at);
    connection.send(bytes);
    const answer = await connection.answer();
    expect(answer.status).toBe(status);
    expectBare(answer);
    expect(answer.header('connection')).toBe('close');
    expect(await connection.closed()).toBe('');
  });
  test('garbage behind a check that waits: never an allow afterwards', async () => {
    const connection = await connectRaw(at);
    connection.send(`${requestBytes(DOOR, subrequest({ 'X-Original-URI': `/api/device/never-asked-${Math.random()}` }))}garbage\r\n\r\n`);
    expect(await connection.closed()).not.toContain(' 200 ');
  });
  test('they are counted', () => {
    expect(side.doors.shed.malformed).toBeGreaterThan(0);
    expect(side.doors.shed['headers-too-large']).toBeGreaterThan(0);
  });
});

describe('slow clients', () => {
  test('a head that does not end is cut off, and others are served meanwhile', async () => {
    const half = await Promise.all(Array.from({ length: 50 }, () => connectRaw(at)));
    for (const connection of half) connection.send(`${DOOR}\r\nHost: authz\r\nX-Original-Method: GET\r\n`);
    expect((await ask(subrequest())).status).toBe(200);
    for (const rest of await Promise.all(half.map((connection) => connection.closed(12_000)))) expect(rest).toMatch(/^HTTP\/1\.1 400 /);
    expect(side.doors.shed.timeout).toBeGreaterThanOrEqual(50);
  });
});

describe('fuzz: nothing but a true allow is a 200', () => {
  const runs = Number(process.env['GRANTGATE_FUZZ'] ?? 250);
  /** Whatever comes, without a 200 among it. */
  const statuses = async (bytes: string | Buffer): Promise<string> => {
    const connection = await connectRaw(at);
    connection.send(bytes);
    connection.send(requestBytes('GET /end HTTP/1.1', [HOST, ['Connection', 'close']]));
    const text = await connection.closed(20_000);
    connection.destroy();
    return text;
  };
  const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array).toString('latin1'));
  const value = fc.oneof(bytes, fc.constantFrom(...NASTY_TARGETS.filter((target) => target.length < 300)), fc.constantFrom('', 'GET', '/api/device/x1', '/api/device/d1', '*', 'd1'));

  test('random targets of the door itself, with a good credential', async () => {
    await fc.assert(fc.asyncProperty(fc.oneof(value, value.map((text) => `/auth/${text}`), value.map((text) => `/auth/nginx/${text}`), value.map((text) => `/auth/nginx/DEVICE/${text}`)), async (target) => {
      fc.pre(!/^\/auth\/nginx(?:\?.*)?$/s.test(target));
      // Original request: one that this user may do nowhere.
      expect(await statuses(requestBytes(`GET ${target} HTTP/1.1`, subrequest({ 'X-Original-URI': '/api/device/x1' })))).not.toContain(' 200 ');
    }), { numRuns: runs });
  });
  test('random contract headers', async () => {
    await fc.assert(fc.asyncProperty(value, value, value, fc.boolean(), async (method, uri, target, form) => {
      fc.pre(!/^[ \t]*\/public\/|^[ \t]*\/api\/(?:device\/d[12]|devices|me)(?:[?\s]|$)/.test(uri));
      expect(await statuses(requestBytes(form ? FORM : DOOR, subrequest({ 'X-Original-Method': method, 'X-Original-URI': uri, ...(form ? { 'X-Authz-Target': `no${target}` } : {}) })))).not.toContain(' 200 ');
    }), { numRuns: runs });
  });
  test('random credentials and random names of headers', async () => {
    await fc.assert(fc.asyncProperty(bytes, bytes, value, async (credential, name, text) => {
      const headers: Header[] = [...subrequest({ Authorization: `Bearer ${credential}` }), [name, text]];
      expect(await statuses(requestBytes(DOOR, headers))).not.toContain(' 200 ');
    }), { numRuns: runs });
  });
  test('random bytes', async () => {
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (array) => {
      expect(await statuses(Buffer.from(array))).not.toContain(' 200 ');
    }), { numRuns: runs });
  });
  test('every target ever used against a proxy, as the original URI: refused, or read byte by byte', async () => {
    for (const uri of NASTY_TARGETS.filter((target) => target.length < 16_000)) {
      const status = (await statuses(requestBytes(DOOR, subrequest({ Authorization: `Bearer ${await side.token('nobody')}`, 'X-Original-URI': uri }))).catch(() => ''));
      expect(status, uri).not.toContain(' 200 ');
    }
  }, 60_000);
});

describe('header values of the identity', () => {
  test('printable ASCII as it is, everything else percent-encoded, and no two ids alike', () => {
    fc.assert(fc.property(fc.oneof(fc.string({ unit: 'grapheme', maxLength: 40 }), fc.string({ unit: 'binary-ascii', maxLength: 40 })), (id) => {
      const value = headerValue(id);
      expect(value).toMatch(/^[ -~]*$/);
      expect(value.trim()).toBe(value);
      if (/^[!-$&-~]*$/.test(id)) expect(value).toBe(id);
      expect(decodeURIComponent(value)).toBe(id);
    }));
    expect(['', 'a b', 'a%20b', ' a', 'a\r\nX: y', 'é'].map(headerValue)).toEqual(['', 'a b', 'a%2520b', '%20a', 'a%0D%0AX:%20y', '%C3%A9']);
  });
});

describe('what a door does with a pipeline that misbehaves', () => {
  const outcome: Outcome = {
    decisionId: 'x-1', requestId: '', verdict: 'permit', reason: 'generic', rule: '3', revision: null, protocol: 'nginx', method: 'GET', route: '', resource: '', operation: '', target: '',
    subject: 'u', tenant: 't', customer: '', cache: 'hit', durationMs: 0,
  };
  async function door(authorize: (request: DoorRequest) => Outcome | Promise<Outcome>, report: (check: CheckReport) => void = () => undefined): Promise<Where> {
    const doors = createHttpDoors({ authorize, report, clock: hostClock() });
    onTestFinished(() => doors.close(0));
    const [host = '', port = ''] = (await listen(doors.server(), { host: '127.0.0.1', port: 0 })).split(':');
    return { host, port: Number(port) };
  }
  test('an outcome that cannot be written is a 503, never an allow', async () => {
    const answer = await exchange(await door(() => ({ ...outcome, decisionId: 'x\r\nX-Auth-User: root' })), requestBytes(DOOR, subrequest()));
    expect(answer.status).toBe(503);
    expectBare(answer);
  });
  test('a report that fails does not matter', async () => {
    const where = await door(() => outcome, () => { throw new Error('disk full'); });
    for (let i = 0; i < 2; i++) expect((await exchange(where, requestBytes(DOOR, subrequest()))).status).toBe(200);
  });
  test('unavailable is 503, bare', async () => {
    const answer = await exchange(await door(() => Promise.resolve({ ...outcome, verdict: 'unavailable' as const, reason: 'stale' as const })), requestBytes(DOOR, subrequest()));
    expect(answer.status).toBe(503);
    expectBare(answer);
  });
  test('a client that left before its answer', async () => {
    const waiting: (() => void)[] = [];
    const where = await door(({ requestId }) => (requestId === 'r1' ? outcome : new Promise((resolve) => void waiting.push(() => resolve(outcome)))));
    const connection = await connectRaw(where);
    connection.send(requestBytes(DOOR, subrequest({ 'X-Request-Id': 'slow' })));
    while (waiting.length === 0) await new Promise((resolve) => setImmediate(resolve));
    connection.destroy();
    await connection.closed();
    waiting[0]!();
    expect((await exchange(where, requestBytes(DOOR, subrequest()))).status).toBe(200);
  });
});

describe('the end', () => {
  test('draining: still answered, each answer the last of its connection; then idle ones go at once, those at work when answered', async () => {
    const mine = await sidecar();
    const where = await mine.listen();
    const [idle, busy] = [await connectRaw(where), await connectRaw(where)];
    busy.send(requestBytes(DOOR, subrequest()));
    expect((await busy.answer()).header('connection')).toBe('keep-alive');
    mine.doors.drain();
    busy.send(requestBytes(DOOR, subrequest()));
    const last = await busy.answer();
    expect([last.status, last.header('connection')]).toEqual([200, 'close']);
    expect(await busy.closed()).toBe('');
    expect((await exchange(where, requestBytes(DOOR, subrequest()))).status).toBe(200);
    expect(idle.over).toBe(false);
    await mine.doors.close(5000);
    await idle.closed();
    await expect(connectRaw(where)).rejects.toThrow('ECONNREFUSED');
    await mine.close();
  });
  test('a check under way is answered; one that never ends is cut off after the grace time', async () => {
    let held = false;
    let release = (): void => undefined;
    const slow = await sidecar({ hold: (what) => (held && what === 'objects' ? new Promise((resolve) => { release = resolve; }) : undefined) });
    const where = await slow.listen();
    held = true;
    const connection = await connectRaw(where);
    connection.send(requestBytes(DOOR, subrequest()));
    while (slow.doors.inFlight === 0) await new Promise((resolve) => setImmediate(resolve));
    const closing = slow.doors.close(5000);
    held = false;
    release();
    const answer = await connection.answer();
    expect([answer.status, answer.header('connection')]).toEqual([200, 'close']);
    await closing;
    slow.cache.close();
  });
  test('connections are bounded, and those turned away are counted', async () => {
    const small = await sidecar({ doors: { maxConnections: 2 } });
    onTestFinished(() => small.close());
    const where = await small.listen();
    const open = [await connectRaw(where), await connectRaw(where)];
    for (const connection of open) {
      connection.send(requestBytes(DOOR, subrequest()));
      await connection.answer();
    }
    expect(await (await connectRaw(where)).closed()).toBe('');
    expect(small.doors.shed.connections).toBe(1);
    for (const connection of open) connection.destroy();
  });
});
