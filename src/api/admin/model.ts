// What do the actions know of stored things: which resource is it, what does a grant hand on, what must be there?

import { formatAllGroup, parseAllGroup } from 'policy-cache';
import type { Grant, HandedGrant, Permissions, Vocabulary } from 'policy-cache';
import { readObjects, type Statements, type StoredGrant, type StoredObject } from 'policy-cache/postgres';
import type { Need, Who } from './needs.ts';
import { NotFound, Violation } from './refusals.ts';

/** The lists of a world file, which are the collections of the API. */
export type List = StoredObject['list'];

const SINGULAR: Readonly<Record<List, string>> = {
  tenants: 'tenant',
  customers: 'customer',
  users: 'user',
  groups: 'group',
  roles: 'role',
  grants: 'grant',
  entities: 'entity',
};
export function singular(list: List): string {
  return SINGULAR[list];
}

/** The resource by which a thing is a target (semantics 4). @throws Violation for a type that the vocabulary does not name */
export function resourceOf(vocabulary: Vocabulary, { list, type }: { readonly list: List; readonly type: string }, field = 'type'): string {
  switch (list) {
    case 'tenants':
      return 'TENANT';
    case 'customers':
      return 'CUSTOMER';
    case 'users':
      return 'USER';
    case 'roles':
      return 'ROLE';
    case 'grants':
      return 'GROUP_PERMISSION';
    case 'groups':
    case 'entities': {
      const number = vocabulary.type(type);
      const resource =
        list === 'groups' ? vocabulary.groupResourceOfType[number] : vocabulary.entityTypes.has(type) ? vocabulary.resourceOfType[number] : undefined;
      const name = resource === undefined ? undefined : vocabulary.resources[resource];
      if (name !== undefined) return name;
      const possible = list === 'groups' ? vocabulary.groupableTypes : vocabulary.entityTypes;
      throw new Violation(field, '2', `${JSON.stringify(type)} is no type of ${list === 'groups' ? 'group' : 'entity'}; there are ${[...possible].join(', ')}`);
    }
    default:
      return list satisfies never;
  }
}

/** Objects that are there and of the caller's tenant: the rest is unknown to it. Straight on the database every tenant is. */
export async function readOwn(db: Statements, who: Who, ids: readonly string[]): Promise<ReadonlyMap<string, StoredObject>> {
  return readObjects(db, [...new Set(ids)], isAnywhere(who) ? null : who.tenant);
}

/** It has every tenant, and none was said. */
function isAnywhere({ caller, tenant }: Who): boolean {
  return caller.kind === 'direct' && tenant === '';
}

/** What goes together is of one tenant, also where the caller has every one: from here on that of this object. */
export function besides(who: Who, { tenant }: Pick<StoredObject, 'tenant'>): Who {
  return isAnywhere(who) ? { ...who, tenant } : who;
}

export interface Named {
  readonly list: List;
  readonly id: string;
}

/** One object of a list. @throws NotFound */
export async function readOne(db: Statements, who: Who, named: Named): Promise<StoredObject> {
  return foundOf(await readOwn(db, who, [named.id]), named);
}

/** Each of them, in their order. @throws NotFound */
export async function readEach(db: Statements, who: Who, named: readonly Named[]): Promise<readonly StoredObject[]> {
  const known = await readOwn(
    db,
    who,
    named.map(({ id }) => id),
  );
  return named.map((each) => foundOf(known, each));
}

function foundOf(known: ReadonlyMap<string, StoredObject>, { list, id }: Named): StoredObject {
  const found = known.get(id);
  if (found?.list !== list) {
    const all =
      list === 'groups' && parseAllGroup(id) !== null ? ' that is read or changed: an All group holds everything of its type and owner by itself' : '';
    throw new NotFound(`there is no ${singular(list)} ${JSON.stringify(id)}${all}`);
  }
  return found;
}

/** What a group is, an All group too: its type and owner. */
export interface GroupSide {
  readonly id: string;
  readonly type: string;
  readonly owner: string;
  /** It has no row. */
  readonly all: boolean;
}

/** Ids of rows that must be read to know what these groups are. */
export function rowIdsOf(groups: readonly string[]): readonly string[] {
  return groups.map((id) => parseAllGroup(id)?.owner ?? id);
}

/** @throws Violation naming the field if it is no group, or of another type where one is asked for */
export function groupSide(id: string, known: ReadonlyMap<string, StoredObject>, at: { readonly field: string; readonly type?: string }): GroupSide {
  const named = parseAllGroup(id);
  const row = known.get(named?.owner ?? id);
  const side =
    named !== null
      ? row?.list === 'tenants' || row?.list === 'customers'
        ? { id, type: named.type, owner: named.owner, all: true }
        : null
      : row?.list === 'groups'
        ? { id, type: row.type, owner: row.owner ?? '', all: false }
        : null;
  if (side === null) throw new Violation(at.field, '1', `there is no group ${JSON.stringify(id)}`);
  if (at.type !== undefined && side.type !== at.type)
    throw new Violation(at.field, '1.3', `${JSON.stringify(id)} is a group of ${side.type}, not of ${at.type}`);
  return side;
}

/** The groups that every user of an owner is in. */
export function allUsersOf(owner: string): string {
  return formatAllGroup('USER', owner);
}

/** To hand on what a stored grant gives. */
export function coverOf({ id, grant, userOwner }: StoredGrant): Need {
  return { kind: 'covers', handed: { grant, userOwner }, what: `grant ${JSON.stringify(id)}` };
}

/** What a role gives to a user group. */
export function handedGrant(role: StoredObject, userOwner: string, entities: GroupSide | null, shared: boolean): HandedGrant {
  return { userOwner, grant: grantOfRole(role.id, role.row, entities, shared) };
}

export function grantOfRole(id: string, row: Readonly<Record<string, unknown>>, entities: GroupSide | null, shared: boolean): Grant {
  if (row['type'] === 'GENERIC')
    return { kind: 'generic', role: id, permissions: row['permissions'] as Permissions, excluded: (row['excluded'] ?? {}) as Permissions };
  return {
    kind: 'group',
    role: id,
    operations: row['permissions'] as readonly string[],
    shared,
    group: entities === null || entities.all ? null : entities.id,
    type: entities?.type ?? '',
    owner: entities?.owner ?? '',
  };
}

/** The owners from this one up to its tenant, itself first. */
export async function readChain(db: Statements, owner: string): Promise<readonly string[]> {
  const rows = await db.rows<{ id: string }>(
    `with recursive up (id, owner, depth) as (
        select o.id, o.owner, 0 from grantgate.object o where o.id = $1
        union all select o.id, o.owner, up.depth + 1 from up join grantgate.object o on o.id = up.owner where up.depth < 1001)
      select id from up order by depth`,
    [owner],
  );
  return rows.map(({ id }) => id);
}
