// How does somebody log in as another user?
//
// By a session of that user that says who it is: short, never renewed, and good only while whoever has it may do this (semantics 5). What the
// other could do by it that outlives it (keys, links, passwords), it cannot. IMPERSONATE alone is not enough: nobody acts as a user who has more.

import type { Vocabulary } from 'policy-cache';
import { z } from 'zod';
import { askedOf, type CollectionParts } from '../admin/collections.ts';
import { changeAnswer } from '../admin/http.ts';
import { ofUser, type UserBasis } from '../admin/keys.ts';
import { coverOf } from '../admin/model.ts';
import { isActing, type Who } from '../admin/needs.ts';
import type { Action } from '../admin/perform.ts';
import { Violation } from '../admin/refusals.ts';
import type { Routes } from '../admin/route.ts';
import * as schemas from '../admin/schemas.ts';
import { beginSession, type BegunSession } from './begin.ts';

export type ActingParts = Pick<CollectionParts, 'vocabulary' | 'performer' | 'newId'>;

/** Seconds (semantics 5). */
const LONGEST = 900;
const WHAT = 'logging in as another user';

const logInAs = z
  .strictObject({ lifetime: z.int().min(1).max(LONGEST).default(LONGEST) })
  .openapi('LogInAs', { description: `How many seconds the token is good: ${LONGEST} at the most, and when left out. It is not renewed.` });
const loggedInAs = z
  .object({ accessToken: z.string(), tokenType: z.literal('Bearer'), expires: schemas.time, user: schemas.id, actor: schemas.id })
  .openapi('LoggedInAs', { description: 'Whoever sends the token is `user`, as far as `actor` may be; both are in the logs.' });

interface Wanted {
  readonly id: string;
  readonly who: Who;
  readonly lifetime: number;
}

function logInAsAction(vocabulary: Vocabulary, user: string, { id, who, lifetime }: Wanted): Action<UserBasis, BegunSession> {
  const { caller } = who;
  // Of an operator nothing comes of it: it holds no permission.
  const actor = caller.kind === 'user' ? caller.actor : '';
  return {
    name: 'user.login-as',
    ...ofUser(vocabulary, user),
    needs({ user: { owner }, grants }) {
      if (user === actor && !isActing(caller)) throw new Violation('', '5', `you are ${JSON.stringify(user)} already`);
      return [
        { kind: 'in-person', what: WHAT },
        { kind: 'not-acting', what: WHAT },
        { kind: 'may', operation: 'IMPERSONATE', resource: 'USER', target: user },
        { kind: 'scope', owner: owner ?? '' },
        ...grants.map(coverOf),
      ];
    },
    async apply(db, { user: { tenant, owner, row } }) {
      if (row['enabled'] === false) throw new Violation('', '1', `user ${JSON.stringify(user)} is disabled, and so would be whoever is logged in as it`);
      const begun = await beginSession(db, { id, tenant, user, actor, lifetime });
      return { value: begun, effects: [{ tenant, owner: owner ?? user, target: user, before: null, after: { session: begun.session } }] };
    },
  };
}

export function actingRoutes(routes: Routes, { vocabulary, performer, newId }: ActingParts): void {
  routes.add({
    method: 'post',
    path: '/v1/users/{id}/login',
    summary: 'Log in as another user (IMPERSONATE)',
    params: schemas.inPath,
    body: logInAs,
    answer: { status: 200, description: 'A token of the user, that says who has it.', schema: loggedInAs, changes: true },
    async handle({ c, params: { id: user }, body: { lifetime } }) {
      const done = await performer.perform(askedOf(c), logInAsAction(vocabulary, user, { id: newId(), who: c.get('who'), lifetime }));
      const { session, accessToken } = done.value;
      return changeAnswer({ accessToken, tokenType: 'Bearer', expires: session.expires, user, actor: session.actor }, done);
    },
  });
}
