// Who presented this API key, or this token of a session?
//
// Either is a prefix and 32 random bytes, and says nothing by itself. What is asked for is its SHA-256, and what knows it is the cache of the
// database, as it knows users and grants: so one that is taken away is refused as soon as any other change is seen, and nothing of it is kept
// here. One that is unknown, dead or expired takes the way of a good one to the end. When it expires is judged by the wall clock, as of a signed token.

import { hash, randomBytes } from 'node:crypto';
import type { CheckOptions, KeyHolder, PolicyCache } from 'policy-cache';
import { refused } from './identity.ts';
import type { Authentication, Authority } from './identity.ts';
import type { AtLeast } from './pdp.ts';

/** `key`: of an API key, `session`: the access token of a session. */
export type OpaqueKind = 'key' | 'session';

export interface OpaqueTokens {
  /** What the text behind its first `skip` characters would be, by how it begins; null: none of what is taken here. */
  kindOf(text: string, skip: number): OpaqueKind | null;
  /** True if API keys are taken. */
  readonly keys: boolean;
  /**
   * Judges all of the text behind its first `skip` characters, as one of that kind. One in memory is answered in this turn, in the state that is asked for.
   * @throws PolicyError, or rejects with it, where it cannot be known
   */
  authenticate(
    text: string,
    skip: number,
    as: { readonly kind: OpaqueKind; readonly atLeast: AtLeast | null; readonly trace?: object | undefined },
  ): Authentication | Promise<Authentication>;
}

export interface OpaqueSettings {
  readonly cache: Pick<PolicyCache, 'key'>;
  /** Milliseconds since 1970. */
  readonly wall: () => number;
  /** Which kinds are taken. */
  readonly kinds: { readonly key: boolean; readonly session: boolean };
  /** Milliseconds that one may wait; default 100. */
  readonly deadline?: number;
  /** Asked before one is read from the database, with how many are being read; what it throws refuses it. */
  readonly admit?: (reading: number) => void;
}

/** Ours, so each speaks for every tenant: whose it is says the database. */
const AUTHORITIES: Readonly<Record<OpaqueKind, Authority>> = {
  key: { name: 'API keys', external: false, tenants: '*' },
  session: { name: 'identity.local', external: false, tenants: '*' },
};

/** All secrets of ours begin with `g` and a letter of their kind; of these two kinds are credentials at a door. */
const PREFIXES = { key: 'gg_', session: 'gs_' } as const;
/** 32 bytes in base64url, the last digit of which has 4 bits of them. */
const SECRET = /^g[gs]_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

const REFUSALS = {
  key: { unknown: refused('bad-key'), expired: refused('expired-key') },
  session: { unknown: refused('ended-session'), expired: refused('expired-token') },
} as const;

export interface Secret {
  readonly text: string;
  readonly hash: string;
}

/** From the source of secrets of this machine, and no other: it is no parameter. */
export function newSecret(prefix: string): Secret {
  const text = prefix + randomBytes(32).toString('base64url');
  return { text, hash: hashOf(text) };
}

export function newApiKey(): { readonly key: string; readonly hash: string } {
  const { text: key, hash: digest } = newSecret(PREFIXES.key);
  return { key, hash: digest };
}

export function newAccessToken(): Secret {
  return newSecret(PREFIXES.session);
}

/** By what a secret is kept and found: SHA-256, in hexadecimal digits. It is random, so nothing slower is called for. */
export function hashOf(secret: string): string {
  return hash('sha256', secret, 'hex');
}

export function createOpaqueTokens({ cache, wall, kinds, deadline = 100, admit }: OpaqueSettings): OpaqueTokens {
  let reading = 0;
  const begin = (): void => admit?.(reading);
  const plain: CheckOptions = { deadline, admit: begin };

  const ask = (kind: OpaqueKind, digest: string, options: CheckOptions): Authentication | Promise<Authentication> => {
    const judge = (holder: KeyHolder | null): Authentication => {
      if (holder === null) return REFUSALS[kind].unknown;
      const { user, actor, expires } = holder;
      if (wall() >= expires) return REFUSALS[kind].expired;
      return { kind: 'user', subject: user, actor, authority: AUTHORITIES[kind], expires: Math.floor(expires / 1000), again: () => ask(kind, digest, plain) };
    };
    const found = cache.key(digest, options);
    if (!(found instanceof Promise)) return judge(found);
    reading++;
    return found.finally(() => reading--).then(judge);
  };

  return {
    kindOf(text, skip) {
      if (kinds.key && text.startsWith(PREFIXES.key, skip)) return 'key';
      return kinds.session && text.startsWith(PREFIXES.session, skip) ? 'session' : null;
    },
    keys: kinds.key,
    authenticate(text, skip, { kind, atLeast, trace }) {
      const secret = text.slice(skip);
      if (!secret.startsWith(PREFIXES[kind]) || !SECRET.test(secret)) return REFUSALS[kind].unknown;
      return ask(kind, hashOf(secret), atLeast === null && trace === undefined ? plain : { deadline, admit: begin, atLeast: atLeast ?? undefined, trace });
    },
  };
}
