// Is this an access token of ThingsBoard, and whose?
//
// ThingsBoard signs with HS512; the key is the *decoded* form of its base64 setting `tokenSigningKey` (JwtTokenFactory.java,
// v4.3.1.3). Of the claims only `userId` and `scopes` are read: tenant, customer and groups come from the database by user id,
// for a token goes on naming an owner that has changed. One algorithm, fixed here and never taken from the token.
// Of jose only the parts are loaded that are used: 12 modules of 46, at every start.

import { JWSSignatureVerificationFailed } from 'jose/errors';
import { SignJWT } from 'jose/jwt/sign';
import { jwtVerify } from 'jose/jwt/verify';
import { InputError, parseId } from 'policy-cache';
import { refused } from '../identity.ts';
import type { Grounds, Issuer, Proof } from '../identity.ts';
import { refusal } from './refusal.ts';

const ALGORITHM = 'HS512';
/** RFC 7518 3.2: a key at least as long as the hash output. */
const MIN_KEY_BYTES = 64;
/** What ThingsBoard ships; whoever reads its source can sign with it. */
const DEFAULT_KEY = 'thingsboardDefaultSigningKey';
/** Three base64url words. 64 signature bytes have one spelling only: 86 characters, the last with four zero bits. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]{85}[AQgw]$/;
/** Scopes of people of a tenant. */
const USER_SCOPES: readonly unknown[] = ['TENANT_ADMIN', 'CUSTOMER_USER'];
const OPERATOR_SCOPE = 'SYS_ADMIN';

export interface ThingsBoardSettings {
  readonly name: string;
  readonly tenants: readonly string[] | '*';
  /** `tokenSigningKey` as ThingsBoard has it, in base64. More than one while a key is being changed; any of them is good. */
  readonly signingKeys: readonly string[];
  /** `iss` that a token must name; null (default): none is asked for, as ThingsBoard itself does. */
  readonly iss?: string | null;
  /** Seconds that `exp` and `nbf` may be off; default 0. */
  readonly clockTolerance?: number;
  /** False for tokens that this service signs itself; default true. */
  readonly external?: boolean;
}

export interface ThingsBoardIssuer extends Issuer {
  /** Takes other keys from now on; tokens proved with the former ones are judged anew. @throws InputError */
  rotate(signingKeys: readonly string[]): void;
}

/** @throws InputError naming the setting that is wrong */
export function createThingsBoardIssuer(settings: ThingsBoardSettings): ThingsBoardIssuer {
  const { name, tenants, iss = null, clockTolerance = 0, external = true } = settings;
  if (!(clockTolerance >= 0 && clockTolerance <= 300)) throw new InputError('clockTolerance', `0 to 300 seconds, got ${clockTolerance}`);
  let current = { keys: parseSigningKeys(settings.signingKeys), grounds: { withdrawn: false } };

  const verify = async (token: string, now: number): Promise<Proof> => {
    if (!COMPACT.test(token)) return refused('bad-token');
    const { keys, grounds } = current;
    for (const key of keys) {
      try {
        const { payload, protectedHeader } = await jwtVerify(token, key, {
          algorithms: [ALGORITHM],
          requiredClaims: ['exp'],
          clockTolerance,
          currentDate: new Date(now * 1000),
          ...(iss === null ? {} : { issuer: iss }),
        });
        const { crit, typ }: { crit?: unknown; typ?: unknown } = protectedHeader;
        if (crit !== undefined) return refused('bad-token');
        if (typ !== undefined && (typeof typ !== 'string' || typ.toUpperCase() !== 'JWT')) return refused('bad-token');
        return proof(payload, clockTolerance, grounds);
      } catch (thrown) {
        if (thrown instanceof JWSSignatureVerificationFailed) continue;
        return refusal(thrown);
      }
    }
    return refused('bad-token');
  };

  return {
    name,
    external,
    tenants,
    iss,
    verify,
    algorithms: [ALGORITHM],
    rotate(signingKeys) {
      const { grounds } = current;
      current = { keys: parseSigningKeys(signingKeys), grounds: { withdrawn: false } };
      grounds.withdrawn = true;
    },
  };
}

/** The claims of a token whose signature and times are good. */
function proof(claims: Readonly<Record<string, unknown>>, tolerance: number, grounds: Grounds): Proof {
  const { userId, scopes, exp, nbf } = claims;
  if (!Array.isArray(scopes) || scopes.length === 0 || typeof exp !== 'number') return refused('bad-claims');
  const operator = scopes.every((scope) => scope === OPERATOR_SCOPE);
  if (!operator && !scopes.every((scope) => USER_SCOPES.includes(scope))) return refused('wrong-scope');
  try {
    const subject = parseId(userId, 'userId');
    const from = typeof nbf === 'number' ? nbf - tolerance : -Infinity;
    return { kind: operator ? 'operator' : 'user', subject, from, until: exp + tolerance, grounds };
  } catch (thrown) {
    if (thrown instanceof InputError) return refused('bad-claims');
    throw thrown;
  }
}

function parseSigningKeys(texts: readonly string[]): readonly Uint8Array[] {
  if (texts.length === 0) throw new InputError('signingKeys', 'at least one key; it is `tokenSigningKey` of the JWT settings in ThingsBoard');
  return texts.map((text, i) => parseSigningKey(text, texts.length === 1 ? 'signingKey' : `signingKeys[${i}]`));
}

/**
 * A signing key from its base64 text. The text itself never gets into an error.
 * @throws InputError if it is not base64, too short, or the key that everybody knows
 */
export function parseSigningKey(text: string, field = 'signingKey'): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  if (text === DEFAULT_KEY || bytes.toString('latin1') === DEFAULT_KEY)
    throw new InputError(
      field,
      `this is ThingsBoard's shipped key (${DEFAULT_KEY}), which everybody knows; set a random one there and here (openssl rand -base64 64)`,
    );
  // Node's decoder skips what it does not know; a key with a typing error would then be another key.
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.replace(/=+$/, '') !== bytes.toString('base64').replace(/=+$/, ''))
    throw new InputError(field, 'expected base64 (A-Z, a-z, 0-9, +, /, = at the end), as ThingsBoard shows it');
  if (bytes.length < MIN_KEY_BYTES)
    throw new InputError(field, `${ALGORITHM} needs a key of at least ${MIN_KEY_BYTES} bytes, this has ${bytes.length} (openssl rand -base64 64)`);
  return new Uint8Array(bytes);
}

/** What `signToken` puts into a token. Times are seconds. */
export interface TokenClaims {
  readonly userId: string;
  readonly scope: 'TENANT_ADMIN' | 'CUSTOMER_USER' | 'SYS_ADMIN' | 'REFRESH_TOKEN';
  readonly issuedAt: number;
  readonly lifetime: number;
  /** `iss`; ThingsBoard's own default is `thingsboard.io`. */
  readonly issuer?: string;
  /** `sub`: the login name. */
  readonly email?: string;
  readonly tenantId?: string;
  readonly customerId?: string;
}

/** An access token in ThingsBoard's shape, for `grantgate token`, the demo and tests. @throws InputError for a bad key or user id */
export async function signToken(signingKey: string, claims: TokenClaims): Promise<string> {
  const key = parseSigningKey(signingKey);
  const { userId, scope, issuedAt, lifetime, issuer = 'thingsboard.io', email = userId, tenantId, customerId } = claims;
  return new SignJWT({
    userId: parseId(userId, 'userId'),
    scopes: [scope],
    enabled: true,
    isPublic: false,
    ...(tenantId === undefined ? {} : { tenantId }),
    ...(customerId === undefined ? {} : { customerId }),
  })
    .setProtectedHeader({ alg: ALGORITHM })
    .setSubject(email)
    .setIssuer(issuer)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + lifetime)
    .sign(key);
}
