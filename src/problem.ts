// How can a check end, in words that every door, log and metric shares?
//
// One table maps a verdict to the wire (contract, section 5). A deny is a value; "cannot decide" is the fifth verdict, never a deny.

import { PolicyError } from 'policy-cache';
import type { PolicyErrorCode, Reason } from 'policy-cache';
import type { CheckReport } from './report.ts';
import type { UnmappedReason } from './routes.ts';

export type Verdict = CheckReport['verdict'];

/** Why no credential was accepted. */
export type CredentialProblem =
  /** Neither `Authorization` nor `X-Authorization`, or an empty one. */
  | 'no-credential'
  /** More than one value in the two headers together. */
  | 'many-credentials'
  /** Not `Bearer`, one space, and one token68 word. */
  | 'not-bearer'
  | 'token-too-long'
  /** Not a signed token of a configured issuer: shape, algorithm, key, signature, header parameters. */
  | 'bad-token'
  /** Not an API key, or nobody's (any more). */
  | 'bad-key'
  | 'expired-key'
  /** The token of a session that has ended, or never was. */
  | 'ended-session'
  | 'expired-token'
  | 'early-token'
  /** A claim is missing or not of its type. */
  | 'bad-claims'
  /** Proved, but not for this use: a refresh token, or one from before the second factor. */
  | 'wrong-scope'
  /** Proved, but meant for another service. */
  | 'wrong-audience'
  /** The subject that a listener's proxy vouches for is no user id, or not of the form that was agreed on. */
  | 'bad-subject'
  /** A cookie's token, from a page of an origin that the route does not name. */
  | 'foreign-origin'
  /** The subject is of a tenant that the issuer does not speak for. */
  | 'foreign-tenant';

/** Why a request is refused at the door, before any route is looked for. */
export type RequestProblem =
  /** The request target is not one of a door. */
  | 'no-door'
  /** A contract header is absent or empty. */
  | 'missing-header'
  /** A contract header that is to hold a URL holds something else. */
  | 'bad-url'
  /** A contract header came twice, or in a spelling that some server reads as the same name. */
  | 'repeated-header'
  /** A header by which some applications replace the method. */
  | 'method-override'
  /** The token of a check is neither a revision nor `latest`. */
  | 'bad-revision'
  /** The door's parameters and the route table ask for different things. */
  | 'contradiction';

export type Unavailable = PolicyErrorCode | 'internal';

/** Every word that can stand for the outcome of a check. `public`, `authenticated`: the route asks for no more than that. */
export type OutcomeReason = Reason | 'public' | 'authenticated' | CredentialProblem | RequestProblem | UnmappedReason | Unavailable;

/** Status of each verdict at an HTTP door. Allow is 200 and nothing else: some proxies take no other 2xx. */
export const HTTP_STATUS: Readonly<Record<Verdict, 200 | 401 | 403 | 503>> = Object.freeze({
  permit: 200,
  deny: 403,
  unmapped: 403,
  unauthenticated: 401,
  unavailable: 503,
});

/** The code of anything thrown: ours, or `internal` for what should not have happened. */
export function unavailableCode(thrown: unknown): Unavailable {
  return thrown instanceof PolicyError ? thrown.code : 'internal';
}
