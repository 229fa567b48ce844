// May this caller ask the api at all?
//
// `Authorization` identifies the application that asks, never the user it asks about: with a key of its own it may ask about
// everybody, so a user's token must never open it (AuthZEN, section 9 of its security considerations).

import { createHash, timingSafeEqual } from 'node:crypto';
import type { Context, Env, MiddlewareHandler } from 'hono';
import { problem } from './problems.ts';

export interface CallerSettings {
  /** None: nobody may. */
  readonly keys: readonly string[];
  /** Told once, if somebody asks and there is no key at all. */
  readonly keyless?: (() => void) | undefined;
}

export type RequireKey = <E extends Env>(refused?: (c: Context<E>, code: 'no-key' | 'bad-key') => void) => MiddlewareHandler<E>;

/** Middleware that lets callers with a key pass and answers 401 to all others, before it reads a body. */
export function callers({ keys, keyless }: CallerSettings): RequireKey {
  const digests = keys.map(digest);
  let told = false;
  const isKey = (given: string): boolean => {
    const asked = digest(given);
    // Every key is compared, and digests of one length: the time tells neither which key was nearest nor how much of it was right.
    let found = false;
    for (const known of digests) if (timingSafeEqual(known, asked)) found = true;
    return found;
  };
  return (refused) => async (c, next) => {
    const [, given] = /^bearer ([A-Za-z0-9._~+/=-]+)$/i.exec(c.req.header('authorization') ?? '') ?? [];
    if (given !== undefined && isKey(given)) return next();
    if (keys.length === 0 && !told) {
      told = true;
      keyless?.();
    }
    const code = given === undefined ? 'no-key' : 'bad-key';
    refused?.(c, code);
    return problem({
      status: 401,
      code,
      detail: given === undefined ? 'send Authorization: Bearer and a key of this api, once' : 'the key is not one of this api',
      headers: { 'www-authenticate': 'Bearer realm="grantgate"' },
    });
  };
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
