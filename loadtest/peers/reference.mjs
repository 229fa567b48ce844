// Which answers are right? The decision, written from the access model (rules 3, 6a, 6b), with nothing of grantgate's: grantgate is
// the second function, and every query has to get the same answer from both before anything is timed.

import { OPERATIONS, chain, parentsOf } from './world.mjs';

/** @typedef {import('./world.mjs').World} World */
/** @typedef {{ readonly allow: boolean, readonly rule: '6a' | '6b' | '6e', readonly inSubtree: boolean }} Decision */

/** What a role gives on devices, wildcards and exclusions resolved. @param {World['roles'][number]} role @returns {ReadonlySet<string>} */
export function operationsOf(role) {
  const meant = (/** @type {readonly string[]} */ names) => (names.includes('ALL') ? OPERATIONS : names);
  if (role.type === 'GROUP') return new Set(meant(role.permissions).filter((operation) => operation !== 'CHANGE_OWNER'));
  const { permissions, excluded } = role;
  const of = (/** @type {import('./world.mjs').Permissions} */ listed) => meant([...(listed['DEVICE'] ?? []), ...(listed['ALL'] ?? [])]);
  const without = new Set(of(excluded));
  return new Set(of(permissions).filter((operation) => !without.has(operation)));
}

/**
 * What a user may, flattened: operations in the owner's subtree, and operations by entity group.
 * @typedef {{ readonly scope: string, readonly generic: ReadonlySet<string>, readonly groups: ReadonlyMap<string, ReadonlySet<string>> }} Effective
 */

/** @param {World} world */
export function reference(world) {
  const parents = parentsOf(world.customers);
  const roles = new Map(world.roles.map((role) => [role.id, operationsOf(role)]));
  const users = new Map(world.users.map((user) => [user.id, user]));
  const devices = new Map(world.devices.map((device) => [device.id, device]));
  /** @type {Map<string, import('./world.mjs').Grant[]>} */ const given = new Map();
  for (const grant of world.grants) given.set(grant.userGroup, [...(given.get(grant.userGroup) ?? []), grant]);

  /** @param {readonly string[]} groups @param {string} scope @param {string | null} without a grant that is taken away @returns {Effective} */
  const flatten = (groups, scope, without = null) => {
    /** @type {Set<string>} */ const generic = new Set();
    /** @type {Map<string, Set<string>>} */ const byGroup = new Map();
    for (const { id, role, entityGroup } of groups.flatMap((group) => given.get(group) ?? [])) {
      if (id === without) continue;
      const into = entityGroup === null ? generic : (byGroup.get(entityGroup) ?? new Set());
      for (const operation of roles.get(role) ?? []) into.add(operation);
      if (entityGroup !== null) byGroup.set(entityGroup, into);
    }
    return { scope, generic, groups: byGroup };
  };

  /** @type {Map<string, Effective>} */ const known = new Map();
  /** @param {string} id @param {string | null} [without] @returns {Effective} */
  const effective = (id, without = null) => {
    const user = users.get(id);
    if (user === undefined) throw new Error(`no such user: ${id}`);
    const found = without === null ? known.get(id) : undefined;
    const made = found ?? flatten(user.groups, user.owner, without);
    if (without === null) known.set(id, made);
    return made;
  };

  /** @param {string} user @param {string} operation @param {string} target @param {string | null} [without] @returns {Decision} */
  const decide = (user, operation, target, without = null) => {
    const device = devices.get(target);
    if (device === undefined) throw new Error(`no such device: ${target}`);
    const { scope, generic, groups } = effective(user, without);
    const inSubtree = chain(parents, device.owner).includes(scope);
    if (inSubtree && generic.has(operation)) return { allow: true, rule: '6a', inSubtree };
    if (device.groups.some((group) => groups.get(group)?.has(operation))) return { allow: true, rule: '6b', inSubtree };
    return { allow: false, rule: '6e', inSubtree };
  };

  return { parents, roles, users, devices, flatten, effective, decide };
}
