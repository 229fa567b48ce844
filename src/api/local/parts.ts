// What do the calls of log-in share?

import type { Context } from 'hono';
import type { Account } from 'policy-cache/postgres';
import type { AdditionParts, FreshLink } from '../admin/addition.ts';
import type { Who } from '../admin/needs.ts';
import type { Asked } from '../admin/perform.ts';
import { Forbidden, Unauthenticated } from '../admin/refusals.ts';
import type { AdminEnv } from '../admin/route.ts';
import { hashOf } from '../../opaque.ts';
import type { Mailer } from './mailer.ts';
import type { Passwords } from './passwords.ts';

/** Seconds; none is longer than the next. */
export interface Times {
  readonly token: number;
  readonly idle: number;
  readonly most: number;
}

/** What guesses are counted by. */
export interface Place {
  readonly account: string;
  /** Null: nobody knows from where it comes. */
  readonly network: string | null;
}

export interface Lock {
  readonly lockAfter: number;
  /** Seconds. */
  readonly lockFor: number;
}

export interface LocalParts extends AdditionParts {
  readonly passwords: Passwords;
  readonly times: Times;
  readonly lock: Lock;
  /** Characters that a password must have. */
  readonly least: number;
  readonly newLink: () => FreshLink;
  /** Seconds for which the refresh token before is taken, too. */
  readonly leeway: number;
  /** The network that a request comes from; null: nobody knows. */
  readonly networkOf: (c: Context<AdminEnv>) => string | null;
  /** Absent: no mail is sent. */
  readonly mailer?: Mailer | undefined;
  /** Told of what went wrong where nobody waits for an answer. */
  readonly failed: (error: unknown) => void;
}

/** A user acts for itself. */
export function whoIs({ user, tenant, owner }: Pick<Account, 'user' | 'tenant' | 'owner'>): Who {
  return {
    caller: { kind: 'user', subject: user, actor: user, tenants: '*' },
    tenant,
    owner,
    judgement: { operation: '', resource: '', target: '', ruling: null },
  };
}

/** Of a request that came without a credential, now that it is known whose it is; the decision log hears of it, too. */
export function askedBy(c: Context<AdminEnv>, who: Who): Asked {
  c.set('who', who);
  return { who, ifMatch: null, requestId: (c.req.header('x-request-id') ?? '').slice(0, 200) };
}

/** By what the session of a caller is found. @throws Forbidden where it has come by something else */
export function sessionHashOf(c: Context<AdminEnv>): string {
  const { caller } = c.get('who');
  const [, token] = /^bearer (gs_\S+)$/i.exec(c.req.header('authorization') ?? '') ?? [];
  if (caller.kind !== 'user' || caller.by !== 'session' || token === undefined)
    throw new Forbidden('not-a-session', '5', 'this is for whoever has logged in here: send the access token of a session');
  return hashOf(token);
}

/** What guesses at it are counted by. As grantgate.log_in_name: by whatever keyboard, in any case. */
function loginOf(email: string): string {
  return email
    .normalize('NFC')
    .replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase())
    .normalize('NFC');
}

/** Whoever has the table of networks learns of none without the e-mail. */
export function placeIn(email: string, network: string | null): Place {
  const account = hashOf(loginOf(email));
  return { account, network: network === null ? null : hashOf(`${account} ${network}`) };
}

export function endedSession(): Unauthenticated {
  return new Unauthenticated('ended-session', 'the session has ended: log in again');
}
