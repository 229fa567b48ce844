// Which ids and objects does the server give out itself?
//
// The reserved ids (semantics 1.1), the groups, roles and grants that every tenant and customer begins with (1.2), and the id of a
// grant that was given none.

import { utf8Length } from './model.ts';
import type { Permissions } from './model.ts';

/**
 * The id of a grant that was given none: `grant:<user group>><role>[><entity group>]`. Two grants of a world differ in one of
 * the three (semantics 1), and `>` and `%` inside them are escaped, so two ids are equal only where a file itself chose such an
 * id for something else (the import then reports a duplicate id). One too long for an id is told by a 106-bit hash instead.
 */
export function grantId(grant: { readonly userGroup: string; readonly role: string; readonly entityGroup?: string }): string {
  const parts = [grant.userGroup, grant.role, ...(grant.entityGroup === undefined ? [] : [grant.entityGroup])];
  const id = `grant:${parts.map((part) => part.replace(/[%>]/g, (mark) => (mark === '%' ? '%25' : '%3E'))).join('>')}`;
  return utf8Length(id) <= 255 ? id : `grant:${hash53(id, 1)}${hash53(id, 2)}`;
}

/** Ids that only the server gives out (semantics 1.1). */
export function isReserved(id: string): boolean {
  return /^(\*$|all:|admins:|users:|role:)/.test(id);
}

/** The reserved ids that belong to an owner. */
export function predefinedIds(owner: string): { readonly groups: readonly string[]; readonly roles: readonly string[] } {
  return { groups: [`admins:${owner}`, `users:${owner}`], roles: [`role:admin:${owner}`, `role:user:${owner}`] };
}

/** What an owner begins with. */
export interface Predefined {
  readonly groups: readonly { readonly id: string; readonly type: 'USER'; readonly owner: string; readonly name: string }[];
  readonly roles: readonly {
    readonly id: string;
    readonly owner: string;
    readonly type: 'GENERIC';
    readonly permissions: Permissions;
    readonly excluded: Permissions;
  }[];
  readonly grants: readonly { readonly id: string; readonly userGroup: string; readonly role: string; readonly shared: false }[];
}

/** The predefined objects of a tenant or a customer (semantics 1.2). */
export function predefinedOf(owner: string, kind: 'tenant' | 'customer'): Predefined {
  const who = kind === 'tenant' ? 'Tenant' : 'Customer';
  const grant = (userGroup: string, role: string) => ({ id: grantId({ userGroup, role }), userGroup, role, shared: false as const });
  return {
    groups: [
      { id: `admins:${owner}`, type: 'USER', owner, name: `${who} Administrators` },
      { id: `users:${owner}`, type: 'USER', owner, name: `${who} Users` },
    ],
    roles: [
      { id: `role:admin:${owner}`, owner, type: 'GENERIC', permissions: ADMINISTRATOR, excluded: {} },
      { id: `role:user:${owner}`, owner, type: 'GENERIC', permissions: READ_ONLY_USER, excluded: {} },
    ],
    grants: [grant(`admins:${owner}`, `role:admin:${owner}`), grant(`users:${owner}`, `role:user:${owner}`)],
  };
}

const ADMINISTRATOR: Permissions = { ALL: ['ALL'] };
const READ_ONLY_USER: Permissions = {
  PROFILE: ['ALL'],
  ALL: ['READ', 'RPC_CALL', 'READ_CREDENTIALS', 'READ_ATTRIBUTES', 'READ_TELEMETRY', 'READ_CALCULATED_FIELD'],
};

/** cyrb53: 53 well-mixed bits. Not for secrets; whoever forges a collision gets a duplicate-id error. */
function hash53(text: string, seed: number): string {
  let high = 0xdeadbeef ^ seed;
  let low = 0x41c6ce57 ^ seed;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    high = Math.imul(high ^ unit, 2654435761);
    low = Math.imul(low ^ unit, 1597334677);
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  return (4294967296 * (2097151 & low) + (high >>> 0)).toString(36).padStart(11, '0');
}
