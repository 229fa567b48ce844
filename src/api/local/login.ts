// Who logs in by this e-mail and this password? Whatever is wrong with them, it is the same answer, after the same work.

import { countAttempt, findAccount, noteLogin, readAccount, rehashPassword, welcomeUser, type Account } from 'policy-cache/postgres';
import type { Action, Effect } from '../admin/perform.ts';
import { Throttled, Unauthenticated } from '../admin/refusals.ts';
import type { Routes } from '../admin/route.ts';
import * as answers from './answers.ts';
import { beginSession, type BegunSession } from './begin.ts';
import { askedBy, placeIn, whoIs, type LocalParts, type Times } from './parts.ts';

export function badLogin(): Unauthenticated {
  return new Unauthenticated('bad-login', 'no user logs in by this e-mail and this password');
}

export interface Tried extends Account {
  readonly password: string;
  /** By what it was counted, and the network it was tried in. */
  readonly counted: string;
  readonly network: string | null;
}

/**
 * Tries a password. Counted before it is tried, by the name that was typed, whoever has it: a hundred guesses at once are no better than one after the
 * other, and a lock tells nobody who has an account.
 * @throws Throttled, Unauthenticated
 */
export async function tryPassword(
  { writer, passwords, lock }: Pick<LocalParts, 'writer' | 'passwords' | 'lock'>,
  { email, password, from }: { readonly email: string; readonly password: string; readonly from: string | null },
): Promise<Tried> {
  const place = placeIn(email, from);
  const { counted, seconds } = await writer.write((db) => countAttempt(db, { ...place, ...lock }));
  if (seconds > 0) throw new Throttled('locked', seconds, 'too many wrong passwords for this e-mail: wait, or ask for a link to set another one');
  const account = await writer.read((db) => findAccount(db, email));
  const right = await passwords.isRight(account?.password ?? null, password);
  if (!right || account === null || account.password === null) throw badLogin();
  return { ...account, password: account.password, counted, network: place.network };
}

interface Judged {
  readonly id: string;
  readonly account: Tried;
  /** In the place of the one that was judged: by today's parameters. */
  readonly rehashed: string | undefined;
  readonly times: Times;
}

/** @param judged what the password was right for: if it is another by then, it was not */
export function loginAction({ id, account, rehashed, times }: Judged): Action<Account, BegunSession> {
  const { user, tenant, email, password, changed, counted, network } = account;
  return {
    name: 'user.login',
    async read(db) {
      const now = await readAccount(db, user);
      if (now === null || now.changed !== changed || now.email !== email) throw badLogin();
      if (!now.enabled) throw disabled();
      return now;
    },
    locks: () => ({ update: [user], share: [] }),
    needs: () => [],
    async apply(db, now) {
      if (rehashed !== undefined) await rehashPassword(db, { user, from: password, to: rehashed });
      await welcomeUser(db, { user, counted, network });
      await noteLogin(db, user);
      const begun = await beginSession(db, { id, tenant, user, lifetime: times.token, idle: times.idle });
      return { value: begun, effects: [effectOf(now, null, { session: begun.session })] };
    },
  };
}

export function effectOf({ user, tenant, owner }: Pick<Account, 'user' | 'tenant' | 'owner'>, before: unknown, after: unknown): Effect {
  return { tenant, owner, target: user, before, after };
}

function disabled(): Unauthenticated {
  return new Unauthenticated('subject-disabled', 'the user is disabled: ask its administrator');
}

export function loginRoutes(routes: Routes, parts: LocalParts): void {
  const { passwords, performer, times, newId } = parts;
  routes.add({
    method: 'post',
    path: '/v1/auth/login',
    summary: 'Log in by e-mail and password',
    open: true,
    body: answers.login,
    answer: { status: 200, description: 'A session: its two tokens, told here and never again.', schema: answers.begun, changes: true },
    async handle({ c, body }) {
      return passwords.within(async () => {
        const account = await tryPassword(parts, { ...body, from: parts.networkOf(c) });
        const asked = askedBy(c, whoIs(account));
        const rehashed = passwords.isOutdated(account.password) ? await passwords.hash(body.password) : undefined;
        return answers.begunAnswer(await performer.perform(asked, loginAction({ id: newId(), account, rehashed, times })));
      });
    },
  });
}
