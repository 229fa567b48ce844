// How does a user come by an API key, and how does one end?
//
// Whoever has a key is its user, so to give one out is to take the user over: WRITE on the user and *covers the user* (semantics 5),
// also to end one, as with its other credentials. The key is in one answer and nowhere else; what is stored, and audited, does not open anything.

import type { Vocabulary } from 'policy-cache';
import { insertKey, readKeys, removeKey, type StoredGrant, type StoredKey, type StoredObject } from 'policy-cache/postgres';
import { grantsOfUser, groupsOfUser } from './change.ts';
import { askedOf, type CollectionParts } from './collections.ts';
import { changeAnswer } from './http.ts';
import { coverOf, readOne, resourceOf } from './model.ts';
import type { Need } from './needs.ts';
import type { Action, Effect } from './perform.ts';
import { NotFound, Violation } from './refusals.ts';
import type { Routes } from './route.ts';
import * as schemas from './schemas.ts';
import { reply } from '../problems.ts';

/** A key, and what is kept of it. */
export interface FreshKey {
  readonly key: string;
  readonly hash: string;
}

export interface KeyParts extends Pick<CollectionParts, 'vocabulary' | 'writer' | 'authority' | 'performer' | 'newId'> {
  readonly newKey: () => FreshKey;
}

/** They are listed in one piece. */
const MOST_KEYS = 100;
const QUARTER = 90 * 86_400;

export interface UserBasis {
  readonly user: StoredObject;
  readonly grants: readonly StoredGrant[];
}

/** What all of them are judged on, and by: whoever can change what opens for a user could be that user (semantics 5). */
export function ofUser(vocabulary: Vocabulary, id: string): Pick<Action<UserBasis, never>, 'read' | 'locks' | 'needs'> {
  return {
    async read(db, who) {
      const user = await readOne(db, who, { list: 'users', id });
      return { user, grants: await grantsOfUser(db, user) };
    },
    locks: ({ user }) => ({ update: [id], share: groupsOfUser(user) }),
    needs: ({ user, grants }) => [writing(vocabulary, user), { kind: 'scope', owner: user.owner ?? '' }, ...grants.map(coverOf)],
  };
}

export function writing(vocabulary: Vocabulary, user: StoredObject): Need {
  return { kind: 'may', operation: 'WRITE', resource: resourceOf(vocabulary, user), target: user.id };
}

interface Wanted {
  readonly id: string;
  readonly hash: string;
  readonly createdBy: string;
  readonly name?: string | undefined;
  readonly expires?: string | undefined;
  readonly lifetime?: number | undefined;
}

export function createKeyAction(vocabulary: Vocabulary, user: string, wanted: Wanted): Action<UserBasis, StoredKey> {
  return {
    name: 'user.key.create',
    ...ofUser(vocabulary, user),
    needs: (basis, who) => [{ kind: 'not-acting', what: 'an API key' }, ...ofUser(vocabulary, user).needs(basis, who)],
    async apply(db, basis) {
      const { tenant } = basis.user;
      if ((await readKeys(db, user)).length >= MOST_KEYS) throw new Violation('', '5', `${JSON.stringify(user)} has ${MOST_KEYS} keys; take one away first`);
      const made = await insertKey(db, { ...wanted, tenant, user, lifetime: wanted.lifetime ?? QUARTER });
      if (made === null) throw new Violation('expires', '5', 'is not in the future');
      return { value: made, effects: [effectOf(basis, null, made)] };
    },
  };
}

export function removeKeyAction(vocabulary: Vocabulary, user: string, id: string): Action<UserBasis, number> {
  return {
    name: 'user.key.delete',
    ...ofUser(vocabulary, user),
    async apply(db, basis) {
      const gone = await removeKey(db, { user, id });
      if (gone === null) throw new NotFound(`user ${JSON.stringify(user)} has no key ${JSON.stringify(id)}`);
      return { value: 1, effects: [effectOf(basis, gone, null)] };
    },
  };
}

function effectOf({ user }: UserBasis, before: StoredKey | null, after: StoredKey | null): Effect {
  return { tenant: user.tenant, owner: user.owner ?? user.id, target: user.id, before: before && { key: before }, after: after && { key: after } };
}

export function keyRoutes(routes: Routes, { vocabulary, writer, authority, performer, newId, newKey }: KeyParts): void {
  routes.add({
    method: 'post',
    path: '/v1/users/{id}/keys',
    summary: 'Make an API key of a user; it is told here, and never again',
    params: schemas.inPath,
    body: schemas.newKey,
    answer: { status: 201, description: 'The key, and what is kept of it.', schema: schemas.madeKey, changes: true },
    async handle({ c, params: { id: user }, body }) {
      const { caller } = c.get('who');
      const { key, hash } = newKey();
      const createdBy = caller.kind === 'user' ? caller.actor : '';
      const done = await performer.perform(askedOf(c), createKeyAction(vocabulary, user, { ...body, id: newId(), hash, createdBy }));
      return changeAnswer({ ...done.value, key }, done, 201);
    },
  });
  routes.add({
    method: 'get',
    path: '/v1/users/{id}/keys',
    summary: "A user's API keys: what is known of them, not the keys",
    params: schemas.inPath,
    answer: { status: 200, description: 'The oldest first.', schema: schemas.keys },
    async handle({ c, params: { id } }) {
      const who = c.get('who');
      const { user, items } = await writer.read(async (db) => ({ user: await readOne(db, who, { list: 'users', id }), items: await readKeys(db, id) }));
      await authority.require(who, [writing(vocabulary, user)]);
      return reply({ items });
    },
  });
  routes.add({
    method: 'delete',
    path: '/v1/users/{id}/keys/{key}',
    summary: 'End an API key',
    params: schemas.keyInPath,
    answer: { status: 200, description: 'It is gone.', schema: schemas.removedCount, changes: true },
    async handle({ c, params: { id, key } }) {
      const done = await performer.perform(askedOf(c), removeKeyAction(vocabulary, id, key));
      return changeAnswer({ removed: done.value }, done);
    },
  });
}
