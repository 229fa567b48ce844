// Where is a user logged in, and how does that end?
//
// Everybody sees and ends its own sessions, among them those that it has as others, and that others have as it; those of another user are as its
// keys are (keys.ts). Not by an API key, nor by a session as somebody else: whoever has got hold of one does not shut its user out.

import type { Vocabulary } from 'policy-cache';
import { forgetNetworks, readSessions, removeSessions, type StoredSession } from 'policy-cache/postgres';
import { z } from 'zod';
import { askedOf, type CollectionParts } from '../admin/collections.ts';
import { changeAnswer } from '../admin/http.ts';
import { ofUser, writing, type UserBasis } from '../admin/keys.ts';
import { readOne } from '../admin/model.ts';
import { isActing, type Who } from '../admin/needs.ts';
import type { Action } from '../admin/perform.ts';
import { NotFound } from '../admin/refusals.ts';
import type { Routes } from '../admin/route.ts';
import * as schemas from '../admin/schemas.ts';
import { reply } from '../problems.ts';

export type SessionParts = Pick<CollectionParts, 'vocabulary' | 'writer' | 'authority' | 'performer'>;

/** They are listed in one piece: 50 of the user (begin.ts), and with each other one as whom it has logged in, or who has as it. */
const MOST_SHOWN = 1_000;

const session = z
  .object({
    id: schemas.id,
    user: schemas.id,
    actor: schemas.id.optional().openapi({ description: 'Who has logged in as the user.' }),
    created: schemas.time,
    renewed: schemas.time.optional(),
    expires: schemas.time.openapi({ description: 'Of its access token.' }),
    ends: schemas.time.openapi({ description: 'Unless it is renewed before.' }),
  })
  .openapi('Session');
const sessions = z.object({ items: z.array(session) }).openapi('Sessions');
const sessionInPath = z.object({ id: schemas.id, session: schemas.id });

function isHimself({ caller }: Who, user: string): boolean {
  return caller.kind === 'user' && caller.subject === user && !isActing(caller) && caller.by !== 'key';
}

/** `id`: of this one alone. */
function endSessionsAction(vocabulary: Vocabulary, user: string, id?: string): Action<UserBasis, number> {
  const { needs, ...judged } = ofUser(vocabulary, user);
  return {
    name: 'user.session.end',
    ...judged,
    needs: (basis, who) => (isHimself(who, user) ? [] : needs(basis, who)),
    async apply(db, { user: { tenant, owner } }) {
      const gone = await removeSessions(db, user, id);
      // Who is logged out everywhere may have been somebody else.
      if (id === undefined) await forgetNetworks(db, user);
      if (id !== undefined && gone.length === 0) throw new NotFound(`user ${JSON.stringify(user)} has no session ${JSON.stringify(id)}`);
      const effects = gone.map((before: StoredSession) => ({ tenant, owner: owner ?? user, target: user, before: { session: before }, after: null }));
      return { value: gone.length, effects };
    },
  };
}

export function sessionRoutes(routes: Routes, { vocabulary, writer, authority, performer }: SessionParts): void {
  routes.add({
    method: 'get',
    path: '/v1/users/{id}/sessions',
    summary: "A user's sessions: those that it has as others, and that others have as it, too",
    params: schemas.inPath,
    answer: { status: 200, description: 'The newest first, none that has ended.', schema: sessions },
    async handle({ c, params: { id } }) {
      const who = c.get('who');
      const { user, items } = await writer.read(async (db) => ({
        user: await readOne(db, who, { list: 'users', id }),
        items: await readSessions(db, id, MOST_SHOWN),
      }));
      if (!isHimself(who, id)) await authority.require(who, [writing(vocabulary, user)]);
      return reply({ items });
    },
  });
  routes.add({
    method: 'delete',
    path: '/v1/users/{id}/sessions',
    summary: 'Log a user out everywhere',
    params: schemas.inPath,
    answer: { status: 200, description: 'How many have ended.', schema: schemas.removedCount, changes: true },
    async handle({ c, params: { id } }) {
      const done = await performer.perform(askedOf(c), endSessionsAction(vocabulary, id));
      return changeAnswer({ removed: done.value }, done);
    },
  });
  routes.add({
    method: 'delete',
    path: '/v1/users/{id}/sessions/{session}',
    summary: 'End a session',
    params: sessionInPath,
    answer: { status: 200, description: 'It has ended.', schema: schemas.removedCount, changes: true },
    async handle({ c, params: { id, session: one } }) {
      const done = await performer.perform(askedOf(c), endSessionsAction(vocabulary, id, one));
      return changeAnswer({ removed: done.value }, done);
    },
  });
}
