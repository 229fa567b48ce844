// Is this a world, and if not, what is wrong with it, all at once?
//
// The format of worlds (tenants to grants, and the decisions they must give), as parsed from YAML or JSON: lists of rows
// (worldrows.ts). What a row leaves out has its default here.

import type { Permissions } from './model.ts';
import { grantId, predefinedOf } from './predefined.ts';
import { BAD, ROWS, bad, flag, list, object, optional, text } from './worldrows.ts';
import type {
  GivenCustomer,
  GivenEntity,
  GivenGrant,
  GivenRole,
  GivenUser,
  GroupRole,
  Problem,
  Reader,
  WorldCheck,
  WorldGroup,
  WorldTenant,
} from './worldrows.ts';

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
export type WorldCustomer = GivenCustomer & { readonly groups: readonly string[] };
export type WorldUser = GivenUser & { readonly enabled: boolean; readonly groups: readonly string[] };
export type WorldEntity = GivenEntity & { readonly groups: readonly string[] };
export type WorldRole = (Extract<GivenRole, { readonly type: 'GENERIC' }> & { readonly excluded: Permissions }) | GroupRole;
/** `id`: as given, else `grantId`. */
export type WorldGrant = GivenGrant & { readonly id: string; readonly shared: boolean };

/** What an export says of itself, before its rows. */
export interface WorldOrigin {
  readonly revision: string;
  /** Whose part of the database it is; neither: all of it. */
  readonly tenant?: string;
  readonly customer?: string;
}

/** Of an export without its end: a pipe that broke, a disk that was full. */
export const CUT_OFF = 'the export is cut off: its end is missing, and maybe rows (take "export" out of it to import what is there)';

/** Reads a parsed world file, rows in the order of the file. With problems, `world` is empty. Never throws. */
export function parseWorldFile(parsed: unknown): { readonly world: WorldFile; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const given = WORLD(parsed, '', problems);
  return { world: given === BAD ? EMPTY : filled(given), problems };
}

/** Reads what an export says of itself; null if it is something else, which is then a problem. */
export function parseWorldOrigin(value: unknown, at: { readonly path: string; readonly problems: Problem[] }): WorldOrigin | null {
  const origin = ORIGIN(value, at.path, at.problems);
  return origin === BAD ? null : origin;
}

/**
 * The world with the predefined groups, roles and grants of semantics 1.2 written out, for every tenant and customer, if the
 * file asks for them. What the file lists itself is kept as it is.
 */
export function expandDefaults(world: WorldFile): WorldFile {
  if (!world.defaults) return world;
  const made = [...world.tenants.map(({ id }) => predefinedOf(id, 'tenant')), ...world.customers.map(({ id }) => predefinedOf(id, 'customer'))];
  return {
    ...world,
    defaults: false,
    groups: merged(
      world.groups,
      made.flatMap(({ groups }) => groups),
      ({ id }) => id,
    ),
    roles: merged(
      world.roles,
      made.flatMap(({ roles }) => roles),
      ({ id }) => id,
    ),
    grants: merged(
      world.grants,
      made.flatMap(({ grants }) => grants),
      ({ userGroup, role, entityGroup }) => JSON.stringify([userGroup, role, entityGroup]),
    ),
  };
}

function merged<T>(given: readonly T[], more: readonly T[], key: (row: T) => string): readonly T[] {
  const known = new Set(given.map(key));
  return [...given, ...more.filter((row) => !known.has(key(row)))];
}

interface GivenWorld extends Pick<WorldFile, 'tenants' | 'groups' | 'checks'> {
  readonly export?: WorldOrigin;
  readonly end?: unknown;
  readonly defaults: boolean;
  readonly customers: readonly GivenCustomer[];
  readonly users: readonly GivenUser[];
  readonly entities: readonly GivenEntity[];
  readonly roles: readonly GivenRole[];
  readonly grants: readonly GivenGrant[];
}

function filled({ defaults, tenants, customers, groups, users, entities, roles, grants, checks }: GivenWorld): WorldFile {
  return {
    defaults,
    tenants,
    customers: customers.map((row) => ({ ...row, groups: row.groups ?? [] })),
    groups,
    users: users.map((row) => ({ ...row, enabled: row.enabled ?? true, groups: row.groups ?? [] })),
    entities: entities.map((row) => ({ ...row, groups: row.groups ?? [] })),
    roles: roles.map((row) => (row.type === 'GENERIC' ? { ...row, excluded: row.excluded ?? {} } : row)),
    grants: grants.map((row) => ({ ...row, id: row.id ?? grantId(row), shared: row.shared ?? false })),
    checks,
  };
}

const ORIGIN = object<WorldOrigin>({ revision: text, tenant: optional(text), customer: optional(text) });
const rowsOf = <T>(row: Reader<T>) => optional(list(row), []);
/** How many rows there were: for whoever reads it, since rows may be taken out and put in on purpose. */
const END = object<unknown>({ rows: optional((value) => value) });
const WORLD = object<GivenWorld>(
  {
    export: optional(ORIGIN),
    defaults: optional(flag, false),
    tenants: rowsOf(ROWS.tenants),
    customers: rowsOf(ROWS.customers),
    groups: rowsOf(ROWS.groups),
    users: rowsOf(ROWS.users),
    entities: rowsOf(ROWS.entities),
    roles: rowsOf(ROWS.roles),
    grants: rowsOf(ROWS.grants),
    checks: rowsOf(ROWS.checks),
    end: optional(END),
  },
  (world, _, problems) => (world.export === undefined || world.end !== undefined ? world : bad(problems, 'end', CUT_OFF)),
);
const EMPTY: WorldFile = { defaults: false, tenants: [], customers: [], groups: [], users: [], entities: [], roles: [], grants: [], checks: [] };
