// What does the operator do? Tenants come and go, each with its first administrator; what is inside of one is not its business. (semantics 1.6)

import {
  insertObjects,
  isLoginTaken,
  putActivation,
  readObjects,
  removeObjects,
  updateObjects,
  type NewObject,
  type Statements,
  type StoredObject,
} from 'policy-cache/postgres';
import type { Addition, FreshLink } from './addition.ts';
import { predefinedObjects } from './create.ts';
import { askedOf, type CollectionParts } from './collections.ts';
import { hangingEffects } from './hanging.ts';
import { changeAnswer, objectAnswer } from './http.ts';
import type { Who } from './needs.ts';
import type { Action, Effect } from './perform.ts';
import type { Routes } from './route.ts';
import * as schemas from './schemas.ts';
import { Forbidden, NotFound, Violation } from './refusals.ts';

function assertOperator({ caller }: Who): void {
  if (caller.kind === 'user') throw new Forbidden('operator-only', '1.6', "tenants and their first administrators are the operator's");
}

/** @throws Forbidden, NotFound */
export async function readTenant(db: Statements, who: Who, id: string): Promise<StoredObject> {
  assertOperator(who);
  const found = (await readObjects(db, [id])).get(id);
  if (found?.list !== 'tenants') throw new NotFound(`there is no tenant ${JSON.stringify(id)}`);
  return found;
}

/** With its predefined groups, roles and grants (semantics 1.2). */
export function createTenantAction({ id, name }: { readonly id: string; readonly name?: string | undefined }): Action<null, StoredObject> {
  return {
    name: 'tenant.create',
    read: async (_, who) => (assertOperator(who), null),
    locks: () => ({ update: [], share: [] }),
    needs: () => [],
    async apply(db) {
      const tenant: NewObject = { id, tenant: id, kind: 'tenant', type: 'TENANT', owner: null, label: name };
      await insertObjects(db, [tenant, ...predefinedObjects(id, id, 'tenant')]);
      const made = (await readObjects(db, [id])).get(id)!;
      return { value: made, effects: [effect(made, null, made.row)] };
    },
  };
}

export function updateTenantAction(id: string, { name }: { readonly name?: string | null | undefined }): Action<StoredObject, StoredObject> {
  return {
    name: 'tenant.update',
    read: (db, who) => readTenant(db, who, id),
    locks: () => ({ update: [id], share: [] }),
    needs: () => [],
    current: (tenant) => tenant,
    async apply(db, before) {
      await updateObjects(db, [{ id, change: { label: name } }]);
      const now = (await readObjects(db, [id])).get(id)!;
      return { value: now, effects: [effect(now, before.row, now.row)] };
    },
  };
}

/** One that owns nothing but what it began with (semantics 1.5). */
export function removeTenantAction(id: string): Action<StoredObject, number> {
  return {
    name: 'tenant.delete',
    read: (db, who) => readTenant(db, who, id),
    locks: () => ({ update: [id], share: [] }),
    needs: () => [],
    current: (tenant) => tenant,
    async apply(db, before) {
      const hanging = await hangingEffects(db, [before]);
      return { value: await removeObjects(db, [id]), effects: [...hanging, effect(before, before.row, null)] };
    },
  };
}

export interface Administrator {
  /** By which it sets its password. */
  readonly link?: FreshLink | undefined;
  readonly id: string;
  readonly name?: string | undefined;
  readonly email?: string | undefined;
  readonly firstName?: string | undefined;
  readonly lastName?: string | undefined;
}

interface AdministratorBasis {
  readonly tenant: StoredObject;
  readonly administrators: readonly string[];
}

export interface MadeAdministrator {
  readonly user: StoredObject;
  /** Of its link, RFC 3339; absent: none was asked for. */
  readonly expires?: string;
}

/** The first one only: an operator who could always make another would see everything. */
export function firstAdministratorAction(tenant: string, user: Administrator): Action<AdministratorBasis, MadeAdministrator> {
  const group = `admins:${tenant}`;
  return {
    name: 'tenant.administrator',
    async read(db, who) {
      const found = await readTenant(db, who, tenant);
      const rows = await db.rows<{ id: string }>(
        'select m.member_id id from grantgate.membership m join grantgate.user_account u on u.id = m.member_id where m.group_id = $1 and u.enabled order by 1 limit 1',
        [group],
      );
      if (rows.length > 0) throw new Violation('', '1.6', `tenant ${JSON.stringify(tenant)} has an administrator, who makes the others`);
      return { tenant: found, administrators: rows.map(({ id }) => id) };
    },
    // Two first ones at once would both be first.
    locks: () => ({ update: [tenant, group], share: [] }),
    needs: () => [],
    async apply(db) {
      const { id, name, email, firstName, lastName, link } = user;
      if (link !== undefined && !email) throw new Violation('email', '5', 'is missing: by it the user logs in');
      if (link !== undefined && email && (await isLoginTaken(db, { user: id, email })))
        throw new Violation('email', '5', 'another user logs in by this e-mail');
      await insertObjects(db, [{ id, tenant, kind: 'user', type: 'USER', owner: tenant, label: name, email, firstName, lastName, groups: [group] }]);
      const made = (await readObjects(db, [id])).get(id)!;
      if (link === undefined) return { value: { user: made }, effects: [effect(made, null, made.row)] };
      const expires = await putActivation(db, { user: id, tenant, hash: link.hash, lifetime: link.lifetime, createdBy: '' });
      return { value: { user: made, expires }, effects: [effect(made, null, { ...made.row, activation: { expires } })] };
    },
  };
}

function effect({ id, tenant, owner }: StoredObject, before: unknown, after: unknown): Effect {
  return { tenant, owner: owner ?? id, target: id, before, after };
}

/** @param readOwnTenant a user's own tenant, if it may read it */
export function tenantRoutes(
  routes: Routes,
  {
    performer,
    writer,
    newId,
    addition,
  }: Pick<CollectionParts, 'performer' | 'writer' | 'newId'> & { readonly addition?: Pick<Addition, 'newLink'> | undefined },
  readOwnTenant: (who: Who, id: string) => Promise<StoredObject>,
): void {
  const stored = { status: 200, description: 'As it is stored now.', schema: schemas.objects.tenants, tagged: true } as const;
  routes.add({
    method: 'post',
    path: '/v1/tenants',
    summary: 'Make a tenant (operator)',
    body: schemas.created.tenants,
    answer: { ...stored, status: 201, changes: true },
    async handle({ c, body: { id = newId(), name } }) {
      const done = await performer.perform(askedOf(c), createTenantAction({ id, name }));
      return objectAnswer(done.value, { status: 201, done, location: `/v1/tenants/${encodeURIComponent(id)}` });
    },
  });
  routes.add({
    method: 'get',
    path: '/v1/tenants/{id}',
    summary: 'Read a tenant (operator), or your own',
    params: schemas.inPath,
    answer: stored,
    async handle({ c, params: { id } }) {
      const who = c.get('who');
      return objectAnswer(who.caller.kind === 'user' ? await readOwnTenant(who, id) : await writer.read((db) => readTenant(db, who, id)));
    },
  });
  routes.add({
    method: 'patch',
    path: '/v1/tenants/{id}',
    summary: 'Change a tenant (operator)',
    params: schemas.inPath,
    body: schemas.changed.tenants,
    conditional: true,
    answer: { ...stored, changes: true },
    async handle({ c, params: { id }, body }) {
      const done = await performer.perform(askedOf(c), updateTenantAction(id, body));
      return objectAnswer(done.value, { done });
    },
  });
  routes.add({
    method: 'delete',
    path: '/v1/tenants/{id}',
    summary: 'Remove a tenant that owns nothing any more (operator)',
    params: schemas.inPath,
    conditional: true,
    answer: { status: 200, description: 'It is gone.', schema: schemas.removedCount, changes: true },
    async handle({ c, params: { id } }) {
      const done = await performer.perform(askedOf(c), removeTenantAction(id));
      return changeAnswer({ removed: done.value }, done);
    },
  });
  routes.add({
    method: 'post',
    path: '/v1/tenants/{id}/administrator',
    summary: 'Make the first administrator of a tenant (operator)',
    params: schemas.inPath,
    body: schemas.administrator,
    answer: { ...stored, schema: schemas.madeAdministrator, status: 201, changes: true },
    async handle({ c, params: { id: tenant }, body: { id = newId(), activation, ...more } }) {
      if (activation === true && addition === undefined)
        throw new Violation('activation', '1.6', 'nobody logs in here: identity.local.enabled is not set. Leave it out');
      const link = activation === true ? addition?.newLink() : undefined;
      const done = await performer.perform(askedOf(c), firstAdministratorAction(tenant, { id, ...more, link }));
      const told = link === undefined ? {} : { activation: { link: link.link, expires: done.value.expires } };
      return objectAnswer(done.value.user, { status: 201, done, location: `/v1/users/${encodeURIComponent(id)}`, more: told });
    },
  });
}
