// Which world is written to and asked, and what was it at each version?
//
// Every statement of a writer records its own effect in the transaction that it is part of (`stress.effect`), so that a commit whose
// acknowledgement was lost is known all the same. Replayed in the order of the log they give the world of each version; the
// decisions of that world are the executable specification's (policy-cache/test/reference.ts), which shares nothing with the product.

import type { World } from '../../../policy-cache/test/reference.ts';

export type Effect =
  | readonly ['tenant', id: string]
  | readonly ['customer', id: string, owner: string]
  | readonly ['group', id: string, type: string, owner: string]
  | readonly ['user', id: string, owner: string]
  | readonly ['device', id: string, owner: string]
  | readonly ['role', id: string, owner: string, type: string]
  | readonly ['grant', id: string, userGroup: string, role: string, entityGroup: string | null, shared: boolean]
  | readonly ['gone', id: string]
  | readonly ['owner', id: string, owner: string]
  | readonly ['enabled', id: string, enabled: boolean]
  | readonly ['join', id: string, group: string]
  | readonly ['leave', id: string, group: string]
  | readonly ['permissions', role: string, permissions: RoleSide | readonly string[], excluded: RoleSide]
  | readonly ['shared', grant: string, shared: boolean];
export type RoleSide = Readonly<Record<string, readonly string[]>>;

export const NOTHING_YET: World = { tenants: [], customers: [], groups: [], users: [], entities: [], roles: [], grants: [] };

/** The world after the effect. What it leaves alone is shared with the world before. */
export function after(world: World, effect: Effect): World {
  switch (effect[0]) {
    case 'tenant':
      return { ...world, tenants: [...world.tenants, { id: effect[1] }] };
    case 'customer':
      return { ...world, customers: [...world.customers, { id: effect[1], owner: effect[2] }] };
    case 'group':
      return { ...world, groups: [...world.groups, { id: effect[1], type: effect[2], owner: effect[3] }] };
    case 'user':
      return { ...world, users: [...world.users, { id: effect[1], owner: effect[2], enabled: true, groups: [] }] };
    case 'device':
      return { ...world, entities: [...world.entities, { id: effect[1], type: 'DEVICE', owner: effect[2], groups: [] }] };
    case 'role': {
      const [, id, owner, type] = effect;
      return { ...world, roles: [...world.roles, { id, owner, type, permissions: type === 'GROUP' ? [] : {}, excluded: {} }] };
    }
    case 'grant': {
      const [, id, userGroup, role, entityGroup, shared] = effect;
      return { ...world, grants: [...world.grants, { id, userGroup, role, shared, ...(entityGroup === null ? {} : { entityGroup }) }] };
    }
    case 'gone': {
      const others = <T extends { readonly id: string }>(rows: readonly T[]): readonly T[] => rows.filter(({ id }) => id !== effect[1]);
      return { ...world, users: others(world.users), entities: others(world.entities), groups: others(world.groups), grants: others(world.grants) };
    }
    case 'owner': {
      // A changed owner ends the explicit memberships (semantics 1.5).
      const [, id, owner] = effect;
      return changed(world, id, (row) => ({ ...row, owner, groups: [] }));
    }
    case 'enabled':
      return changed(world, effect[1], (row) => ({ ...row, enabled: effect[2] }));
    case 'join':
      return changed(world, effect[1], (row) => ({ ...row, groups: [...(row.groups ?? []), effect[2]] }));
    case 'leave':
      return changed(world, effect[1], (row) => ({ ...row, groups: (row.groups ?? []).filter((group) => group !== effect[2]) }));
    case 'permissions': {
      const [, id, permissions, excluded] = effect;
      return { ...world, roles: world.roles.map((role) => (role.id === id ? { ...role, permissions, excluded } : role)) };
    }
    case 'shared':
      return { ...world, grants: world.grants.map((grant) => (grant.id === effect[1] ? { ...grant, shared: effect[2] } : grant)) };
    default:
      return effect satisfies never;
  }
}

/** The one id on whose questions alone the effect can bear; null if it can bear on any. */
export function concerns(effect: Effect): string | null {
  switch (effect[0]) {
    case 'user':
    case 'device':
    case 'enabled':
    case 'join':
    case 'leave':
    case 'owner':
    case 'gone':
      return /^[ud][0-9]/.test(effect[1]) ? effect[1] : null; // a customer that moves, a grant or a group that goes: anybody
    default:
      return null;
  }
}

type Member = World['users'][number] & World['entities'][number];

function changed(world: World, id: string, change: (row: Member) => Member): World {
  const mapped = <T extends { readonly id: string }>(rows: readonly T[]): readonly T[] =>
    rows.some((row) => row.id === id) ? rows.map((row) => (row.id === id ? (change(row as unknown as Member) as unknown as T) : row)) : rows;
  return { ...world, users: mapped(world.users), entities: mapped(world.entities), customers: mapped(world.customers) };
}
