// Who asks for a change: the operator, by its secret, or a user, by a credential as at the doors?

import { createHash, timingSafeEqual } from 'node:crypto';
import type { Authentication } from '../../identity.ts';
import type { OpaqueTokens } from '../../opaque.ts';
import type { Caller } from './needs.ts';

export interface CallerParts {
  /** Secrets of the operator; none: there is no operator here. */
  readonly operator: readonly string[];
  /** Judges a signed token, as at the doors. */
  readonly authenticate: (token: string) => Authentication | Promise<Authentication>;
  /** Judges API keys and tokens of sessions, in the newest state: a change by one that has ended may be no change. Absent: none is taken. */
  readonly opaque?: OpaqueTokens;
}

export type CallerProblem = { readonly problem: string };

/** Reads `Authorization`. Rejects with PolicyError where a token cannot be judged now. */
export function createCaller({ operator, authenticate, opaque }: CallerParts): (authorization: string | undefined) => Promise<Caller | CallerProblem> {
  const digests = operator.map(digest);
  return async (authorization) => {
    const [, given] = /^bearer ([A-Za-z0-9._~+/=-]+)$/i.exec(authorization ?? '') ?? [];
    if (given === undefined) return { problem: 'no-credential' };
    // Each is compared, and digests of one length: the time tells nothing.
    const asked = digest(given);
    let isOperator = false;
    for (const known of digests) if (timingSafeEqual(known, asked)) isOperator = true;
    if (isOperator) return { kind: 'operator' };
    const kind = opaque?.kindOf(given, 0) ?? null;
    const who = await (kind === null || opaque === undefined ? authenticate(given) : opaque.authenticate(given, 0, { kind, atLeast: 'latest' }));
    if (who.kind === 'refused') return who;
    // A system administrator of somebody else's is not the operator of this one.
    if (who.kind === 'operator') return { problem: 'wrong-scope' };
    const { subject, actor, authority } = who;
    return { kind: 'user', subject, actor: actor || subject, tenants: authority.tenants, ...(kind === null ? {} : { by: kind }) };
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
