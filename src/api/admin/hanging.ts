// What goes with what is removed, and what does the audit log say of it?
//
// Grants of a group or a role, and of what an owner began with: each has the row that it had if somebody removed it by hand, under the
// owner of its user group, before the row of what it hung on. What came with its owner without a row goes without one (semantics 1.2); the groups
// that a removed thing was in are in the row of that.
//
// Bounded: [measured] to remove a role with 100,000 grants takes 4.0 s, with a row for each of them 9.4 s, about as long as a statement may take,
// and with 10,000 rows 4.6 s. So the first 10,000 by id, as many as a bulk variant takes, have their rows, and one more says how many else went.
// Which those were is in the rows of their making, which name the role and the groups.

import { predefinedIds, predefinedOf } from 'policy-cache';
import { readHangingGrants, readObjects, type Statements, type StoredObject } from 'policy-cache/postgres';
import type { Effect } from './perform.ts';
import { MOST_ITEMS } from './schemas.ts';

/** Of all of one tenant, which are still there. */
export async function hangingEffects(db: Statements, removed: readonly StoredObject[], most = MOST_ITEMS): Promise<readonly Effect[]> {
  const ids: string[] = [];
  const begunWith = new Set<string>();
  for (const { id, list } of removed) {
    if (list === 'groups' || list === 'roles') ids.push(id);
    if (list !== 'tenants' && list !== 'customers') continue;
    const { groups, roles } = predefinedIds(id);
    ids.push(id, ...groups, ...roles);
    for (const grant of predefinedOf(id, list === 'tenants' ? 'tenant' : 'customer').grants) begunWith.add(grant.id);
  }
  const [first] = removed;
  if (ids.length === 0 || first === undefined) return [];
  const hanging = await readHangingGrants(db, ids, most);
  const grants = await readObjects(
    db,
    hanging.ids.filter((id) => !begunWith.has(id)),
  );
  const effects = [...grants.values()].map(({ id, tenant, owner, row }): Effect => ({
    action: GRANT_GONE,
    tenant,
    owner: owner ?? tenant,
    target: id,
    before: row,
    after: null,
  }));
  const more = hanging.count - hanging.ids.length;
  if (more === 0) return effects;
  const { tenant } = first;
  const about = removed.length === 1 ? { owner: first.owner ?? tenant, target: first.id } : { owner: tenant, target: tenant };
  return [...effects, { action: GRANT_GONE, tenant, ...about, before: { more }, after: null }];
}
const GRANT_GONE = 'grant.delete';
