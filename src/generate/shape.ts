// How large is each part of a generated world, and what hangs below what?
//
// Everything that must be known before the first row: some 30 bytes a tenant or customer, nothing by user or entity. Owners are
// numbers: tenants first, then customers, those of one tenant side by side and each behind the one that it hangs below.

import { rolls, sized, type Roll } from './random.ts';

export interface WorldSize {
  /** Left out: one for every hundred customers. */
  readonly tenants?: number;
  readonly customers: number;
  readonly users: number;
  readonly entities: number;
  /** Of users in user groups; left out: one and a half a user. */
  readonly memberships?: number;
  /** 0 to 2^32 - 1 */
  readonly seed: number;
  /** Readable ids (`device-000123`), or UUIDs as ThingsBoard has them. */
  readonly ids?: 'names' | 'uuid';
}

export interface Shape extends Required<WorldSize> {
  /** Tenants and customers. */
  readonly owners: number;
  /** By owner: the owner above it; a tenant: itself. */
  readonly parent: Int32Array;
  /** By owner: its tenant. */
  readonly tenant: Int32Array;
  /** By owner: 0 for a tenant, 1 to 50. */
  readonly depth: Uint8Array;
  /** By owner: customers right below it. */
  readonly children: Uint32Array;
  /** By owner: number of its first user; those behind its last are the next owner's. One more entry than owners. */
  readonly firstUser: Float64Array;
  readonly firstEntity: Float64Array;
  /** By tenant: its first customer as an owner. One more entry than tenants. */
  readonly firstCustomer: Float64Array;
}

export const DEEPEST = 50;

/** What a generated world may have at most: so far every product of a size and a sum of weights is exact. */
export const MOST = { tenants: 100_000, customers: 1_000_000, users: 100_000_000, entities: 100_000_000 } as const;

/** Memberships a user may have on average: more would need more groups than owners have. */
export const MOST_MEMBERSHIPS_A_USER = 3;

export function shapeOf(size: WorldSize): Shape {
  const { customers, users, seed } = size;
  const tenants = size.tenants ?? Math.max(1, Math.ceil(customers / 100));
  const owners = tenants + customers;
  // Zipf's law: the second tenant has half of the customers of the first, the third a third.
  const firstCustomer = shares(tenants, customers, (rank) => Math.floor((1 << 20) / (rank + 1))).map((first) => tenants + first);
  const tree = hung({ tenants, owners, firstCustomer, roll: rolls(seed, 1) });
  const own = (owner: number): number => (owner < tenants ? firstCustomer[owner + 1]! - firstCustomer[owner]! : 0);
  const userRoll = rolls(seed, 2);
  const entityRoll = rolls(seed, 3);
  return {
    ...size,
    tenants,
    memberships: size.memberships ?? Math.floor((users * 3) / 2),
    ids: size.ids ?? 'names',
    owners,
    ...tree,
    firstCustomer,
    firstUser: shares(owners, users, (owner) => sized(userRoll, 256) + Math.floor(own(owner) / 4)),
    firstEntity: shares(owners, size.entities, (owner) => sized(entityRoll, 4096) + own(owner)),
  };
}

/** Parts of a total by weight, exactly: where each begins, and as a last entry the total. */
function shares(parts: number, total: number, weight: (part: number) => number): Float64Array {
  const first = new Float64Array(parts + 1);
  for (let part = 0; part < parts; part++) first[part + 1] = first[part]! + weight(part);
  const whole = first[parts]!;
  for (let part = 0; part < parts; part++) first[part] = Math.floor((first[part]! * total) / whole);
  first[parts] = total;
  return first;
}

interface Hanging {
  readonly tenants: number;
  readonly owners: number;
  readonly firstCustomer: Float64Array;
  readonly roll: Roll;
}

/** Half of the customers hang below their tenant, the others below an earlier one; and a tenant may begin with one long chain. */
function hung({ tenants, owners, firstCustomer, roll }: Hanging): Pick<Shape, 'parent' | 'tenant' | 'depth' | 'children'> {
  const parent = new Int32Array(owners);
  const tenant = new Int32Array(owners);
  const depth = new Uint8Array(owners);
  const children = new Uint32Array(owners);
  for (let root = 0; root < tenants; root++) {
    parent[root] = tenant[root] = root;
    const first = firstCustomer[root]!;
    const end = firstCustomer[root + 1]!;
    const longest = Math.min(DEEPEST, Math.floor((end - first) / 8));
    const chain = root === 0 ? longest : roll(longest + 1);
    for (let customer = first; customer < end; customer++) {
      const dice = roll(8);
      let above = root;
      if (customer > first && (dice === 0 || customer < first + chain)) above = customer - 1;
      else if (customer > first && dice < 4) above = first + roll(customer - first);
      if (depth[above] === DEEPEST) above = root;
      parent[customer] = above;
      tenant[customer] = root;
      depth[customer] = depth[above]! + 1;
      children[above]!++;
    }
  }
  return { parent, tenant, depth, children };
}
