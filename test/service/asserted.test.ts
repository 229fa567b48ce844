// Where a listener believes its proxy: is the subject the one that it names, once, in the form that was agreed on, and nobody else's?

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createBelief } from '../../src/asserted.ts';
import { createAuthenticator } from '../../src/identity.ts';
import { createThingsBoardIssuer } from '../../src/issuers/thingsboard.ts';
import { KEY, sidecar, type Sidecar } from '../support/doors.ts';
import { exchange, requestBytes } from '../support/raw.ts';

const proxy = { name: 'proxy', external: true, tenants: ['t1'] } as const;
const PREFIX = 'spiffe://example.org/user/';

describe('a name', () => {
  const judge = (text: string, prefix = ''): string => {
    const said = createBelief(proxy, prefix)(text);
    return said.kind === 'refused' ? said.problem : `${said.kind} ${said.subject}`;
  };
  test.each<[string, string, string]>([
    ['admin', '', 'user admin'],
    ['f3a1-4c', '', 'user f3a1-4c'],
    ['', '', 'no-credential'],
    ['', PREFIX, 'no-credential'],
    [`${PREFIX}admin`, PREFIX, 'user admin'],
    [PREFIX, PREFIX, 'bad-subject'],
    ['admin', PREFIX, 'bad-subject'],
    ['spiffe://example.org/service/admin', PREFIX, 'bad-subject'],
    ['SPIFFE://example.org/user/admin', PREFIX, 'bad-subject'],
    [`x${PREFIX}admin`, PREFIX, 'bad-subject'],
    [`${PREFIX}admin,${PREFIX}other`, PREFIX, 'bad-subject'],
    ['admin,other', '', 'bad-subject'],
    ['admin other', '', 'bad-subject'],
    [' admin', '', 'bad-subject'],
    ['ad\u00e9le', '', 'bad-subject'],
    ['admin\u0000', '', 'bad-subject'],
    ['admin\r\nX: y', '', 'bad-subject'],
    ['x'.repeat(255), '', `user ${'x'.repeat(255)}`],
    ['x'.repeat(256), '', 'bad-subject'],
  ])('%j with the prefix %j: %s', (text, prefix, expected) => {
    expect(judge(text, prefix)).toBe(expected);
  });

  test('its tenants count among those that speak for every tenant', () => {
    const issuers = [createThingsBoardIssuer({ name: 'thingsboard', tenants: '*', signingKeys: [KEY] })];
    const wall = (): number => 0;
    expect(() => createAuthenticator({ issuers, others: [{ ...proxy, tenants: '*' }], wall })).toThrow(/thingsboard and proxy both speak for every tenant/);
    expect(() => createAuthenticator({ issuers, others: [proxy], wall })).not.toThrow();
  });
});

describe('a door that believes a header', () => {
  let side: Sidecar;
  let at: { host: string; port: number };
  let token: string;
  beforeAll(async () => {
    side = await sidecar({ believe: createBelief(proxy, ''), doors: { subjectHeader: 'X-Client-Id' } });
    at = await side.listen();
    token = await side.token('admin');
  });
  afterAll(() => side.close());

  const ask = async (headers: readonly (readonly [string, string])[], uri = '/api/device/d1'): Promise<string> => {
    side.reports.length = 0;
    const answer = await exchange(
      at,
      requestBytes('GET /auth/nginx HTTP/1.1', [['Host', 'authz'], ['X-Original-Method', 'GET'], ['X-Original-URI', uri], ...headers]),
    );
    const { reason, subject } = side.reports[0]!;
    expect(answer.header('x-auth-user')).toBe(answer.status === 200 ? (reason === 'public' ? '' : subject) : undefined);
    return `${answer.status} ${reason} ${subject}`.trim();
  };

  test.each<[string, readonly (readonly [string, string])[], string]>([
    ['the one that it names', [['X-Client-Id', 'admin']], '200 generic admin'],
    ['in another case', [['x-CLIENT-id', 'admin']], '200 generic admin'],
    ['who may not', [['X-Client-Id', 'nobody']], '403 no-grant nobody'],
    ['whom nobody knows', [['X-Client-Id', 'ghost']], '403 unknown-subject ghost'],
    ['of a tenant that the proxy does not speak for', [['X-Client-Id', 'stranger']], '401 foreign-tenant stranger'],
    ['nobody', [], '401 no-credential'],
    ['an empty name', [['X-Client-Id', '']], '401 no-credential'],
    [
      'two names',
      [
        ['X-Client-Id', 'nobody'],
        ['X-Client-Id', 'admin'],
      ],
      '403 repeated-header',
    ],
    [
      'the same twice',
      [
        ['X-Client-Id', 'admin'],
        ['X-Client-Id', 'admin'],
      ],
      '403 repeated-header',
    ],
    ['two, joined', [['X-Client-Id', 'admin, nobody']], '401 bad-subject'],
    ['by underscores', [['X_Client_Id', 'admin']], '403 repeated-header'],
    ['by dots', [['X.Client.Id', 'admin']], '403 repeated-header'],
    [
      'by underscores beside the right one',
      [
        ['X-Client-Id', 'nobody'],
        ['X_Client_Id', 'admin'],
      ],
      '403 repeated-header',
    ],
  ])('%s', async (_, headers, expected) => {
    expect(await ask(headers)).toBe(expected);
  });

  test('no token is read there, good or bad, one or two', async () => {
    expect(await ask([['Authorization', `Bearer ${token}`]])).toBe('401 no-credential');
    expect(
      await ask([
        ['X-Client-Id', 'nobody'],
        ['Authorization', `Bearer ${token}`],
      ]),
    ).toBe('403 no-grant nobody');
    expect(
      await ask([
        ['X-Client-Id', 'admin'],
        ['Authorization', 'Bearer rubbish'],
        ['X-Authorization', 'Basic eA=='],
      ]),
    ).toBe('200 generic admin');
    expect(side.authenticator.misses).toBe(0);
  });

  test('a public route asks nobody there either', async () => {
    expect(await ask([], '/public/x')).toBe('200 public');
  });
});

describe('a door that believes tokens', () => {
  test('reads no such header; and one that nobody judges proves nobody', async () => {
    const side = await sidecar();
    const at = await side.listen();
    const bare = await sidecar({ doors: { subjectHeader: 'X-Client-Id' } });
    const there = await bare.listen();
    try {
      const bytes = requestBytes('GET /auth/nginx HTTP/1.1', [
        ['Host', 'authz'],
        ['X-Original-Method', 'GET'],
        ['X-Original-URI', '/api/device/d1'],
        ['X-Client-Id', 'admin'],
      ]);
      expect([(await exchange(at, bytes)).status, side.reports[0]!.reason]).toEqual([401, 'no-credential']);
      expect([(await exchange(there, bytes)).status, bare.reports[0]!.reason]).toEqual([401, 'bad-subject']);
    } finally {
      await side.close();
      await bare.close();
    }
  });
});
