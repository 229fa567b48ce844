// Does a door believe an API key where it is told to, for as long as the key is there, and never a moment longer?

import { createHash } from 'node:crypto';
import type { Held } from 'policy-cache/memory';
import { PolicyError, formatRevision } from 'policy-cache';
import { afterEach, describe, expect, test } from 'vitest';
import { newApiKey } from '../../src/opaque.ts';
import { createIdentity } from '../../src/authorities.ts';
import type { DoorRequest, Outcome } from '../../src/authorize.ts';
import { hostClock } from '../../src/clock.ts';
import { request } from '../support/authorizing.ts';
import { ALLOWED, NOBODY, checkRequest, verdictOf } from '../support/check-requests.ts';
import { load } from '../support/config.ts';
import { NOW, sidecar, type Sidecar, type SidecarSettings } from '../support/doors.ts';
import { startGrpcClient } from '../support/grpc.ts';
import { exchange, requestBytes } from '../support/raw.ts';
import { DOOR, HOST } from '../support/subrequest.ts';
import { until } from '../support/until.ts';

const sidecars: Sidecar[] = [];
afterEach(() => Promise.all(sidecars.splice(0).map((side) => side.close())));
async function started(settings: SidecarSettings = {}): Promise<Sidecar> {
  const side = await sidecar({ apiKeys: true, ...settings });
  sidecars.push(side);
  return side;
}

const HOUR = 3_600_000;
/** A key of the user, good for an hour. */
function keyOf(side: Sidecar, user: string, lifetime = HOUR): { readonly key: string; readonly hash: string } {
  const made = newApiKey();
  side.source.commit((tables) => tables.setKey({ hash: made.hash, user, actor: '', expires: NOW * 1000 + lifetime }));
  return made;
}
const asked = (credential: string, more: Partial<DoorRequest> = {}): DoorRequest =>
  request('GET', '/api/device/d1', { protocol: 'test', credential, credentials: 1, requestId: '', ...more });
const words = ({ verdict, reason }: Outcome): string => `${verdict} ${reason}`;
const ask = async (side: Sidecar, credential: string, more: Partial<DoorRequest> = {}): Promise<string> => words(await side.authorize(asked(credential, more)));

test('a key is 32 random bytes, and what is kept of it its SHA-256', () => {
  const { key, hash } = newApiKey();
  expect(key).toMatch(/^gg_[A-Za-z0-9_-]{43}$/);
  expect(Buffer.from(key.slice(3), 'base64url')).toHaveLength(32);
  expect(hash).toBe(createHash('sha256').update(key).digest('hex'));
  expect(newApiKey().key).not.toBe(key);
});

test('where keys are believed, nobody else need be: no issuer, no proxy', () => {
  const identity = (env: Readonly<Record<string, string>>) =>
    createIdentity(load({ env: { DATABASE_URL: 'postgres://localhost/none', ...env } }).settings, {
      clock: hostClock(),
      wall: Date.now,
      random: Math.random,
      log: () => undefined,
      admit: () => undefined,
    });
  expect(() => identity({})).toThrow(/set identity\.apiKeys/);
  expect(identity({ GRANTGATE_IDENTITY_API_KEYS: 'true' }).keys).toEqual([]);
});

describe('by a key', () => {
  test('its user may what that user may; found in memory, nothing is waited for', async () => {
    const side = await started();
    const { key } = keyOf(side, 'reader');
    expect(await ask(side, `Bearer ${key}`)).toBe('permit generic');
    expect(await ask(side, `Bearer ${key}`, { method: 'DELETE' })).toBe('deny no-grant');
    const outcome = side.authorize(asked(`Bearer ${key}`));
    expect(outcome).not.toBeInstanceOf(Promise);
    expect(outcome).toMatchObject({ verdict: 'permit', subject: 'reader', tenant: 't1', cache: 'hit' });
    expect(side.authenticator.misses).toBe(0);
  });

  test.each([
    ['Bearer', 'permit generic'],
    ['bearer', 'permit generic'],
    ['ApiKey', 'permit generic'],
    ['APIKEY', 'permit generic'],
    ['Basic', 'unauthenticated not-bearer'],
  ])('the scheme %s: %s', async (scheme, expected) => {
    const side = await started();
    const { key } = keyOf(side, 'reader');
    expect(await ask(side, `${scheme} ${key}`)).toBe(expected);
  });

  test.each<readonly [string, (key: string) => string, string]>([
    ['nobody has', () => newApiKey().key, 'bad-key'],
    ['too short', (key) => key.slice(0, -1), 'bad-key'],
    ['too long', (key) => `${key}A`, 'bad-key'],
    ['another text of the same bytes', (key) => key.slice(0, -1) + String.fromCharCode(key.charCodeAt(key.length - 1) + 1), 'bad-key'],
    ['two', (key) => `${key} ${key}`, 'bad-key'],
    ['in capitals', (key) => key.toUpperCase(), 'bad-token'],
    ['behind two spaces', (key) => ` ${key}`, 'not-bearer'],
    ['beyond ASCII', (key) => `${key.slice(0, -1)}é`, 'bad-key'],
  ])('one that is %s: 401', async (_, spoil, reason) => {
    const side = await started();
    const { key } = keyOf(side, 'reader');
    await ask(side, `Bearer ${key}`);
    expect(await ask(side, `Bearer ${spoil(key)}`)).toBe(`unauthenticated ${reason}`);
  });

  test('two credentials are none', async () => {
    const side = await started();
    expect(await ask(side, `Bearer ${keyOf(side, 'reader').key}`, { credentials: 2 })).toBe('unauthenticated many-credentials');
  });

  test('where keys are not believed, it is a bad token', async () => {
    const side = await started({ apiKeys: false });
    const { key } = keyOf(side, 'reader');
    expect(await ask(side, `Bearer ${key}`)).toBe('unauthenticated bad-token');
    expect(await ask(side, `ApiKey ${key}`)).toBe('unauthenticated not-bearer');
  });

  test('of a user who is disabled, or may nothing: as with a token', async () => {
    const side = await started();
    expect(await ask(side, `Bearer ${keyOf(side, 'off').key}`)).toBe('deny subject-disabled');
    expect(await ask(side, `Bearer ${keyOf(side, 'nobody').key}`)).toBe('deny no-grant');
  });

  test('that has ended by the wall clock, though it is in memory', async () => {
    const side = await started();
    const { key } = keyOf(side, 'reader');
    side.set(NOW + 3_599);
    expect(await ask(side, `Bearer ${key}`)).toBe('permit generic');
    side.set(NOW + 3_600);
    expect(await ask(side, `Bearer ${key}`)).toBe('unauthenticated expired-key');
  });

  test('that is taken away, or whose user is', async () => {
    const side = await started();
    const keys = [keyOf(side, 'reader'), keyOf(side, 'reader'), keyOf(side, 'clerk')];
    for (const { key } of keys) expect(await ask(side, `Bearer ${key}`, { uri: '/api/device/d2' })).toBe('permit generic');
    const revision = side.source.commit((tables) => (tables.removeKey(keys[0]!.hash), tables.remove('clerk')));
    await until(() => side.cache.state().revision === formatRevision(revision), 'the cache has seen it');
    expect(await Promise.all(keys.map(({ key }) => ask(side, `Bearer ${key}`, { uri: '/api/device/d2' })))).toEqual([
      'unauthenticated bad-key',
      'permit generic',
      'unauthenticated bad-key',
    ]);
  });
});

describe('a key that ends at a revision', () => {
  /** Nobody rings: the end of the key is seen by whoever asks for it. */
  async function unheard() {
    const holds = new Map<Held, Promise<void>>();
    const side = await started({ hold: (what) => holds.get(what) });
    const { key, hash } = keyOf(side, 'reader');
    expect(await ask(side, `Bearer ${key}`)).toBe('permit generic');
    return { side, key, hash, holds };
  }

  test('is refused to whoever asks for that revision, or the latest', async () => {
    const { side, key, hash, holds } = await unheard();
    holds.set('ring', new Promise(() => undefined));
    const revision = side.source.commit((tables) => tables.removeKey(hash));
    expect(await ask(side, `Bearer ${key}`, { atLeast: revision })).toBe('unauthenticated bad-key');
    const again = await unheard();
    again.holds.set('ring', new Promise(() => undefined));
    again.side.source.commit((tables) => tables.removeKey(again.hash));
    expect(await ask(again.side, `Bearer ${again.key}`, { atLeast: 'latest' })).toBe('unauthenticated bad-key');
  });

  test.each([
    ['is taken away', 'unauthenticated bad-key'],
    ['is given to another user', 'deny no-grant'],
    ['gets an actor who may not', 'deny no-grant'],
    ['is changed and is still its own', 'permit generic'],
  ])('while its check waits for something else: %s', async (what, expected) => {
    const { side, key, hash, holds } = await unheard();
    let release = (): void => undefined;
    holds.set('objects', new Promise((resolve) => (release = resolve)));
    const answer = ask(side, `Bearer ${key}`, { uri: '/api/device/d2' });
    const expires = NOW * 1000 + HOUR;
    const revision = side.source.commit((tables) =>
      what === 'is taken away'
        ? tables.removeKey(hash)
        : tables.setKey({
            hash,
            user: what === 'is given to another user' ? 'nobody' : 'reader',
            actor: what === 'gets an actor who may not' ? 'clerk' : '',
            expires: expires - 1,
          }),
    );
    await until(() => side.cache.state().revision === formatRevision(revision), 'the cache has seen it');
    holds.delete('objects');
    release();
    expect(await answer).toBe(expected);
  });
});

test('a key that cannot be known now is 503, and one that would wait where too much waits, too', async () => {
  let full = false;
  const side = await started({
    deadline: 300,
    hold: (what) => (what === 'keys' ? new Promise(() => undefined) : undefined),
    admit: {
      token: () => {
        if (full) throw new PolicyError('overload', 'full');
      },
      check: () => undefined,
    },
  });
  const { key } = keyOf(side, 'reader');
  expect(await ask(side, `Bearer ${key}`)).toBe('unavailable deadline');
  full = true;
  expect(await ask(side, `Bearer ${keyOf(side, 'reader').key}`)).toBe('unavailable overload');
});

test('over the wire, at both doors: 200 and its user, then 401 and nothing', async () => {
  const side = await started();
  const { key, hash } = keyOf(side, 'reader');
  const at = await side.listen();
  const grpc = startGrpcClient(`127.0.0.1:${await side.listenGrpc()}`);
  const http = async (header: string, scheme: string): Promise<string> => {
    const headers = [`X-Original-Method: GET`, `X-Original-URI: /api/device/d1`, `${header}: ${scheme} ${key}`].map(
      (line) => line.split(': ') as [string, string],
    );
    const answer = await exchange(at, requestBytes(DOOR, [HOST, ...headers]));
    return `${answer.status}`;
  };
  const both = async (): Promise<readonly string[]> => [
    await http('Authorization', 'Bearer'),
    await http('X-Authorization', 'ApiKey'),
    ...(await Promise.all(
      ['authorization', 'x-authorization'].map(async (name) => {
        const { answer, error } = await grpc.check(checkRequest({ path: '/api/device/d1', headers: { [name]: `ApiKey ${key}` } }));
        return answer === null ? `gRPC ${error}` : verdictOf(answer);
      }),
    )),
  ];
  try {
    expect(await both()).toEqual(['200', '200', ALLOWED, ALLOWED]);
    const revision = side.source.commit((tables) => tables.removeKey(hash));
    await until(() => side.cache.state().revision === formatRevision(revision), 'the cache has seen it');
    expect(await both()).toEqual(['401', '401', NOBODY, NOBODY]);
  } finally {
    grpc.close();
  }
});
