// What can be asked of a collection? Of every one the same verbs: make one or many, read, change, remove, and give to another owner.

import { z } from 'zod';
import type { Context } from 'hono';
import type { Vocabulary } from 'policy-cache';
import type { ObjectChange, StoredObject, Writer } from 'policy-cache/postgres';
import { membersAction, ownerAction, removeAction, updateAction } from './change.ts';
import { createAction, type NewRow } from './create.ts';
import { changeAnswer, ifMatchOf, objectAnswer } from './http.ts';
import { readOne, resourceOf, singular, type List } from './model.ts';
import type { Authority, Who } from './needs.ts';
import { etagOf, type Action, type Asked, type Done, type Performer } from './perform.ts';
import { Changed } from './refusals.ts';
import type { AdminEnv, Routes } from './route.ts';
import * as schemas from './schemas.ts';

export interface CollectionParts {
  readonly vocabulary: Vocabulary;
  readonly writer: Pick<Writer, 'read'>;
  readonly authority: Authority;
  readonly performer: Performer;
  /** A new id for what is given none. */
  readonly newId: () => string;
}

/** What is inside of a tenant. */
export type Collection = Exclude<List, 'tenants'>;
export const COLLECTIONS = ['customers', 'users', 'groups', 'roles', 'grants', 'entities'] as const satisfies readonly Collection[];
const OWNED: readonly Collection[] = ['customers', 'users', 'entities'];

export function askedOf(c: Context<AdminEnv>): Asked {
  return { who: c.get('who'), ifMatch: ifMatchOf(c), requestId: (c.req.header('x-request-id') ?? '').slice(0, 200) };
}

/** @throws Forbidden if the caller may not read it */
export async function readable(
  { authority, vocabulary }: Pick<CollectionParts, 'authority' | 'vocabulary'>,
  who: Who,
  object: StoredObject,
): Promise<StoredObject> {
  await authority.require(who, [{ kind: 'may', operation: 'READ', resource: resourceOf(vocabulary, object), target: object.id }]);
  return object;
}

/** What is stored is told to whoever may READ it: to change a thing, or to remove it, is not to see it. */
async function areSeen(
  { authority, vocabulary }: CollectionParts,
  c: Context<AdminEnv>,
  objects: readonly StoredObject[],
): Promise<(object: StoredObject) => boolean> {
  // Without the judgement: the decision log tells of what the change was decided by.
  const { caller, tenant, owner } = c.get('who');
  const asked = objects.map((object) => ({ resource: resourceOf(vocabulary, object), target: object.id }));
  const answers = await authority.readable({ caller, tenant, owner }, asked).catch(() => []); // it cannot be known now, and the change is made
  const seen = new Set(objects.filter((_, i) => answers[i] === true).map(({ id }) => id));
  return ({ id }) => seen.has(id);
}

/** A change that may hang on tags. */
async function performTagged<T>(parts: CollectionParts, c: Context<AdminEnv>, action: Action<unknown, T>): Promise<Done<T>> {
  try {
    return await parts.performer.perform(askedOf(c), action);
  } catch (error) {
    if (!(error instanceof Changed) || error.current === null) throw error;
    const { current, field } = error;
    if ((await areSeen(parts, c, [current]))(current)) throw error;
    throw new Changed(field === '' ? 'it is not as If-Match says' : 'it is not as this says', null, field);
  }
}

async function changedAnswer(parts: CollectionParts, c: Context<AdminEnv>, done: Done<readonly StoredObject[]>): Promise<Response> {
  const object = done.value[0]!;
  return (await areSeen(parts, c, [object]))(object) ? objectAnswer(object, { done }) : changeAnswer({ id: object.id }, done);
}

async function manyChangedAnswer(parts: CollectionParts, c: Context<AdminEnv>, done: Done<readonly StoredObject[]>): Promise<Response> {
  const isSeen = await areSeen(parts, c, done.value);
  return changeAnswer({ items: done.value.map((object) => (isSeen(object) ? { ...object.row, etag: etagOf(object) } : { id: object.id })) }, done);
}

export function collectionRoutes(routes: Routes, list: Collection, parts: CollectionParts): void {
  const { vocabulary, writer, performer, newId } = parts;
  const one = singular(list);
  const object = schemas.objects[list];
  const rowOf = (given: unknown): NewRow => {
    const row = given as { readonly id?: string };
    // Of a grant the id is made of what it gives, so that the same grant is the same id everywhere.
    return { list, row: row.id === undefined && list !== 'grants' ? { ...row, id: newId() } : row } as NewRow;
  };
  const stored = { status: 200, description: 'As it is stored now.', schema: object, tagged: true } as const;
  const description = 'As it is stored now, to whoever may READ it; else its id, and no ETag.';
  const changed = { ...stored, description, schema: z.union([object, schemas.idAlone]), changes: true };
  const manyChanged = {
    status: 200,
    description: 'In the order of the request, each as it is stored now, with its ETag, to whoever may READ it; else its id alone.',
    schema: schemas.manyChanged(list),
    changes: true,
  } as const;

  routes.add({
    method: 'post',
    path: `/v1/${list}`,
    summary: `Make a ${one}`,
    body: schemas.created[list] as z.ZodType,
    answer: { ...stored, status: 201, changes: true },
    async handle({ c, body }) {
      const done = await performer.perform(askedOf(c), createAction(vocabulary, [rowOf(body)], { one: true }));
      const made = done.value[0]!;
      return objectAnswer(made, { status: 201, done, location: `/v1/${list}/${encodeURIComponent(made.id)}` });
    },
  });
  routes.add({
    method: 'post',
    path: `/v1/${list}/bulk`,
    summary: 'Make many: all of them, or none',
    body: z.strictObject({
      items: z
        .array(schemas.created[list] as z.ZodType)
        .min(1)
        .max(schemas.mostOf(list)),
    }),
    answer: { status: 201, description: 'As they are stored, in the order of the request.', schema: z.object({ items: z.array(object) }), changes: true },
    async handle({ c, body: { items } }) {
      const done = await performer.perform(askedOf(c), createAction(vocabulary, items.map(rowOf), { one: false }));
      return changeAnswer({ items: done.value.map(({ row }) => row) }, done, 201);
    },
  });
  routes.add({
    method: 'post',
    path: `/v1/${list}/bulk-update`,
    summary: 'Change many: all of them, or none',
    body: schemas.bulkUpdate(list),
    answer: manyChanged,
    async handle({ c, body: { items } }) {
      const updates = items.map(({ id, etag, ...change }) => ({ id, tag: etag, change: changeOf(change) }));
      return manyChangedAnswer(parts, c, await performTagged(parts, c, updateAction(vocabulary, { list, updates, one: false })));
    },
  });
  routes.add({
    method: 'post',
    path: `/v1/${list}/bulk-delete`,
    summary: 'Remove many: all of them, or none',
    body: list === 'customers' ? schemas.removedOwners : schemas.removedIds,
    answer: { status: 200, description: 'How many.', schema: schemas.removedCount, changes: true },
    async handle({ c, body: { ids } }) {
      const done = await performer.perform(
        askedOf(c),
        removeAction(
          vocabulary,
          [...new Set(ids)].map((id) => ({ list, id })),
        ),
      );
      return changeAnswer({ removed: done.value }, done);
    },
  });
  routes.add({
    method: 'get',
    path: `/v1/${list}/{id}`,
    summary: `Read a ${one}`,
    params: schemas.inPath,
    answer: stored,
    async handle({ c, params: { id } }) {
      const who = c.get('who');
      return objectAnswer(await readable(parts, who, await writer.read((db) => readOne(db, who, { list, id }))));
    },
  });
  routes.add({
    method: 'patch',
    path: `/v1/${list}/{id}`,
    summary: `Change a ${one}`,
    params: schemas.inPath,
    body: schemas.changed[list] as z.ZodType<Readonly<Record<string, unknown>>>,
    conditional: true,
    answer: changed,
    async handle({ c, params: { id }, body }) {
      const updates = [{ id, change: changeOf(body) }];
      return changedAnswer(parts, c, await performTagged(parts, c, updateAction(vocabulary, { list, updates, one: true })));
    },
  });
  routes.add({
    method: 'delete',
    path: `/v1/${list}/{id}`,
    summary: `Remove a ${one}`,
    params: schemas.inPath,
    conditional: true,
    answer: { status: 200, description: 'It is gone.', schema: schemas.removedCount, changes: true },
    async handle({ c, params: { id } }) {
      const done = await performTagged(parts, c, removeAction(vocabulary, [{ list, id }]));
      return changeAnswer({ removed: done.value }, done);
    },
  });
  if (!OWNED.includes(list)) return;
  routes.add({
    method: 'put',
    path: `/v1/${list}/{id}/owner`,
    summary: 'Change the owner, and the groups',
    params: schemas.inPath,
    body: schemas.ownerChange,
    conditional: true,
    answer: changed,
    async handle({ c, params: { id }, body: { owner, groups = [] } }) {
      const action = ownerAction(vocabulary, { list, ids: [id], one: true }, { owner, groups: [...new Set(groups)] });
      return changedAnswer(parts, c, await performTagged(parts, c, action));
    },
  });
  routes.add({
    method: 'post',
    path: `/v1/${list}/bulk-owner`,
    summary: 'Change the owner of many, and their groups: of all of them, or of none',
    body: list === 'customers' ? schemas.ownersMoved : schemas.idsMoved,
    answer: manyChanged,
    async handle({ c, body: { ids, owner, groups = [] } }) {
      const action = ownerAction(vocabulary, { list, ids, one: false }, { owner, groups: [...new Set(groups)] });
      return manyChangedAnswer(parts, c, await performTagged(parts, c, action));
    },
  });
}

/** Of groups alone. */
export function groupRoutes(routes: Routes, { vocabulary, performer }: CollectionParts): void {
  routes.add({
    method: 'post',
    path: '/v1/groups/{id}/members',
    summary: 'Put in, and take out',
    params: schemas.inPath,
    body: schemas.membersChange,
    answer: { status: 200, description: 'How many were not in it, and how many were.', schema: schemas.membersChanged, changes: true },
    async handle({ c, params: { id }, body: { add = [], remove = [] } }) {
      const done = await performer.perform(askedOf(c), membersAction(vocabulary, id, { add, remove }));
      return changeAnswer(done.value, done);
    },
  });
  routes.add({
    method: 'post',
    path: '/v1/groups/{id}/share',
    summary: 'Share a group with the users of a group, of whatever owner of the tenant',
    params: schemas.inPath,
    body: schemas.share,
    answer: { status: 201, description: 'The grant that does it.', schema: schemas.objects.grants, tagged: true, changes: true },
    async handle({ c, params: { id: entityGroup }, body }) {
      const { userGroup, role, id, name } = body;
      const row = { userGroup, role, entityGroup, ...(id === undefined ? {} : { id }), ...(name === undefined ? {} : { name }) };
      const done = await performer.perform(askedOf(c), createAction(vocabulary, [{ list: 'grants', row }], { one: true, shared: true }));
      const made = done.value[0]!;
      return objectAnswer(made, { status: 201, done, location: `/v1/grants/${encodeURIComponent(made.id)}` });
    },
  });
}

/** The names of the API to those of the tables. */
function changeOf(given: Readonly<Record<string, unknown>>): ObjectChange {
  const { name, title, ...more } = given;
  const label = name === undefined ? title : name;
  return { ...more, ...(label === undefined ? {} : { label: label as string | null }) };
}
