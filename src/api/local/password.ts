// How does a user change its password? By the one it has: a session that somebody has left open is not enough.

import {
  findSession,
  forgetNetworks,
  putCredential,
  readAccount,
  removeActivation,
  removeOtherSessions,
  welcomeUser,
  type Account,
  type HeldSession,
} from 'policy-cache/postgres';
import { askedOf } from '../admin/collections.ts';
import { changeAnswer } from '../admin/http.ts';
import type { Action } from '../admin/perform.ts';
import { Violation } from '../admin/refusals.ts';
import type { Routes } from '../admin/route.ts';
import * as answers from './answers.ts';
import { badLogin, effectOf, tryPassword, type Tried } from './login.ts';
import { endedSession, sessionHashOf, type LocalParts } from './parts.ts';
import { passwordProblem } from './passwords.ts';

interface Basis {
  readonly session: HeldSession;
  readonly account: Account;
}

interface Chosen {
  /** Of the session that asks. */
  readonly hash: string;
  /** That the current password was right for. */
  readonly judged: Tried;
  readonly password: string;
}

function passwordAction({ hash, judged, password }: Chosen): Action<Basis, number> {
  const { user, tenant, email, counted, network } = judged;
  return {
    name: 'user.password',
    async read(db) {
      const [session, account] = [await findSession(db, { hash }), await readAccount(db, user)];
      if (session === null || session.user !== user) throw endedSession();
      if (account === null || account.changed !== judged.changed || account.email !== email) throw badLogin();
      return { session, account };
    },
    locks: () => ({ update: [user], share: [] }),
    needs: () => [],
    async apply(db, { session, account }) {
      await putCredential(db, { user, tenant, email, password });
      // Whoever has got in with the old password has made its network known.
      await forgetNetworks(db, user);
      await welcomeUser(db, { user, counted, network });
      await removeActivation(db, user);
      const ended = (await removeOtherSessions(db, user, session.id)).length;
      return { value: ended, effects: [effectOf(account, null, { password: 'changed', ended })] };
    },
  };
}

export function passwordRoutes(routes: Routes, parts: LocalParts): void {
  const { passwords, performer, writer, authority, least } = parts;
  routes.add({
    method: 'post',
    path: '/v1/auth/password',
    summary: 'Change your password; your other sessions end',
    body: answers.passwordChange,
    answer: { status: 200, description: 'It is changed.', schema: answers.ended, changes: true },
    async handle({ c, body: { current, password } }) {
      const who = c.get('who');
      const hash = sessionHashOf(c);
      await authority.require(who, [{ kind: 'not-acting', what: 'a password' }]);
      const session = await writer.read((db) => findSession(db, { hash }));
      const own = session === null ? null : await writer.read((db) => readAccount(db, session.user));
      if (own === null) throw endedSession();
      const problem = await passwordProblem(password, { least, email: own.email });
      if (problem !== null) throw new Violation('password', '5', problem);
      return passwords.within(async () => {
        const judged = await tryPassword(parts, { email: own.email, password: current, from: parts.networkOf(c) });
        if (judged.user !== own.user) throw badLogin();
        const done = await performer.perform(askedOf(c), passwordAction({ hash, judged, password: await passwords.hash(password) }));
        return changeAnswer({ ended: done.value }, done);
      });
    },
  });
}
