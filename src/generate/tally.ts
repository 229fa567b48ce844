// What was in the rows that went by, and what was largest?
//
// Kept: counts, and members of the groups that later rows may still be put into. A user or an entity is followed by those of its own
// owner, so their groups are forgotten with the next owner.

import { idsOf } from './ids.ts';
import type { Row } from './row.ts';
import type { Shape } from './shape.ts';

export interface Summary {
  /** Lines, the first one (`defaults`) among them. */
  readonly rows: number;
  /** By list; without the predefined objects: two groups, two roles and two grants for every tenant and customer. */
  readonly counts: Readonly<Record<Exclude<Row['kind'], 'defaults'>, number>>;
  readonly memberships: { readonly users: number; readonly customers: number; readonly entities: number };
  /** By customers, users and entities together. */
  readonly largestTenant: { readonly id: string; readonly customers: number; readonly users: number; readonly entities: number };
  readonly deepestCustomer: { readonly id: string; readonly depth: number } | null;
  /** A predefined group may be it. */
  readonly largestGroup: { readonly id: string; readonly members: number } | null;
}

export class Tally {
  readonly #counts = { tenants: 0, customers: 0, groups: 0, roles: 0, users: 0, entities: 0, grants: 0 };
  readonly #memberships = { users: 0, customers: 0, entities: 0 };
  #rows = 0;
  #kind: Row['kind'] = 'defaults';
  #owner = '';
  readonly #members = new Map<string, number>();
  #largestGroup: { id: string; members: number } | null = null;

  add(row: Row): void {
    this.#rows++;
    if (row.kind === 'defaults') return;
    this.#counts[row.kind]++;
    if (row.kind !== 'users' && row.kind !== 'entities' && row.kind !== 'customers') return;
    // Customers of one owner are not side by side.
    if (row.kind !== this.#kind || (row.kind !== 'customers' && row.owner !== this.#owner)) this.#members.clear();
    this.#kind = row.kind;
    this.#owner = row.owner;
    for (const group of row.groups ?? []) {
      this.#memberships[row.kind]++;
      const members = (this.#members.get(group) ?? 0) + 1;
      this.#members.set(group, members);
      if (members > (this.#largestGroup?.members ?? 0)) this.#largestGroup = { id: group, members };
    }
  }

  of(shape: Shape): Summary {
    const ids = idsOf(shape);
    let deepest = shape.tenants;
    const sizes = Array.from({ length: shape.tenants }, () => ({ customers: 0, users: 0, entities: 0 }));
    for (let owner = 0; owner < shape.owners; owner++) {
      const size = sizes[shape.tenant[owner]!]!;
      if (owner >= shape.tenants) size.customers++;
      size.users += shape.firstUser[owner + 1]! - shape.firstUser[owner]!;
      size.entities += shape.firstEntity[owner + 1]! - shape.firstEntity[owner]!;
      if (owner >= shape.tenants && shape.depth[owner]! > shape.depth[deepest]!) deepest = owner;
    }
    const all = ({ customers, users, entities }: (typeof sizes)[number]): number => customers + users + entities;
    const largest = sizes.reduce((found, size, tenant) => (all(size) > all(sizes[found]!) ? tenant : found), 0);
    return {
      rows: this.#rows,
      counts: { ...this.#counts },
      memberships: { ...this.#memberships },
      largestTenant: { id: ids.owner(largest), ...sizes[largest]! },
      deepestCustomer: shape.customers === 0 ? null : { id: ids.owner(deepest), depth: shape.depth[deepest]! },
      largestGroup: this.#largestGroup,
    };
  }
}
