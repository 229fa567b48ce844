// Which worlds and questions are worth trying? Random ones, directed at the rules of semantics 4.
//
// Everything is drawn as plain numbers and built from them, so that a counter-example shrinks to a world that fits on a screen.
// Undirected questions would mostly end in `no-grant`; here most begin at a grant, an owner or a user of the world.

import fc from 'fast-check';
import type { WorldCustomer, WorldEntity, WorldFile, WorldGrant, WorldGroup, WorldRole, WorldUser } from 'policy-cache';
import type { Names, Question } from './reference.ts';

export interface Sample {
  readonly world: WorldFile;
  readonly questions: readonly Question[];
}

const pick = <T>(list: readonly T[], number: number): T => list[number % list.length]!;
const draws = (count: number): fc.Arbitrary<number[]> => fc.array(fc.nat(0xfffff), { minLength: count, maxLength: count });
const rows = (minLength: number, maxLength: number): fc.Arbitrary<number[][]> => fc.array(draws(8), { minLength, maxLength, size: 'max' });

/** Names that no vocabulary has; some are properties of every object. */
export const STRANGE = ['NO_SUCH', '__proto__', 'constructor', 'toString', 'hasOwnProperty', 'read', ''];
/** Operations, the telling ones more often: one of every set that a rule names. */
const operationsOf = (names: Names): readonly string[] => [
  ...names.operations,
  ...['READ', 'READ', 'WRITE', 'CREATE', 'CREATE', 'DELETE', 'DELETE', 'ADD_TO_GROUP', 'CHANGE_OWNER'].filter((name) => names.operations.includes(name)),
];

export function samples(names: Names, questions: number): fc.Arbitrary<Sample> {
  const raw = fc.record({
    tenants: fc.integer({ min: 1, max: 2 }),
    customers: rows(0, 8),
    groups: rows(2, 10),
    roles: rows(1, 6),
    users: rows(1, 6),
    entities: rows(2, 10),
    grants: rows(1, 12),
    questions: fc.array(draws(9), { minLength: questions, maxLength: questions }),
  });
  return raw.map((drawn) => {
    const world = worldOf(names, drawn);
    return { world, questions: drawn.questions.map((numbers) => questionOf(names, world, numbers)) };
  });
}

/** Only worlds. */
export function worlds(names: Names): fc.Arbitrary<WorldFile> {
  return samples(names, 0).map(({ world }) => world);
}

interface Drawn {
  readonly tenants: number;
  readonly customers: number[][];
  readonly groups: number[][];
  readonly roles: number[][];
  readonly users: number[][];
  readonly entities: number[][];
  readonly grants: number[][];
}

function worldOf(names: Names, drawn: Drawn): WorldFile {
  const tenants = Array.from({ length: drawn.tenants }, (_, i) => ({ id: `t${i}` }));
  const customers: WorldCustomer[] = [];
  const owners = tenants.map(({ id }) => id);
  for (const [owner] of drawn.customers as [number][]) {
    customers.push({ id: `c${customers.length}`, owner: pick(owners, owner), groups: [] });
    owners.push(customers.at(-1)!.id);
  }
  const tenantOf = new Map(tenants.map(({ id }) => [id, id]));
  for (const { id, owner } of customers) tenantOf.set(id, tenantOf.get(owner)!);
  const groupable = Object.keys(names.groupResource ?? {});
  const telling = ['USER', 'USER', 'DEVICE', 'DEVICE', 'ASSET', 'CUSTOMER'].filter((type) => groupable.includes(type));
  const groups: WorldGroup[] = drawn.groups.map(([type, owner], i) => ({
    id: `g${i}`,
    type: pick([...telling, ...telling, ...groupable], type!),
    owner: pick(owners, owner!),
  }));

  /** Mostly of a group that is there; now and then in one that does not count, or in none. */
  const member = (type: string | null, [how, which, more]: readonly number[]): { type: string; owner: string; groups: string[] } => {
    const fitting = groups.filter((group) => (type === null ? group.type !== 'USER' && group.type !== 'CUSTOMER' : group.type === type));
    if (fitting.length === 0 || how! % 4 === 0) return { type: type ?? pick(ENTITY_TYPES, more!), owner: pick(owners, which!), groups: [] };
    const first = pick(fitting, which!);
    const tenant = tenantOf.get(first.owner)!;
    const other = pick(
      groups.filter(({ owner }) => tenantOf.get(owner) === tenant),
      more!,
    );
    return { type: first.type, owner: first.owner, groups: other === first || how! % 3 !== 0 ? [first.id] : [first.id, other.id] };
  };
  for (const [i, customer] of customers.entries()) {
    const { owner } = customer;
    const fitting = groups.filter((group) => group.type === 'CUSTOMER' && tenantOf.get(group.owner) === tenantOf.get(owner));
    if (fitting.length > 0) customers[i] = { ...customer, groups: [pick(fitting, drawn.customers[i]![1]!).id] };
  }
  const users: WorldUser[] = drawn.users.map(([enabled, ...more], i) => {
    const { owner, groups: memberOf } = member('USER', more);
    return { id: `u${i}`, owner, enabled: enabled! % 20 !== 0, groups: memberOf };
  });
  const entities: WorldEntity[] = drawn.entities.map((more, i) => ({ id: `e${i}`, ...member(null, more) }));
  const roles: WorldRole[] = drawn.roles.map((numbers, i) => roleOf(names, numbers, { id: `r${i}`, owner: pick(owners, numbers[7]!) }));

  const grants: WorldGrant[] = [];
  const seen = new Set<string>();
  drawn.grants.forEach(([side, group, role, target, shared, kind], i) => {
    const userGroups = groups.filter(({ type }) => type === 'USER');
    const users_ = side! % 5 === 0 || userGroups.length === 0 ? { id: '', owner: pick(owners, group!) } : pick(userGroups, group!);
    const tenant = tenantOf.get(users_.owner);
    const candidates = roles.filter(({ owner }) => tenantOf.get(owner) === tenant);
    if (candidates.length === 0) return;
    const given = pick(candidates, role!);
    // An unshared grant is mostly in scope, a share mostly out of it; else it would be dormant, or no share.
    const isShared = shared! % 5 < 2;
    const ofTenant = owners.filter((owner) => tenantOf.get(owner) === tenant);
    const likely = ofTenant.filter((owner) => chainOf(customers, owner).includes(users_.owner) !== isShared);
    const there = likely.length > 0 && kind! % 8 !== 0 ? likely : ofTenant;
    const targets = groups.filter(({ type, owner }) => there.includes(owner) && (type !== 'USER' || shared! % 3 === 0)).map(({ id }) => id);
    const entityGroup =
      kind! % 5 === 0 || targets.length === 0 ? `all:${pick([...telling, ...groupable], target!)}:${pick(there, shared! >>> 4)}` : pick(targets, target!);
    const userGroup = users_.id === '' ? `all:USER:${users_.owner}` : users_.id;
    const grant = { id: `p${i}`, userGroup, role: given.id, shared: isShared, ...(given.type === 'GROUP' ? { entityGroup } : {}) };
    const key = JSON.stringify([userGroup, given.id, given.type === 'GROUP' && entityGroup]);
    if (!seen.has(key)) grants.push(grant);
    seen.add(key);
  });
  return { defaults: false, tenants, customers, groups, users, entities, roles, grants, checks: [] };
}

/** An owner, its own owner, and so on. */
export function chainOf(customers: readonly WorldCustomer[], owner: string): readonly string[] {
  const above = customers.find(({ id }) => id === owner)?.owner;
  return above === undefined ? [owner] : [owner, ...chainOf(customers, above)];
}

// RULE_CHAIN is closed to customer users, NOTIFICATION_RULE has another resource's name, the last two are of no vocabulary.
const ENTITY_TYPES = ['DEVICE', 'ASSET', 'DEVICE', 'DASHBOARD', 'RULE_CHAIN', 'ALARM', 'NOTIFICATION_RULE', 'WHITE_LABELING', 'NO_SUCH'];

function roleOf(names: Names, numbers: readonly number[], of: { readonly id: string; readonly owner: string }): WorldRole {
  const [kind, a, b, c, d, e] = numbers as [number, number, number, number, number, number];
  const names_ = operationsOf(names);
  const some = (number: number): string[] => {
    if (number % 7 === 0) return ['ALL'];
    return [
      pick(names_, number),
      pick(names_, number >>> 4),
      number % 11 === 0 ? pick(STRANGE, number) : pick(['READ', 'READ', 'CREATE', 'DELETE'], number >>> 9),
    ];
  };
  if (kind % 5 < 3) return { ...of, type: 'GROUP', permissions: some(a) };
  const telling = ['DEVICE', 'USER', 'CUSTOMER', 'TENANT', 'PROFILE', 'DEVICE_GROUP', 'USER_GROUP', 'ASSET', 'CUSTOMER_GROUP', 'RULE_CHAIN', 'ALL', 'ALL'];
  const resource = (number: number): string =>
    number % 13 === 0 ? pick(STRANGE, number) : number % 4 === 0 ? pick(names.resources, number >>> 3) : pick(telling, number >>> 3);
  const permissions = Object.fromEntries([
    [resource(a), some(b)],
    [resource(c), some(d)],
    [resource(d), some(e)],
  ]);
  const excluded = kind % 2 === 0 ? Object.fromEntries([[resource(e), some(c)]]) : {};
  return { ...of, type: 'GENERIC', permissions, excluded };
}

/** A question that begins somewhere: at a grant, a user's owner, a profile, or nowhere. */
export function questionOf(names: Names, world: WorldFile, numbers: readonly number[]): Question {
  const [how, a, b, c, d, e, f, g, h] = numbers as [number, number, number, number, number, number, number, number, number];
  const operations = operationsOf(names);
  const operation = pick(operations, a);
  const user = world.users.length > 0 ? pick(world.users, b) : { id: 'nobody', owner: world.tenants[0]!.id };
  const owners = [...world.tenants, ...world.customers].map(({ id }) => id);
  const some = (number: number): string =>
    pick(
      [...world.entities, ...world.users, ...world.customers, ...world.groups, ...world.roles, ...world.grants, ...world.tenants].map(({ id }) => id),
      number,
    );
  const allGroup = (number: number): string =>
    `all:${pick(Object.keys(names.groupResource ?? { USER: '' }), number)}:${pick([...owners, 'nobody'], number >>> 4)}`;
  const asked = (target: string): Question => ({
    user: user.id,
    operation,
    resource: f % 8 === 0 ? pick(names.resources, g) : resourceOf(names, world, target),
    target,
  });
  switch (how % 28) {
    case 0:
      return { ...asked(some(c)), user: pick(['nobody', some(e), '__proto__', '*', allGroup(c)], d) };
    case 1:
      return { ...asked(some(c)), operation: pick(['ALL', ...STRANGE, operation], d), resource: pick(['ALL', ...STRANGE, 'DEVICE'], e) };
    case 2:
      return { ...asked('*'), resource: pick([...(names.closedToCustomerUsers ?? []), ...(names.closedToTenantAdmins ?? []), 'TENANT'], d) };
    case 3:
    case 4:
      return { ...asked('*'), resource: pick([...names.resources, ...Object.keys(names.groupResource ?? {}), ...Object.values(names.groupResource ?? {})], d) };
    case 5:
    case 6:
      return asked(pick([some(c), some(c), allGroup(d), 'nothing', '', 'all:DEVICE:', 'constructor'], e));
    case 7:
      return { ...asked(user.owner), operation: pick([...(names.selfOperations ?? []), operation], d) };
    case 8:
    case 9:
      return { ...asked(c % 3 > 0 ? user.id : pick([user, ...world.users], d).id), resource: 'PROFILE' };
    case 10:
    case 11:
      return creation(asked('*'), {
        owner: c % 3 === 0 ? undefined : pick([...owners, ...owners, 'nobody', some(d)], e),
        groups: d % 4 === 0 ? undefined : [some(f), allGroup(g), pick(['nobody', ...world.groups.map(({ id }) => id)], h)],
      });
    default:
      return world.grants.length === 0 ? asked(some(c)) : alongGrant(names, world, numbers.slice(1));
  }
}

function creation(question: Question, { owner, groups }: { owner: string | undefined; groups: readonly string[] | undefined }): Question {
  return { ...question, operation: 'CREATE', ...(owner === undefined ? {} : { owner }), ...(groups === undefined ? {} : { groups }) };
}

/** Somebody who holds the grant asks for what it gives, or nearly. */
function alongGrant(names: Names, world: WorldFile, numbers: readonly number[]): Question {
  const [a, b, c, d, e, f, g] = numbers as [number, number, number, number, number, number, number];
  const held = world.grants
    .map((grant) => ({
      ...grant,
      holders: world.users.filter(({ owner, groups }) => groups.includes(grant.userGroup) || grant.userGroup === `all:USER:${owner}`),
    }))
    .filter(({ holders }) => holders.length > 0);
  if (held.length === 0) return questionOf(names, world, [3 + (a % 9), ...numbers]);
  // Of each kind as often; shares of what only an owner may do are rare enough to be a kind.
  const byKind = [
    held.filter(({ entityGroup }) => entityGroup === undefined),
    held.filter(({ entityGroup }) => entityGroup !== undefined),
    held.filter(({ shared, role }) => shared && ownerOnlyOf(names, world, role).length > 0),
  ];
  const kind = pick([0, 0, 0, 1, 1, 1, 2], f);
  const { holders, role: roleId, entityGroup } = pick(byKind[kind]!.length === 0 ? held : byKind[kind]!, a);
  const user = pick(d % 32 === 0 ? world.users : holders, b);
  const role = world.roles.find(({ id }) => id === roleId)!;
  const operationOf = (given: readonly string[]): string => pick(given.length === 0 || given.includes('ALL') || c % 12 === 0 ? operationsOf(names) : given, e);
  if (role.type === 'GENERIC' || entityGroup === undefined) return alongGeneric(names, world, { user, role, operationOf }, [d, e, f, g]);
  const operation = operationOf(kind === 2 ? ownerOnlyOf(names, world, roleId) : role.permissions);
  const all = /^all:([^:]+):(.+)$/.exec(entityGroup);
  const { type, owner } = all ? { type: all[1]!, owner: all[2]! } : world.groups.find(({ id }) => id === entityGroup)!;
  const members = [
    ...world.entities,
    ...world.users.map((other) => ({ ...other, type: 'USER' })),
    ...world.customers.map((other) => ({ ...other, type: 'CUSTOMER' })),
  ].filter((entity) => entity.type === type && entity.owner === owner && (all !== null || entity.groups.includes(entityGroup)));
  const resource = names.entityResource?.[type] ?? type;
  if (g % 8 === 0) return { user: user.id, operation, resource: d % 2 === 0 ? resource : names.groupResource![type]!, target: '*' };
  // Now and then a member in place of its group: an entity is no group to put anything into.
  const into = d % 4 === 1 && members.length > 0 ? [pick(members, e).id] : [pick(['nobody', entityGroup], d), entityGroup];
  if (operation === 'CREATE' && g % 5 !== 1)
    return creation({ user: user.id, operation, resource, target: '*' }, { owner, groups: d % 16 === 0 ? undefined : into });
  const ownerOnly = (names.ownerOnlyOperations ?? []).includes(operation);
  if ((!ownerOnly && g % 8 < 4) || members.length === 0) return { user: user.id, operation, resource: names.groupResource![type]!, target: entityGroup };
  return { user: user.id, operation, resource, target: pick(members, d).id };
}

/** Operations of a GROUP role that only an owner may do. */
function ownerOnlyOf(names: Names, world: WorldFile, role: string): readonly string[] {
  const { type, permissions } = world.roles.find(({ id }) => id === role)!;
  return type === 'GENERIC' ? [] : (names.ownerOnlyOperations ?? []).filter((name) => permissions.includes(name) || permissions.includes('ALL'));
}

/** What a GENERIC role gives, asked of things inside and outside of its holder's scope, of the holder's owner and profile, and of `*`. */
function alongGeneric(
  names: Names,
  world: WorldFile,
  asked: { readonly user: WorldUser; readonly role: WorldRole; readonly operationOf: (given: readonly string[]) => string },
  numbers: readonly number[],
): Question {
  const { user, role, operationOf } = asked;
  const [d, e, f, g] = numbers as [number, number, number, number];
  const given = new Map(Object.entries(role.permissions as Readonly<Record<string, readonly string[]>>));
  const about = (resource: string, target: string): Question => ({
    user: user.id,
    operation: operationOf([...(given.get(resource) ?? []), ...(given.get('ALL') ?? [])]),
    resource,
    target,
  });
  const any = pick([...given.keys()], d) === 'ALL' ? pick([...Object.keys(names.groupResource ?? {}), ...names.resources], e) : pick([...given.keys()], d);
  const owners = [...world.tenants, ...world.customers]
    .map(({ id }) => id)
    .filter((owner) => chainOf(world.customers, owner).at(-1) === chainOf(world.customers, user.owner).at(-1));
  const wants = (resource: string): boolean => given.has(resource) || given.has('ALL');
  const own = resourceOf(names, world, user.owner);
  const turn = g % 11;
  if ([1, 2, 10].includes(turn) && wants(own))
    return { ...about(own, user.owner), ...(f % 3 === 0 ? { operation: pick(names.selfOperations ?? ['READ'], e) } : {}) };
  if (turn === 3 && wants('PROFILE')) return about('PROFILE', user.id);
  switch (turn) {
    case 0:
      return about(any, '*');
    case 4:
    case 5: {
      const creatable = [...given].filter(([, list]) => list.includes('CREATE') || list.includes('ALL')).map(([resource]) => resource);
      const made = pick([...creatable, ...creatable, any], d);
      const outside = owners.filter((owner) => !chainOf(world.customers, owner).includes(user.owner));
      return creation(about(made === 'ALL' ? 'ASSET' : made, '*'), {
        owner: pick(e % 3 === 0 || outside.length === 0 ? owners : outside, f),
        groups: undefined,
      });
    }
    default: {
      const allGroups = owners.flatMap((owner) => ['DEVICE', 'USER'].map((type) => ({ id: `all:${type}:${owner}`, owner })));
      const things = (f % 5 < 2 ? [...world.groups, ...allGroups] : [...world.entities, ...world.users, ...world.customers, ...world.groups, ...world.roles])
        .filter(({ owner }) => owners.includes(owner) && (f % 4 === 0 || (g % 2 === 0) !== chainOf(world.customers, owner).includes(user.owner)))
        .map(({ id }) => id);
      const fitting = things.filter((id) => wants(resourceOf(names, world, id)));
      if (things.length === 0) return about('USER', user.id);
      const target = pick(fitting.length === 0 || f % 8 === 0 ? things : fitting, f >>> 3);
      return about(resourceOf(names, world, target), target);
    }
  }
}

/** The resource that a target belongs to. */
export function resourceOf(names: Names, world: WorldFile, target: string): string {
  const group = /^all:([^:]+):/.exec(target)?.[1] ?? world.groups.find(({ id }) => id === target)?.type;
  if (group !== undefined) return names.groupResource?.[group] ?? group;
  const type = world.entities.find(({ id }) => id === target)?.type;
  if (type !== undefined) return names.entityResource?.[type] ?? type;
  const kinds = { TENANT: world.tenants, CUSTOMER: world.customers, USER: world.users, ROLE: world.roles, GROUP_PERMISSION: world.grants };
  return Object.entries(kinds).find(([, list]) => list.some(({ id }) => id === target))?.[0] ?? 'DEVICE';
}
