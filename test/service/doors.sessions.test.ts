// Does a door believe the token of a session as it does an API key, and whoever has logged in as another only while it may be?

import type { Held, MemorySource } from 'policy-cache/memory';
import { formatRevision } from 'policy-cache';
import { afterEach, describe, expect, test } from 'vitest';
import type { DoorRequest, Outcome } from '../../src/authorize.ts';
import { newAccessToken, newApiKey } from '../../src/opaque.ts';
import { request } from '../support/authorizing.ts';
import { ALLOWED, DENIED, NOBODY, checkRequest, identityOf, verdictOf } from '../support/check-requests.ts';
import { NOW, ROUTES, sidecar, type Sidecar, type SidecarSettings } from '../support/doors.ts';
import { startGrpcClient } from '../support/grpc.ts';
import { exchange, requestBytes } from '../support/raw.ts';
import { DOOR, HOST } from '../support/subrequest.ts';
import { until } from '../support/until.ts';

type Tables = Parameters<Parameters<MemorySource['commit']>[0]>[0];
const HOUR = 3_600_000;
const PAGE = 'https://app.example';
const PLACES = {
  routes: [
    ...ROUTES.routes,
    { method: 'GET', path: '/ws/cookie/{id}', resource: 'DEVICE', operation: 'READ', target: '{id}', token: { cookie: 'session', origins: [PAGE] } },
    { method: 'GET', path: '/ws/query/{id}', resource: 'DEVICE', operation: 'READ', target: '{id}', token: { query: 'token' } },
  ],
};

const sidecars: Sidecar[] = [];
afterEach(() => Promise.all(sidecars.splice(0).map((side) => side.close())));
async function started(settings: SidecarSettings = {}): Promise<Sidecar> {
  const side = await sidecar({ sessions: true, routes: PLACES, ...settings });
  // Whoever may act as others has more than they have: here is one more who may.
  side.source.commit((tables) => {
    tables.addUser({ id: 'second', owner: 't1', enabled: true, groups: ['admins:t1'] });
    tables.addUser({ id: 'plain', owner: 't1', enabled: true, groups: [] });
  });
  sidecars.push(side);
  return side;
}
/** A session of the user, that somebody has; good for an hour. */
function sessionOf(side: Sidecar, user: string, actor = '', lifetime = HOUR): { readonly text: string; readonly hash: string } {
  const made = newAccessToken();
  side.source.commit((tables) => tables.setKey({ hash: made.hash, user, actor, expires: NOW * 1000 + lifetime }));
  return made;
}
const asked = (credential: string, more: Partial<DoorRequest> = {}): DoorRequest =>
  request('GET', '/api/device/d1', { protocol: 'test', credential, credentials: credential === '' ? 0 : 1, requestId: '', ...more });
const words = ({ verdict, reason }: Outcome): string => `${verdict} ${reason}`;
const ask = async (side: Sidecar, credential: string, more: Partial<DoorRequest> = {}): Promise<string> => words(await side.authorize(asked(credential, more)));
async function seen(side: Sidecar, change: (tables: Tables) => void): Promise<void> {
  const revision = side.source.commit(change);
  await until(() => side.cache.state().revision === formatRevision(revision), 'the cache has seen it');
}

describe("by a session's token", () => {
  test('its user may what that user may; found in memory, nothing is waited for; when it ends, nothing', async () => {
    const side = await started();
    const { text, hash } = sessionOf(side, 'reader');
    expect(await ask(side, `Bearer ${text}`)).toBe('permit generic');
    expect(await ask(side, `Bearer ${text}`, { method: 'DELETE' })).toBe('deny no-grant');
    const outcome = side.authorize(asked(`Bearer ${text}`));
    expect(outcome).not.toBeInstanceOf(Promise);
    expect(outcome).toMatchObject({ verdict: 'permit', subject: 'reader', actor: '', tenant: 't1', cache: 'hit' });
    expect(side.authenticator.misses).toBe(0);
    side.set(NOW + 3_599);
    expect(await ask(side, `Bearer ${text}`)).toBe('permit generic');
    side.set(NOW + 3_600);
    expect(await ask(side, `Bearer ${text}`)).toBe('unauthenticated expired-token');
    side.set(NOW);
    await seen(side, (tables) => tables.removeKey(hash));
    expect(await ask(side, `Bearer ${text}`)).toBe('unauthenticated ended-session');
  });

  const spoilt: readonly (readonly [string, (token: string) => string, string])[] = [
    ['in small letters', (token) => `bearer ${token}`, 'permit generic'],
    ['as an API key', (token) => `ApiKey ${token}`, 'unauthenticated bad-key'],
    ['of nobody', () => `Bearer ${newAccessToken().text}`, 'unauthenticated ended-session'],
    ['too short', (token) => `Bearer ${token.slice(0, -1)}`, 'unauthenticated ended-session'],
    ['too long', (token) => `Bearer ${token}A`, 'unauthenticated ended-session'],
    [
      'another text of the same bytes',
      (token) => `Bearer ${token.slice(0, -1)}${String.fromCharCode(token.charCodeAt(token.length - 1) + 1)}`,
      'unauthenticated ended-session',
    ],
    ['with the prefix of a key', (token) => `Bearer gg_${token.slice(3)}`, 'unauthenticated bad-key'],
    ['with that of a refresh token', (token) => `Bearer gr_${token.slice(3)}`, 'unauthenticated bad-token'],
    ['with that of a link', (token) => `Bearer ga_${token.slice(3)}`, 'unauthenticated bad-token'],
  ];
  test.each(spoilt)('%s', async (_, spoil, expected) => {
    const side = await started({ apiKeys: true });
    const { text } = sessionOf(side, 'reader');
    expect(await ask(side, spoil(text))).toBe(expected);
  });

  test('where sessions are not taken it is a bad token, keys or no keys; where they alone are, a key is', async () => {
    for (const apiKeys of [false, true]) {
      const side = await started({ sessions: false, apiKeys });
      expect(await ask(side, `Bearer ${sessionOf(side, 'reader').text}`)).toBe('unauthenticated bad-token');
    }
    const side = await started();
    const { key, hash } = newApiKey();
    side.source.commit((tables) => tables.setKey({ hash, user: 'reader', actor: '', expires: NOW * 1000 + HOUR }));
    expect(await ask(side, `Bearer ${key}`)).toBe('unauthenticated bad-token');
    expect(await ask(side, `ApiKey ${key}`)).toBe('unauthenticated not-bearer');
  });
});

describe('where a browser sends it', () => {
  const places = (token: string): readonly (readonly [string, Partial<DoorRequest>, string])[] => [
    ['the cookie', { uri: '/ws/cookie/d1', cookies: `session=${token}`, origin: PAGE }, 'permit generic'],
    ['the cookie, from another page', { uri: '/ws/cookie/d1', cookies: `session=${token}`, origin: 'https://evil.example' }, 'unauthenticated foreign-origin'],
    ['another cookie', { uri: '/ws/cookie/d1', cookies: `other=${token}`, origin: PAGE }, 'unauthenticated no-credential'],
    ['the cookie, elsewhere', { cookies: `session=${token}`, origin: PAGE }, 'unauthenticated no-credential'],
    ['the cookie, twice', { uri: '/ws/cookie/d1', cookies: `session=${token}; session=${token}`, origin: PAGE }, 'unauthenticated many-credentials'],
    ['the query', { uri: `/ws/query/d1?token=${token}` }, 'permit generic'],
    ['the query, elsewhere', { uri: `/api/device/d1?token=${token}` }, 'unauthenticated no-credential'],
  ];
  test.each(places('').map(([what], index) => [what, index] as const))('%s', async (_, index) => {
    const side = await started();
    const [, more, expected] = places(sessionOf(side, 'reader').text)[index]!;
    expect(await ask(side, '', more)).toBe(expected);
  });

  test('beside a header it is one too many; an API key is for programs, which can send a header', async () => {
    const side = await started({ apiKeys: true });
    const { text } = sessionOf(side, 'reader');
    expect(await ask(side, `Bearer ${text}`, { uri: `/ws/query/d1?token=${text}` })).toBe('unauthenticated many-credentials');
    const { key, hash } = newApiKey();
    side.source.commit((tables) => tables.setKey({ hash, user: 'reader', actor: '', expires: NOW * 1000 + HOUR }));
    expect(await ask(side, '', { uri: `/ws/query/d1?token=${key}` })).toBe('unauthenticated bad-token');
  });

  test('of whoever has logged in as another: likewise', async () => {
    const side = await started();
    const more = { uri: '/ws/cookie/d1', origin: PAGE };
    expect(await ask(side, '', { ...more, cookies: `session=${sessionOf(side, 'reader', 'admin').text}` })).toBe('permit generic');
    expect(await ask(side, '', { ...more, cookies: `session=${sessionOf(side, 'reader', 'clerk').text}` })).toBe('deny no-grant');
  });
});

describe('logged in as another', () => {
  const cases: readonly (readonly [what: string, actor: string, user: string, more: Partial<DoorRequest>, expected: string])[] = [
    ['what the user may', 'admin', 'reader', {}, 'permit generic'],
    ['what the user may not, though the other one may', 'admin', 'reader', { method: 'DELETE' }, 'deny no-grant'],
    ['by one who may not', 'clerk', 'reader', {}, 'deny no-grant'],
    ['by one without anything', 'plain', 'reader', {}, 'deny no-grant'],
    ['by one of another tenant', 'stranger', 'reader', {}, 'deny other-tenant'],
    ['by one who is disabled', 'off', 'reader', {}, 'deny subject-disabled'],
    ['as one who is disabled', 'admin', 'off', {}, 'deny subject-disabled'],
    ['a public path', 'clerk', 'reader', { uri: '/public/x' }, 'permit public'],
    ['whoever is authenticated', 'admin', 'nobody', { uri: '/api/me' }, 'permit authenticated'],
    ['whoever is authenticated, by one who may not', 'clerk', 'nobody', { uri: '/api/me' }, 'deny no-grant'],
    ['whoever is authenticated, by one who is disabled', 'off', 'nobody', { uri: '/api/me' }, 'deny subject-disabled'],
    ['whoever is authenticated, as one who is disabled', 'admin', 'off', { uri: '/api/me' }, 'deny subject-disabled'],
    ['two checks', 'second', 'admin', { method: 'POST', uri: '/api/device/d1/rpc/d2' }, 'permit generic'],
    ['two checks, by one who may not', 'clerk', 'admin', { method: 'POST', uri: '/api/device/d1/rpc/d2' }, 'deny no-grant'],
    ['two checks, the second of which is denied', 'second', 'reader', { method: 'POST', uri: '/api/device/d1/rpc/d2' }, 'deny no-grant'],
    ['a path that nobody knows', 'admin', 'reader', { uri: '/api/nothing' }, 'unmapped no-route'],
  ];
  test.each(cases)('%s: %s as %s', async (_, actor, user, more, expected) => {
    const side = await started();
    const { text } = sessionOf(side, user, actor);
    expect(await ask(side, `Bearer ${text}`, more)).toBe(expected);
    expect(await ask(side, `Bearer ${text}`, more), 'from memory').toBe(expected);
  });

  test('both are told; of a refusal, which check it was', async () => {
    const side = await started();
    const told = async (actor: string, user: string, more: Partial<DoorRequest> = {}) => {
      const {
        subject,
        actor: by,
        operation,
        resource,
        target,
        tenant,
        rule,
      } = await side.authorize(asked(`Bearer ${sessionOf(side, user, actor).text}`, more));
      return [`${by} as ${subject} of ${tenant}`, `${operation} ${resource} ${target}`, rule];
    };
    const both = { method: 'POST', uri: '/api/device/d1/rpc/d2' };
    expect(await told('admin', 'reader')).toEqual(['admin as reader of t1', 'READ DEVICE d1', '6a']);
    expect(await told('clerk', 'reader')).toEqual(['clerk as reader of t1', 'IMPERSONATE USER reader', '6e']);
    expect(await told('second', 'reader', both)).toEqual(['second as reader of t1', 'WRITE DEVICE d2', '6e']);
    expect(await told('second', 'admin', both)).toEqual(['second as admin of t1', 'WRITE DEVICE d2', '6a']);
    expect(await told('clerk', 'admin', both)).toEqual(['clerk as admin of t1', 'IMPERSONATE USER admin', '6e']);
    expect(await told('clerk', 'nobody', { uri: '/api/me' })).toEqual(['clerk as nobody of t1', 'IMPERSONATE USER nobody', '6e']);
    expect(await told('admin', 'nobody', { uri: '/api/me' })).toEqual(['admin as nobody of t1', '  ', '1']);
  });

  test('found in memory, nothing is waited for', async () => {
    const side = await started();
    const { text } = sessionOf(side, 'reader', 'admin');
    await ask(side, `Bearer ${text}`);
    expect(side.authorize(asked(`Bearer ${text}`))).not.toBeInstanceOf(Promise);
  });
});

const ENDS: readonly (readonly [what: string, change: (tables: Tables, hash: string) => void, expected: string])[] = [
  ['who has logged in may not any more', (tables) => tables.removeMember('second', 'admins:t1'), 'deny no-grant'],
  ['who has logged in is disabled', (tables) => tables.setEnabled('second', false), 'deny subject-disabled'],
  ['who has logged in is removed, its sessions with it', (tables) => tables.remove('second'), 'unauthenticated ended-session'],
  ['who has logged in is moved', (tables) => tables.changeOwner('second', 'c1'), 'deny no-grant'],
  ['its role loses IMPERSONATE', (tables) => tables.editRole('role:admin:t1', { permissions: { ALL: ['READ'] }, excluded: {} }), 'deny no-grant'],
  ['the session ends', (tables, hash) => tables.removeKey(hash), 'unauthenticated ended-session'],
  ['another one has it, who may not', (tables, hash) => tables.setKey({ ...tables.key(hash)!, actor: 'clerk' }), 'deny no-grant'],
  ['it is of another user', (tables, hash) => tables.setKey({ ...tables.key(hash)!, user: 'off' }), 'deny subject-disabled'],
];
/** What is asked, by the user as whom somebody is logged in; in the order of a fill what is held is not known yet. */
const WAITS: readonly (readonly [what: string, user: string, held: Held, more: Partial<DoorRequest>, expected: string])[] = [
  ['a check that waits for its target', 'reader', 'objects', { uri: '/api/device/d2' }, 'permit generic'],
  ['two checks, the second of which waits', 'admin', 'objects', { method: 'POST', uri: '/api/device/d1/rpc/d2' }, 'permit generic'],
  ['a route for whoever is authenticated, that waits for what its user has', 'nobody', 'classes', { uri: '/api/me' }, 'permit authenticated'],
];

describe('in between', () => {
  describe.each(WAITS)('%s', (_, user, what, more, intact) => {
    async function waiting() {
      const holds = new Map<Held, Promise<void>>();
      const side = await started({ hold: (each) => holds.get(each) });
      const { text, hash } = sessionOf(side, user, 'second');
      // What is asked first is in memory then: whether the other one may.
      const known = what === 'classes' ? sessionOf(side, 'plain', 'second').text : text;
      expect(await ask(side, `Bearer ${known}`, what === 'classes' ? { uri: '/public/x' } : {})).toMatch(/^permit/);
      if (what === 'classes') await side.cache.check({ subject: 'second', operation: 1, resource: 1, target: 'nobody' }, undefined, { deadline: 5_000 });
      if (what === 'classes') await side.cache.key(hash, { deadline: 5_000 });
      let release = (): void => undefined;
      holds.set(what, new Promise((resolve) => (release = resolve)));
      const outcome = Promise.resolve(side.authorize(asked(`Bearer ${text}`, more)));
      const answer = outcome.then(words);
      return {
        side,
        hash,
        outcome,
        answer,
        release() {
          holds.delete(what);
          release();
        },
      };
    }

    test.each(ENDS)('%s', async (_, change, expected) => {
      const { side, hash, answer, release } = await waiting();
      await seen(side, (tables) => change(tables, hash));
      release();
      expect(await answer).toBe(expected);
    });

    test.each(ENDS)('%s, and what is known of the session is in memory again', async (_, change, expected) => {
      const { side, hash, answer, release } = await waiting();
      await seen(side, (tables) => change(tables, hash));
      await side.cache.key(hash, { deadline: 5_000 });
      release();
      expect(await answer).toBe(expected);
    });

    test('nobody has it as another any more: the log does not say so either', async () => {
      const { side, hash, outcome, answer, release } = await waiting();
      await seen(side, (tables) => tables.setKey({ ...tables.key(hash)!, actor: '' }));
      release();
      expect(await answer).toBe(intact);
      expect(await outcome).toMatchObject({ subject: user, actor: '' });
    });

    test('nothing happens that has to do with it', async () => {
      const { side, answer, release } = await waiting();
      await seen(side, (tables) => tables.addEntity({ id: 'new', type: 'DEVICE', owner: 't1', groups: [] }));
      release();
      expect(await answer).toBe(intact);
    });
  });

  test.each(ENDS)('nobody rings: %s', async (_, change, expected) => {
    const holds = new Map<Held, Promise<void>>();
    const side = await started({ hold: (each) => holds.get(each) });
    const { text, hash } = sessionOf(side, 'reader', 'second');
    expect(await ask(side, `Bearer ${text}`)).toBe('permit generic');
    holds.set('ring', new Promise(() => undefined));
    const revision = side.source.commit((tables) => change(tables, hash));
    expect(await ask(side, `Bearer ${text}`, { atLeast: revision })).toBe(expected);
  });
});

test('over the wire, at both doors: the user, as whom somebody is logged in, until that one may not', async () => {
  const side = await started();
  const { text } = sessionOf(side, 'reader', 'second');
  const at = await side.listen();
  const grpc = startGrpcClient(`127.0.0.1:${await side.listenGrpc()}`);
  const http = async (uri: string, ...more: readonly (readonly [string, string])[]): Promise<string> => {
    const answer = await exchange(at, requestBytes(DOOR, [HOST, ['X-Original-Method', 'GET'], ['X-Original-URI', uri], ...more]));
    return `${answer.status} ${answer.header('x-auth-user') ?? ''}`;
  };
  const rpc = async (path: string, headers: Readonly<Record<string, string>>): Promise<string> => {
    const { answer, error } = await grpc.check(checkRequest({ path, headers }));
    return answer === null ? `gRPC ${error}` : `${verdictOf(answer)} ${identityOf(answer)['x-auth-user'] ?? ''}`.trim();
  };
  const all = async (): Promise<readonly string[]> => [
    await http('/api/device/d1', ['Authorization', `Bearer ${text}`]),
    await http('/ws/cookie/d1', ['Cookie', `session=${text}`], ['Origin', PAGE]),
    await http(`/ws/query/d1?token=${text}`),
    await rpc('/api/device/d1', { authorization: `Bearer ${text}` }),
    await rpc('/ws/cookie/d1', { cookie: `session=${text}`, origin: PAGE }),
    await rpc(`/ws/query/d1?token=${text}`, {}),
  ];
  try {
    expect(await all()).toEqual([...Array.from({ length: 3 }, () => '200 reader'), ...Array.from({ length: 3 }, () => `${ALLOWED} reader`)]);
    expect(side.reports.map(({ subject, actor }) => `${actor} as ${subject}`)).toEqual(Array.from({ length: 6 }, () => 'second as reader'));
    await seen(side, (tables) => tables.removeMember('second', 'admins:t1'));
    expect(await all()).toEqual([...Array.from({ length: 3 }, () => '403 '), ...Array.from({ length: 3 }, () => DENIED)]);
    await seen(side, (tables) => tables.remove('second'));
    expect(await all()).toEqual([...Array.from({ length: 3 }, () => '401 '), ...Array.from({ length: 3 }, () => NOBODY)]);
  } finally {
    grpc.close();
  }
});
