// Who asks for a change: the operator, by its secret, or a user, by a token as at the doors?

import { createHash, timingSafeEqual } from 'node:crypto';
import type { Caller } from './needs.ts';

/** What a token proves. */
export type Proved =
  | { readonly kind: 'refused'; readonly problem: string }
  | { readonly kind: 'user' | 'operator'; readonly subject: string; readonly authority: { readonly tenants: '*' | readonly string[] } };

export interface CallerParts {
  /** Secrets of the operator; none: there is no operator here. */
  readonly operator: readonly string[];
  /** As at the doors. */
  readonly authenticate: (token: string) => Proved | Promise<Proved>;
}

export type CallerProblem = { readonly problem: string };

/** Reads `Authorization`. Rejects with PolicyError where a token cannot be judged now. */
export function createCaller({ operator, authenticate }: CallerParts): (authorization: string | undefined) => Promise<Caller | CallerProblem> {
  const digests = operator.map(digest);
  return async (authorization) => {
    const [, given] = /^bearer ([A-Za-z0-9._~+/=-]+)$/i.exec(authorization ?? '') ?? [];
    if (given === undefined) return { problem: 'no-credential' };
    // Each is compared, and digests of one length: the time tells nothing.
    const asked = digest(given);
    let isOperator = false;
    for (const known of digests) if (timingSafeEqual(known, asked)) isOperator = true;
    if (isOperator) return { kind: 'operator' };
    const who = await authenticate(given);
    if (who.kind === 'refused') return who;
    // A system administrator of somebody else's is not the operator of this one.
    if (who.kind === 'operator') return { problem: 'wrong-scope' };
    return { kind: 'user', subject: who.subject, actor: who.subject, tenants: who.authority.tenants };
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
