// Who presented this API key?
//
// A key is `gg_` and 32 random bytes. What is asked for is its SHA-256, and what knows it is the cache of the database, as it knows
// users and grants: so a key that is taken away is refused as soon as any other change is seen, and nothing of it is kept here. One that
// is unknown, dead or expired takes the way of a good one to the end. When it expires is judged by the wall clock, as a token is.

import { hash, randomBytes } from 'node:crypto';
import type { CheckOptions, KeyHolder, PolicyCache } from 'policy-cache';
import { refused } from './identity.ts';
import type { Authentication, Authority } from './identity.ts';
import type { AtLeast } from './pdp.ts';

export interface ApiKeys {
  /**
   * Judges a key: all of the text behind its first `skip` characters. One in memory is answered in this turn, in the state that is asked for.
   * @throws PolicyError, or rejects with it, where it cannot be known
   */
  authenticate(
    text: string,
    skip: number,
    at: { readonly atLeast: AtLeast | null; readonly trace?: object | undefined },
  ): Authentication | Promise<Authentication>;
}

export interface ApiKeysSettings {
  readonly cache: Pick<PolicyCache, 'key'>;
  /** Milliseconds since 1970. */
  readonly wall: () => number;
  /** Milliseconds that one may wait; default 100. */
  readonly deadline?: number;
  /** Asked before a key is read from the database, with how many are being read; what it throws refuses the key. */
  readonly admit?: (reading: number) => void;
}

/** Ours, so it speaks for every tenant: whose key it is says the database. */
const AUTHORITY: Authority = { name: 'API keys', external: false, tenants: '*' };

export const KEY_PREFIX = 'gg_';
/** 32 bytes in base64url, the last digit of which has 4 bits of them. */
const KEY = /^gg_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

/** From the source of secrets of this machine, and no other: it is no parameter. */
export function newApiKey(): { readonly key: string; readonly hash: string } {
  const key = KEY_PREFIX + randomBytes(32).toString('base64url');
  return { key, hash: hashOf(key) };
}

/** By what a key is kept and found. */
function hashOf(key: string): string {
  return hash('sha256', key, 'hex');
}

export function createApiKeys({ cache, wall, deadline = 100, admit }: ApiKeysSettings): ApiKeys {
  let reading = 0;
  const begin = (): void => admit?.(reading);
  const plain: CheckOptions = { deadline, admit: begin };

  const ask = (digest: string, options: CheckOptions): Authentication | Promise<Authentication> => {
    const judge = (holder: KeyHolder | null): Authentication => {
      if (holder === null) return refused('bad-key');
      const { user, expires } = holder;
      if (wall() >= expires) return refused('expired-key');
      return { kind: 'user', subject: user, authority: AUTHORITY, expires: Math.floor(expires / 1000), again: () => ask(digest, plain) };
    };
    const found = cache.key(digest, options);
    if (!(found instanceof Promise)) return judge(found);
    reading++;
    return found.finally(() => reading--).then(judge);
  };

  return {
    authenticate(text, skip, { atLeast, trace }) {
      const key = text.slice(skip);
      if (!KEY.test(key)) return refused('bad-key');
      return ask(hashOf(key), atLeast === null && trace === undefined ? plain : { deadline, admit: begin, atLeast: atLeast ?? undefined, trace });
    },
  };
}
