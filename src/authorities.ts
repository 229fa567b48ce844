// Who is believed in this process, by its settings?
//
// Issuers of tokens, and a proxy where a listener takes its word. Each speaks for the tenants that its settings name.

import { InputError } from 'policy-cache';
import type { Clock } from 'policy-cache';
import { createBelief, type Believe } from './asserted.ts';
import type { Config } from './config.ts';
import { createAuthenticator, type Authenticator, type Authority, type Issuer } from './identity.ts';
import { createKeySource, type KeySource } from './issuers/keys.ts';
import { createOidcIssuer } from './issuers/oidc.ts';
import { createThingsBoardIssuer } from './issuers/thingsboard.ts';
import type { Log } from './log.ts';

type Settings = Config['settings'];

export interface IdentityParts {
  readonly clock: Clock;
  readonly wall: () => number;
  readonly random: () => number;
  readonly log: Log;
  /** Asked before a token is verified, with how many are. */
  readonly admit: (verifying: number) => void;
}

export interface BelievedIdentity {
  readonly authenticator: Authenticator;
  /** null: no listener believes its proxy. */
  readonly believe: Believe | null;
  /** Not started yet. */
  readonly keys: readonly KeySource[];
}

/** @throws InputError if nobody could be known, or two speak for the same */
export function createIdentity(settings: Settings, parts: IdentityParts): BelievedIdentity {
  const { identity, cache, overload } = settings;
  const keys: KeySource[] = [];
  const issuers: Issuer[] = [];
  const { signingKey, issuer, tenants, clockTolerance } = identity.thingsboard;
  if (signingKey !== undefined)
    issuers.push(
      createThingsBoardIssuer({ name: 'thingsboard', tenants, signingKeys: signingKey, iss: issuer ?? null, clockTolerance: clockTolerance / 1000 }),
    );
  for (const each of identity.oidc) {
    const source = createKeySource({ ...each, ...parts, log: (level, detail) => parts.log(level, 'keys', detail) });
    keys.push(source);
    issuers.push(createOidcIssuer({ ...each, clockTolerance: each.clockTolerance / 1000 }, source));
  }
  const proxy = proxyOf(settings);
  if (issuers.length === 0 && proxy === null && !identity.apiKeys && !identity.local.enabled)
    throw new InputError(
      'identity.thingsboard.signingKey',
      'is not set, so no token could be believed: set it to the token signing key of ThingsBoard, name an issuer in identity.oidc, or set identity.apiKeys or identity.local.enabled',
    );
  return {
    authenticator: createAuthenticator({
      issuers,
      others: proxy === null ? [] : [proxy],
      wall: parts.wall,
      tokens: cache.tokens,
      verifications: overload.verifications,
      admit: parts.admit,
    }),
    believe: proxy === null ? null : createBelief(proxy, identity.asserted.prefix ?? ''),
    keys,
  };
}

/** The proxy in front of a listener that takes its word. */
function proxyOf({ doors, grpc, identity }: Settings): Authority | null {
  if (doors.identity === 'token' && grpc.identity === 'token') return null;
  const { tenants } = identity.asserted;
  if (tenants === undefined) throw new InputError('identity.asserted.tenants', 'is not set, and a listener believes its proxy');
  return { name: 'the proxy (identity.asserted)', external: true, tenants };
}

/** Which issuers' tokens cannot be judged, in words; null: none. */
export function missingKeys(keys: readonly KeySource[]): string | null {
  const problems = keys.map(({ problem }) => problem).filter((problem) => problem !== null);
  return problems.length === 0 ? null : problems.join('; ');
}
