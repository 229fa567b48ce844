// Does a token of an OpenID Connect issuer prove who it says, and no other token anything?

import { generateKeyPair } from 'jose';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostClock } from '../../src/clock.ts';
import { createAuthenticator, type Authenticator } from '../../src/identity.ts';
import { createKeySource, type KeySource } from '../../src/issuers/keys.ts';
import { createOidcIssuer, type OidcSettings } from '../../src/issuers/oidc.ts';
import { createThingsBoardIssuer } from '../../src/issuers/thingsboard.ts';
import { ALGORITHMS, startIssuer, type SigningKey, type TestIssuer } from '../support/oidc.ts';
import { KEY, judged } from '../support/tokens.ts';
import { until } from '../support/until.ts';
import { attacks } from '../support/attacks.ts';

let issuer: TestIssuer;
beforeAll(async () => void (issuer = await startIssuer(['ada'])));
afterAll(() => issuer.close());

interface Bench {
  readonly auth: Authenticator;
  readonly keys: KeySource;
}
const started: KeySource[] = [];
afterAll(() => started.forEach((each) => each.close()));

async function bench(more: Partial<OidcSettings> = {}, cooldown = 60_000): Promise<Bench> {
  const settings: OidcSettings = {
    name: 'login',
    issuer: issuer.url,
    audience: ['https://other.example', issuer.audience],
    algorithms: ['RS256', 'ES256', 'EdDSA'],
    subjectClaim: 'user_id',
    tenants: '*',
    clockTolerance: 0,
    ...more,
  };
  const keys = createKeySource({
    ...settings,
    insecureHttp: false,
    refreshInterval: 300_000,
    cooldown,
    maxKeyAge: 3_600_000,
    clock: hostClock(),
    wall: () => Date.now(),
    random: () => 1,
    log: () => undefined,
  });
  started.push(keys);
  keys.start();
  await until(() => keys.problem === null, 'keys');
  const issuers = [createOidcIssuer(settings, keys), createThingsBoardIssuer({ name: 'thingsboard', tenants: ['t'], signingKeys: [KEY] })];
  return { keys, auth: createAuthenticator({ issuers, wall: () => Date.now() }) };
}

describe('a token as the issuer issues it', () => {
  test.each(ALGORITHMS)('%s', async (alg) => {
    const { auth } = await bench();
    const token = await issuer.token('ada', alg);
    expect(JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString())).toMatchObject({ alg, typ: 'at+jwt' });
    expect(await judged(auth, token)).toBe('user ada');
    expect(auth.authenticate(token), 'kept').toMatchObject({ subject: 'ada' });
    expect(await judged((await bench({ algorithms: [alg] })).auth, token)).toBe('user ada');
    expect(await judged((await bench({ algorithms: ALGORITHMS.filter((each) => each !== alg) })).auth, token)).toBe('bad-token');
  });

  test('by whatever claim the user id is in; one that is not there, or no id, proves nobody', async () => {
    const sign = (claims: object): Promise<string> => issuer.sign({ ...issuer.claims('ada'), ...claims });
    expect(await judged((await bench({ subjectClaim: 'sub' })).auth, await issuer.token('ada'))).toBe('user ada');
    expect(await judged((await bench({ subjectClaim: 'gone' })).auth, await issuer.token('ada'))).toBe('bad-claims');
    for (const claim of ['__proto__', 'constructor', 'toString'])
      expect(await judged((await bench({ subjectClaim: claim })).auth, await sign({}))).toBe('bad-claims');
    for (const user_id of [undefined, null, '', 7, true, ['ada'], { id: 'ada' }, 'a\u0000b', 'x'.repeat(256)])
      expect(await judged((await bench()).auth, await sign({ user_id })), JSON.stringify(user_id)).toBe('bad-claims');
  });

  test('one of several audiences is enough, on either side', async () => {
    const { auth } = await bench();
    expect(await judged(auth, await issuer.sign({ ...issuer.claims('ada'), aud: ['https://x.example', issuer.audience] }))).toBe('user ada');
    expect(await judged(auth, await issuer.sign({ ...issuer.claims('ada'), aud: 'https://other.example' }))).toBe('user ada');
  });

  test.each<[string, Record<string, unknown>, string]>([
    ['typ JWT', { typ: 'JWT' }, 'user ada'],
    ['typ jwt', { typ: 'jwt' }, 'user ada'],
    ['no typ', { typ: undefined }, 'user ada'],
    ['typ application/at+jwt', { typ: 'application/at+jwt' }, 'user ada'],
    ['no kid, and one key of that algorithm', { kid: undefined }, 'user ada'],
    ['an id token by its typ', { typ: 'id+jwt' }, 'bad-token'],
    ['a logout token', { typ: 'logout+jwt' }, 'bad-token'],
  ])('%s', async (_, header, expected) => {
    expect(await judged((await bench()).auth, await issuer.sign(issuer.claims('ada'), header))).toBe(expected);
  });

  test('a clock that is off is borne as far as the settings say', async () => {
    const now = Math.floor(Date.now() / 1000);
    const late = await issuer.sign({ ...issuer.claims('ada'), exp: now - 5 });
    const early = await issuer.sign({ ...issuer.claims('ada'), nbf: now + 30 });
    const strict = await bench();
    expect([await judged(strict.auth, late), await judged(strict.auth, early)]).toEqual(['expired-token', 'early-token']);
    const lenient = await bench({ clockTolerance: 60 });
    expect([await judged(lenient.auth, late), await judged(lenient.auth, early)]).toEqual(['user ada', 'user ada']);
  });
});

describe('attacks', () => {
  test('each is refused, for its own reason, and none is kept', async () => {
    const { auth } = await bench();
    const rows = await attacks(issuer, 'ada');
    for (const { name, token, reason } of rows) expect(await judged(auth, token), name).toBe(reason);
    expect(auth.size).toBe(0);
    console.log(`oidc: ${rows.length} attacks refused: ${rows.map(({ name }) => name).join(' · ')}`);
    expect(await judged(auth, await issuer.token('ada'))).toBe('user ada');
  });

  test('each bit of the signature and of the claims flipped: never a subject', async () => {
    const { auth } = await bench();
    const token = await issuer.token('ada', 'ES256');
    let tried = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), fc.nat(7), async (at, bit) => {
        const bytes = Buffer.from(token, 'latin1');
        bytes[at] = bytes[at]! ^ (1 << bit);
        const said = await judged(auth, bytes.toString('latin1'));
        // The last character of a part has bits that mean nothing: the same bytes in another spelling are the same token.
        const [header, payload, signature] = bytes
          .toString('latin1')
          .split('.')
          .map((part) => Buffer.from(part, 'base64url').toString('hex'));
        const same =
          [header, payload, signature].join() ===
          token
            .split('.')
            .map((part) => Buffer.from(part, 'base64url').toString('hex'))
            .join();
        if (!same) {
          expect(said).toMatch(/^(bad-token|not-bearer)$/);
          tried++;
        }
      }),
      { numRuns: 500 },
    );
    expect(tried).toBeGreaterThan(400);
  });
});

describe('keys that change', () => {
  test('a published key is good, an old one as long as it is there; then its tokens are not, kept or not', async () => {
    const { auth } = await bench({}, 20);
    const old = await issuer.token('ada');
    expect(await judged(auth, old)).toBe('user ada');
    await issuer.publish();
    await issuer.switch();
    const fresh = await issuer.token('ada');
    expect(await judged(auth, fresh), 'looked for at once').toBe('user ada');
    expect(await judged(auth, old)).toBe('user ada');
    const before = issuer.fetched.keys;
    await issuer.retire();
    expect(await judged(auth, old), 'until the next fetch it is believed').toBe('user ada');
    expect(issuer.fetched.keys).toBe(before);
    const unknown = await issuer.sign(issuer.claims('ada'), { kid: 'unknown' });
    await until(async () => (await judged(auth, unknown)) === 'bad-token' && issuer.fetched.keys > before, 'a fetch, which somebody brings about');
    expect(await judged(auth, old)).toBe('bad-token');
    expect(auth.authenticate(fresh), 'still kept: only what the key that is gone proved is judged anew').toMatchObject({ subject: 'ada' });
  });

  test('a token of one key under the name of another, of the same algorithm', async () => {
    const { auth } = await bench();
    const { privateKey, publicKey } = await generateKeyPair('RS256');
    const mine: SigningKey = { ...issuer.key('RS256'), privateKey, publicKey };
    expect(await judged(auth, await issuer.sign(issuer.claims('ada'), {}, mine))).toBe('bad-token');
  });
});

describe('who is kept waiting', () => {
  const code = (error: unknown): string => (error as { code: string }).code;

  // Waves of more than may be verified at a time.
  test('a flood of forged tokens does not touch those that are kept; a new one may be refused with overload, never wrongly', { timeout: 60_000 }, async () => {
    const { auth } = await bench();
    const kept = await issuer.token('ada');
    expect(await judged(auth, kept)).toBe('user ada');
    const [header, payload] = kept.split('.');
    const words = new Map<string, number>();
    const fresh = new Map<string, number>();
    const count = (into: Map<string, number>, said: string): unknown => into.set(said, (into.get(said) ?? 0) + 1);
    for (let wave = 0; wave < 10; wave++) {
      const forged = Array.from({ length: 2_000 }, (_, i) => `${header}.${payload}.${Buffer.alloc(256, `${wave} ${i}`).toString('base64url')}`);
      const good = await issuer.sign({ ...issuer.claims('ada'), jti: wave });
      const answers = forged.map(async (each) => count(words, await judged(auth, each).catch(code)));
      expect(auth.authenticate(kept), 'in this turn').toMatchObject({ kind: 'user', subject: 'ada' });
      count(fresh, await judged(auth, good).catch(code));
      await Promise.all(answers);
      expect(await judged(auth, good)).toBe('user ada');
    }
    const shown = (of: Map<string, number>): string => [...of].map(([said, times]) => `${times} ${said}`).join(', ');
    console.log(`oidc: 20,000 forged tokens, 2,000 at once: ${shown(words)}; a kept token meanwhile: 10 of 10 good at once; a new good one: ${shown(fresh)}`);
    expect([...words.keys()].sort()).toEqual(['bad-token', 'overload']);
    for (const said of fresh.keys()) expect(['overload', 'user ada']).toContain(said);
  });

  test('a flood of unknown keys while the issuer is slow keeps no token of a known key waiting', async () => {
    const COOLDOWN = 100;
    const { auth, keys } = await bench({}, COOLDOWN);
    const fetched = performance.now();
    const good = await Promise.all(Array.from({ length: 20 }, (_, i) => issuer.sign({ ...issuer.claims('ada'), jti: i })));
    const flood = await Promise.all(Array.from({ length: 2_000 }, (_, i) => issuer.sign(issuer.claims('ada'), { kid: `made-up-${i}` }, issuer.key('ES256'))));
    await until(() => performance.now() - fetched > COOLDOWN, 'unknown keys are asked for again');
    const fetches = issuer.fetched.keys;
    let release = (): void => undefined;
    issuer.slow = new Promise((resolve) => (release = resolve));
    const answers: Promise<string>[] = [];
    let turnedAway = 0;
    for (let i = 0; i < 20; i++) {
      for (const each of flood.slice(i * 100, (i + 1) * 100))
        answers.push(
          judged(auth, each)
            .catch(code)
            .then((said) => ((turnedAway += Number(said === 'overload')), said)),
        );
      expect(await judged(auth, good[i]!)).toBe('user ada');
    }
    await until(() => issuer.fetched.keys > fetches, 'the issuer is asked');
    // Whoever is judged only when the keys are here is told by them.
    await until(() => turnedAway === 2_000 - 256, 'whoever finds no place to wait in is turned away');
    expect(issuer.fetched.keys - fetches).toBe(1);
    issuer.slow = null;
    release();
    const said = await Promise.all(answers);
    expect(said.filter((each) => each === 'bad-token')).toHaveLength(256);
    expect(said.filter((each) => each === 'overload')).toHaveLength(2_000 - 256);
    expect(keys.problem).toBeNull();
  });
});
