// Is this a world, and if not, what is wrong with it, all at once?
//
// The format of worlds (tenants to grants, and the decisions they must give), as parsed from YAML or JSON. Shape only: fields,
// their types, ids (semantics 1.1). Whether a named thing exists is asked where the world is loaded (memory.ts, the import).

import { DECISIONS } from './decide.ts';
import { InputError } from './errors.ts';
import { ANY, parseId, utf8Length } from './model.ts';
import type { Permissions, Reason, Rule } from './model.ts';

export interface WorldFile {
  /** True: every tenant and customer gets the predefined objects of semantics 1.2 (`expandDefaults`). */
  readonly defaults: boolean;
  readonly tenants: readonly WorldTenant[];
  readonly customers: readonly WorldCustomer[];
  readonly groups: readonly WorldGroup[];
  readonly users: readonly WorldUser[];
  readonly entities: readonly WorldEntity[];
  readonly roles: readonly WorldRole[];
  readonly grants: readonly WorldGrant[];
  readonly checks: readonly WorldCheck[];
}
export interface WorldTenant {
  readonly id: string;
  readonly name?: string;
}
export interface WorldCustomer {
  readonly id: string;
  readonly owner: string;
  readonly title?: string;
  /** Explicit customer groups: a customer is an entity of its owner. */
  readonly groups: readonly string[];
}
export interface WorldGroup {
  readonly id: string;
  readonly type: string;
  readonly owner: string;
  readonly name?: string;
}
export interface WorldUser {
  readonly id: string;
  readonly owner: string;
  readonly enabled: boolean;
  readonly groups: readonly string[];
}
export interface WorldEntity {
  readonly id: string;
  readonly type: string;
  readonly owner: string;
  readonly groups: readonly string[];
}
export type WorldRole =
  | { readonly id: string; readonly owner: string; readonly type: 'GENERIC'; readonly permissions: Permissions; readonly excluded: Permissions }
  | { readonly id: string; readonly owner: string; readonly type: 'GROUP'; readonly permissions: readonly string[] };
export interface WorldGrant {
  /** As given, else `grantId`. */
  readonly id: string;
  readonly userGroup: string;
  readonly role: string;
  readonly entityGroup?: string;
  readonly shared: boolean;
}
/** A question, and what must be answered. */
export interface WorldCheck {
  readonly user: string;
  readonly operation: string;
  readonly resource: string;
  /** `*` where the file names none: in a world file, and nowhere else, an absent target means "any" (semantics 4). */
  readonly target: string;
  readonly owner?: string;
  readonly groups?: readonly string[];
  readonly expect: 'allow' | 'deny';
  readonly reason?: Reason;
  readonly rule?: Rule;
}

/** What is wrong at one place: `users[3].groups[0]`. An empty path is the file itself. */
export interface Problem {
  readonly path: string;
  readonly message: string;
}

/** Reads a parsed world file, rows in the order of the file. With problems, `world` is empty. Never throws. */
export function parseWorldFile(parsed: unknown): { readonly world: WorldFile; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const world = WORLD(parsed, '', problems);
  return { world: world === BAD ? EMPTY : world, problems };
}

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

/**
 * The world with the predefined groups, roles and grants of semantics 1.2 written out, for every tenant and customer, if the
 * file asks for them. What the file lists itself is kept as it is.
 */
export function expandDefaults(world: WorldFile): WorldFile {
  if (!world.defaults) return world;
  const owners = [...world.tenants.map(({ id }) => ({ id, kind: 'Tenant' })), ...world.customers.map(({ id }) => ({ id, kind: 'Customer' }))];
  const groups = owners.flatMap(({ id, kind }): WorldGroup[] => [
    { id: `admins:${id}`, type: 'USER', owner: id, name: `${kind} Administrators` },
    { id: `users:${id}`, type: 'USER', owner: id, name: `${kind} Users` },
  ]);
  const roles = owners.flatMap(({ id }): WorldRole[] => [
    { id: `role:admin:${id}`, owner: id, type: 'GENERIC', permissions: ADMINISTRATOR, excluded: {} },
    { id: `role:user:${id}`, owner: id, type: 'GENERIC', permissions: READ_ONLY_USER, excluded: {} },
  ]);
  const grants = owners.flatMap(({ id }): WorldGrant[] => [
    newGrant({ userGroup: `admins:${id}`, role: `role:admin:${id}` }),
    newGrant({ userGroup: `users:${id}`, role: `role:user:${id}` }),
  ]);
  return {
    ...world,
    defaults: false,
    groups: merged(world.groups, groups, ({ id }) => id),
    roles: merged(world.roles, roles, ({ id }) => id),
    grants: merged(world.grants, grants, ({ userGroup, role, entityGroup }) => JSON.stringify([userGroup, role, entityGroup])),
  };
}

const ADMINISTRATOR: Permissions = { ALL: ['ALL'] };
const READ_ONLY_USER: Permissions = {
  PROFILE: ['ALL'],
  ALL: ['READ', 'RPC_CALL', 'READ_CREDENTIALS', 'READ_ATTRIBUTES', 'READ_TELEMETRY', 'READ_CALCULATED_FIELD'],
};

function newGrant(grant: { readonly userGroup: string; readonly role: string }): WorldGrant {
  return { id: grantId(grant), ...grant, shared: false };
}

function merged<T>(given: readonly T[], more: readonly T[], key: (row: T) => string): readonly T[] {
  const known = new Set(given.map(key));
  return [...given, ...more.filter((row) => !known.has(key(row)))];
}

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

// The shape, as readers: each takes a value apart or says what is wrong with it.

const BAD = Symbol('bad');
type Bad = typeof BAD;
type Reader<T> = (value: unknown, path: string, problems: Problem[]) => T | Bad;
/** A field that may be left out; `otherwise` undefined: it then stays absent. */
interface Optional<T> {
  readonly read: Reader<T>;
  readonly otherwise: T | undefined;
}
type Fields = Readonly<Record<string, Reader<unknown> | Optional<unknown>>>;

function bad(problems: Problem[], path: string, message: string): Bad {
  problems.push({ path, message });
  return BAD;
}

function optional<T>(read: Reader<T>, otherwise?: T): Optional<T> {
  return { read, otherwise };
}

/** An object with these fields and no others. `then` may add what concerns several fields at once. */
function object<T>(fields: Fields, then?: (row: T, path: string, problems: Problem[]) => T | Bad): Reader<T> {
  return (value, path, problems) => {
    if (!isRecord(value)) return bad(problems, path, `expected an object with ${Object.keys(fields).join(', ')}; got ${kindOf(value)}`);
    const before = problems.length;
    for (const key of Object.keys(value)) {
      if (!Object.hasOwn(fields, key)) bad(problems, under(path, key), `unknown field; the fields here are ${Object.keys(fields).join(', ')}`);
    }
    const row: Record<string, unknown> = {};
    for (const [key, field] of Object.entries(fields)) {
      const given = Object.hasOwn(value, key) ? value[key] : undefined;
      const mayMiss = typeof field !== 'function';
      if (given !== undefined) row[key] = (mayMiss ? field.read : field)(given, under(path, key), problems);
      else if (!mayMiss) bad(problems, under(path, key), 'is missing');
      else if (field.otherwise !== undefined) row[key] = field.otherwise;
    }
    if (problems.length > before) return BAD;
    return then ? then(row as T, path, problems) : (row as T);
  };
}

function list<T>(read: Reader<T>): Reader<readonly T[]> {
  return (value, path, problems) => {
    if (!Array.isArray(value)) return bad(problems, path, `expected a list, got ${kindOf(value)}`);
    return value.map((item: unknown, i) => read(item, `${path}[${i}]`, problems)).filter((item): item is T => item !== BAD);
  };
}

const text: Reader<string> = (value, path, problems) => (typeof value === 'string' ? value : bad(problems, path, `expected a string, got ${kindOf(value)}`));
const flag: Reader<boolean> = (value, path, problems) =>
  typeof value === 'boolean' ? value : bad(problems, path, `expected true or false, got ${kindOf(value)}`);

/** An id of semantics 1.1 that names something: reserved ones included. */
const reference: Reader<string> = (value, path, problems) => {
  try {
    return parseId(value, path);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const hint = typeof value === 'number' ? '; put it in quotes' : '';
    return bad(problems, path, error.message.slice(path.length + 2) + hint);
  }
};

const newId: Reader<string> = (value, path, problems) => {
  const id = reference(value, path, problems);
  return id !== BAD && isReserved(id) ? bad(problems, path, `${JSON.stringify(id)} is reserved to the server; choose another id`) : id;
};
const ownerId: Reader<string> = (value, path, problems) => {
  const id = newId(value, path, problems);
  if (id === BAD || utf8Length(id) <= 200) return id;
  return bad(problems, path, `ids of tenants and customers have at most 200 bytes (others are derived from them), got ${utf8Length(id)}`);
};

const memberships: Reader<readonly string[]> = (value, path, problems) => {
  const groups = list(reference)(value, path, problems);
  if (groups === BAD) return BAD;
  groups.forEach((group, i) => {
    if (groups.indexOf(group) < i) bad(problems, `${path}[${i}]`, `${JSON.stringify(group)} is listed twice`);
    if (group.startsWith('all:')) bad(problems, `${path}[${i}]`, `${JSON.stringify(group)} holds every entity of its type and owner by itself; leave it out`);
  });
  return groups;
};

const permissions: Reader<Permissions> = (value, path, problems) => {
  if (!isRecord(value)) return bad(problems, path, `expected an object of resource: [operations], got ${kindOf(value)}`);
  return Object.fromEntries(
    Object.entries(value).flatMap(([resource, operations]) => {
      const names = list(text)(operations, under(path, resource), problems);
      return names === BAD ? [] : [[resource, names]];
    }),
  );
};

/** A predefined object keeps its reserved id only at its own owner (semantics 1.1). */
function predefined<T extends { id: string; owner: string }>(belongs: (row: T) => boolean): (row: T, path: string, problems: Problem[]) => T | Bad {
  return (row, path, problems) => {
    if (!isReserved(row.id) || belongs(row)) return row;
    return bad(
      problems,
      under(path, 'id'),
      `${JSON.stringify(row.id)} is reserved to the server, and is not a predefined object of ${JSON.stringify(row.owner)}; choose another id`,
    );
  };
}

const GROUP = object<WorldGroup>(
  { id: reference, type: text, owner: reference, name: optional(text) },
  predefined((group) => group.type === 'USER' && predefinedIds(group.owner).groups.includes(group.id)),
);

const predefinedRole = predefined<WorldRole>((role) => role.type === 'GENERIC' && predefinedIds(role.owner).roles.includes(role.id));
const GENERIC_ROLE = object<WorldRole>({ id: reference, owner: reference, type: text, permissions, excluded: optional(permissions, {}) }, predefinedRole);
const GROUP_ROLE = object<WorldRole>({ id: reference, owner: reference, type: text, permissions: list(text) }, predefinedRole);
const ROLE: Reader<WorldRole> = (value, path, problems) => {
  const type = isRecord(value) ? value['type'] : 'GENERIC';
  if (type === 'GROUP' || type === 'GENERIC') return (type === 'GROUP' ? GROUP_ROLE : GENERIC_ROLE)(value, path, problems);
  return bad(problems, under(path, 'type'), type === undefined ? 'is missing' : `expected GENERIC or GROUP, got ${JSON.stringify(type)}`);
};

const GRANT = object<WorldGrant>(
  { id: optional(newId), userGroup: reference, role: reference, entityGroup: optional(reference), shared: optional(flag, false) },
  (grant) => ({ ...grant, id: grant.id ?? grantId(grant) }),
);

const rule: Reader<string> = (value, path, problems) => text(typeof value === 'number' ? String(value) : value, path, problems);
const CHECK = object<WorldCheck>(
  {
    user: text,
    operation: text,
    resource: text,
    target: optional(text, ANY),
    owner: optional(text),
    groups: optional(list(text)),
    expect: text,
    reason: optional(text),
    rule: optional(rule),
  },
  (check, path, problems) => {
    const possible = DECISIONS.some(
      (decision) =>
        check.expect === (decision.allow ? 'allow' : 'deny') &&
        (check.reason ?? decision.reason) === decision.reason &&
        (check.rule ?? decision.rule) === decision.rule,
    );
    return possible ? check : bad(problems, path, `no decision of the model is ${[check.expect, check.reason, check.rule].filter(Boolean).join(', ')}`);
  },
);

const WORLD = object<WorldFile>({
  defaults: optional(flag, false),
  tenants: optional(list(object<WorldTenant>({ id: ownerId, name: optional(text) })), []),
  customers: optional(list(object<WorldCustomer>({ id: ownerId, owner: reference, title: optional(text), groups: optional(memberships, []) })), []),
  groups: optional(list(GROUP), []),
  users: optional(list(object<WorldUser>({ id: newId, owner: reference, enabled: optional(flag, true), groups: optional(memberships, []) })), []),
  entities: optional(list(object<WorldEntity>({ id: newId, type: text, owner: reference, groups: optional(memberships, []) })), []),
  roles: optional(list(ROLE), []),
  grants: optional(list(GRANT), []),
  checks: optional(list(CHECK), []),
});
const EMPTY: WorldFile = { defaults: false, tenants: [], customers: [], groups: [], users: [], entities: [], roles: [], grants: [], checks: [] };

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What stands there instead, and no more of it than a person needs: the wrong file may be somebody's key. */
function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'object') return Array.isArray(value) ? 'a list' : 'an object';
  const text = JSON.stringify(value) ?? '';
  return `${typeof value} ${text.length > 80 ? `${text.slice(0, 80)}…` : text}`;
}

/** The path of a field; a name of other characters is quoted, as in JSON. */
export function under(path: string, key: string): string {
  const name = /^[\w-]+$/.test(key) ? key : JSON.stringify(key);
  return path === '' ? name : `${path}.${name}`;
}
