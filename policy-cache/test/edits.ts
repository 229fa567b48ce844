// What changes can a world go through, each told twice: as another world file, and as writes to a source's tables?
//
// The two must come to the same. So a property can compare a source that was changed with a world built so from the start.

import type { WorldCustomer, WorldEntity, WorldFile, WorldGrant, WorldUser } from 'policy-cache';
import type { Tables } from '../src/tables.ts';
import { chainOf } from './arbitraries.ts';

export interface Edit {
  readonly what: string;
  readonly world: WorldFile;
  write(tables: Tables): void;
}

type MemberList = 'users' | 'entities' | 'customers';
const pick = <T>(list: readonly T[], number: number): T | undefined => list[number % list.length];
const without = <T extends { readonly id: string }>(list: readonly T[], id: string): readonly T[] => list.filter((row) => row.id !== id);
const replaced = <T extends { readonly id: string }>(list: readonly T[], row: T): readonly T[] => list.map((other) => (other.id === row.id ? row : other));

/** An id that is free, whatever was removed before. */
function fresh(prefix: string, rows: readonly { readonly id: string }[]): string {
  const taken = new Set(rows.map(({ id }) => id));
  for (let i = rows.length; ; i++) if (!taken.has(`${prefix}${i}`)) return `${prefix}${i}`;
}

export function tenantOf(world: WorldFile, owner: string): string {
  return chainOf(world.customers, owner).at(-1)!;
}

/** Only gives: a membership, a grant, a role, an operation of a role. Null where the world has nothing of the kind. */
export function addition(world: WorldFile, [how, a, b, c]: readonly number[]): Edit | null {
  switch (how! % 4) {
    case 0:
      return addMembership(world, a!, b!);
    case 1:
      return addGrant(world, a!, b!, c!);
    case 2: {
      const id = fresh('r-new', world.roles);
      const like = pick(world.roles, a!);
      if (like === undefined) return null;
      const widened = { ...world, roles: [...world.roles, { ...like, id }] };
      const grant = addGrant(widened, b!, world.roles.length, c!);
      return grant && { ...grant, what: `role ${id} and ${grant.what}`, write: (tables) => (tables.addRole({ ...like, id }), grant.write(tables)) };
    }
    default: {
      const role = pick(world.roles, a!);
      if (role === undefined) return null;
      const operation = pick(['READ', 'CREATE', 'DELETE', 'WRITE', 'ALL', 'CHANGE_OWNER'], b!)!;
      const wider =
        role.type === 'GROUP'
          ? { ...role, permissions: [...role.permissions, operation] }
          : {
              ...role,
              permissions: Object.fromEntries([
                ...Object.entries(role.permissions),
                [pick(['DEVICE', 'ALL', 'PROFILE'], c!)!, [operation, ...(role.permissions[pick(['DEVICE', 'ALL', 'PROFILE'], c!)!] ?? [])]],
              ]),
            };
      return {
        what: `role ${role.id} may ${operation}`,
        world: { ...world, roles: replaced(world.roles, wider) },
        write: (tables) => tables.editRole(role.id, wider),
      };
    }
  }
}

/** Anything that the model lets happen. */
export function edit(world: WorldFile, [how, a, b, c]: readonly number[]): Edit | null {
  switch (how! % 12) {
    case 0:
    case 1:
      return addition(world, [a!, b!, c!, how!]);
    case 2:
    case 3:
      return moveCustomer(world, a!, b!);
    case 4:
      return changeOwner(world, a!, b!);
    case 5: {
      const user = pick(world.users, a!);
      if (user === undefined) return null;
      const flipped = { ...user, enabled: !user.enabled };
      return {
        what: `${user.id} enabled ${flipped.enabled}`,
        world: { ...world, users: replaced(world.users, flipped) },
        write: (tables) => tables.setEnabled(user.id, flipped.enabled),
      };
    }
    case 6:
      return removeMembership(world, a!);
    case 7: {
      const grant = pick(world.grants, a!);
      return grant
        ? { what: `no ${grant.id}`, world: { ...world, grants: without(world.grants, grant.id) }, write: (tables) => tables.remove(grant.id) }
        : null;
    }
    case 8: {
      const grant = pick(world.grants, a!);
      if (grant === undefined) return null;
      const other = { ...grant, shared: !grant.shared };
      return {
        what: `${grant.id} shared ${other.shared}`,
        world: { ...world, grants: replaced(world.grants, other) },
        write: (tables) => tables.setShared(grant.id, other.shared),
      };
    }
    case 9: {
      const group = pick(world.groups, a!);
      if (group === undefined) return null;
      const leave = <T extends { readonly groups: readonly string[] }>(row: T): T => ({ ...row, groups: row.groups.filter((id) => id !== group.id) });
      const { users, entities, customers } = world;
      return {
        what: `no group ${group.id}`,
        world: {
          ...world,
          groups: without(world.groups, group.id),
          users: users.map(leave),
          entities: entities.map(leave),
          customers: customers.map(leave),
          grants: world.grants.filter(({ userGroup, entityGroup }) => userGroup !== group.id && entityGroup !== group.id),
        },
        write: (tables) => tables.remove(group.id),
      };
    }
    case 10: {
      const role = pick(world.roles, a!);
      if (role === undefined) return null;
      return {
        what: `no role ${role.id}`,
        world: { ...world, roles: without(world.roles, role.id), grants: world.grants.filter((grant) => grant.role !== role.id) },
        write: (tables) => tables.remove(role.id),
      };
    }
    default: {
      const list = pick(['users', 'entities'] as const, b!)!;
      const row = pick<WorldUser | WorldEntity>(world[list], a!);
      return row
        ? { what: `no ${row.id}`, world: { ...world, [list]: without(world[list] as readonly WorldUser[], row.id) }, write: (tables) => tables.remove(row.id) }
        : null;
    }
  }
}

/** To another owner of its tenant, outside its own subtree; its explicit memberships end. */
export function moveCustomer(world: WorldFile, which: number, where: number): Edit | null {
  const customer = pick(world.customers, which);
  if (customer === undefined) return null;
  const owners = [...world.tenants, ...world.customers].map(({ id }) => id);
  const owner = pick(
    owners.filter((id) => tenantOf(world, id) === tenantOf(world, customer.owner) && !chainOf(world.customers, id).includes(customer.id)),
    where,
  )!;
  return moved(world, 'customers', { row: customer, owner });
}

function changeOwner(world: WorldFile, which: number, where: number): Edit | null {
  const list = which % 2 === 0 ? 'users' : 'entities';
  const row = pick<WorldUser | WorldEntity>(world[list], which >>> 1);
  if (row === undefined) return null;
  const owners = [...world.tenants, ...world.customers].map(({ id }) => id).filter((id) => tenantOf(world, id) === tenantOf(world, row.owner));
  return moved(world, list, { row, owner: pick(owners, where)! });
}

function moved(world: WorldFile, list: MemberList, { row, owner }: { row: WorldUser | WorldEntity | WorldCustomer; owner: string }): Edit {
  const groups = owner === row.owner ? row.groups : [];
  return {
    what: `${row.id} below ${owner}`,
    world: { ...world, [list]: replaced(world[list] as readonly WorldUser[], { ...row, owner, groups } as WorldUser) },
    write: (tables) => tables.changeOwner(row.id, owner),
  };
}

function membersOf(world: WorldFile): readonly { list: MemberList; row: WorldUser | WorldEntity | WorldCustomer; type: string }[] {
  return [
    ...world.users.map((row) => ({ list: 'users' as const, row, type: 'USER' })),
    ...world.customers.map((row) => ({ list: 'customers' as const, row, type: 'CUSTOMER' })),
    ...world.entities.map((row) => ({ list: 'entities' as const, row, type: row.type })),
  ];
}

function addMembership(world: WorldFile, which: number, where: number): Edit | null {
  const member = pick(membersOf(world), which);
  if (member === undefined) return null;
  const group = pick(
    world.groups.filter(({ id, type, owner }) => type === member.type && owner === member.row.owner && !member.row.groups.includes(id)),
    where,
  );
  if (group === undefined) return null;
  const row = { ...member.row, groups: [...member.row.groups, group.id] };
  return {
    what: `${row.id} in ${group.id}`,
    world: { ...world, [member.list]: replaced(world[member.list] as readonly WorldUser[], row as WorldUser) },
    write: (tables) => tables.addMember(row.id, group.id),
  };
}

function removeMembership(world: WorldFile, which: number): Edit | null {
  const member = pick(
    membersOf(world).filter(({ row }) => row.groups.length > 0),
    which,
  );
  if (member === undefined) return null;
  const group = pick(member.row.groups, which)!;
  const row = { ...member.row, groups: member.row.groups.filter((id) => id !== group) };
  return {
    what: `${row.id} not in ${group}`,
    world: { ...world, [member.list]: replaced(world[member.list] as readonly WorldUser[], row as WorldUser) },
    write: (tables) => tables.removeMember(row.id, group),
  };
}

function addGrant(world: WorldFile, to: number, what: number, on: number): Edit | null {
  const userGroup = pick(
    world.groups.filter(({ type }) => type === 'USER'),
    to,
  );
  if (userGroup === undefined) return null;
  const inTenant = ({ owner }: { readonly owner: string }): boolean => tenantOf(world, owner) === tenantOf(world, userGroup.owner);
  const role = what < world.roles.length ? world.roles[what] : pick(world.roles.filter(inTenant), what);
  if (role === undefined || !inTenant(role)) return null;
  const entityGroup = pick([...world.groups.filter(inTenant).map(({ id }) => id), `all:DEVICE:${userGroup.owner}`, `all:USER:${userGroup.owner}`], on)!;
  const grant: WorldGrant = {
    id: fresh('p-new', world.grants),
    userGroup: userGroup.id,
    role: role.id,
    shared: on % 2 === 0,
    ...(role.type === 'GROUP' ? { entityGroup } : {}),
  };
  if (world.grants.some((other) => other.userGroup === grant.userGroup && other.role === grant.role && other.entityGroup === grant.entityGroup)) return null;
  return { what: `grant ${JSON.stringify(grant)}`, world: { ...world, grants: [...world.grants, grant] }, write: (tables) => tables.addGrant(grant) };
}
