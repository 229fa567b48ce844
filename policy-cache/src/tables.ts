// What may stand in a database of this model, and what does each write touch?
//
// The tables of semantics 1 in memory: the integrity that a database enforces with constraints (one id namespace, one tenant,
// no cycle), and for every write the tags that the change log must carry (coherence 3.6). No log, no I/O: memory.ts adds those.

import { InputError } from './errors.ts';
import { formatAllGroup, parseAllGroup, parseId, utf8Length } from './model.ts';
import { isReserved, predefinedIds } from './predefined.ts';
import { expandDefaults } from './worldfile.ts';
import type { Grant, Permissions } from './model.ts';
import type { ClassKey, KeyRow, ObjectKind, ObjectRow, TreeRow } from './source.ts';
import type { WorldCustomer, WorldEntity, WorldFile, WorldGrant, WorldRole, WorldUser } from './worldfile.ts';
import type { Problem, WorldGroup, WorldTenant } from './worldrows.ts';

interface Stored {
  readonly kind: ObjectKind;
  readonly type: string;
  readonly owner: string | null;
  readonly enabled: boolean;
}

const MAX_DEPTH = 1_000;

/** Every write throws InputError, naming the field, when the model forbids it; the caller then forgets the copy it wrote to. */
export class Tables {
  readonly #objects: Map<string, Stored>;
  readonly #memberOf: Map<string, readonly string[]>;
  readonly #roles: Map<string, WorldRole>;
  readonly #grants: Map<string, WorldGrant>;
  /** Ids of grants by user group, so that a permission class is read without a scan. */
  readonly #grantsOf: Map<string, readonly string[]>;
  readonly #keys: Map<string, KeyRow>;
  /** What the writes since the last copy touched. */
  readonly touched: Record<'o' | 'g' | 'r' | 'n' | 'k', Set<string>> = { o: new Set(), g: new Set(), r: new Set(), n: new Set(), k: new Set() };

  /** A copy of `from` with nothing touched: a transaction writes there, so giving it up is forgetting it. */
  constructor(from?: Tables) {
    this.#objects = new Map(from ? from.#objects : []);
    this.#memberOf = new Map(from ? from.#memberOf : []);
    this.#roles = new Map(from ? from.#roles : []);
    this.#grants = new Map(from ? from.#grants : []);
    this.#grantsOf = new Map(from ? from.#grantsOf : []);
    this.#keys = new Map(from ? from.#keys : []);
  }

  // Reads, as a source reports them.

  object(id: string): ObjectRow | null {
    const stored = this.#objects.get(id);
    if (stored === undefined) return null;
    const groups = (this.#memberOf.get(id) ?? []).filter((group) => this.#counts(stored, group)).toSorted();
    return { id, ...stored, groups };
  }

  /** Every grant of the class's groups and of its owner's All group of users. */
  grants(key: ClassKey): readonly Grant[] {
    return [...key.groups, formatAllGroup('USER', key.owner)]
      .flatMap((group) => this.#grantsOf.get(group) ?? [])
      .map((id) => this.#grant(this.#grants.get(id)!));
  }

  key(hash: string): KeyRow | null {
    return this.#keys.get(hash) ?? null;
  }

  treeRow(id: string): TreeRow {
    const stored = this.#objects.get(id);
    return [id, stored?.kind === 'tenant' || stored?.kind === 'customer' ? [stored.owner] : null];
  }

  tree(): readonly TreeRow[] {
    return [...this.#objects].filter(([, { kind }]) => kind === 'tenant' || kind === 'customer').map(([id]) => this.treeRow(id));
  }

  // Writes.

  addTenant({ id }: WorldTenant): void {
    this.#add(id, { kind: 'tenant', type: 'TENANT', owner: null, enabled: true });
  }

  addCustomer({ id, owner, groups }: WorldCustomer): void {
    if (this.#chain(owner, 'owner').length > MAX_DEPTH) throw new InputError('owner', `customers hang at most ${MAX_DEPTH} deep`);
    this.#add(id, { kind: 'customer', type: 'CUSTOMER', owner, enabled: true }, groups);
  }

  addGroup({ id, type, owner }: WorldGroup): void {
    this.#add(id, { kind: 'group', type, owner, enabled: true });
  }

  addUser({ id, owner, enabled, groups }: WorldUser): void {
    this.#add(id, { kind: 'user', type: 'USER', owner, enabled }, groups);
  }

  addEntity({ id, type, owner, groups }: WorldEntity): void {
    this.#add(id, { kind: 'entity', type, owner, enabled: true }, groups);
  }

  addRole(role: WorldRole): void {
    this.#add(role.id, { kind: 'role', type: 'ROLE', owner: role.owner, enabled: true });
    this.#roles.set(role.id, role);
  }

  addGrant(grant: WorldGrant): void {
    const { id, userGroup, role: roleId, entityGroup } = grant;
    const users = this.#group(userGroup, 'userGroup');
    const role = this.#roles.get(roleId);
    if (users.type !== 'USER') throw new InputError('userGroup', `${quoted(userGroup)} is a group of ${users.type}, not of users`);
    if (role === undefined) throw new InputError('role', `there is no role ${quoted(roleId)}`);
    this.#sameTenant(role.owner, users.owner, 'role');
    if (role.type === 'GENERIC' && entityGroup !== undefined)
      throw new InputError('entityGroup', `role ${quoted(roleId)} is GENERIC and takes no entity group; leave it out`);
    if (role.type === 'GROUP' && entityGroup === undefined)
      throw new InputError('entityGroup', `is missing: role ${quoted(roleId)} is a GROUP role and needs an entity group`);
    if (entityGroup !== undefined) this.#sameTenant(this.#group(entityGroup, 'entityGroup').owner, users.owner, 'entityGroup');
    const siblings = this.#grantsOf.get(userGroup) ?? [];
    const twin = siblings.map((sibling) => this.#grants.get(sibling)!).find((other) => other.role === roleId && other.entityGroup === entityGroup);
    if (twin) throw new InputError('id', `grant ${quoted(twin.id)} gives this role to this group already`);
    this.#add(id, { kind: 'grant', type: 'GROUP_PERMISSION', owner: users.owner, enabled: true });
    this.#grants.set(id, grant);
    this.#grantsOf.set(userGroup, [...siblings, id]);
    this.touched.g.add(userGroup);
  }

  addMember(member: string, group: string): void {
    const { owner } = this.#stored(member, 'member');
    const { kind, owner: groupOwner } = this.#stored(group, 'group');
    const groups = this.#memberOf.get(member) ?? [];
    if (kind !== 'group') throw new InputError('group', `${quoted(group)} is a ${kind}, not a group`);
    this.#sameTenant(groupOwner!, owner ?? member, 'group');
    if (groups.includes(group)) throw new InputError('member', `${quoted(member)} is in ${quoted(group)} already`);
    this.#memberOf.set(member, [...groups, group]);
    this.touched.o.add(member);
  }

  removeMember(member: string, group: string): void {
    const groups = this.#memberOf.get(member) ?? [];
    if (!groups.includes(group)) throw new InputError('member', `${quoted(member)} is not in ${quoted(group)}`);
    this.#memberOf.set(
      member,
      groups.filter((other) => other !== group),
    );
    this.touched.o.add(member);
  }

  /** Explicit memberships end with it (semantics 1.5). Moving a customer moves everything below. */
  changeOwner(id: string, owner: string): void {
    const stored = this.#stored(id, 'id');
    if (stored.owner === null || !['customer', 'user', 'entity'].includes(stored.kind))
      throw new InputError('id', `the owner of a ${stored.kind} never changes`);
    const above = this.#chain(owner, 'owner');
    this.#sameTenant(owner, stored.owner, 'owner');
    if (stored.kind === 'customer') {
      if (above.includes(id)) throw new InputError('owner', `${quoted(owner)} is ${quoted(id)} or hangs below it: that would be a cycle`);
      if (above.length - 1 + this.#height(id) > MAX_DEPTH) throw new InputError('owner', `customers hang at most ${MAX_DEPTH} deep`);
    }
    if (owner === stored.owner) return;
    if (stored.kind === 'customer') this.touched.n.add(id);
    this.#memberOf.delete(id);
    this.#set(id, { ...stored, owner });
  }

  setEnabled(user: string, enabled: boolean): void {
    const stored = this.#stored(user, 'user');
    if (stored.kind !== 'user') throw new InputError('user', `${quoted(user)} is a ${stored.kind}, not a user`);
    if (stored.enabled !== enabled) this.#set(user, { ...stored, enabled });
  }

  /** A new API key, or another end of one that is there. */
  setKey(key: KeyRow): void {
    if (this.#stored(key.user, 'user').kind !== 'user') throw new InputError('user', `${quoted(key.user)} is no user`);
    if (key.actor !== '' && this.#stored(key.actor, 'actor').kind !== 'user') throw new InputError('actor', `${quoted(key.actor)} is no user`);
    this.#keys.set(key.hash, key);
    this.touched.k.add(key.hash);
  }

  removeKey(hash: string): void {
    if (!this.#keys.delete(hash)) throw new InputError('hash', `there is no key ${quoted(hash)}`);
    this.touched.k.add(hash);
  }

  editRole(id: string, content: { readonly permissions: Permissions; readonly excluded: Permissions } | { readonly permissions: readonly string[] }): void {
    const role = this.#roles.get(id);
    if (role === undefined) throw new InputError('role', `there is no role ${quoted(id)}`);
    if ('excluded' in content ? role.type === 'GROUP' : role.type === 'GENERIC')
      throw new InputError('permissions', `role ${quoted(id)} is a ${role.type} role, and stays one`);
    this.#roles.set(id, { ...role, ...content } as WorldRole);
    this.touched.r.add(id);
  }

  setShared(id: string, shared: boolean): void {
    const grant = this.#grants.get(id);
    if (grant === undefined) throw new InputError('grant', `there is no grant ${quoted(id)}`);
    this.#grants.set(id, { ...grant, shared });
    this.touched.g.add(grant.userGroup);
    this.touched.o.add(id);
  }

  /** Takes with it what cannot be without it: memberships and grants; of an owner, its predefined objects (semantics 1.5). */
  remove(id: string): void {
    const { kind } = this.#stored(id, 'id');
    if (kind === 'tenant' || kind === 'customer') this.#emptyOwner(id);
    if (kind === 'group') for (const [member, groups] of this.#memberOf) if (groups.includes(id)) this.removeMember(member, id);
    if (kind === 'group' || kind === 'role') this.#removeGrants((grant) => grant.userGroup === id || grant.entityGroup === id || grant.role === id);
    const grant = this.#grants.get(id);
    if (grant !== undefined) {
      this.#grantsOf.set(
        grant.userGroup,
        this.#grantsOf.get(grant.userGroup)!.filter((other) => other !== id),
      );
      this.touched.g.add(grant.userGroup);
    }
    if (kind === 'user') for (const key of [...this.#keys.values()]) if (key.user === id || key.actor === id) this.removeKey(key.hash);
    this.#grants.delete(id);
    this.#roles.delete(id);
    this.#memberOf.delete(id);
    this.#objects.delete(id);
    this.touched.o.add(id);
  }

  #add(id: string, row: Stored, groups: readonly string[] = []): void {
    parseId(id);
    if (this.#objects.has(id)) throw new InputError('id', `${quoted(id)} is there already`);
    if (isReserved(id) && !isPredefined(id, row)) throw new InputError('id', `${quoted(id)} is reserved to the server`);
    const owns = row.kind === 'tenant' || row.kind === 'customer';
    if (owns && utf8Length(id) > 200) throw new InputError('id', 'ids of tenants and customers have at most 200 bytes');
    if (row.owner !== null) this.#owner(row.owner, 'owner');
    this.#set(id, row);
    if (owns) this.touched.n.add(id);
    for (const group of groups) this.addMember(id, group);
  }

  #set(id: string, row: Stored): void {
    this.#objects.set(id, row);
    this.touched.o.add(id);
  }

  #stored(id: string, field: string): Stored {
    const stored = this.#objects.get(id);
    if (stored === undefined) throw new InputError(field, `there is no ${quoted(id)}`);
    return stored;
  }

  /** `id`, its owner, and so on up to the tenant. */
  #chain(id: string, field: string): readonly string[] {
    const chain: string[] = [];
    for (let at: string | null = this.#owner(id, field); at !== null; at = this.#objects.get(at)!.owner) chain.push(at);
    return chain;
  }

  #owner(id: string, field: string): string {
    const stored = this.#objects.get(id);
    if (stored?.kind !== 'tenant' && stored?.kind !== 'customer') throw new InputError(field, `there is no tenant or customer ${quoted(id)}`);
    return id;
  }

  #sameTenant(owner: string, other: string, field: string): void {
    if (this.#chain(owner, field).at(-1) !== this.#chain(other, field).at(-1)) throw new InputError(field, 'is of another tenant');
  }

  /** Depth of the subtree below a customer, itself included. */
  #height(id: string): number {
    let height = 0;
    for (const [customer, { kind }] of this.#objects) if (kind === 'customer') height = Math.max(height, this.#chain(customer, 'id').indexOf(id) + 1);
    return height;
  }

  /** An explicit group, or an owner's All group. */
  #group(id: string, field: string): { readonly type: string; readonly owner: string } {
    const all = parseAllGroup(id);
    if (all !== null) return { type: all.type, owner: this.#owner(all.owner, field) };
    const stored = this.#objects.get(id);
    if (stored?.kind !== 'group') throw new InputError(field, `there is no group ${quoted(id)}`);
    return { type: stored.type, owner: stored.owner! };
  }

  /** A membership counts only while type and owner of group and member are equal (semantics 1.3). */
  #counts(member: Stored, group: string): boolean {
    const { type, owner } = this.#objects.get(group)!;
    return type === member.type && owner === member.owner;
  }

  #grant(grant: WorldGrant): Grant {
    const role = this.#roles.get(grant.role)!;
    if (role.type === 'GENERIC') return { kind: 'generic', role: role.id, permissions: role.permissions, excluded: role.excluded };
    const entityGroup = grant.entityGroup!;
    const group = parseAllGroup(entityGroup) === null ? entityGroup : null;
    return { kind: 'group', role: role.id, operations: role.permissions, shared: grant.shared, group, ...this.#group(entityGroup, 'entityGroup') };
  }

  #removeGrants(those: (grant: WorldGrant) => boolean): void {
    for (const grant of [...this.#grants.values()]) if (those(grant)) this.remove(grant.id);
  }

  #emptyOwner(id: string): void {
    const { groups, roles } = predefinedIds(id);
    const goes = new Set([...groups, ...roles]);
    for (const [other, { owner, kind }] of this.#objects) {
      if (owner === id && kind !== 'grant' && !goes.has(other))
        throw new InputError('id', `${quoted(id)} still owns ${kind} ${quoted(other)}; remove or move what it owns first`);
    }
    this.#removeGrants(
      ({ userGroup, entityGroup }) => parseAllGroup(userGroup)?.owner === id || (entityGroup !== undefined && parseAllGroup(entityGroup)?.owner === id),
    );
    for (const other of goes) if (this.#objects.has(other)) this.remove(other);
    this.touched.n.add(id);
  }
}

/**
 * Puts a whole world in, its rows in any order.
 * @returns what could not go in, one problem for each such row or membership
 */
export function insertWorld(tables: Tables, world: WorldFile): readonly Problem[] {
  const problems: Problem[] = [];
  const attempt = (path: string, write: () => void): void => {
    try {
      write();
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      problems.push({ path: `${path}.${error.field}`, message: error.message.slice(error.field.length + 2) });
    }
  };
  world.tenants.forEach((row, i) => attempt(`tenants[${i}]`, () => tables.addTenant(row)));
  const [ordered, adrift] = fromTheTop(world);
  for (const [row, i] of ordered) attempt(`customers[${i}]`, () => tables.addCustomer({ ...row, groups: [] }));
  for (const [{ owner }, i] of adrift) {
    const listed = world.customers.some(({ id }) => id === owner);
    const message = listed
      ? 'the chain of owners never reaches a tenant: a cycle, or an unknown owner further up'
      : `there is no tenant or customer ${quoted(owner)}`;
    problems.push({ path: `customers[${i}].owner`, message });
  }
  world.groups.forEach((row, i) => attempt(`groups[${i}]`, () => tables.addGroup(row)));
  world.users.forEach((row, i) => attempt(`users[${i}]`, () => tables.addUser({ ...row, groups: [] })));
  world.entities.forEach((row, i) => attempt(`entities[${i}]`, () => tables.addEntity({ ...row, groups: [] })));
  world.roles.forEach((row, i) => attempt(`roles[${i}]`, () => tables.addRole(row)));
  world.grants.forEach((row, i) => attempt(`grants[${i}]`, () => tables.addGrant(row)));
  for (const list of ['customers', 'users', 'entities'] as const) {
    world[list].forEach(({ id, groups }, i) => groups.forEach((group, j) => attempt(`${list}[${i}].groups[${j}]`, () => tables.addMember(id, group))));
  }
  return problems;
}

/**
 * A whole world, defaults written out, or nothing.
 * @throws InputError: the first problem, and how many more there are
 */
export function insertWhole(tables: Tables, world: WorldFile): void {
  const [first, ...more] = insertWorld(tables, expandDefaults(world));
  if (first) throw new InputError(first.path, more.length === 0 ? first.message : `${first.message} (and ${more.length} more problems)`);
}

type NumberedCustomer = readonly [customer: WorldCustomer, place: number];

/** Customers after their owners, and those that hang in a cycle or below nothing. */
function fromTheTop(world: WorldFile): readonly [ordered: readonly NumberedCustomer[], adrift: readonly NumberedCustomer[]] {
  const below = new Map<string, NumberedCustomer[]>();
  world.customers.forEach((customer, i) => {
    const siblings = below.get(customer.owner);
    if (siblings) siblings.push([customer, i]);
    else below.set(customer.owner, [[customer, i]]);
  });
  const ordered: NumberedCustomer[] = [];
  const owners = world.tenants.map(({ id }) => id);
  for (let at = 0; at < owners.length; at++) {
    for (const row of below.get(owners[at]!) ?? []) {
      ordered.push(row);
      owners.push(row[0].id);
    }
    below.delete(owners[at]!);
  }
  return [ordered, [...below.values()].flat()];
}

function isPredefined(id: string, { kind, owner }: Stored): boolean {
  const { groups, roles } = predefinedIds(owner ?? '');
  return (kind === 'group' && groups.includes(id)) || (kind === 'role' && roles.includes(id));
}

function quoted(id: string): string {
  return JSON.stringify(id);
}
