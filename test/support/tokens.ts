// Tokens of every kind, and an authenticator with a clock that a test sets.

import { SignJWT } from 'jose';
import { createAuthenticator } from '../../src/identity.ts';
import type { Authentication, Authenticator } from '../../src/identity.ts';
import { createThingsBoardIssuer } from '../../src/issuers/thingsboard.ts';

export const KEY = Buffer.alloc(64, 7).toString('base64');
export const OTHER = Buffer.alloc(64, 9).toString('base64');
export const NOW = 1_800_000_000;

export interface Bench {
  readonly issuer: ReturnType<typeof createThingsBoardIssuer>;
  readonly auth: Authenticator;
  set(seconds: number): void;
}

export function bench(options: { keys?: readonly string[]; clockTolerance?: number; tokens?: number; iss?: string } = {}): Bench {
  let wall = NOW * 1000;
  const issuer = createThingsBoardIssuer({
    name: 'tb',
    tenants: '*',
    signingKeys: options.keys ?? [KEY],
    ...(options.iss === undefined ? {} : { iss: options.iss }),
    ...(options.clockTolerance === undefined ? {} : { clockTolerance: options.clockTolerance }),
  });
  const auth = createAuthenticator({ issuers: [issuer], wall: () => wall, tokens: options.tokens ?? 50 });
  return { issuer, auth, set: (seconds) => (wall = seconds * 1000) };
}

/** A signed token of user `u1` that is good for a minute, but for what is given. */
export function token(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}, key = KEY): Promise<string> {
  return new SignJWT({ userId: 'u1', scopes: ['TENANT_ADMIN'], exp: NOW + 60, ...claims })
    .setProtectedHeader({ alg: 'HS512', ...header })
    .sign(Buffer.from(key, 'base64'), { crit: { exotic: true } });
}

/** The verdict in a word: `kind subject`, or the problem. */
export function word(answer: Authentication): string {
  return answer.kind === 'refused' ? answer.problem : `${answer.kind} ${answer.subject}`;
}

export async function judged(auth: Authenticator, credential: string): Promise<string> {
  return word(await auth.authenticate(credential));
}
