// Which issuer judges a token, and which keys may an issuer have?
import { describe, expect, test } from 'vitest';
import { createAuthenticator } from '../../src/identity.ts';
import type { Issuer, Proof } from '../../src/identity.ts';
import { createThingsBoardIssuer, parseSigningKey } from '../../src/issuers/thingsboard.ts';
import { bench, judged, KEY, NOW, OTHER, token } from '../support/tokens.ts';

describe('which issuer judges', () => {
  const named = (name: string, iss: string | null, tenants: Issuer['tenants'] = ['t1'], algorithms = ['HS512']): Issuer & { seen: number } => ({
    name,
    iss,
    tenants,
    algorithms,
    external: true,
    seen: 0,
    verify(): Promise<Proof> {
      this.seen++;
      return Promise.resolve({ kind: 'user', subject: name, from: 0, until: NOW + 60, grounds: { withdrawn: false } });
    },
  });
  const wall = (): number => NOW * 1000;

  test('the one of its iss, else the one that asks for none, by algorithm; never a second one', async () => {
    const issuers = [named('a', 'https://a'), named('any', null), named('rs', 'https://a', ['t1'], ['RS256'])];
    const auth = createAuthenticator({ issuers, wall });
    expect(await judged(auth, await token({ iss: 'https://a' }))).toBe('user a');
    expect(await judged(auth, await token({ iss: 'https://b' }))).toBe('user any');
    expect(await judged(auth, await token({ iss: ['https://a'] }))).toBe('user any');
    expect(await judged(auth, await token())).toBe('user any');
    expect(issuers.map(({ seen }) => seen)).toEqual([1, 3, 0]);
  });
  test('none: refused without asking anybody', async () => {
    const issuers = [named('a', 'https://a')];
    expect(await judged(createAuthenticator({ issuers, wall }), await token())).toBe('bad-token');
    expect(issuers[0]!.seen).toBe(0);
  });
  test('a token of one iss is not good for an issuer of another, though the key is the same', async () => {
    expect(await judged(bench({ iss: 'thingsboard.io' }).auth, await token({ iss: 'thingsboard.io' }))).toBe('user u1');
    expect(await judged(bench({ iss: 'thingsboard.io' }).auth, await token({ iss: 'thingsboard.cloud' }))).toBe('bad-token');
    const issuer = createThingsBoardIssuer({ name: 'tb', tenants: '*', signingKeys: [KEY], iss: 'thingsboard.io' });
    expect(await issuer.verify(await token({ iss: 'thingsboard.cloud' }), NOW)).toMatchObject({ problem: 'bad-token' });
  });
  test('an issuer refuses another algorithm by itself, whoever sent the token there', async () => {
    const [, payload, signature] = (await token()).split('.');
    for (const alg of ['EdDSA', 'Ed25519', 'ES256', 'PS512', 'HS256', 'none', 'dir']) {
      const header = Buffer.from(JSON.stringify({ alg })).toString('base64url');
      expect(await bench().issuer.verify(`${header}.${payload}.${signature}`, NOW), alg).toEqual({ kind: 'refused', problem: 'bad-token' });
    }
  });
  test('two that claim the same tokens are refused at the start; so are two that speak for everybody', () => {
    expect(() => createAuthenticator({ issuers: [named('a', 'x'), named('b', 'x')], wall })).toThrow(/a and b both take HS512/);
    expect(() => createAuthenticator({ issuers: [named('a', 'x', '*'), named('b', 'y', '*')], wall })).toThrow(/a and b both speak for every tenant/);
    expect(() => createAuthenticator({ issuers: [named('a', 'x', '*'), { ...named('local', 'y', '*'), external: false }], wall })).not.toThrow();
  });
  test('a fault of an issuer is a rejection, not a refusal', async () => {
    const broken: Issuer = { ...named('a', null), verify: () => Promise.reject(new Error('down')) };
    await expect(createAuthenticator({ issuers: [broken], wall }).authenticate(await token())).rejects.toThrow('down');
  });
});

describe('signing keys', () => {
  test.each<[string, string, RegExp]>([
    ['the shipped key as text', 'thingsboardDefaultSigningKey', /shipped key/],
    ['the shipped key in base64', Buffer.from('thingsboardDefaultSigningKey').toString('base64'), /shipped key/],
    ['63 bytes', Buffer.alloc(63, 1).toString('base64'), /at least 64 bytes, this has 63/],
    ['a blank inside', `${KEY.slice(0, 20)} ${KEY.slice(20)}`, /expected base64/],
    ['base64url', Buffer.alloc(64, 0xff).toString('base64url'), /expected base64/],
    ['empty', '', /expected base64/],
    ['bits beyond the last byte', `${KEY.slice(0, -3)}B==`, /expected base64/],
  ])('%s is refused', (_, text, message) => {
    expect(() => parseSigningKey(text)).toThrow(message);
    if (text.length > 30) expect(() => parseSigningKey(text)).not.toThrow(text.slice(0, 30));
  });
  test('padding may be left out, 64 bytes are enough, none at all is refused', () => {
    expect(parseSigningKey(KEY.replace(/=+$/, ''))).toEqual(new Uint8Array(64).fill(7));
    expect(() => createThingsBoardIssuer({ name: 'tb', tenants: '*', signingKeys: [] })).toThrow(/at least one key/);
    expect(() => createThingsBoardIssuer({ name: 'tb', tenants: '*', signingKeys: [KEY], clockTolerance: -1 })).toThrow(/clockTolerance/);
  });
  test('while keys are being changed either is good', async () => {
    const { auth } = bench({ keys: [OTHER, KEY] });
    expect(await judged(auth, await token())).toBe('user u1');
    expect(await judged(auth, await token({ userId: 'u2' }, {}, OTHER))).toBe('user u2');
  });
});
