// What is one row of a world, and what is wrong with it?
//
// The row of each list of a world file (worldfile.ts), as parsed from YAML or JSON, with what was left out still left out: an
// import keeps what is stored there, a world of its own has the default. Shape only: fields, their types, ids (semantics 1.1).
// Whether a named thing exists is asked where the world is loaded (memory.ts, the import).

import { DECISIONS } from './decide.ts';
import { InputError } from './errors.ts';
import { ANY, parseId, utf8Length } from './model.ts';
import type { Permissions, Reason, Rule } from './model.ts';
import { isReserved, predefinedIds } from './predefined.ts';

export interface WorldTenant {
  readonly id: string;
  readonly name?: string;
}
export interface GivenCustomer {
  readonly id: string;
  readonly owner: string;
  readonly title?: string;
  /** Explicit customer groups: a customer is an entity of its owner. */
  readonly groups?: readonly string[];
  /** What else is known of it; decides nothing. */
  readonly details?: Readonly<Record<string, unknown>>;
}
export interface WorldGroup {
  readonly id: string;
  readonly type: string;
  readonly owner: string;
  readonly name?: string;
}
export interface GivenUser {
  readonly id: string;
  readonly owner: string;
  readonly enabled?: boolean;
  readonly groups?: readonly string[];
  readonly name?: string;
  readonly email?: string;
  readonly firstName?: string;
  readonly lastName?: string;
  /** RFC 3339, to the microsecond at most. */
  readonly lastLogin?: string;
}
export interface GivenEntity {
  readonly id: string;
  readonly type: string;
  readonly owner: string;
  readonly groups?: readonly string[];
  readonly name?: string;
}
export type GivenRole =
  | {
      readonly id: string;
      readonly owner: string;
      readonly type: 'GENERIC';
      readonly permissions: Permissions;
      readonly excluded?: Permissions;
      readonly name?: string;
    }
  | GroupRole;
export interface GroupRole {
  readonly id: string;
  readonly owner: string;
  readonly type: 'GROUP';
  readonly permissions: readonly string[];
  readonly name?: string;
}
export interface GivenGrant {
  readonly id?: string;
  readonly userGroup: string;
  readonly role: string;
  readonly entityGroup?: string;
  readonly shared?: boolean;
  readonly name?: string;
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

/** The lists of a world, and a row of each as it was given. */
export interface GivenRows {
  readonly tenants: WorldTenant;
  readonly customers: GivenCustomer;
  readonly groups: WorldGroup;
  readonly users: GivenUser;
  readonly entities: GivenEntity;
  readonly roles: GivenRole;
  readonly grants: GivenGrant;
  readonly checks: WorldCheck;
}
export type WorldList = keyof GivenRows;

/** What is wrong at one place: `users[3].groups[0]`. An empty path is the file itself. */
export interface Problem {
  readonly path: string;
  readonly message: string;
}

/** Reads one parsed row; what is wrong with it is added to `problems`, and then it is null. Never throws. */
export function parseWorldRow<L extends WorldList>(list: L, value: unknown, at: { readonly path: string; readonly problems: Problem[] }): GivenRows[L] | null {
  const read: { readonly [K in WorldList]: Reader<GivenRows[K]> } = ROWS;
  const row = read[list](value, at.path, at.problems);
  return row === BAD ? null : row;
}

// The shape, as readers: each takes a value apart or says what is wrong with it.

export const BAD = Symbol('bad');
export type Bad = typeof BAD;
export type Reader<T> = (value: unknown, path: string, problems: Problem[]) => T | Bad;
/** A field that may be left out; `otherwise` undefined: it then stays absent. */
interface Optional<T> {
  readonly read: Reader<T>;
  readonly otherwise: T | undefined;
}
type Fields = Readonly<Record<string, Reader<unknown> | Optional<unknown>>>;

export function bad(problems: Problem[], path: string, message: string): Bad {
  problems.push({ path, message });
  return BAD;
}

export function optional<T>(read: Reader<T>, otherwise?: T): Optional<T> {
  return { read, otherwise };
}

/** An object with these fields and no others. `then` may add what concerns several fields at once. */
export function object<T>(fields: Fields, then?: (row: T, path: string, problems: Problem[]) => T | Bad): Reader<T> {
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

export function list<T>(read: Reader<T>): Reader<readonly T[]> {
  return (value, path, problems) => {
    if (!Array.isArray(value)) return bad(problems, path, `expected a list, got ${kindOf(value)}`);
    return value.map((item: unknown, i) => read(item, `${path}[${i}]`, problems)).filter((item): item is T => item !== BAD);
  };
}

export const text: Reader<string> = (value, path, problems) =>
  typeof value === 'string' ? value : bad(problems, path, `expected a string, got ${kindOf(value)}`);
export const flag: Reader<boolean> = (value, path, problems) =>
  typeof value === 'boolean' ? value : bad(problems, path, `expected true or false, got ${kindOf(value)}`);

/** An id of semantics 1.1 that names something: reserved ones included. */
const reference: Reader<string> = (value, path, problems) => {
  if (typeof value === 'number') return bad(problems, path, `expected a string, got ${kindOf(value)}; put it in quotes`);
  try {
    return parseId(value, path);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return bad(problems, path, error.message.slice(path.length + 2));
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
  // A line of 10 MB may hold a million.
  const seen = new Set<string>();
  groups.forEach((group, i) => {
    if (seen.has(group)) bad(problems, `${path}[${i}]`, `${JSON.stringify(group)} is listed twice`);
    if (group.startsWith('all:')) bad(problems, `${path}[${i}]`, `${JSON.stringify(group)} holds every entity of its type and owner by itself; leave it out`);
    seen.add(group);
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

const details: Reader<Readonly<Record<string, unknown>>> = (value, path, problems) => {
  if (!isRecord(value)) return bad(problems, path, `expected an object, got ${kindOf(value)}`);
  const why = notStored(value, 0);
  return why === null ? value : bad(problems, path, why);
};

/** A parser overflows at some thousands, of ours and of Postgres each another one. */
const DEEPEST = 500;

/** What would be stored as something else, or not at all; null: nothing. */
function notStored(value: unknown, depth: number): string | null {
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) return 'a number in it is too large: put it in quotes';
    // From 1e21 on a number is written with an exponent, by people and by JSON alike.
    return Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21
      ? `a number in it has too many digits to be kept (it would be stored as ${value}): put it in quotes`
      : null;
  }
  if (typeof value !== 'object' || value === null) return null;
  if (depth >= DEEPEST) return `is nested more than ${DEEPEST} deep`;
  for (const inner of Object.values(value)) {
    const why = notStored(inner, depth + 1);
    if (why !== null) return why;
  }
  return null;
}

/** A moment that there is: JavaScript would read the 30th of February as another, and knows a year 0, as Postgres does not. */
const instant: Reader<string> = (value, path, problems) => {
  const [, day, clock] = typeof value === 'string' ? (/^((?!0000)\d{4}-\d\d-\d\d)(T\d\d:\d\d:\d\d)(?:\.\d{1,6})?Z$/.exec(value) ?? []) : [];
  const read = new Date(`${day}${clock}Z`);
  if (typeof value === 'string' && !Number.isNaN(read.getTime()) && read.toISOString().startsWith(`${day}${clock}`)) return value;
  return bad(problems, path, `expected a moment as 2026-11-27T09:30:00.123456Z, got ${kindOf(value)}`);
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

const predefinedRole = predefined<GivenRole>((role) => role.type === 'GENERIC' && predefinedIds(role.owner).roles.includes(role.id));
const GENERIC_ROLE = object<GivenRole>(
  { id: reference, owner: reference, type: text, permissions, excluded: optional(permissions), name: optional(text) },
  predefinedRole,
);
const GROUP_ROLE = object<GivenRole>({ id: reference, owner: reference, type: text, permissions: list(text), name: optional(text) }, predefinedRole);
const ROLE: Reader<GivenRole> = (value, path, problems) => {
  const type = isRecord(value) ? value['type'] : 'GENERIC';
  if (type === 'GROUP' || type === 'GENERIC') return (type === 'GROUP' ? GROUP_ROLE : GENERIC_ROLE)(value, path, problems);
  return bad(problems, under(path, 'type'), type === undefined ? 'is missing' : `expected GENERIC or GROUP, got ${JSON.stringify(type)}`);
};

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

export const ROWS = {
  tenants: object<WorldTenant>({ id: ownerId, name: optional(text) }),
  customers: object<GivenCustomer>({ id: ownerId, owner: reference, title: optional(text), groups: optional(memberships), details: optional(details) }),
  groups: GROUP,
  users: object<GivenUser>({
    id: newId,
    owner: reference,
    enabled: optional(flag),
    groups: optional(memberships),
    name: optional(text),
    email: optional(text),
    firstName: optional(text),
    lastName: optional(text),
    lastLogin: optional(instant),
  }),
  entities: object<GivenEntity>({ id: newId, type: text, owner: reference, groups: optional(memberships), name: optional(text) }),
  roles: ROLE,
  grants: object<GivenGrant>({
    id: optional(newId),
    userGroup: reference,
    role: reference,
    entityGroup: optional(reference),
    shared: optional(flag),
    name: optional(text),
  }),
  checks: CHECK,
} as const;

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
