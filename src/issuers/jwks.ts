// Which keys does a JWK set hold that may verify a token, and under which algorithm each?
//
// The type of a key decides what it may verify, and the issuer's list narrows that: a token chooses among what is left and adds
// nothing (proxies 3.4). Of a key only its public members are read, and a symmetric one is none: whoever reads the set could sign.

import { calculateJwkThumbprint } from 'jose/jwk/thumbprint';
import { importJWK } from 'jose/key/import';
import type { CryptoKey } from 'jose';

/** What an issuer may be configured with. Never a symmetric one: its keys are public. */
export const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

export interface Keys {
  /** By a text for each key and what it may verify: two sets with the same texts are the same set. */
  readonly grounds: ReadonlyMap<string, KeyGrounds>;
  /** Is there a key of this name, whatever it verifies? */
  has(kid: string): boolean;
  /** Keys that a token with this algorithm may be signed with. `kid` null: it names none. */
  candidates(kid: string | null, alg: string): readonly VerifyingKey[];
}

/** Of one key, for as long as it is in every set that follows; whoever holds the sets withdraws it. */
export interface KeyGrounds {
  withdrawn: boolean;
}

export interface VerifyingKey {
  readonly key: CryptoKey;
  readonly grounds: KeyGrounds;
}

interface Key {
  readonly kid: string | null;
  readonly id: string;
  readonly grounds: KeyGrounds;
  readonly by: ReadonlyMap<string, VerifyingKey>;
}

/** More are not looked at. The largest public sets hold about ten. */
const MAX_KEYS = 100;
/** Each forged token is tried with all of its candidates. */
const MAX_CANDIDATES = 4;

const RSA: readonly Algorithm[] = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
const CURVES: Readonly<Record<string, readonly Algorithm[]>> = { 'P-256': ['ES256'], 'P-384': ['ES384'], 'P-521': ['ES512'] };
const ED25519: readonly Algorithm[] = ['EdDSA', 'Ed25519'];

/**
 * `before`: the grounds of the set that this one follows.
 * @throws Error if it is no JWK set, or no key in it is of use: an issuer without a key is one that is broken, not one that has none
 */
export async function readKeys(parsed: unknown, algorithms: readonly Algorithm[], before?: Keys['grounds']): Promise<Keys> {
  const list = isRecord(parsed) ? parsed['keys'] : undefined;
  if (!Array.isArray(list)) throw new Error('the answer is no JWK set ({ "keys": [ … ] })');
  const read = await Promise.all(list.slice(0, MAX_KEYS).map(async (jwk: unknown) => (isRecord(jwk) ? readKey(jwk, algorithms, before) : null)));
  // A key that is published twice is one: the grounds of the other would be in no set, and would never be withdrawn.
  const keys = [...new Map(read.filter((key) => key !== null).map((key) => [key.id, key])).values()];
  if (keys.length === 0) throw new Error(`none of its ${list.length} keys verifies ${algorithms.join(', ')}`);
  return {
    grounds: new Map(keys.map(({ id, grounds }) => [id, grounds])),
    has: (kid) => keys.some((key) => key.kid === kid),
    candidates(kid, alg) {
      if (kid !== null) return keys.flatMap((key) => (key.kid === kid ? (key.by.get(alg) ?? []) : [])).slice(0, MAX_CANDIDATES);
      const any = keys.flatMap(({ by }) => by.get(alg) ?? []);
      return any.length <= MAX_CANDIDATES ? any : [];
    },
  };
}

/** null: not a key that we have a use for. One that is broken is none either, and does not spoil those beside it. */
async function readKey(jwk: Readonly<Record<string, unknown>>, allowed: readonly Algorithm[], before: Keys['grounds'] | undefined): Promise<Key | null> {
  const { kid, use, alg, key_ops: operations } = jwk;
  if ((use !== undefined && use !== 'sig') || (Array.isArray(operations) && !operations.includes('verify'))) return null;
  const shape = shapeOf(jwk);
  if (shape === null) return null;
  const algorithms = shape.algorithms.filter((each) => allowed.includes(each) && (alg === undefined || alg === each || (isEdwards(alg) && isEdwards(each))));
  if (algorithms.length === 0) return null;
  try {
    const name = typeof kid === 'string' ? kid : null;
    const id = JSON.stringify([name, await calculateJwkThumbprint(shape.members), ...algorithms]);
    const grounds = before?.get(id) ?? { withdrawn: false };
    const by = new Map<string, VerifyingKey>();
    for (const each of algorithms) {
      const key = await importJWK(shape.members, each);
      if (!(key instanceof Uint8Array)) by.set(each, { key, grounds });
    }
    return { kid: name, id, grounds, by };
  } catch {
    return null;
  }
}

interface Shape {
  readonly members: { readonly kty: string } & Readonly<Record<string, string>>;
  readonly algorithms: readonly Algorithm[];
}

function shapeOf({ kty, crv, x, y, n, e }: Readonly<Record<string, unknown>>): Shape | null {
  switch (kty) {
    case 'RSA': // below 2048 bits jose refuses to verify, as RFC 7518 3.3 asks
      return typeof n === 'string' && typeof e === 'string' && Buffer.from(n, 'base64url').length >= 256 ? { members: { kty, n, e }, algorithms: RSA } : null;
    case 'EC': {
      const algorithms = typeof crv === 'string' && Object.hasOwn(CURVES, crv) ? CURVES[crv] : undefined;
      return algorithms && typeof crv === 'string' && typeof x === 'string' && typeof y === 'string' ? { members: { kty, crv, x, y }, algorithms } : null;
    }
    case 'OKP':
      return crv === 'Ed25519' && typeof x === 'string' ? { members: { kty, crv, x }, algorithms: ED25519 } : null;
    default:
      return null;
  }
}

/** Two names of one algorithm (RFC 8037, RFC 9864). */
function isEdwards(alg: unknown): boolean {
  return alg === 'EdDSA' || alg === 'Ed25519';
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
