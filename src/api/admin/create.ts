// What makes a new object, what is read for it, and what must the caller be allowed? (semantics 1.2, 4.7, 5)

import { ANY, grantId, isReserved, predefinedIds, predefinedOf, rowNameProblems } from 'policy-cache';
import type { Permissions, Vocabulary } from 'policy-cache';
import { insertObjects, readGrants, readObjects, type NewObject, type Statements, type StoredGrant, type StoredObject } from 'policy-cache/postgres';
import { allUsersOf, coverOf, groupSide, handedGrant, readChain, readOwn, resourceOf, rowIdsOf, singular, type GroupSide } from './model.ts';
import type { Need, Who } from './needs.ts';
import type { Action, Effect } from './perform.ts';
import { Violation, usersOnly } from './refusals.ts';

/** A new row of a list, as it was given. What is left out has its default. */
export type NewRow =
  | {
      readonly list: 'customers';
      readonly row: { id: string; owner?: string; title?: string; groups?: readonly string[]; details?: Readonly<Record<string, unknown>> };
    }
  | { readonly list: 'users'; readonly row: NewUserRow }
  | { readonly list: 'groups'; readonly row: { id: string; owner?: string; type: string; name?: string } }
  | { readonly list: 'entities'; readonly row: { id: string; owner?: string; type: string; name?: string; groups?: readonly string[] } }
  | {
      readonly list: 'roles';
      readonly row: { id: string; owner?: string; name?: string } & (
        { type: 'GENERIC'; permissions: Permissions; excluded?: Permissions } | { type: 'GROUP'; permissions: readonly string[] }
      );
    }
  | { readonly list: 'grants'; readonly row: NewGrantRow };
export interface NewUserRow {
  readonly id: string;
  readonly owner?: string;
  readonly name?: string;
  readonly email?: string;
  readonly firstName?: string;
  readonly lastName?: string;
  readonly enabled?: boolean;
  readonly groups?: readonly string[];
}
export interface NewGrantRow {
  readonly id?: string;
  readonly userGroup: string;
  readonly role: string;
  readonly entityGroup?: string;
  readonly name?: string;
}

interface Basis {
  readonly owners: readonly string[];
  /** Everything that the rows name. */
  readonly known: ReadonlyMap<string, StoredObject>;
  /** Of the user groups that somebody is put into. */
  readonly grants: readonly StoredGrant[];
  /** Of the owner of each new grant's user group. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
}

/** Makes all rows, or none. `one`: paths in refusals name no place in a list. */
export function createAction(
  vocabulary: Vocabulary,
  rows: readonly NewRow[],
  { one, shared = false }: { readonly one: boolean; readonly shared?: boolean },
): Action<Basis, readonly StoredObject[]> {
  const list = rows[0]?.list ?? 'entities';
  const at = (i: number, field: string): string => (one ? field : `items[${i}].${field}`);

  return {
    name: shared ? 'group.share' : `${singular(list)}.create`,
    read: (db, who) => readBasis(db, who, rows),
    locks: ({ owners }) => ({
      // Whoever gives a group another grant, or puts somebody into it, must not do so beside another who does.
      update: rows.flatMap((each) => (each.list === 'grants' ? [each.row.userGroup] : [])),
      share: [...owners, ...rows.flatMap(namedBy)],
    }),
    needs(basis) {
      const ofTenant = byTenant(basis);
      return rows.flatMap((each, i) => needsOf(vocabulary, { each, i, basis: ofTenant(ownerOf(basis, i, at).tenant), at, shared }));
    },
    async apply(db, basis) {
      const made = rows.flatMap((each, i) => objectsOf(each, basis, { owner: basis.owners[i]!, shared }));
      await insertObjects(db, made);
      const ids = rows.map((each) => idOf(each));
      const stored = await readObjects(db, ids);
      const value = ids.flatMap((id) => stored.get(id) ?? []);
      const effects = value.map(({ id, tenant, owner, row }): Effect => ({ tenant, owner: owner ?? id, target: id, before: null, after: row }));
      return { value, effects };
    },
  };
}

function idOf(each: NewRow): string {
  return each.list === 'grants' ? (each.row.id ?? grantId(each.row)) : each.row.id;
}

/** Each of them once: named twice it is the same membership. */
function groupsIn(each: NewRow): readonly string[] {
  return 'groups' in each.row ? [...new Set(each.row.groups)] : [];
}

/** Groups, roles that a row names. */
function namedBy(each: NewRow): readonly string[] {
  switch (each.list) {
    case 'grants':
      return [each.row.userGroup, each.row.role, ...(each.row.entityGroup === undefined ? [] : [each.row.entityGroup])];
    case 'customers':
    case 'users':
    case 'entities':
      return groupsIn(each);
    case 'groups':
    case 'roles':
      return [];
    default:
      return each satisfies never;
  }
}

async function readBasis(db: Statements, who: Who, rows: readonly NewRow[]): Promise<Basis> {
  if (who.caller.kind === 'operator') throw usersOnly();
  const given = rows.map((each) => (each.list === 'grants' ? undefined : (each.row.owner ?? who.owner)));
  const named = await readOwn(db, who, [...given.filter((owner) => owner !== undefined), ...rowIdsOf(rows.flatMap(namedBy))]);
  const owners = rows.map(
    (each, i) => given[i] ?? (each.list === 'grants' ? groupSide(each.row.userGroup, named, { field: 'userGroup', type: 'USER' }).owner : ''),
  );
  const known = new Map([
    ...named,
    ...(await readOwn(
      db,
      who,
      owners.filter((owner) => !named.has(owner)),
    )),
  ]);
  const joined = rows.flatMap((each, i) => (each.list === 'users' ? [...(each.row.groups ?? []), allUsersOf(owners[i]!)] : []));
  const grants = await readGrants(db, { userGroups: [...new Set(joined)] });
  const chains = new Map<string, readonly string[]>();
  for (const [i, { list }] of rows.entries()) {
    const owner = owners[i]!;
    if (list === 'grants' && !chains.has(owner)) chains.set(owner, await readChain(db, owner));
  }
  // One to whom a role may not be given (1.4) is found by the chain of the entity group's owner.
  for (const each of rows) {
    if (each.list !== 'grants' || each.row.entityGroup === undefined) continue;
    const { owner } = groupSide(each.row.entityGroup, known, { field: 'entityGroup' });
    if (!chains.has(owner)) chains.set(owner, await readChain(db, owner));
  }
  return { owners, known, grants, chains };
}

function ownerOf({ owners, known }: Basis, i: number, at: (i: number, field: string) => string): StoredObject {
  const id = owners[i]!;
  const owner = known.get(id);
  if (owner?.list === 'tenants' || owner?.list === 'customers') return owner;
  const message = id === '' ? 'must be said: whoever asks has no owner that it could be' : `there is no tenant or customer ${JSON.stringify(id)}`;
  throw new Violation(at(i, 'owner'), '1', message);
}

/** What a row may name: what is of its owner's tenant. Rows of several tenants come straight on the database alone. */
function byTenant(basis: Basis): (tenant: string) => Basis {
  const parts = new Map<string, Map<string, StoredObject>>();
  for (const [id, object] of basis.known) {
    const part = parts.get(object.tenant) ?? new Map<string, StoredObject>();
    parts.set(object.tenant, part.set(id, object));
  }
  return (tenant) => ({ ...basis, known: parts.get(tenant) ?? new Map() });
}

interface NeedsOf {
  readonly each: NewRow;
  readonly i: number;
  readonly basis: Basis;
  readonly at: (i: number, field: string) => string;
  readonly shared: boolean;
}

function needsOf(vocabulary: Vocabulary, { each, i, basis, at, shared }: NeedsOf): readonly Need[] {
  const owner = basis.owners[i]!;
  const id = idOf(each);
  if (isReserved(id) && !isBegunWith(each, owner))
    throw new Violation(at(i, 'id'), '1.1', `${JSON.stringify(id)} is reserved to the server; choose another id`);
  // Before the names of the vocabulary are looked up: its refusal says which there are.
  if (each.list === 'entities') resourceOf(vocabulary, { list: each.list, type: each.row.type }, at(i, 'type'));
  const [problem] =
    each.list === 'grants' ? [] : rowNameProblems(vocabulary, { list: each.list, row: { ...each.row, owner } } as Parameters<typeof rowNameProblems>[1], '');
  if (problem) throw new Violation(at(i, problem.path.replace(/^\./, '')), '2', problem.message);
  if (each.list === 'grants') return grantNeeds(vocabulary, each.row, { basis, at: (field) => at(i, field), shared });

  const type =
    each.list === 'groups' || each.list === 'entities' ? each.row.type : each.list === 'customers' ? 'CUSTOMER' : each.list === 'users' ? 'USER' : 'ROLE';
  const named = groupsIn(each);
  const groups = named.map((group, g) => joinable(group, basis, { field: at(i, `groups[${g}]`), type, owner }));
  const resource = resourceOf(vocabulary, { list: each.list, type }, at(i, 'type'));
  return [
    { kind: 'may', operation: 'CREATE', resource, target: ANY, owner, groups: groups.map((group) => group.id) },
    ...groups.map((group): Need => ({ kind: 'may', operation: 'READ', resource: resourceOf(vocabulary, { list: 'groups', type }), target: group.id })),
    // All of its owner's users are in the All group, this one too: nobody makes a user who has more than it has itself.
    ...(each.list === 'users' ? basis.grants.filter(({ userGroup }) => userGroup === allUsersOf(owner) || named.includes(userGroup)).map(coverOf) : []),
  ];
}

/** It is what the owner had to begin with (semantics 1.2): once gone it may come back, as from an import. */
function isBegunWith(each: NewRow, owner: string): boolean {
  const { groups, roles } = predefinedIds(owner);
  if (each.list === 'groups') return each.row.type === 'USER' && groups.some((id) => id === each.row.id);
  return each.list === 'roles' && each.row.type === 'GENERIC' && roles.some((id) => id === each.row.id);
}

/** An explicit group of this type and owner. */
function joinable(id: string, { known }: Basis, { field, type, owner }: { readonly field: string; readonly type: string; readonly owner: string }): GroupSide {
  const side = groupSide(id, known, { field, type });
  if (side.all) throw new Violation(field, '1', `${JSON.stringify(id)} holds every one of its type and owner by itself; leave it out`);
  if (side.owner !== owner) throw new Violation(field, '1.3', `${JSON.stringify(id)} is of another owner, and holds only what that owns`);
  return side;
}

function grantNeeds(
  vocabulary: Vocabulary,
  row: NewGrantRow,
  { basis, at, shared }: { readonly basis: Basis; readonly at: (field: string) => string; readonly shared: boolean },
): readonly Need[] {
  const { known, chains } = basis;
  const users = groupSide(row.userGroup, known, { field: at('userGroup'), type: 'USER' });
  const role = known.get(row.role);
  if (role?.list !== 'roles') throw new Violation(at('role'), '1', `there is no role ${JSON.stringify(row.role)}`);
  const generic = role.row['type'] === 'GENERIC';
  if (generic && row.entityGroup !== undefined)
    throw new Violation(at('entityGroup'), '1', 'a GENERIC role is given over everything: leave it out, or take a GROUP role');
  if (!generic && row.entityGroup === undefined) throw new Violation(at('entityGroup'), '1', 'is missing: a GROUP role is given over a group of entities');
  const entities = row.entityGroup === undefined ? null : groupSide(row.entityGroup, known, { field: at('entityGroup') });
  if (!(chains.get(users.owner) ?? []).includes(role.owner ?? ''))
    throw new Violation(at('role'), '1.3', `${JSON.stringify(row.role)} is of an owner that is neither the user group's nor above it`);
  if (entities !== null && !shared && !(chains.get(entities.owner) ?? []).includes(users.owner))
    throw new Violation(
      at('entityGroup'),
      '1.4',
      `a GROUP role over ${JSON.stringify(entities.id)} is for user groups of its owner or one above it. Share it instead`,
    );
  const write = ({ id, type }: GroupSide): Need => ({
    kind: 'may',
    operation: 'WRITE',
    resource: resourceOf(vocabulary, { list: 'groups', type }),
    target: id,
  });
  return [
    ...(shared ? [] : [{ kind: 'may', operation: 'CREATE', resource: 'GROUP_PERMISSION', target: ANY, owner: users.owner } as const]),
    { kind: 'may', operation: 'READ', resource: 'ROLE', target: row.role },
    write(users),
    ...(entities === null ? [] : [write(entities)]),
    { kind: 'covers', handed: handedGrant(role, users.owner, entities, shared), what: 'the grant' },
  ];
}

/** The rows of the tables; of an owner, its predefined groups, roles and grants too (semantics 1.2). */
function objectsOf(each: NewRow, { known }: Basis, { owner, shared }: { readonly owner: string; readonly shared: boolean }): readonly NewObject[] {
  const tenant = known.get(owner)!.tenant;
  const id = idOf(each);
  switch (each.list) {
    case 'customers': {
      const { title, details } = each.row;
      return [
        { id, tenant, kind: 'customer', type: 'CUSTOMER', owner, label: title, groups: groupsIn(each), details },
        ...predefinedObjects(id, tenant, 'customer'),
      ];
    }
    case 'users': {
      const { name, email, firstName, lastName, enabled } = each.row;
      return [{ id, tenant, kind: 'user', type: 'USER', owner, label: name, groups: groupsIn(each), email, firstName, lastName, enabled }];
    }
    case 'groups':
      return [{ id, tenant, kind: 'group', type: each.row.type, owner, label: each.row.name }];
    case 'entities':
      return [{ id, tenant, kind: 'entity', type: each.row.type, owner, label: each.row.name, groups: groupsIn(each) }];
    case 'roles': {
      const { row } = each;
      const excluded = row.type === 'GENERIC' ? row.excluded : undefined;
      return [{ id, tenant, kind: 'role', type: 'ROLE', owner, label: row.name, roleType: row.type, permissions: row.permissions, excluded }];
    }
    case 'grants': {
      const { userGroup, role, entityGroup, name } = each.row;
      const users = groupSide(userGroup, known, { field: 'userGroup' });
      const entities = entityGroup === undefined ? null : groupSide(entityGroup, known, { field: 'entityGroup' });
      const grant = {
        userGroup: users.all ? null : users.id,
        role,
        roleType: known.get(role)!.row['type'] as 'GENERIC' | 'GROUP',
        entities: entities === null ? null : { owner: entities.owner, type: entities.type, group: entities.all ? null : entities.id },
        shared,
      };
      return [{ id, tenant, kind: 'grant', type: 'GROUP_PERMISSION', owner: users.owner, label: name, grant }];
    }
    default:
      return each satisfies never;
  }
}

export function predefinedObjects(owner: string, tenant: string, kind: 'tenant' | 'customer'): readonly NewObject[] {
  const { groups, roles, grants } = predefinedOf(owner, kind);
  return [
    ...groups.map(({ id, type, name }): NewObject => ({ id, tenant, kind: 'group', type, owner, label: name })),
    ...roles.map(({ id, type, permissions, excluded }): NewObject => ({
      id,
      tenant,
      kind: 'role',
      type: 'ROLE',
      owner,
      roleType: type,
      permissions,
      excluded,
    })),
    ...grants.map(({ id, userGroup, role }): NewObject => ({
      id,
      tenant,
      kind: 'grant',
      type: 'GROUP_PERMISSION',
      owner,
      grant: { userGroup, role, roleType: 'GENERIC', entities: null, shared: false },
    })),
  ];
}
