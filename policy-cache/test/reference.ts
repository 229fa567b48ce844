// What does the access model say? The executable specification.
//
// To be read beside the semantics, whose numbers stand in the margin. It walks the grants for every question, with strings and
// sets, and shares nothing with the core: no flattening, no masks, no numbers, no types. Where the two differ, one is wrong.

type Side = Readonly<Record<string, readonly string[]>>;
export interface Names {
  // the parsed vocabulary file
  readonly operations: readonly string[];
  readonly resources: readonly string[];
  readonly groupResource?: Readonly<Record<string, string>>;
  readonly entityResource?: Readonly<Record<string, string>>;
  readonly withoutEntity?: readonly string[];
  readonly closedToTenantAdmins?: readonly string[];
  readonly closedToCustomerUsers?: readonly string[];
  readonly notInGroupRoles?: readonly string[];
  readonly ownerOnlyOperations?: readonly string[];
  readonly ownerOnlyGroupOperations?: readonly string[];
  readonly selfOperations?: readonly string[];
}
export interface World {
  readonly tenants: readonly { id: string }[];
  readonly customers: readonly { id: string; owner: string; groups?: readonly string[] }[];
  readonly groups: readonly { id: string; type: string; owner: string }[];
  readonly users: readonly { id: string; owner: string; enabled?: boolean; groups?: readonly string[] }[];
  readonly entities: readonly { id: string; type: string; owner: string; groups?: readonly string[] }[];
  readonly roles: readonly { id: string; owner: string; type: string; permissions: Side | readonly string[]; excluded?: Side }[];
  readonly grants: readonly { id: string; userGroup: string; role: string; entityGroup?: string; shared?: boolean }[];
}
export interface Question {
  readonly user: string;
  readonly operation: string;
  readonly resource: string;
  readonly target: string;
  readonly owner?: string;
  readonly groups?: readonly string[];
}
export interface Answer {
  readonly allow: boolean;
  readonly reason: string;
  readonly rule: string;
}
interface Thing {
  readonly id: string;
  readonly group: boolean;
  readonly type: string;
  readonly owner: string | null;
  readonly memberOf: readonly string[];
  readonly enabled: boolean;
}

/** A grant that is handed on: to users of `userOwner`, whether or not it is stored. */
export interface Handed {
  readonly userOwner: string;
  readonly role: string;
  readonly entityGroup?: string;
}

function read(names: Names, world: World) {
  // 1. Objects: one namespace of ids, and the All groups that exist by themselves.
  const things = new Map<string, Thing>();
  const put = (id: string, type: string, more: Partial<Thing>) => things.set(id, { id, type, group: false, owner: null, memberOf: [], enabled: true, ...more });
  for (const { id } of world.tenants) put(id, 'TENANT', {});
  for (const { id, owner, groups } of world.customers) put(id, 'CUSTOMER', { owner, memberOf: groups ?? [] });
  for (const { id, type, owner } of world.groups) put(id, type, { owner, group: true });
  for (const { id, owner, enabled, groups } of world.users) put(id, 'USER', { owner, enabled: enabled ?? true, memberOf: groups ?? [] });
  for (const { id, type, owner, groups } of world.entities) put(id, type, { owner, memberOf: groups ?? [] });
  for (const { id, owner } of world.roles) put(id, 'ROLE', { owner });
  const owners = [...world.tenants, ...world.customers].map(({ id }) => id);
  const groupable = Object.keys(names.groupResource ?? {});
  for (const owner of owners) for (const type of groupable) put(`all:${type}:${owner}`, type, { owner, group: true });
  for (const { id, userGroup } of world.grants) put(id, 'GROUP_PERMISSION', { owner: things.get(userGroup)?.owner ?? null });
  const isOwner = new Set(owners);
  const isTenant = new Set(world.tenants.map(({ id }) => id));
  const roles = new Map(world.roles.map((role) => [role.id, role]));

  const chain = (owner: string): string[] => (isTenant.has(owner) ? [owner] : [owner, ...chain(things.get(owner)!.owner!)]);
  const tenantOf = (owner: string): string => chain(owner).at(-1)!;
  // 1.3 What counts: type and owner of group and member are equal. And the All group, always.
  const groupsOf = (e: Thing): Thing[] =>
    [...e.memberOf, `all:${e.type}:${e.owner}`]
      .map((id) => things.get(id))
      .filter((g): g is Thing => g !== undefined && g.group && g.type === e.type && g.owner === e.owner);
  // Step 4: "the resource of type T is entityResource[T], else T itself"; a resource without a type is the resource of none.
  const typeless = new Set([...(names.withoutEntity ?? []), ...Object.values(names.groupResource ?? {}), 'PROFILE']);
  const resourceOf = (type: string): string | null => (typeless.has(type) ? null : (names.entityResource?.[type] ?? type));
  const among = (list: readonly string[] | undefined, name: string): boolean => (list ?? []).includes(name);
  return { things, groupable, isOwner, isTenant, roles, chain, tenantOf, groupsOf, resourceOf, among };
}

export function reference(names: Names, world: World): (question: Question) => Answer {
  const { things, groupable, isOwner, isTenant, roles, chain, tenantOf, groupsOf, resourceOf, among } = read(names, world);

  return function ask({ user, operation: O, resource: R, target, ...making }: Question): Answer {
    const allow = (reason: string, rule: string): Answer => ({ allow: true, reason, rule });
    const deny = (reason: string, rule: string): Answer => ({ allow: false, reason, rule });

    // 4, step 0. Vocabulary. (ALL is in neither list.)
    if (!among(names.operations, O) || !among(names.resources, R)) return deny('unknown-vocabulary', '0');

    // Step 1. Subject.
    const subject = things.get(user);
    if (subject === undefined || subject.type !== 'USER' || subject.group) return deny('unknown-subject', '1');
    if (!subject.enabled) return deny('subject-disabled', '1');
    const scope = subject.owner!;

    // Step 2. Authority: TENANT_ADMIN when the owner is a tenant, else CUSTOMER_USER.
    if (!isTenant.has(scope) && among(names.closedToCustomerUsers, R)) return deny('authority', '2');
    if (among(names.closedToTenantAdmins, R)) return deny('authority', '2');
    if (R === 'TENANT' && target === '*') return deny('authority', '2');

    // 3. Effective permissions: what the grants of the subject's groups give.
    const myGroups = new Set(groupsOf(subject).map(({ id }) => id));
    const mine = world.grants.filter(({ userGroup }) => myGroups.has(userGroup));
    const names_ = (list: readonly string[] | undefined, operation: string): boolean => among(list, operation) || among(list, 'ALL');
    const covers = (side: Side, operation: string): boolean =>
      [R, 'ALL'].some((resource) => Object.hasOwn(side, resource) && names_(side[resource], operation));
    const inChain = (owner: string | null): boolean => owner !== null && chain(owner).includes(scope);
    const generic = mine.some(({ role: id }) => {
      const role = roles.get(id)!;
      return role.type === 'GENERIC' && covers(role.permissions as Side, O) && !covers(role.excluded ?? {}, O);
    });
    // P[g], with 1.4: an unshared grant sleeps while the group's owner is out of scope. And no group role gives what is notInGroupRoles.
    const given = (g: Thing): boolean =>
      !among(names.notInGroupRoles, O) &&
      mine.some(({ role: id, entityGroup, shared }) => {
        const role = roles.get(id)!;
        return role.type === 'GROUP' && entityGroup === g.id && names_(role.permissions as readonly string[], O) && (shared === true || inChain(g.owner));
      });
    const ownerOnly = among(names.ownerOnlyOperations, O);
    const ownerOnlyGroup = among(names.ownerOnlyGroupOperations, O);

    // Step 3. Target = `*`.
    if (target === '*' && O !== 'CREATE') {
      if (generic) return allow('generic', '3');
      for (const type of groupable) {
        const asked = (R === resourceOf(type) && !ownerOnly) || (R === names.groupResource![type] && !ownerOnlyGroup);
        if (asked && [...things.values()].some((g) => g.group && g.type === type && given(g))) return allow('group', '3');
      }
      return deny('no-grant', '3');
    }

    // Step 7. CREATE.
    if (target === '*') {
      const owner = making.owner ?? scope;
      if (!isOwner.has(owner)) return deny('unknown-target', '7');
      if (tenantOf(owner) !== tenantOf(scope)) return deny('other-tenant', '7');
      if (inChain(owner) && generic) return allow('generic', '7');
      const named = (making.groups ?? [])
        .map((id) => things.get(id))
        .filter((g): g is Thing => g !== undefined && g.group && g.owner === owner && groupable.includes(g.type) && resourceOf(g.type) === R);
      if (named.some((g) => given(g) && inChain(g.owner))) return allow('group', '7');
      return deny(named.some(given) ? 'owner-only' : generic ? 'out-of-scope' : 'no-grant', '7');
    }

    // Step 4. The target: known, of this tenant, of this resource?
    const e = things.get(target);
    if (e === undefined) return deny('unknown-target', '4');
    if (tenantOf(e.owner ?? e.id) !== tenantOf(scope)) return deny('other-tenant', '4');
    const fits = e.group ? names.groupResource?.[e.type] === R : resourceOf(e.type) === R || (R === 'PROFILE' && e.type === 'USER');
    if (!fits) return deny('type-mismatch', '4');

    // Step 5. Target is an entity group.
    if (e.group) {
      if (inChain(e.owner) && generic) return allow('generic', '5');
      if (!ownerOnlyGroup && given(e)) return allow('group', '5');
      return deny(generic ? 'out-of-scope' : 'no-grant', '5');
    }

    // Step 6. Target is an entity.
    if (R !== 'PROFILE' && inChain(e.owner) && generic) return allow('generic', '6a');
    const giving = R === 'PROFILE' ? [] : groupsOf(e).filter(given);
    if (giving.some((g) => !ownerOnly || inChain(g.owner))) return allow('group', '6b');
    if (e.id === scope && among(names.selfOperations, O) && generic) return allow('self', '6c');
    if (R === 'PROFILE' && e.id !== user) return deny('no-grant', '6d');
    if (R === 'PROFILE' && generic) return allow('self', '6d');
    if (giving.length > 0) return deny('owner-only', '6e');
    return deny(generic && R !== 'PROFILE' && !inChain(e.owner) ? 'out-of-scope' : 'no-grant', '6e');
  };
}

/** 5, *covers*: may this user hand on, or take over, what that grant gives? */
export function referenceCovers(names: Names, world: World): (actor: string, handed: Handed) => boolean {
  const { things, isTenant, roles, chain, groupsOf, resourceOf, among } = read(names, world);
  return function covers(actor, { userOwner, role: handedRole, entityGroup }) {
    const user = things.get(actor)!;
    const scope = user.owner!;
    const inChain = (owner: string): boolean => chain(owner).includes(scope);
    const myGroups = new Set(groupsOf(user).map(({ id }) => id));
    const mine = world.grants.filter(({ userGroup }) => myGroups.has(userGroup));
    const gives = (id: string, R: string, O: string): boolean => {
      const { type, permissions, excluded } = roles.get(id)!;
      const has = (side: Side): boolean =>
        [R, 'ALL'].some((resource) => Object.hasOwn(side, resource) && (side[resource]!.includes(O) || side[resource]!.includes('ALL')));
      return type === 'GENERIC' && has(permissions as Side) && !has(excluded ?? {});
    };
    const G = (R: string | null | undefined, O: string): boolean => typeof R === 'string' && mine.some(({ role }) => gives(role, R, O));

    const role = roles.get(handedRole)!;
    // GENERIC: the scope, and for every resource what the role gives there.
    if (role.type === 'GENERIC') return inChain(userOwner) && names.resources.every((R) => names.operations.every((O) => !gives(role.id, R, O) || G(R, O)));

    // GROUP: every operation, ALL read as groupRoleOperations. What the role names and the vocabulary does not, it does not give.
    const given = role.permissions as readonly string[];
    const operations = given.includes('ALL')
      ? names.operations.filter((O) => !among(names.notInGroupRoles, O))
      : names.operations.filter((O) => given.includes(O));
    const g = things.get(entityGroup!)!;
    const resources = [resourceOf(g.type), names.groupResource?.[g.type]];
    const P = (O: string): boolean =>
      mine.some(({ role: id, entityGroup: on, shared }) => {
        const { type, permissions } = roles.get(id)!;
        const list = permissions as readonly string[];
        return type === 'GROUP' && on === g.id && (list.includes(O) || list.includes('ALL')) && (shared === true || inChain(g.owner!));
      });
    // What the actor could not do with it, and those to whom it is given could: what only an owner may do, and what is closed to customer users.
    const closed = isTenant.has(userOwner) && !isTenant.has(scope) && resources.some((R) => typeof R === 'string' && among(names.closedToCustomerUsers, R));
    const theirs = chain(g.owner!).includes(userOwner) && !inChain(g.owner!);
    return operations.every(
      (O) =>
        !closed && ((inChain(g.owner!) && resources.every((R) => G(R, O))) || (P(O) && !(theirs && (O === 'CREATE' || among(names.ownerOnlyOperations, O))))),
    );
  };
}
