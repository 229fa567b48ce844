// How does a session go on? Its refresh token is used once, for the next pair; shown again, somebody else has it too, and the session ends (RFC 9700, 4.14.2).
//
// But not within a moment: whoever has lost the answer asks again, and two windows of one browser ask at once. Each is answered with a pair of its own, and
// ends the pair of the answer before: there is one good refresh token of a session, and one access token. Who has the other pair is refused by any door, and
// by the renewal that it asks for then, and both are out, if that was no moment ago.

import { findSession, readAccount, removeSessions, renewSession, type Account, type Statements } from 'policy-cache/postgres';
import type { Action } from '../admin/perform.ts';
import { Unauthenticated } from '../admin/refusals.ts';
import type { Routes } from '../admin/route.ts';
import { newAccessToken } from '../../opaque.ts';
import * as answers from './answers.ts';
import type { BegunSession } from './begin.ts';
import { effectOf } from './login.ts';
import { askedBy, endedSession, whoIs, type LocalParts } from './parts.ts';
import { newRefreshToken, readRefreshToken } from './secrets.ts';

/** Not its tokens: that it was renewed meanwhile is no reason to begin again. */
interface Basis {
  readonly id: string;
  readonly account: Account;
}

type Shown = NonNullable<ReturnType<typeof readRefreshToken>>;

async function readBasis(db: Statements, { familyHash }: Shown): Promise<Basis> {
  const session = await findSession(db, { family: familyHash });
  const account = session === null ? null : await readAccount(db, session.user);
  if (session === null || account === null || session.ended || !account.enabled) throw endedSession();
  return { id: session.id, account };
}

/** Null: another refresh token is good by now, and has been for a while. */
function renewAction(shown: Shown, { times, leeway }: Pick<LocalParts, 'times' | 'leeway'>): Action<Basis, BegunSession | null> {
  return {
    name: 'user.session.renew',
    // Else whoever asks again does so by a token that was used, and the session ends.
    toldOnce: true,
    read: (db) => readBasis(db, shown),
    locks: ({ account }) => ({ update: [account.user], share: [] }),
    needs: () => [],
    async apply(db, { id, account }) {
      const session = await findSession(db, { family: shown.familyHash });
      if (session === null) throw endedSession();
      const again = session.refresh !== shown.hash;
      if (again && !session.lately.includes(shown.hash)) return { value: null, effects: [] };
      const { text: accessToken, hash } = newAccessToken();
      const next = newRefreshToken(shown.family);
      const { token: lifetime, idle, most } = times;
      const renewed = await renewSession(db, { id, shown: shown.hash, hash, lifetime, refresh: next.hash, idle, most, leeway });
      if (renewed === null) throw endedSession();
      const effect = effectOf(account, { session: { id } }, { session: renewed, ...(again ? { again } : {}) });
      return { value: { session: renewed, accessToken, refreshToken: next.text }, effects: [effect] };
    },
  };
}

function reusedAction(shown: Shown): Action<Basis, null> {
  return {
    name: 'user.session.reused',
    read: (db) => readBasis(db, shown),
    locks: ({ account }) => ({ update: [account.user], share: [] }),
    needs: () => [],
    async apply(db, { id, account }) {
      const gone = await removeSessions(db, account.user, id);
      return { value: null, effects: gone.map((each) => effectOf(account, { session: each }, null)) };
    },
  };
}

export function refreshRoutes(routes: Routes, { writer, performer, times, leeway }: LocalParts): void {
  routes.add({
    method: 'post',
    path: '/v1/auth/refresh',
    summary: 'Renew a session: the tokens before are no good any more',
    open: true,
    body: answers.refresh,
    answer: {
      status: 200,
      description: 'Its next two tokens. For a moment the one that was sent renews it again; then these are no good any more.',
      schema: answers.begun,
      changes: true,
    },
    async handle({ c, body: { refreshToken } }) {
      const shown = readRefreshToken(refreshToken);
      if (shown === null) throw endedSession();
      const { account } = await writer.read((db) => readBasis(db, shown));
      const asked = askedBy(c, whoIs(account));
      const { value, revision } = await performer.perform(asked, renewAction(shown, { times, leeway }));
      if (value !== null) return answers.begunAnswer({ value, revision });
      await performer.perform(asked, reusedAction(shown));
      throw new Unauthenticated('reused-token', 'this refresh token was used before: the session has ended, log in again');
    },
  });
}
