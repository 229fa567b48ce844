// Is this an access token of an OpenID Connect issuer for us, and whose?
//
// Issuer, audience and algorithms are the configuration's, keys those that the issuer publishes, and all that a token says of
// itself is which of them to take. Of its claims one is read: who it is. Tenant and groups come from the database.

import { decodeProtectedHeader } from 'jose/decode/protected_header';
import { JWSSignatureVerificationFailed } from 'jose/errors';
import { jwtVerify } from 'jose/jwt/verify';
import { InputError, parseId } from 'policy-cache';
import { refused } from '../identity.ts';
import type { Grounds, Issuer, Proof } from '../identity.ts';
import type { Algorithm } from './jwks.ts';
import type { KeySource } from './keys.ts';
import { refusal } from './refusal.ts';

export interface OidcSettings {
  readonly name: string;
  readonly issuer: string;
  /** A token must be for one of them. */
  readonly audience: readonly string[];
  readonly algorithms: readonly Algorithm[];
  readonly subjectClaim: string;
  readonly tenants: readonly string[] | '*';
  /** Seconds that `exp` and `nbf` may be off. */
  readonly clockTolerance: number;
}

const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const MAX_KID = 256;
/** RFC 9068 2.1 for access tokens, RFC 7519 5.1 for the rest; RFC 7515 4.1.9 lets `application/` be left out. */
const TYPES: readonly unknown[] = [undefined, 'jwt', 'application/jwt', 'at+jwt', 'application/at+jwt'];
/** By these a token would bring its own key, or say where to get it. `crit`: something that we must understand, and understand none. */
const FOREIGN_KEYS = ['crit', 'jwk', 'jku', 'x5u', 'x5c'];

export function createOidcIssuer(settings: OidcSettings, keys: KeySource): Issuer {
  const { name, issuer, audience, algorithms, subjectClaim, tenants, clockTolerance } = settings;

  const verify = async (token: string, now: number): Promise<Proof> => {
    const asked = keyAsked(token, algorithms);
    if (asked === null) return refused('bad-token');
    const found = keys.find(asked.kid, asked.alg);
    if (found.kind === 'none') return refused('bad-token');
    if (found.kind === 'later') return found;
    for (const { key, grounds } of found.keys) {
      try {
        const { payload } = await jwtVerify(token, key, {
          algorithms: [asked.alg],
          issuer,
          audience: [...audience],
          requiredClaims: ['exp'],
          clockTolerance,
          currentDate: new Date(now * 1000),
        });
        return proof(payload, { subjectClaim, tolerance: clockTolerance, until: found.until, grounds });
      } catch (thrown) {
        if (thrown instanceof JWSSignatureVerificationFailed) continue;
        return refusal(thrown);
      }
    }
    return refused('bad-token');
  };

  return {
    name,
    external: true,
    tenants,
    algorithms,
    iss: issuer,
    verify,
  };
}

/** What the header of a token says of its key; null if there is anything in it that we do not take. */
function keyAsked(token: string, algorithms: readonly Algorithm[]): { alg: Algorithm; kid: string | null } | null {
  if (!COMPACT.test(token)) return null;
  let header: Readonly<Record<string, unknown>>;
  try {
    header = { ...decodeProtectedHeader(token) };
  } catch {
    return null;
  }
  const { kid = null, typ } = header;
  const alg = algorithms.find((each) => each === header['alg']);
  if (alg === undefined || FOREIGN_KEYS.some((field) => Object.hasOwn(header, field))) return null;
  if (!TYPES.includes(typeof typ === 'string' ? typ.toLowerCase() : typ)) return null;
  return kid === null || (typeof kid === 'string' && kid.length <= MAX_KID) ? { alg, kid } : null;
}

/** The claims of a token whose signature, issuer, audience and times are good. It is believed no longer than its key. */
function proof(claims: Readonly<Record<string, unknown>>, by: { subjectClaim: string; tolerance: number; until: number; grounds: Grounds }): Proof {
  const { exp, nbf } = claims;
  const subject = Object.hasOwn(claims, by.subjectClaim) ? claims[by.subjectClaim] : undefined;
  if (typeof exp !== 'number') return refused('bad-claims');
  try {
    const from = typeof nbf === 'number' ? nbf - by.tolerance : -Infinity;
    return { kind: 'user', subject: parseId(subject, by.subjectClaim), from, until: Math.min(exp + by.tolerance, by.until), grounds: by.grounds };
  } catch (thrown) {
    if (thrown instanceof InputError) return refused('bad-claims');
    throw thrown;
  }
}
