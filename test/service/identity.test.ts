// Does a token prove what it says, to the second, and nothing else?
//
// The cached answer is held against a fresh one at every moment around exp, nbf and a change of keys; every attack of the class
// is a row of one table; bit flips and splices must never give another subject.
import fc from 'fast-check';
import { SignJWT, UnsecuredJWT, base64url, exportSPKI, generateKeyPair } from 'jose';
import { describe, expect, test } from 'vitest';
import { createAuthenticator } from '../../src/identity.ts';
import type { Issuer } from '../../src/identity.ts';
import { createThingsBoardIssuer, signToken } from '../../src/issuers/thingsboard.ts';
import { bench, judged, KEY, NOW, OTHER, token, word } from '../support/tokens.ts';

test('an access token proves its user; the second time in the same turn', async () => {
  const { auth } = bench();
  const credential = await signToken(KEY, { userId: 'u1', scope: 'CUSTOMER_USER', issuedAt: NOW, lifetime: 60 });
  const first = auth.authenticate(credential);
  expect(first).toBeInstanceOf(Promise);
  expect(await first).toMatchObject({ kind: 'user', subject: 'u1', expires: NOW + 60 });
  const second = auth.authenticate(credential);
  expect(second).not.toBeInstanceOf(Promise);
  expect(second).toMatchObject({ kind: 'user', subject: 'u1' });
  expect({ hits: auth.hits, misses: auth.misses, size: auth.size }).toEqual({ hits: 1, misses: 1, size: 1 });
});

test('claims in the token other than the user and the scopes are not believed, nor asked for', async () => {
  const { auth } = bench();
  const answer = await auth.authenticate(await token({ tenantId: 'another', customerId: 'x', enabled: false, sub: 'u2' }));
  expect(Object.keys(answer).sort()).toEqual(['authority', 'expires', 'kind', 'subject']);
  expect(word(answer)).toBe('user u1');
});

describe('scopes', () => {
  test.each<[unknown, string]>([
    [['TENANT_ADMIN'], 'user u1'],
    [['CUSTOMER_USER'], 'user u1'],
    [['TENANT_ADMIN', 'CUSTOMER_USER'], 'user u1'],
    [['SYS_ADMIN'], 'operator u1'],
    [['REFRESH_TOKEN'], 'wrong-scope'],
    [['PRE_VERIFICATION_TOKEN'], 'wrong-scope'],
    [['MFA_CONFIGURATION_TOKEN'], 'wrong-scope'],
    [['TENANT_ADMIN', 'REFRESH_TOKEN'], 'wrong-scope'],
    [['SYS_ADMIN', 'TENANT_ADMIN'], 'wrong-scope'],
    [['tenant_admin'], 'wrong-scope'],
    [[['TENANT_ADMIN']], 'wrong-scope'],
    [[null], 'wrong-scope'],
    [[], 'bad-claims'],
    ['TENANT_ADMIN', 'bad-claims'],
    [undefined, 'bad-claims'],
    [{ 0: 'TENANT_ADMIN', length: 1 }, 'bad-claims'],
  ])('%j: %s', async (scopes, expected) => {
    expect(await judged(bench().auth, await token({ scopes }))).toBe(expected);
  });
});

describe('the subject is an id of semantics 1.1, or there is none', () => {
  test.each<[string, unknown, string]>([
    ['missing', undefined, 'bad-claims'],
    ['null', null, 'bad-claims'],
    ['empty', '', 'bad-claims'],
    ['array', ['u1'], 'bad-claims'],
    ['number', 17, 'bad-claims'],
    ['object', { toString: 'u1' }, 'bad-claims'],
    ['true', true, 'bad-claims'],
    ['256 bytes', 'x'.repeat(256), 'bad-claims'],
    ['4 kB', 'x'.repeat(4000), 'bad-claims'],
    ['control', 'u\u00001', 'bad-claims'],
    ['newline', 'u1\n', 'bad-claims'],
    ['C1 control', 'u\u00851', 'bad-claims'],
    ['lone surrogate', 'u\ud800', 'bad-claims'],
    ['UUID', '13814000-1dd2-11b2-8080-808080808080', 'user 13814000-1dd2-11b2-8080-808080808080'],
    ['255 bytes', 'x'.repeat(255), `user ${'x'.repeat(255)}`],
    ['beyond ASCII', 'Ж|$:', 'user Ж|$:'],
  ])('%s', async (_, userId, expected) => {
    expect(await judged(bench().auth, await token({ userId }))).toBe(expected);
  });
  test('10 kB', async () => {
    expect(await judged(bench().auth, await token({ userId: 'x'.repeat(10_000) }))).toBe('token-too-long');
  });
});

describe('attacks', () => {
  const rsa = generateKeyPair('RS256', { extractable: true });
  const b64 = (value: unknown): string => base64url.encode(JSON.stringify(value));
  const claims = { userId: 'u1', scopes: ['TENANT_ADMIN'], exp: NOW + 60 };
  const signed = (header: Record<string, unknown>, alg: string, key: Uint8Array): Promise<string> =>
    new SignJWT(claims).setProtectedHeader({ ...header, alg }).sign(key);
  /** Header and payload of one's own with the true key's signature over another token. */
  const relabelled = async (header: unknown): Promise<string> => `${b64(header)}.${(await token()).split('.').slice(1).join('.')}`;

  test.each<[string, () => Promise<string> | string, string?]>([
    ['alg none', () => new UnsecuredJWT(claims).encode()],
    ['alg none, with a signature', async () => relabelled({ alg: 'none' })],
    ['alg None', async () => relabelled({ alg: 'None' })],
    ['HS256 with the same key', () => signed({}, 'HS256', Buffer.from(KEY, 'base64'))],
    ['HS384 with the same key', () => signed({}, 'HS384', Buffer.from(KEY, 'base64'))],
    ['wrong key', () => token({}, {}, OTHER)],
    ['the base64 text as the key', () => signed({}, 'HS512', Buffer.from(KEY, 'latin1'))],
    ['RS256', async () => new SignJWT(claims).setProtectedHeader({ alg: 'RS256' }).sign((await rsa).privateKey)],
    ['HS512 with a public key as the secret', async () => signed({}, 'HS512', Buffer.from(await exportSPKI((await rsa).publicKey)))],
    ['alg in lower case', () => relabelled({ alg: 'hs512' })],
    ['no alg', () => relabelled({})],
    ['alg a list', () => relabelled({ alg: ['HS512'] })],
    ['header of another token', () => relabelled({ alg: 'HS512', kid: '../../dev/null' })],
    ['critical extension', () => token({}, { crit: ['exotic'], exotic: 1 })],
    ['critical b64', () => token({}, { crit: ['b64'], b64: true })],
    ['typ of another kind', () => token({}, { typ: 'at+jwt' })],
    ['typ not a string', () => token({}, { typ: 17 })],
    ['no exp', () => token({ exp: undefined }), 'bad-claims'],
    ['exp a text', () => token({ exp: '1800000060' }), 'bad-claims'],
    ['nbf a text', () => token({ nbf: '1' }), 'bad-claims'],
    ['expired', () => token({ exp: NOW }), 'expired-token'],
    ['not yet valid', () => token({ nbf: NOW + 1 }), 'early-token'],
    ['refresh', () => signToken(KEY, { userId: 'u1', scope: 'REFRESH_TOKEN', issuedAt: NOW, lifetime: 60 }), 'wrong-scope'],
    ['five parts', async () => `${await token()}.x.y`],
    ['two parts', async () => (await token()).split('.').slice(0, 2).join('.')],
    ['doubled dots', async () => (await token()).replace('.', '..')],
    ['leading dot', async () => `.${await token()}`],
    ['dot at the end', async () => `${await token()}.`],
    ['padding', async () => `${await token()}==`],
    ['standard alphabet', async () => (await tokenWith(/[-_]/)).replaceAll('-', '+').replaceAll('_', '/')],
    ['other bits after the signature', async () => spelling(await token())],
    ['payload no JSON', () => sealed('{"alg":"HS512"}', 'userId=u1')],
    ['payload a list', () => sealed('{"alg":"HS512"}', '[]')],
    ['payload null', () => sealed('{"alg":"HS512"}', 'null')],
    ['payload not UTF-8', () => sealed('{"alg":"HS512"}', Buffer.from([0x7b, 0xff, 0x7d]))],
    ['header no JSON', () => sealed('alg=HS512', JSON.stringify(claims))],
    ['header null', () => sealed('null', JSON.stringify(claims))],
    ['empty', () => '', 'not-bearer'],
    ['dots', () => '..'],
    ['8193 characters', () => 'x'.repeat(8193), 'token-too-long'],
  ])('%s', async (_, forge, expected = 'bad-token') => {
    const { auth } = bench();
    expect(await judged(auth, await forge())).toBe(expected);
    expect(auth.size).toBe(0);
  });

  test('each attack differs from a good token only in what it names', async () => {
    expect(await judged(bench().auth, await token({}, { typ: 'JWT' }))).toBe('user u1');
    expect(await judged(bench().auth, await sealed('{"alg":"HS512"}', JSON.stringify(claims)))).toBe('user u1');
    expect(await judged(bench().auth, await tokenWith(/[-_]/))).toBe('user u1');
  });

  /** A token whose signature has a character that matches. */
  async function tokenWith(pattern: RegExp): Promise<string> {
    for (let jti = 0; ; jti++) {
      const candidate = await token({ jti: String(jti) });
      if (pattern.test(candidate.split('.')[2]!)) return candidate;
    }
  }
  /** The same signature bytes, spelled otherwise: the last character has four bits that mean nothing. */
  function spelling(good: string): string {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const other = good.slice(0, -1) + alphabet[alphabet.indexOf(good.at(-1)!) + 1]!;
    expect(Buffer.from(other.split('.')[2]!, 'base64url')).toEqual(Buffer.from(good.split('.')[2]!, 'base64url'));
    return other;
  }
});

/** Any header and payload bytes, truly signed with the issuer's key. */
async function sealed(header: string, payload: string | Uint8Array): Promise<string> {
  const input = `${base64url.encode(header)}.${base64url.encode(payload)}`;
  const key = await crypto.subtle.importKey('raw', Buffer.from(KEY, 'base64'), { name: 'HMAC', hash: 'SHA-512' }, false, ['sign']);
  return `${input}.${base64url.encode(new Uint8Array(await crypto.subtle.sign('HMAC', key, Buffer.from(input))))}`;
}

test('each bit of a token flipped, parts of two spliced: never a subject', async () => {
  const { auth } = bench();
  const [mine, theirs] = [await token(), await token({ userId: 'u2', exp: NOW + 61 })];
  const allowed = new Map([
    [mine, 'user u1'],
    [theirs, 'user u2'],
  ]);
  const parts = [mine.split('.'), theirs.split('.')] as const;
  const forged: string[] = [];
  for (let i = 0; i < 8; i++) forged.push([parts[i & 1]![0], parts[(i >> 1) & 1]![1], parts[(i >> 2) & 1]![2]].join('.'));
  const bytes = Buffer.from(mine, 'latin1');
  for (let at = 0; at < bytes.length; at++)
    for (let bit = 0; bit < 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[at] = flipped[at]! ^ (1 << bit);
      forged.push(flipped.toString('latin1'));
    }
  let tried = 0;
  for (const credential of forged) {
    const verdict = await judged(auth, credential);
    const genuine = allowed.get(credential);
    if (genuine !== undefined) expect(verdict).toBe(genuine);
    else {
      expect(verdict).toMatch(/^(bad-token|not-bearer)$/);
      tried++;
    }
  }
  expect(tried).toBeGreaterThan(8 * mine.length);
  expect(auth.size).toBeLessThanOrEqual(2);
});

test('no string crashes it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string(),
        fc.string({ unit: 'binary' }),
        fc.tuple(fc.base64String(), fc.base64String(), fc.base64String()).map((parts) => parts.join('.')),
      ),
      async (text) => {
        expect(await judged(bench().auth, text)).toBe(/^[\w\-.~+/]+=*$/.test(text) ? 'bad-token' : 'not-bearer');
      },
    ),
    { numRuns: 500 },
  );
});

describe('a cached answer is a fresh one', () => {
  // One authenticator keeps what it proved; beside it a new one judges the same token from nothing.
  test.each([0, 2])('at every half second around exp and nbf, in any order, tolerance %i s', async (clockTolerance) => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: -8, max: 28 }), { minLength: 1, maxLength: 40 }), async (steps) => {
        const credential = await token({ nbf: NOW, exp: NOW + 10 });
        const kept = bench({ clockTolerance });
        for (const step of steps) {
          const fresh = bench({ clockTolerance });
          for (const each of [kept, fresh]) each.set(NOW + step / 2);
          expect(await judged(kept.auth, credential)).toBe(await judged(fresh.auth, credential));
        }
      }),
      { numRuns: 60 },
    );
  });

  test('whichever keys there are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ keys: fc.constantFrom([KEY], [OTHER], [KEY, OTHER], [OTHER, KEY]), rotate: fc.boolean(), mine: fc.boolean() }), {
          minLength: 1,
          maxLength: 30,
        }),
        async (steps) => {
          const credentials = { mine: await token(), theirs: await token({ userId: 'u2' }, {}, OTHER) };
          const kept = bench();
          let keys: readonly string[] = [KEY];
          for (const step of steps) {
            if (step.rotate) kept.issuer.rotate((keys = step.keys));
            const credential = step.mine ? credentials.mine : credentials.theirs;
            expect(await judged(kept.auth, credential)).toBe(await judged(bench({ keys }).auth, credential));
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test('a hit looks at the clock and at the keys: the last second, the next, and after a rotation', async () => {
    const { auth, issuer, set } = bench();
    const credential = await token({ exp: NOW + 10 });
    await auth.authenticate(credential);
    set(NOW + 9.999);
    expect(auth.authenticate(credential)).toMatchObject({ subject: 'u1' });
    set(NOW + 10);
    expect(await judged(auth, credential)).toBe('expired-token');
    set(NOW + 5);
    await auth.authenticate(credential);
    issuer.rotate([OTHER]);
    expect(await judged(auth, credential)).toBe('bad-token');
  });

  test('tolerance is given to both ends, to a kept token as to a new one', async () => {
    const credential = await token({ nbf: NOW, exp: NOW + 10 });
    for (const [at, expected] of [
      [-3, 'early-token'],
      [-2, 'user u1'],
      [11, 'user u1'],
      [12, 'expired-token'],
    ] as const) {
      const { auth, set } = bench({ clockTolerance: 2 });
      set(NOW + at);
      expect(await judged(auth, credential)).toBe(expected);
      expect(await judged(auth, credential)).toBe(expected);
      expect(auth.hits).toBe(expected === 'user u1' ? 1 : 0);
    }
  });

  test('a token that ends while it is being verified: expired', async () => {
    const { auth, set } = bench();
    const pending = auth.authenticate(await token());
    set(NOW + 60);
    expect(word(await pending)).toBe('expired-token');
    expect(auth.size).toBe(0);
  });

  test('keys that change while a token is being verified: judged by the new ones', async () => {
    const { auth, issuer } = bench();
    const credential = await token();
    const pending = auth.authenticate(credential);
    issuer.rotate([OTHER]);
    expect(word(await pending)).toBe('bad-token');
    expect(auth.size).toBe(0);
  });
});

test('the cache is bounded, and forged tokens neither enter it nor push a good one out', async () => {
  const { auth } = bench({ tokens: 3 });
  const good = await Promise.all([1, 2, 3].map((jti) => token({ jti: String(jti) })));
  for (const credential of good) await auth.authenticate(credential);
  for (let i = 0; i < 300; i++) await auth.authenticate(await token({ jti: String(i) }, {}, OTHER));
  expect(auth.size).toBe(3);
  for (const credential of good) expect(auth.authenticate(credential)).not.toBeInstanceOf(Promise);
  await auth.authenticate(await token({ jti: '4' }));
  expect(auth.size).toBe(3);
});

test('verifications under way are bounded: beyond that it cannot decide', async () => {
  const open: (() => void)[] = [];
  const slow: Issuer = {
    name: 'slow',
    external: true,
    tenants: '*',
    algorithms: ['HS512'],
    iss: null,
    verify: () =>
      new Promise((resolve) => void open.push(() => resolve({ kind: 'user', subject: 'u1', from: 0, until: NOW + 1, grounds: { withdrawn: false } }))),
  };
  const auth = createAuthenticator({ issuers: [slow], wall: () => NOW * 1000, verifications: 2, tokens: 5 });
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((jti) => token({ jti })));
  const first = [auth.authenticate(a!), auth.authenticate(b!)];
  await expect(auth.authenticate(c!)).rejects.toMatchObject({ code: 'overload' });
  for (const release of open) release();
  for (const proof of first) expect(word(await proof)).toBe('user u1');
  const third = auth.authenticate(c!);
  open.at(-1)!();
  expect(word(await third)).toBe('user u1');
});

test('one token in many checks at once is verified once, and what it was found to be is told to all', async () => {
  let asked = 0;
  const counting = (key: string): Issuer => {
    const issuer = createThingsBoardIssuer({ name: 'tb', tenants: '*', signingKeys: [key] });
    return {
      ...issuer,
      verify(credential, now) {
        asked++;
        return issuer.verify(credential, now);
      },
    };
  };
  for (const [key, expected] of [
    [KEY, 'user u1'],
    [OTHER, 'bad-token'],
  ] as const) {
    asked = 0;
    const auth = createAuthenticator({ issuers: [counting(key)], wall: () => NOW * 1000, verifications: 2 });
    const credential = await token();
    const found = await Promise.all(Array.from({ length: 300 }, () => auth.authenticate(credential)));
    expect(new Set(found.map(word))).toEqual(new Set([expected]));
    expect(asked).toBe(1);
    expect(word(await auth.authenticate(credential))).toBe(expected);
    expect(asked).toBe(expected === 'bad-token' ? 2 : 1);
  }
});

test('characters are bounded too', async () => {
  const credential = await token();
  const issuer = createThingsBoardIssuer({ name: 'tb', tenants: '*', signingKeys: [KEY] });
  const auth = createAuthenticator({ issuers: [issuer], wall: () => NOW * 1000, characters: credential.length * 2 + 1 });
  for (let i = 0; i < 9; i++) await auth.authenticate(await token({ jti: String(i) }));
  expect(auth.size).toBeLessThanOrEqual(2);
  expect(auth.size).toBeGreaterThan(0);
});
