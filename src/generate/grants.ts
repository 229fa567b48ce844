// Which roles and grants has a generated world?
//
// Every tenant has the same nine roles, one customer in sixteen one of its own. Every team has one grant. A customer may have more: what
// its tenant shares with it, a look at all of its own dashboards, and, one in 64, a grant that is dormant (semantics 1.4), as a move leaves.

import { formatAllGroup } from 'policy-cache';
import { entityGroups, teams } from './groups.ts';
import type { Ids } from './ids.ts';
import { absorbed, finished, pick, ranked, rolls, type Roll } from './random.ts';
import type { Row } from './row.ts';
import type { Shape } from './shape.ts';
import { GENERIC_ROLES, GROUP_ROLES, GROUPED, INSPECTOR } from './words.ts';

export function* roleRows(shape: Shape, ids: Ids): Generator<Row> {
  for (let owner = 0; owner < shape.owners; owner++) {
    if (owner >= shape.tenants && !hasInspector(shape, owner)) continue;
    for (const { name, permissions, excluded } of owner < shape.tenants ? GENERIC_ROLES : [INSPECTOR]) {
      const except = Object.keys(excluded).length === 0 ? {} : { excluded };
      yield { kind: 'roles', id: ids.role(owner, name), owner: ids.owner(owner), type: 'GENERIC', permissions, ...except, name };
    }
    if (owner >= shape.tenants) continue;
    for (const { name, permissions } of GROUP_ROLES)
      yield { kind: 'roles', id: ids.role(owner, name), owner: ids.owner(owner), type: 'GROUP', permissions, name };
  }
}

export function* grantRows(shape: Shape, ids: Ids): Generator<Row> {
  const roll = rolls(shape.seed, 7);
  let grant = 0;
  for (let owner = 0; owner < shape.owners; owner++) {
    for (let team = 0; team < teams(shape, owner); team++) {
      const given =
        team === 0 && owner >= shape.tenants && hasInspector(shape, owner) ? { role: ids.role(owner, INSPECTOR.name) } : givenTo({ shape, ids, owner, roll });
      yield { kind: 'grants', id: ids.grant(grant++), userGroup: ids.group(owner, 'USER', team), ...given };
    }
    if (owner < shape.tenants) continue;
    const tenant = shape.tenant[owner]!;
    const [shares, looks, dormant] = [roll(8), roll(16), roll(64)];
    const dashboards = entityGroups(shape, tenant, 'DASHBOARD');
    if (shares === 0 && dashboards > 0) {
      const entityGroup = ids.group(tenant, 'DASHBOARD', ranked(roll, dashboards));
      yield { kind: 'grants', id: ids.grant(grant++), userGroup: `users:${ids.owner(owner)}`, role: ids.role(tenant, 'look'), entityGroup, shared: true };
    }
    if (looks === 0) {
      const id = ids.owner(owner);
      const all = { userGroup: formatAllGroup('USER', id), entityGroup: formatAllGroup('DASHBOARD', id) };
      yield { kind: 'grants', id: ids.grant(grant++), ...all, role: ids.role(tenant, 'look') };
    }
    if (dormant === 0 && entityGroups(shape, tenant, 'DEVICE') > 0) {
      const entityGroup = ids.group(tenant, 'DEVICE', 0);
      yield { kind: 'grants', id: ids.grant(grant++), userGroup: `admins:${ids.owner(owner)}`, role: ids.role(tenant, 'operate'), entityGroup };
    }
  }
}

interface Asking {
  readonly shape: Shape;
  readonly ids: Ids;
  readonly owner: number;
  readonly roll: Roll;
}

/** A role for a team: GENERIC, or GROUP on a group of its owner's own, on all of the owner's devices, or of a customer below. */
function givenTo({ shape, ids, owner, roll }: Asking): { readonly role: string; readonly entityGroup?: string } {
  const tenant = shape.tenant[owner]!;
  const dice = roll(8);
  const role = ids.role(tenant, pick(roll, GROUP_ROLES).name);
  const generic = ids.role(tenant, pick(roll, GENERIC_ROLES).name);
  if (dice < 3) return { role: generic };
  if (dice === 3) return { role, entityGroup: formatAllGroup('DEVICE', ids.owner(owner)) };
  const below = shape.firstCustomer[tenant + 1]! - shape.firstCustomer[tenant]!;
  const of = dice === 4 && owner === tenant && below > 0 ? shape.firstCustomer[tenant]! + roll(below) : owner;
  const types = GROUPED.filter(({ type }) => entityGroups(shape, of, type) > 0);
  if (types.length === 0) return { role: generic };
  const type = types[ranked(roll, types.length)]!.type;
  return { role, entityGroup: ids.group(of, type, ranked(roll, entityGroups(shape, of, type))) };
}

function hasInspector({ seed }: Shape, customer: number): boolean {
  return finished(absorbed(absorbed(seed, 8), customer)) % 16 === 0;
}
