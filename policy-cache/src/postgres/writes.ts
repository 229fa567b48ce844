// Which statements make, change and remove what has an id, and what is read before one may?
//
// Called inside a transaction of `Writer`. A change log that is told of every row, the owner tree, keys across tables: the schema
// sees to all of it (deploy/sql). What may be changed by whom is decided elsewhere.

import type { Grant, Permissions } from '../model.ts';
import { formatAllGroup, parseAllGroup } from '../model.ts';
import type { ObjectKind } from '../source.ts';
import { arrayLiteral } from './import-staging.ts';
import { MOST_READ_BYTES, STORED_ROWS, type RowList } from './world-rows.ts';
import type { Statements } from './writer.ts';

/** What is stored under an id. */
export interface StoredObject {
  readonly id: string;
  readonly list: RowList;
  readonly tenant: string;
  /** Null: a tenant. */
  readonly owner: string | null;
  /** Of a group, that of its members. */
  readonly type: string;
  /** As in a world file. */
  readonly row: Readonly<Record<string, unknown>>;
  /** The same as text, by which two states of it are compared. */
  readonly json: string;
}

/** Those that are there; `tenant`: of this one. @throws Oversized if they are more than one, and more than so many bytes */
export async function readObjects(db: Statements, ids: readonly string[], tenant: string | null = null): Promise<ReadonlyMap<string, StoredObject>> {
  if (ids.length === 0) return new Map();
  const rows = await db.rows<Pick<StoredObject, 'id' | 'list' | 'tenant' | 'owner' | 'type'> & { readonly json: string | null }>(STORED, [
    arrayLiteral(ids),
    tenant,
  ]);
  // In the order of their ids: two readings of the same rows are the same.
  const sorted = rows.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  return new Map(sorted.map(({ json, ...row }) => [row.id, { ...row, ...readJson(json) }]));
}
const STORED = `
  select x.id, x.tenant, x.owner, x.type, x.list, case when x.count = 1 or x.bytes <= ${MOST_READ_BYTES} then x.json end json
  from (
    select o.id, o.tenant, o.owner, o.type, r.list, r.json, count(*) over () count, sum(octet_length(r.json)) over () bytes
    from (${STORED_ROWS}) r join grantgate.object o on o.id = r.id where $2::text is null or o.tenant = $2) x`;

function readJson(json: string | null): Pick<StoredObject, 'row' | 'json'> {
  if (json === null) throw new Oversized();
  return { json, row: JSON.parse(json) as Record<string, unknown> };
}

/** What was asked for is there, and too much to be held at once. */
export class Oversized extends Error {
  override readonly name = 'Oversized';
}

export interface Locks {
  /** They go, or go elsewhere: no row comes that refers to them as they are, as membership does. */
  readonly move?: readonly string[];
  /** Nobody else changes them. */
  readonly update?: readonly string[];
  /** Nobody changes them at all. */
  readonly share?: readonly string[];
}

/**
 * Locks rows in the order of their ids, whichever way each is locked: else a move of `b` to `a` and a change of both would wait for each other. Each as
 * strongly at once as it will be: what is locked more strongly later is so in the order in which a statement finds it.
 * An All group is locked by its owner's row.
 */
export async function lockObjects(db: Statements, { move = [], update = [], share = [] }: Locks): Promise<void> {
  const rowOf = (id: string): string => parseAllGroup(id)?.owner ?? id;
  const rows = [share, update, move].map((ids) => arrayLiteral([...new Set(ids.map(rowOf))]));
  if (share.length + update.length + move.length > 0) await db.rows(LOCK, rows);
}
// One row after the other: the function scan is sorted before the subqueries are run, and those lock what they find.
const LOCK = `
  select (select o.id from grantgate.object o where o.id = n.id and n.way = 3 for update),
         (select o.id from grantgate.object o where o.id = n.id and n.way = 2 for no key update),
         (select o.id from grantgate.object o where o.id = n.id and n.way = 1 for share)
  from (
    select x.id collate "C" id, max(x.way) way
    from (select unnest($1::text[]) id, 1 way union all select unnest($2::text[]), 2 union all select unnest($3::text[]), 3) x
    group by 1 order by 1 offset 0) n`;

/** A grant with all that it gives. */
export interface StoredGrant {
  readonly id: string;
  readonly tenant: string;
  readonly userGroup: string;
  readonly userOwner: string;
  readonly grant: Grant;
}

/** Those of these user groups (All groups too), of these roles, and with these ids. */
export async function readGrants(
  db: Statements,
  of: { readonly userGroups?: readonly string[]; readonly roles?: readonly string[]; readonly ids?: readonly string[] },
): Promise<readonly StoredGrant[]> {
  const { userGroups = [], roles = [], ids = [] } = of;
  if (userGroups.length + roles.length + ids.length === 0) return [];
  const all = userGroups.flatMap((id) => parseAllGroup(id)?.owner ?? []);
  const explicit = userGroups.filter((id) => parseAllGroup(id) === null);
  const rows = await db.rows<GrantRow>(GRANTS, [explicit, all, roles, ids].map(arrayLiteral));
  return rows.map((row) => ({
    id: row.id,
    tenant: row.tenant,
    userGroup: row.user_group ?? formatAllGroup('USER', row.user_owner),
    userOwner: row.user_owner,
    grant: grantOf(row),
  }));
}

interface GrantRow {
  readonly id: string;
  readonly tenant: string;
  readonly user_owner: string;
  readonly user_group: string | null;
  readonly role: string;
  readonly role_type: string;
  readonly permissions: Permissions | readonly string[];
  readonly excluded: Permissions;
  readonly entity_owner: string | null;
  readonly entity_type: string | null;
  readonly entity_group: string | null;
  readonly shared: boolean;
}
// Each side by its own index: of an `or` over several columns the planner would make a scan of all grants.
const GRANTS = `
  select p.id, p.tenant, p.user_owner, p.user_group, p.role, r.type role_type, r.permissions, r.excluded, p.entity_owner, p.entity_type, p.entity_group, p.shared
  from (
    select id from grantgate.group_permission where user_group = any ($1::text[])
    union select id from grantgate.group_permission where user_owner = any ($2::text[]) and user_group is null
    union select id from grantgate.group_permission where role = any ($3::text[])
    union select id from grantgate.group_permission where id = any ($4::text[])) x
  join grantgate.group_permission p on p.id = x.id join grantgate.role r on r.id = p.role order by p.id`;

function grantOf(row: GrantRow): Grant {
  const { role, permissions, excluded, shared } = row;
  if (row.role_type === 'GENERIC') return { kind: 'generic', role, permissions: permissions as Permissions, excluded };
  return {
    kind: 'group',
    role,
    operations: permissions as readonly string[],
    shared,
    group: row.entity_group,
    type: row.entity_type ?? '',
    owner: row.entity_owner ?? '',
  };
}

/** An object that is to be made; what is left out has its default. */
export interface NewObject {
  readonly id: string;
  readonly tenant: string;
  readonly kind: ObjectKind;
  readonly type: string;
  /** Of a grant: its user group's. */
  readonly owner: string | null;
  readonly label?: string | undefined;
  /** Explicit groups that it is put into. */
  readonly groups?: readonly string[] | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  readonly enabled?: boolean | undefined;
  readonly email?: string | undefined;
  readonly firstName?: string | undefined;
  readonly lastName?: string | undefined;
  readonly roleType?: 'GENERIC' | 'GROUP';
  readonly permissions?: Permissions | readonly string[];
  readonly excluded?: Permissions | undefined;
  readonly grant?: NewGrant;
}
export interface NewGrant {
  /** Null: its owner's All group. */
  readonly userGroup: string | null;
  readonly role: string;
  readonly roleType: 'GENERIC' | 'GROUP';
  /** Null: the role is GENERIC. `group` null: the All group of that owner and type. */
  readonly entities: { readonly owner: string; readonly type: string; readonly group: string | null } | null;
  readonly shared: boolean;
}

/** Owners before what they own, groups and roles before what refers to them: as the foreign keys ask. */
export async function insertObjects(db: Statements, objects: readonly NewObject[]): Promise<void> {
  const insert = async (statement: string, rows: readonly object[]): Promise<void> => {
    if (rows.length > 0) await db.rows(statement, [JSON.stringify(rows)]);
  };
  const of = (kind: ObjectKind): readonly NewObject[] => objects.filter((object) => object.kind === kind);
  await insert(INSERT.object, objects);
  await insert(INSERT.customer, of('customer'));
  await insert(INSERT.user, of('user'));
  await insert(INSERT.role, of('role'));
  const members = objects.filter(({ groups = [] }) => groups.length > 0);
  await insert(INSERT.member, members);
  await insert(
    INSERT.grant,
    of('grant').map(({ id, tenant, owner, grant }) => ({
      id,
      tenant,
      user_owner: owner,
      user_group: grant?.userGroup,
      role: grant?.role,
      role_type: grant?.roleType,
      entity_owner: grant?.entities?.owner,
      entity_type: grant?.entities?.type,
      entity_group: grant?.entities?.group,
      shared: grant?.shared,
    })),
  );
}

const from = (columns: string): string => `jsonb_to_recordset($1::text::jsonb) as n (${columns})`;
const INSERT = {
  object: `insert into grantgate.object (id, tenant, kind, type, owner, label)
    select n.id, n.tenant, n.kind, n.type, n.owner, n.label from ${from('id text, tenant text, kind text, type text, owner text, label text')}`,
  customer: `insert into grantgate.customer (id, tenant, details)
    select n.id, n.tenant, coalesce(n.details, '{}') from ${from('id text, tenant text, details jsonb')}`,
  user: `insert into grantgate.user_account (id, tenant, enabled, email, first_name, last_name)
    select n.id, n.tenant, coalesce(n.enabled, true), n.email, n."firstName", n."lastName"
    from ${from('id text, tenant text, enabled boolean, email text, "firstName" text, "lastName" text')}`,
  role: `insert into grantgate.role (id, tenant, type, permissions, excluded)
    select n.id, n.tenant, n."roleType", n.permissions, coalesce(n.excluded, '{}')
    from ${from('id text, tenant text, "roleType" text, permissions jsonb, excluded jsonb')}`,
  member: `insert into grantgate.membership (tenant, group_id, member_id, type, owner)
    select n.tenant, g, n.id, n.type, n.owner
    from ${from('id text, tenant text, type text, owner text, groups jsonb')} cross join lateral jsonb_array_elements_text(n.groups) g`,
  grant: `insert into grantgate.group_permission (id, tenant, user_owner, user_group, role, role_type, entity_owner, entity_type, entity_group, shared)
    select n.id, n.tenant, n.user_owner, n.user_group, n.role, n.role_type, n.entity_owner, n.entity_type, n.entity_group, n.shared
    from ${from('id text, tenant text, user_owner text, user_group text, role text, role_type text, entity_owner text, entity_type text, entity_group text, shared boolean')}`,
};

/** What is changed of an object. Left out: as it is; null: nothing any more. */
export interface ObjectChange {
  readonly label?: string | null | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  readonly enabled?: boolean | undefined;
  readonly email?: string | null | undefined;
  readonly firstName?: string | null | undefined;
  readonly lastName?: string | null | undefined;
  readonly permissions?: Permissions | readonly string[] | undefined;
  readonly excluded?: Permissions | undefined;
}

/** The columns of each table that a change may name. */
const COLUMNS: Readonly<Record<'object' | 'customer' | 'user_account' | 'role', Partial<Record<keyof ObjectChange, string>>>> = {
  object: { label: 'label = n.v->>0' },
  customer: { details: 'details = n.v->0' },
  user_account: {
    enabled: 'enabled = (n.v->>0)::boolean',
    email: 'email = n.v->>0',
    firstName: 'first_name = n.v->>0',
    lastName: 'last_name = n.v->>0',
  },
  role: { permissions: 'permissions = n.v->0', excluded: 'excluded = n.v->0' },
};

/** Each id once. Of all that change the same columns there is one statement. */
export async function updateObjects(db: Statements, changes: readonly { readonly id: string; readonly change: ObjectChange }[]): Promise<void> {
  for (const [table, columns] of Object.entries(COLUMNS)) {
    const alike = new Map<string, { readonly names: readonly (keyof ObjectChange)[]; readonly rows: object[] }>();
    for (const { id, change } of changes) {
      const names = (Object.keys(columns) as (keyof ObjectChange)[]).filter((name) => change[name] !== undefined);
      const same = alike.get(names.join()) ?? { names, rows: [] };
      alike.set(names.join(), same);
      same.rows.push({ id, v: names.map((name) => [change[name]]) });
    }
    for (const { names, rows } of alike.values()) {
      if (names.length === 0) continue;
      const sets = names.map((name, i) => (columns[name] ?? '').replaceAll('n.v->', `(n.v->${i})->`));
      await db.rows(`update grantgate.${table} t set ${sets.join(', ')} from ${from('id text, v jsonb')} where t.id = n.id`, [JSON.stringify(rows)]);
    }
  }
}

/** With their memberships, and the grants that hang on them. @returns how many there were */
export async function removeObjects(db: Statements, ids: readonly string[]): Promise<number> {
  const gone = await db.rows('delete from grantgate.object where id = any ($1::text[]) returning id', [arrayLiteral(ids)]);
  return gone.length;
}

/** Grants that go with these ids: of user groups, roles, groups of entities, and over the All groups of owners. The first `most` by id, and how many there are. */
export async function readHangingGrants(
  db: Statements,
  ids: readonly string[],
  most: number,
): Promise<{ readonly ids: readonly string[]; readonly count: number }> {
  const rows = await db.rows<{ id: string; count: number }>(HANGING, [arrayLiteral(ids), most]);
  return { ids: rows.map(({ id }) => id), count: rows[0]?.count ?? 0 };
}
// Each by its own index, as above.
const HANGING = `
  select x.id, (count(*) over ())::int count from (
    select id from grantgate.group_permission where user_group = any ($1::text[])
    union select id from grantgate.group_permission where role = any ($1::text[])
    union select id from grantgate.group_permission where entity_group = any ($1::text[])
    union select id from grantgate.group_permission where entity_owner = any ($1::text[]) and entity_group is null) x
  order by x.id limit $2`;

/** Their explicit memberships end (semantics 1.5), unless that is the owner that they have; `groups` of the new owner are entered. */
export async function changeOwner(
  db: Statements,
  { ids, owner, groups }: { readonly ids: readonly string[]; readonly owner: string; readonly groups: readonly string[] },
): Promise<void> {
  await db.rows('update grantgate.object set owner = $2 where id = any ($1::text[])', [arrayLiteral(ids), owner]);
  if (groups.length === 0) return;
  await db.rows(
    `insert into grantgate.membership (tenant, group_id, member_id, type, owner)
      select o.tenant, g, o.id, o.type, o.owner from grantgate.object o cross join unnest($2::text[]) g where o.id = any ($1::text[])
      on conflict (group_id, member_id) do nothing`,
    [arrayLiteral(ids), arrayLiteral(groups)],
  );
}

/**
 * Whoever changes members has them stay first, in the order of their ids, as who moves or removes them locks those: a row that was put in refers to one by
 * one, and moved ones leave their groups one by one. Of another tenant none is locked.
 */
async function haveStay(db: Statements, { tenant, owner, type }: StoredObject, ids: readonly string[]): Promise<void> {
  await db.rows(
    `select count(*) from (
        select from grantgate.object o where o.id = any ($4::text[]) and o.tenant = $1 and o.owner = $2 and o.type = $3 order by o.id for key share) x`,
    [tenant, owner, type, arrayLiteral(ids)],
  );
}

/** @returns those that were not in it */
export async function addMembers(db: Statements, group: StoredObject, ids: readonly string[]): Promise<readonly string[]> {
  // Two that put the same in wait for each other's rows, too.
  const sorted = [...new Set(ids)].toSorted();
  await haveStay(db, group, sorted);
  const rows = await db.rows<{ id: string }>(
    `insert into grantgate.membership (tenant, group_id, member_id, type, owner)
      select $1, $2, m, $3, $4 from unnest($5::text[]) m on conflict (group_id, member_id) do nothing returning member_id id`,
    [group.tenant, group.id, group.type, group.owner, arrayLiteral(sorted)],
  );
  return rows.map(({ id }) => id);
}

/** The first of these that could not be a member of the group; null: each could. */
export async function readStray(db: Statements, { tenant, type, owner }: StoredObject, ids: readonly string[]): Promise<string | null> {
  const [row] = await db.rows<{ id: string }>(
    `select m.id from unnest($4::text[]) with ordinality m (id, at)
      where not exists (select from grantgate.object o where o.id = m.id and o.tenant = $1 and o.type = $2 and o.owner = $3 and o.kind <> 'group')
      order by m.at limit 1`,
    [tenant, type, owner, arrayLiteral(ids)],
  );
  return row?.id ?? null;
}

/** @returns those that were in it */
export async function removeMembers(db: Statements, group: StoredObject, ids: readonly string[]): Promise<readonly string[]> {
  await haveStay(db, group, ids);
  const rows = await db.rows<{ id: string }>('delete from grantgate.membership where group_id = $1 and member_id = any ($2::text[]) returning member_id id', [
    group.id,
    arrayLiteral(ids),
  ]);
  return rows.map(({ id }) => id);
}
