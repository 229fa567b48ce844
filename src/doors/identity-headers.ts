// Who goes with an allow, and in which headers? The same for every door (rule 8 of the contract's section 3.0).

import type { Outcome } from '../authorize.ts';

export const IDENTITY = ['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer', 'X-Authz-Decision-Id'] as const;

/** By which Envoy says that a check failed and the request was let through. A client's own copy passes while that switch is off. */
export const FAILED_OPEN = 'x-envoy-auth-failure-mode-allowed';

const NAMES: ReadonlySet<string> = new Set([...IDENTITY.map((name) => name.toLowerCase()), FAILED_OPEN]);
const LENGTHS = Uint8Array.from({ length: Math.max(...[...NAMES].map((name) => name.length)) + 1 }, (_, length) =>
  [...NAMES].some((name) => name.length === length) ? 1 : 0,
);
const X = 0x78; // with which all of them begin

/**
 * The values of IDENTITY, in its order, each a header's value. All are empty on a public route, which asked for nobody.
 * @throws RangeError for a decision id that is none: ours are printable, and gRPC has nobody below who would look
 */
export function identityValues({ subject, tenant, customer, decisionId, reason }: Outcome): readonly [string, string, string, string] {
  if (!/^[!-~]*$/.test(decisionId)) throw new RangeError('a decision id has other characters than printable ones');
  return [headerValue(subject), headerValue(tenant), headerValue(customer), reason === 'public' ? '' : decisionId];
}

/** May a name of this length with this first byte be one of them, or another spelling? */
export function mayBeIdentity(length: number, first: number): boolean {
  return (first | 0x20) === X && LENGTHS[length] === 1;
}

/** Is it one of these headers in another spelling (`X_Auth_User`, `X.Auth.User`, `X~Auth~User`), as which some application would read it? */
export function isIdentityAlias(name: string): boolean {
  return /[^A-Za-z0-9-]/.test(name) && NAMES.has(name.toLowerCase().replace(/[^a-z0-9-]/g, '-'));
}

/**
 * An id as a header value: as it is if it is printable ASCII, else its UTF-8 bytes percent-encoded. A `%` and a blank at either end
 * count as not printable: two ids never have one value.
 */
export function headerValue(id: string): string {
  if (/^(?:[!-$&-~](?:[ -$&-~]*[!-$&-~])?)?$/.test(id)) return id;
  return Buffer.from(id, 'utf8').reduce(
    (text, byte) => text + (byte > 0x20 && byte < 0x7f && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`),
    '',
  );
}
