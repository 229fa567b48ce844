// Which world is every peer asked about? One tenant, its customers, users, devices, groups, roles and grants, from a seed: the same in
// every process.
//
// The part of the model that every peer can say: left out are shares, CREATE, the target `*`, All groups, self access, disabled users
// and closed resources. Wildcards and exclusions of roles are in, and are resolved before a peer gets them; grantgate gets them as they are.

/** @typedef {{ readonly id: string, readonly owner: string }} Owned */
/** @typedef {Owned & { readonly groups: readonly string[] }} Member a user or a device */
/** @typedef {Readonly<Record<string, readonly string[]>>} Permissions resource → operations */
/** @typedef {{ readonly id: string, readonly type: 'GENERIC', readonly permissions: Permissions, readonly excluded: Permissions }} GenericRole */
/** @typedef {{ readonly id: string, readonly type: 'GROUP', readonly permissions: readonly string[] }} GroupRole */
/** @typedef {{ readonly id: string, readonly userGroup: string, readonly role: string, readonly entityGroup: string | null }} Grant */

/**
 * @typedef {object} World
 * @property {readonly Owned[]} customers parents before children
 * @property {readonly Member[]} users
 * @property {readonly Member[]} devices
 * @property {readonly Owned[]} userGroups
 * @property {readonly Owned[]} entityGroups of devices
 * @property {readonly (GenericRole | GroupRole)[]} roles
 * @property {readonly Grant[]} grants
 * @property {{ readonly user: string, readonly group: string }} idle a user who asks nothing, and the group that it joins and leaves
 */

export const TENANT = 't';
/** CHANGE_OWNER is nothing that a GROUP role can give. */
export const OPERATIONS = [
  ...['READ', 'WRITE', 'DELETE', 'RPC_CALL', 'READ_CREDENTIALS', 'WRITE_CREDENTIALS'],
  ...['READ_ATTRIBUTES', 'WRITE_ATTRIBUTES', 'READ_TELEMETRY', 'CHANGE_OWNER'],
];
export const SIZE = { customers: 400, depth: 6, users: 2_000, devices: 10_000, userGroups: 100, entityGroups: 200, generic: 22, group: 18, grants: 400 };
/** Users from here on are in no query: for them whatever is asked after a revoke is the first question. */
export const SILENT_FROM = 1_700;

/** A number below `n`. @typedef {(n: number) => number} Roll */

/** @param {number} seed @returns {Roll} */
export function rolls(seed) {
  let state = seed >>> 0;
  return (n) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * n);
  };
}

/** @template T @param {Roll} roll @param {readonly T[]} list @returns {T} */
export function pick(roll, list) {
  return /** @type {T} */ (list[roll(list.length)]);
}

/** As many different ones. @template T @param {Roll} roll @param {readonly T[]} list @param {number} count */
function some(roll, list, count) {
  const left = [...list];
  return Array.from({ length: Math.min(count, left.length) }, () => /** @type {T} */ (left.splice(roll(left.length), 1)[0]));
}

/** @param {number} seed @returns {World} */
export function createWorld(seed) {
  const roll = rolls(seed);
  const customers = createCustomers(roll);
  const parents = parentsOf(customers);
  const owners = [TENANT, ...customers.map(({ id }) => id)];
  // Few owners have people: the tenant, and one in seven of the others.
  const peopled = [TENANT, ...some(roll, owners.slice(1), 57)];
  const userGroups = Array.from({ length: SIZE.userGroups }, (_, i) => ({ id: `ug${i}`, owner: peopled[i] ?? pick(roll, peopled) }));
  const stocked = some(roll, owners, 150);
  const entityGroups = Array.from({ length: SIZE.entityGroups }, (_, i) => ({ id: `eg${i}`, owner: stocked[i] ?? pick(roll, stocked) }));
  const users = Array.from({ length: SIZE.users }, (_, i) => member(roll, { id: `u${i}`, owner: pick(roll, peopled), among: userGroups, most: 3 }));
  const devices = Array.from({ length: SIZE.devices }, (_, i) =>
    member(roll, { id: `d${i}`, owner: roll(2) === 0 ? pick(roll, owners) : pick(roll, stocked), among: entityGroups, most: 2 }),
  );
  const idle = { id: `u${SIZE.users - 1}`, owner: userGroups[0]?.owner ?? TENANT, groups: [] };
  users[SIZE.users - 1] = idle;
  const roles = createRoles(roll);
  const grants = createGrants(roll, { userGroups, entityGroups, roles, parents });
  return { customers, users, devices, userGroups, entityGroups, roles, grants, idle: { user: idle.id, group: 'ug0' } };
}

/** @param {Roll} roll */
function createCustomers(roll) {
  /** @type {(Owned & { depth: number })[]} */ const customers = [];
  while (customers.length < SIZE.customers) {
    const parent = customers.length < 12 ? undefined : pick(roll, customers);
    if (parent !== undefined && parent.depth >= SIZE.depth) continue;
    customers.push({ id: `c${customers.length}`, owner: parent?.id ?? TENANT, depth: (parent?.depth ?? 0) + 1 });
  }
  return customers.map(({ id, owner }) => ({ id, owner }));
}

/** Who is in groups is in groups of its owner: nothing else counts. @param {Roll} roll @param {{ id: string, owner: string, among: readonly Owned[], most: number }} one @returns {Member} */
function member(roll, { id, owner, among, most }) {
  const own = among.filter((group) => group.owner === owner).map((group) => group.id);
  return { id, owner, groups: some(roll, own, 1 + roll(most)) };
}

/** @param {Roll} roll */
function createRoles(roll) {
  const operations = (/** @type {number} */ most) => some(roll, OPERATIONS, 1 + roll(most));
  /** @type {(GenericRole | GroupRole)[]} */
  const roles = Array.from({ length: SIZE.generic }, (_, i) => ({
    id: `generic${i}`,
    type: /** @type {const} */ ('GENERIC'),
    permissions:
      i === 0
        ? { ALL: ['ALL'] }
        : { [i % 5 === 1 ? 'ALL' : 'DEVICE']: i % 7 === 2 ? ['ALL'] : operations(4), ASSET: some(roll, ['READ', 'WRITE', 'DELETE'], 2) },
    excluded: i % 7 === 2 || i === 0 ? { DEVICE: operations(5) } : i % 5 === 1 ? { ALL: operations(2) } : {},
  }));
  for (let i = 0; i < SIZE.group; i++) roles.push({ id: `group${i}`, type: 'GROUP', permissions: i === 0 ? ['ALL'] : operations(5) });
  return roles;
}

/**
 * GENERIC ones hold in the subtree of the user group's owner; an entity group is given to groups of its owner or of an ancestor.
 * @param {Roll} roll
 * @param {{ userGroups: readonly Owned[], entityGroups: readonly Owned[], roles: readonly (GenericRole | GroupRole)[], parents: ReadonlyMap<string, string | null> }} among
 */
function createGrants(roll, { userGroups, entityGroups, roles, parents }) {
  const generic = roles.filter(({ type }) => type === 'GENERIC');
  const group = roles.filter(({ type }) => type === 'GROUP');
  /** @type {Grant[]} */ const grants = [];
  const seen = new Set();
  while (grants.length < SIZE.grants) {
    const userGroup = pick(roll, userGroups);
    const below = roll(5) < 2 ? null : entityGroups.filter(({ owner }) => chain(parents, owner).includes(userGroup.owner));
    if (below?.length === 0) continue;
    const role = pick(roll, below === null ? generic : group).id;
    const entityGroup = below === null ? null : pick(roll, below).id;
    const key = `${userGroup.id} ${role} ${entityGroup}`;
    if (!seen.has(key)) grants.push({ id: `p${grants.length}`, userGroup: userGroup.id, role, entityGroup });
    seen.add(key);
  }
  return grants;
}

/** Owner → the owner above it. @param {readonly Owned[]} customers @returns {ReadonlyMap<string, string | null>} */
export function parentsOf(customers) {
  return new Map([[TENANT, null], ...customers.map(({ id, owner }) => /** @type {const} */ ([id, owner]))]);
}

/** The owner and everything above it. @param {ReadonlyMap<string, string | null>} parents @param {string} owner */
export function chain(parents, owner) {
  const above = [];
  for (let at = /** @type {string | null} */ (owner); at !== null; at = parents.get(at) ?? null) above.push(at);
  return above;
}

/** As a world file has them. @param {World} world */
export function rowsOf(world) {
  const rows = (/** @type {string} */ kind, /** @type {readonly object[]} */ list) => list.map((fields) => ({ kind, ...fields }));
  return [
    ...rows('tenants', [{ id: TENANT }]),
    ...rows('customers', world.customers),
    ...rows(
      'groups',
      world.userGroups.map((group) => ({ ...group, type: 'USER' })),
    ),
    ...rows(
      'groups',
      world.entityGroups.map((group) => ({ ...group, type: 'DEVICE' })),
    ),
    ...rows(
      'roles',
      world.roles.map((role) => ({ ...role, owner: TENANT })),
    ),
    ...rows('users', world.users),
    ...rows(
      'entities',
      world.devices.map((device) => ({ ...device, type: 'DEVICE' })),
    ),
    ...rows(
      'grants',
      world.grants.map(({ entityGroup, ...grant }) => (entityGroup === null ? grant : { ...grant, entityGroup })),
    ),
  ];
}
