// Where may keys come from, and which of those that come may verify what?

import { exportJWK, generateKeyPair, generateSecret, type JWK } from 'jose';
import { describe, expect, test } from 'vitest';
import { urlProblem } from '../../src/issuers/download.ts';
import { readKeys, type Algorithm } from '../../src/issuers/jwks.ts';

describe('which addresses', () => {
  test.each<[string, boolean, RegExp | null]>([
    ['https://login.example', false, null],
    ['http://127.0.0.1:8080/realm', false, null],
    ['http://[::1]:8080', false, null],
    ['http://localhost/x', false, null],
    ['http://login.example', false, /must be https/],
    ['http://login.example', true, null],
    ['http://127.0.0.1.example', false, /must be https/],
    ['http://localhost.example', false, /must be https/],
    ['ftp://login.example', true, /must be a URL of https/],
    ['login.example', true, /must be a URL/],
    ['https://user:secret@login.example', false, /no user, password/],
    ['https://login.example/#x', false, /fragment/],
  ])('%s (insecureHttp: %s)', (text, insecure, expected) => {
    if (expected === null) expect(urlProblem(text, insecure)).toBeNull();
    else expect(urlProblem(text, insecure)).toMatch(expected);
  });
});

describe('of a key set', () => {
  const read = async (list: unknown[], algorithms: readonly Algorithm[] = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA']): Promise<string> => {
    const set = await readKeys({ keys: list }, algorithms);
    return algorithms.map((alg) => `${alg}:${set.candidates('k', alg).length}`).join(' ');
  };
  const jwk = async (alg: string, options: object = {}): Promise<JWK> => ({
    ...(await exportJWK((await generateKeyPair(alg, { extractable: true, ...options })).publicKey)),
    kid: 'k',
  });

  test('the type of a key decides what it verifies, and `alg` narrows that', async () => {
    expect(await read([await jwk('RS256')])).toBe('RS256:1 PS256:1 ES256:0 ES384:0 EdDSA:0');
    expect(await read([{ ...(await jwk('RS256')), alg: 'PS256' }])).toBe('RS256:0 PS256:1 ES256:0 ES384:0 EdDSA:0');
    expect(await read([await jwk('ES256')])).toBe('RS256:0 PS256:0 ES256:1 ES384:0 EdDSA:0');
    expect(await read([await jwk('ES384')])).toBe('RS256:0 PS256:0 ES256:0 ES384:1 EdDSA:0');
    expect(await read([await jwk('EdDSA')])).toBe('RS256:0 PS256:0 ES256:0 ES384:0 EdDSA:1');
    expect(await read([{ ...(await jwk('EdDSA')), alg: 'Ed25519' }])).toBe('RS256:0 PS256:0 ES256:0 ES384:0 EdDSA:1');
  });

  test('what is of no use does not spoil what is', async () => {
    const good = await jwk('ES256');
    const secret = { ...(await exportJWK(await generateSecret('HS256', { extractable: true }))), kid: 'k' };
    const useless: unknown[] = [
      null,
      'text',
      [],
      {},
      secret,
      { ...secret, alg: 'ES256' },
      { ...good, use: 'enc' },
      { ...good, key_ops: ['sign'] },
      { ...good, alg: 'RS256' },
      { ...good, alg: 'none' },
      { ...good, x: 'AAAA' },
      { ...good, y: 7 },
      { ...good, crv: 'constructor' },
      { ...good, crv: 'secp256k1' },
      { kty: 'OKP', crv: 'X25519', x: 'AAAA', kid: 'k' },
      { kty: 'RSA', n: Buffer.alloc(128, 255).toString('base64url'), e: 'AQAB', kid: 'k' },
    ];
    for (const each of useless) await expect(read([each]), JSON.stringify(each)).rejects.toThrow(/none of its 1 keys verifies/);
    expect(await read([...useless, good])).toBe('RS256:0 PS256:0 ES256:1 ES384:0 EdDSA:0');
  });

  test('a forged token is tried with four keys at most, though a hundred have the name', async () => {
    const many = await Promise.all(Array.from({ length: 100 }, () => jwk('ES256')));
    expect(await read(many)).toBe('RS256:0 PS256:0 ES256:4 ES384:0 EdDSA:0');
    const set = await readKeys({ keys: many.slice(0, 5) }, ['ES256']);
    expect(set.candidates(null, 'ES256')).toEqual([]);
  });

  test('a private key that somebody published is read as the public one', async () => {
    const { privateKey } = await generateKeyPair('ES256', { extractable: true });
    const set = await readKeys({ keys: [{ ...(await exportJWK(privateKey)), kid: 'k' }] }, ['ES256']);
    expect(set.candidates('k', 'ES256')[0]?.key).toMatchObject({ type: 'public', usages: ['verify'] });
  });
});
