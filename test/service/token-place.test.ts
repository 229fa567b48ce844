// Where a row lets the token stand elsewhere than in a header: is there exactly one, from whom it may come, and is it told to nobody?

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CheckReport } from '../../src/report.ts';
import { compileRoutes, RouteTableError } from '../../src/routes.ts';
import { createDecisionLog } from '../../src/decisionlog.ts';
import { ROUTES, sidecar, vocabulary, type Sidecar } from '../support/doors.ts';
import { exchange, requestBytes } from '../support/raw.ts';

const ORIGIN = 'https://app.example';
const check = { resource: 'DEVICE', operation: 'READ', target: '{id}' };
const routes = {
  routes: [
    ...ROUTES.routes,
    { method: ['GET', 'POST', 'DELETE'], path: '/ws/cookie/{id}', ...check, token: { cookie: 'session', origins: [ORIGIN, 'https://other.example:8443'] } },
    { method: 'GET', path: '/ws/query/{id}', ...check, token: { query: 'token' } },
    { method: 'GET', path: '/ws/me', authenticated: true, token: { query: 'token' } },
  ],
};

let side: Sidecar;
let at: { host: string; port: number };
let token: string;
let other: string;
beforeAll(async () => {
  side = await sidecar({ routes });
  at = await side.listen();
  token = await side.token('admin');
  other = await side.token('nobody');
});
afterAll(() => side.close());

type Lines = readonly (readonly [string, string])[];

async function ask(uri: string, headers: Lines, { method = 'GET', door = '/auth/nginx' } = {}): Promise<string> {
  side.reports.length = 0;
  const answer = await exchange(
    at,
    requestBytes(`GET ${door} HTTP/1.1`, [['Host', 'authz'], ['X-Original-Method', method], ['X-Original-URI', uri], ...headers]),
  );
  return `${answer.status} ${side.reports[0]!.reason}`;
}

const cookie = (text: string): readonly [string, string] => ['Cookie', text];
const bearer = (text: string): readonly [string, string] => ['Authorization', `Bearer ${text}`];
const origin = (text: string): readonly [string, string] => ['Origin', text];

describe('a cookie', () => {
  test.each<[string, () => Lines, string]>([
    ['alone', () => [cookie(`session=${token}`)], '200 generic'],
    ['among others', () => [cookie(`a=1; session=${token}; b="2"`)], '200 generic'],
    ['in a second line', () => [cookie('a=1'), cookie(`session=${token}`)], '200 generic'],
    ['of a page of ours', () => [cookie(`session=${token}`), origin(ORIGIN)], '200 generic'],
    ['of our other page', () => [cookie(`session=${token}`), origin('https://other.example:8443')], '200 generic'],
    ['of a page of somebody else', () => [cookie(`session=${token}`), origin('https://evil.example')], '401 foreign-origin'],
    ['of a page that begins alike', () => [cookie(`session=${token}`), origin(`${ORIGIN}.evil.example`)], '401 foreign-origin'],
    ['of our page without TLS', () => [cookie(`session=${token}`), origin('http://app.example')], '401 foreign-origin'],
    ['of a page without origin', () => [cookie(`session=${token}`), origin('null')], '401 foreign-origin'],
    ['of two origins', () => [cookie(`session=${token}`), origin(ORIGIN), origin(ORIGIN)], '401 foreign-origin'],
    ['twice in one line', () => [cookie(`session=${token}; session=${token}`)], '401 many-credentials'],
    ['twice, the first of them empty', () => [cookie(`session=; session=${token}`)], '401 many-credentials'],
    ['in two lines', () => [cookie(`session=${token}`), cookie(`session=${other}`)], '401 many-credentials'],
    ['beside a header', () => [cookie(`session=${token}`), bearer(token)], '401 many-credentials'],
    ['beside the other header', () => [cookie(`session=${token}`), ['X-Authorization', `Bearer ${token}`]], '401 many-credentials'],
    ['beside a header of a foreign page', () => [cookie(`session=${token}`), bearer(token), origin('https://evil.example')], '401 many-credentials'],
    ['with its name encoded beside it', () => [cookie(`%73ession=${other}; session=${token}`)], '401 many-credentials'],
    ['with a blank behind its name', () => [cookie(`session =${token}`)], '401 many-credentials'],
    ['with its name encoded', () => [cookie(`%73ession=${token}`)], '401 many-credentials'],
    ['empty', () => [cookie('session=')], '401 not-bearer'],
    ['without a value', () => [cookie('session')], '401 not-bearer'],
    ['quoted', () => [cookie(`session="${token}"`)], '401 not-bearer'],
    ['encoded', () => [cookie(`session=${token.replace('.', '%2E')}`)], '401 not-bearer'],
    ['with Bearer in front', () => [cookie(`session=Bearer ${token}`)], '401 not-bearer'],
    ['two joined by a comma', () => [cookie(`session=${token},session=${token}`)], '401 not-bearer'],
    ['of another case', () => [cookie(`Session=${token}`)], '401 no-credential'],
    ['whose name ends alike', () => [cookie(`my-session=${token}`)], '401 no-credential'],
    ['of another name', () => [cookie(`token=${token}`)], '401 no-credential'],
    ['forged', () => [cookie(`session=${token.slice(0, -2)}AA`)], '401 bad-token'],
    ['too long', () => [cookie(`session=${'x'.repeat(8193)}`)], '401 token-too-long'],
    ['of a user who may not', () => [cookie(`session=${other}`)], '403 no-grant'],
    ['none, but a header, from any page', () => [bearer(token), origin('https://evil.example')], '200 generic'],
    ['none at all', () => [origin(ORIGIN)], '401 no-credential'],
  ])('%s', async (_, headers, expected) => {
    expect(await ask('/ws/cookie/d1', headers())).toBe(expected);
  });

  test('without an origin only what changes nothing passes', async () => {
    expect(await ask('/ws/cookie/d1', [cookie(`session=${token}`)], { method: 'HEAD' })).toBe('200 generic');
    expect(await ask('/ws/cookie/d1', [cookie(`session=${token}`)], { method: 'POST' })).toBe('401 foreign-origin');
    expect(await ask('/ws/cookie/d1', [cookie(`session=${token}`)], { method: 'DELETE' })).toBe('401 foreign-origin');
    expect(await ask('/ws/cookie/d1', [cookie(`session=${token}`), origin(ORIGIN)], { method: 'POST' })).toBe('200 generic');
    expect(await ask('/ws/cookie/d1', [bearer(token)], { method: 'POST' })).toBe('200 generic');
  });

  test('is no credential for a row that does not say so, nor in the query', async () => {
    expect(await ask('/api/device/d1', [cookie(`session=${token}`)])).toBe('401 no-credential');
    expect(await ask('/ws/query/d1', [cookie(`token=${token}`)])).toBe('401 no-credential');
    expect(await ask(`/ws/cookie/d1?session=${token}`, [])).toBe('401 no-credential');
  });

  test('beside the form with parameters, where the table agrees', async () => {
    expect(await ask('/ws/cookie/d1', [cookie(`session=${token}`), ['X-Authz-Target', 'd1']], { door: '/auth/nginx/DEVICE/READ' })).toBe('200 generic');
    expect(await ask(`/ws/me?token=${token}`, [['X-Authz-Target', 'd1']], { door: '/auth/nginx/DEVICE/READ' })).toBe('200 generic');
    expect(await ask('/elsewhere', [cookie(`session=${token}`), ['X-Authz-Target', 'd1']], { door: '/auth/nginx/DEVICE/READ' })).toBe('401 no-credential');
  });
});

describe('a parameter of the query', () => {
  test.each<[string, () => string, string]>([
    ['alone', () => `?token=${token}`, '200 generic'],
    ['among others', () => `?a=1&token=${token}&b=%20`, '200 generic'],
    ['twice', () => `?token=${token}&token=${token}`, '401 many-credentials'],
    ['twice, one empty', () => `?token=&token=${token}`, '401 many-credentials'],
    ['and once more, encoded', () => `?%74oken=${other}&token=${token}`, '401 many-credentials'],
    ['encoded in full', () => `?%74%6f%6B%65%6e=${token}`, '401 many-credentials'],
    ['with an encoded value', () => `?token=${token.replace('.', '%2e')}`, '401 not-bearer'],
    ['with a semicolon', () => `?token=${token};a=1`, '401 not-bearer'],
    ['behind a second question mark', () => `??token=${token}`, '401 no-credential'],
    ['of another case', () => `?Token=${token}`, '401 no-credential'],
    ['of a longer name', () => `?token[]=${token}`, '401 no-credential'],
    ['empty', () => '?token=', '401 not-bearer'],
    ['without a value', () => '?token', '401 not-bearer'],
    ['none', () => '', '401 no-credential'],
    ['a name that cannot be decoded', () => `?%zz=1&token=${token}`, '200 generic'],
  ])('%s', async (_, query, expected) => {
    expect(await ask(`/ws/query/d1${query()}`, [])).toBe(expected);
  });

  test('beside a header', async () => {
    expect(await ask(`/ws/query/d1?token=${token}`, [bearer(token)])).toBe('401 many-credentials');
    expect(await ask('/ws/query/d1', [bearer(token)])).toBe('200 generic');
  });
  test('is no credential for a row that does not say so', async () => {
    expect(await ask(`/api/device/d1?token=${token}`, [])).toBe('401 no-credential');
  });
  test('whoever is authenticated', async () => {
    expect(await ask(`/ws/me?token=${token}`, [])).toBe('200 authenticated');
  });
});

test('a token is in no report and no line of the log, wherever it stood', async () => {
  const lines: string[] = [];
  const log = createDecisionLog({ sink: { write: (text, done) => (lines.push(text), done()) }, allowSample: 1, buffer: 100, random: () => 0, wall: () => 0 });
  const reports: CheckReport[] = [];
  const asked: [string, Lines][] = [
    ['/ws/cookie/d1', [cookie(`session=${token}`)]],
    ['/ws/cookie/d1', [cookie(`session=${token}`), origin('https://evil.example')]],
    [`/ws/query/d1?token=${token}`, []],
    [`/ws/query/d1?token=${token}&token=${token}`, []],
    [`/ws/query/d1?token=${token}x`, []],
    [`/nowhere?token=${token}`, [bearer(token)]],
  ];
  for (const [uri, headers] of asked) {
    await ask(uri, headers);
    reports.push(...side.reports);
  }
  reports.forEach((each) => log.report(each));
  await log.flush(1000);
  expect(lines.join('').trim().split('\n')).toHaveLength(asked.length);
  const [, payload = '', signature = ''] = token.split('.');
  for (const part of [payload, signature, signature.slice(0, 20)]) {
    expect(lines.join('')).not.toContain(part);
    expect(JSON.stringify(reports)).not.toContain(part);
  }
});

test('of random cookies the one that is named exactly is taken, and only where it is alone', async () => {
  const name = fc.constantFrom('session', 'Session', 'session ', ' session', 'sessio', 'sessionx', '%73ession', 'a', '');
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(name, fc.boolean()), { maxLength: 4 }), async (pairs) => {
      const text = pairs.map(([key, mine]) => `${key}=${mine ? token : other}`).join('; ');
      // Blanks before a name belong to the separator; behind it they are a spelling.
      const names = pairs.map(([key]) => key.trimStart());
      const exact = pairs.filter((_, i) => names[i] === 'session');
      const spelt = names.some((each) => each === '%73ession' || each === 'session ');
      const expected =
        exact.length > 1 || spelt ? '401 many-credentials' : exact[0] === undefined ? '401 no-credential' : exact[0][1] ? '200 generic' : '403 no-grant';
      expect(await ask('/ws/cookie/d1', text === '' ? [] : [cookie(text)]), text.replaceAll(token, 'T')).toBe(expected);
    }),
    { numRuns: 150 },
  );
});

describe('a row that says it badly', () => {
  const row = (extra: object): string => {
    try {
      compileRoutes(vocabulary, { routes: [{ method: 'GET', path: '/ws', resource: 'DEVICE', operation: 'READ', target: '*', ...extra }] });
    } catch (error) {
      if (error instanceof RouteTableError) return error.problems.join('\n');
      throw error;
    }
    return '';
  };
  test.each<[object, RegExp]>([
    [{ token: 'session' }, /routes\[1\] \(GET \/ws\) token: expected \{ cookie: NAME, origins: .* got "session"/],
    [{ token: true }, /token: expected/],
    [{ token: null }, /token: expected/],
    [{ token: {} }, /token: says both or neither of cookie and query/],
    [{ token: { cookie: 'a', query: 'b', origins: [ORIGIN] } }, /token: says both or neither/],
    [{ token: { cookie: 'a' } }, /token\.origins: missing; name the origins of your own pages/],
    [{ token: { cookie: 'a', origins: [] } }, /token\.origins: missing/],
    [{ token: { cookie: 'a', origins: ORIGIN } }, /token\.origins: missing/],
    [{ token: { cookie: 'a', origins: ['*'] } }, /token\.origins: expected origins as a browser sends them.*got "\*"/],
    [{ token: { cookie: 'a', origins: ['null'] } }, /got "null"/],
    [{ token: { cookie: 'a', origins: [`${ORIGIN}/`] } }, /got "https:\/\/app\.example\/"/],
    [{ token: { cookie: 'a', origins: ['https://App.example'] } }, /got "https:\/\/App\.example"/],
    [{ token: { cookie: 'a', origins: [ORIGIN, 7] } }, /got 7/],
    [{ token: { cookie: 'a=b', origins: [ORIGIN] } }, /token\.cookie: expected a name of letters.*got "a=b"/],
    [{ token: { query: 'a b' } }, /token\.query: expected a name/],
    [{ token: { query: 7 } }, /token\.query: expected a name.*got 7/],
    [{ token: { query: 'a', origins: [ORIGIN] } }, /token\.origins: goes with a cookie/],
    [{ token: { query: 'a', header: 'b' } }, /token\.header: unknown field; known are cookie, origins, query/],
    [{ resource: undefined, operation: undefined, target: undefined, public: true, token: { query: 'a' } }, /token: a public row never reads a credential/],
  ])('%j', (extra, message) => {
    expect(row(extra)).toMatch(message);
  });
  test.each<object>([
    { token: { query: 'access_token' } },
    { token: { cookie: '__Host-session', origins: [ORIGIN, 'http://localhost:3000', 'https://[::1]:8443'] } },
  ])('%j is well said', (extra) => {
    expect(row(extra)).toBe('');
  });
});
