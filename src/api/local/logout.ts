// How does a session end, by whoever has it?

import { findSession, forgetNetworks, removeSessions, type HeldSession } from 'policy-cache/postgres';
import { askedOf } from '../admin/collections.ts';
import { changeAnswer } from '../admin/http.ts';
import type { Action } from '../admin/perform.ts';
import type { Routes } from '../admin/route.ts';
import * as answers from './answers.ts';
import { effectOf } from './login.ts';
import { endedSession, sessionHashOf, type LocalParts } from './parts.ts';

function logoutAction(hash: string, all: boolean): Action<{ readonly session: HeldSession; readonly owner: string }, number> {
  return {
    name: 'user.logout',
    async read(db, who) {
      const session = await findSession(db, { hash });
      if (session === null) throw endedSession();
      return { session, owner: who.owner };
    },
    locks: ({ session }) => ({ update: [session.user], share: [] }),
    // Else whoever has logged in as a user for a while would log it out everywhere, and needs no more than that for it.
    needs: () => (all ? [{ kind: 'not-acting', what: 'the end of all sessions of a user' }] : []),
    async apply(db, { session: { id, user, tenant }, owner }) {
      const gone = await removeSessions(db, user, all ? undefined : id);
      if (all) await forgetNetworks(db, user);
      return { value: gone.length, effects: gone.map((session) => effectOf({ user, tenant, owner }, { session }, null)) };
    },
  };
}

export function logoutRoutes(routes: Routes, { performer }: LocalParts): void {
  routes.add({
    method: 'post',
    path: '/v1/auth/logout',
    summary: 'End the session that asks, or all of its user',
    body: answers.logout,
    answer: { status: 200, description: 'Its tokens are no good any more, at every door.', schema: answers.ended, changes: true },
    async handle({ c, body: { all = false } }) {
      const done = await performer.perform(askedOf(c), logoutAction(sessionHashOf(c), all));
      return changeAnswer({ ended: done.value }, done);
    },
  });
}
