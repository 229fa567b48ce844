// Which stored things come next, in the order of a list? Candidates alone: whoever shows one asks first whether it may be read.
//
// Keyset pages, and a bound on what one statement reads: it walks an index from where the last one stopped, or it gathers what a few
// owners and groups have, if that is little. Three orders: by lower-cased name, by id, by lower-cased e-mail; the id breaks ties.

import type { ObjectKind } from '../source.ts';
import { arrayLiteral } from './import-staging.ts';
import { MOST_READ_BYTES, rowsQuery, type RowList } from './world-rows.ts';
import type { Statements } from './writer.ts';

export type ListOrder = 'name' | 'id' | 'email';

/** A place in an order: behind whatever has this key and this id, whether there is such a thing or not. */
export interface ListPlace {
  /** Lower-cased name or e-mail; in the order of ids, the id that it begins with. */
  readonly key: string;
  readonly id: string;
}

export interface Candidate extends ListPlace {
  readonly owner: string;
  readonly type: string;
  /** Lower-cased. */
  readonly name: string;
  /** In one of the groups that were asked about. */
  readonly held: boolean;
  /** In `within`. */
  readonly inside: boolean;
}

export interface Listing {
  readonly tenant: string;
  readonly kind: ObjectKind;
  readonly types: readonly string[];
  readonly order: ListOrder;
  readonly after: ListPlace;
  /** Keys (ids, in their order) from here on are none of it; null: there is no such end. */
  readonly until: string | null;
  /** Groups of which `held` is asked. */
  readonly groups: readonly string[];
  /** An explicit group; of grants, also an All group: its users are given them, or they are over it. */
  readonly within: string | null;
  /** What is not of these is not wanted, and left out where that is quickly seen: in the order of names, of a few owners. Null: everything is. */
  readonly wanted: ListSources | null;
}

/** Where what may be read is. */
export interface ListSources {
  /** This owner and all below it; null: none. */
  readonly scope: string | null;
  readonly owners: readonly string[];
  readonly groups: readonly string[];
  readonly ids: readonly string[];
}

// The key of each order as its index has it.
const NAME = `(lower(coalesce(left(o.label, 200), ''))) collate "C"`;
const EMAIL = `(lower(u.email)) collate "C"`;
/** No name or e-mail is behind it: they have 1,000 bytes at most. */
const END = '\u{10ffff}'.repeat(251);

/** Of `x`: `$6` are `groups`, `$7` is `within`. */
const row = (key: string, name: string): string =>
  `json_build_array(x.id, x.owner, x.type, ${key}, ${name}, x.ours,
    x.ours and exists (select from grantgate.membership m where m.member_id = x.id and m.group_id = any ($6::text[])),
    x.ours and ($7::text is null or exists (select from grantgate.membership m where m.group_id = $7 and m.member_id = x.id)
      or exists (select from grantgate.group_permission p where p.id = x.id and $7 in (
        coalesce(p.user_group, 'all:USER:' || p.user_owner), coalesce(p.entity_group, 'all:' || p.entity_type || ':' || p.entity_owner)))))`;

/** An owner and all below it, by index, one by one: a planner that cannot know how little it is would read the table. */
const below = (scope: string): string => `below (id) as (
      select ${scope}::text collate "C" where ${scope}::text is not null
      union all
      select o.id from below cross join lateral (
        select o.id from grantgate.object o where o.owner = below.id and o.kind = 'customer' offset 0) o)`;

/**
 * The next rows in an order, at most so many read: behind the last of them is the next place, be it shown or not.
 * Of the tenant and the types alone in the order of names, which an index of each type has; those of other tenants and kinds are passed
 * over by `ours` in the order of ids, and what is not wanted likewise: but for the last of a full window.
 */
export async function scanObjects(
  db: Statements,
  listing: Listing,
  window: number,
): Promise<{ readonly rows: readonly Candidate[]; readonly last: ListPlace | null }> {
  const { tenant, kind, types, order, after, until, groups, within, wanted } = listing;
  const shared = [tenant, kind, after.key, after.id, until ?? END, arrayLiteral(groups), within, window];
  const filter = order !== 'name' || wanted === null ? [] : [wanted.scope, arrayLiteral(wanted.owners), arrayLiteral(wanted.ids)];
  const statement = SCAN[order](types.length, filter.length > 0);
  const [answer] = await db.rows<{ read: number; r: string }>(statement, [...shared, ...filter, ...(order === 'name' ? types : [arrayLiteral(types)])]);
  const rows = candidatesOf(answer?.r);
  const last = answer !== undefined && answer.read >= window ? (rows.at(-1) ?? null) : null;
  return { rows: rows.flatMap(({ ours, ...candidate }) => (ours ? [candidate] : [])), last };
}

// Owners whose things are told apart by the database: to find more costs more than to hand all of them over. [measured] Of 8,000 rows with a
// tenth of them wanted 10 ms in place of 33. `offset 0`: else all members of the groups may be read first.
const FEW = 2_000;
const WANTED = `((select count(*) from few) > ${FEW} or y.owner in (select id from few) or y.owner = any ($10::text[]) or y.id = any ($11::text[])
  or exists (select from grantgate.membership m where m.member_id = y.id and m.group_id = any ($6::text[]) offset 0))`;

const SCAN: Readonly<Record<ListOrder, (types: number, filtered: boolean) => string>> = {
  // A branch for each type, so that they are merged as they come: of one statement over all types everything would be sorted first.
  name: (types, filtered) => {
    const branch = (_: unknown, i: number): string =>
      `(select o.id, o.owner, o.type, ${NAME} key from grantgate.object o
        where o.tenant = $1 and o.kind = $2 and o.type = $${(filtered ? 12 : 9) + i} and (${NAME}, o.id) > ($3, $4) and ${NAME} < $5
        order by ${NAME}, o.id limit $8)`;
    return `${filtered ? `with recursive ${below('$9')}, few (id) as materialized (select id from below limit ${FEW + 1})` : ''}
      select count(*)::int read, coalesce(json_agg(${row('x.key', 'null')} order by x.key, x.id) filter (where x.ours or x.n = $8), '[]')::text r
      from (select y.*, row_number() over (order by y.key, y.id) n, ${filtered ? WANTED : 'true'} ours
        from (select * from (${Array.from({ length: types }, branch).join('\nunion all\n')}) z order by z.key, z.id limit $8) y) x`;
  },
  id: () => `select count(*)::int read, coalesce(json_agg(${row('$3::text', 'x.name')} order by x.id), '[]')::text r from (
      select o.id, o.owner, o.type, ${NAME} name, o.tenant = $1 and o.kind = $2 and o.type = any ($9::text[]) ours
      from grantgate.object o where o.id >= $3 and o.id > $4 and o.id < $5 order by o.id limit $8) x`,
  email: () => `select count(*)::int read, coalesce(json_agg(${row('x.key', 'x.name')} order by x.key, x.id), '[]')::text r from (
      select u.id, o.owner, o.type, ${NAME} name, ${EMAIL} key, o.kind = $2 and o.type = any ($9::text[]) ours
      from grantgate.user_account u cross join lateral (select * from grantgate.object o where o.id = u.id offset 0) o
      where u.tenant = $1 and ${EMAIL} >= $3 and (${EMAIL}, u.id) > ($3, $4) and ${EMAIL} < $5 order by ${EMAIL}, u.id limit $8) x`,
};

/** What these owners and groups have, sorted; null if it is more than `most`, of whatever kind: then nothing but that was read. */
export async function gatherObjects(
  db: Statements,
  listing: Listing,
  of: { readonly sources: ListSources; readonly most: number; readonly window: number },
): Promise<{ readonly rows: readonly Candidate[]; readonly last: ListPlace | null } | null> {
  const { tenant, kind, types, order, after, until, groups, within } = listing;
  const { sources, most, window } = of;
  const lists = [sources.owners, sources.groups, sources.ids].map(arrayLiteral);
  const parameters = [
    tenant,
    kind,
    after.key,
    after.id,
    until ?? END,
    arrayLiteral(groups),
    within,
    window,
    arrayLiteral(types),
    sources.scope,
    ...lists,
    most,
  ];
  const [answer] = await db.rows<{ r: string | null }>(GATHER[order], parameters);
  if (answer === undefined || answer.r === null) return null;
  const rows = candidatesOf(answer.r);
  return { rows, last: rows.length < window ? null : (rows.at(-1) ?? null) };
}

const gather = ({ key, where, sort, from = '' }: { readonly key: string; readonly where: string; readonly sort: string; readonly from?: string }): string => `
  with recursive ${below('$10')},
    owned (id) as (
      select o.id from (select id from below union all select unnest($11::text[]) collate "C") s
      cross join lateral (select o.id from grantgate.object o where o.owner = s.id offset 0) o limit $14::int + 1),
    joined (id) as (
      select m.member_id from unnest($12::text[]) g (id)
      cross join lateral (select m.member_id from grantgate.membership m where m.group_id = g.id offset 0) m limit $14::int + 1),
    granted (id) as (
      select p.id from (
        select p.id from grantgate.group_permission p where $2 = 'grant' and p.user_group = $7
        union all select p.id from grantgate.group_permission p where $2 = 'grant' and p.entity_group = $7) p limit $14::int + 1),
    found (id) as materialized (
      select id from owned union all select id from joined union all select id from granted union all select unnest($13::text[]) collate "C")
  select case when (select count(*) from found) <= $14 then (
    select coalesce(json_agg(${row('x.key', 'x.name')} order by ${sort}), '[]')::text
    from (
      select x.* from (
        select o.id, o.owner, o.type, ${NAME} name, ${key} key, true ours
        from (select distinct id from found) f cross join lateral (select * from grantgate.object o where o.id = f.id offset 0) o ${from}
        where o.tenant = $1 and o.kind = $2 and o.type = any ($9::text[])) x
      where ${where} order by ${sort} limit $8) x) end r`;
const BY_KEY = { where: '(x.key, x.id) > ($3, $4) and x.key < $5', sort: 'x.key, x.id' };
const GATHER: Readonly<Record<ListOrder, string>> = {
  name: gather({ key: NAME, ...BY_KEY }),
  id: gather({ key: '$3::text', where: 'x.id >= $3 and x.id > $4 and x.id < $5', sort: 'x.id' }),
  email: gather({ key: EMAIL, ...BY_KEY, from: 'cross join lateral (select u.email from grantgate.user_account u where u.id = o.id offset 0) u' }),
};

function candidatesOf(text: string | undefined): readonly (Candidate & { readonly ours: boolean })[] {
  type Row = readonly [string, string, string, string, string | null, boolean, boolean, boolean];
  return (JSON.parse(text ?? '[]') as readonly Row[]).map(([id, owner, type, key, name, ours, held, inside]) => ({
    ...{ id, owner, type, key, name: name ?? key, ours, held, inside },
  }));
}

/** As a database of ours lower-cases what its index of names has. */
export async function lowerCased(db: Statements, text: string): Promise<string> {
  const [row] = await db.rows<{ r: string }>('select lower($1::text) r', [text]);
  return row?.r ?? '';
}

/** Rows of a list as in a world file, by id, of the first so many ids as are not too much at once; those that are gone are left out. */
export async function readRows(
  db: Statements,
  list: RowList,
  ids: readonly string[],
): Promise<{ readonly rows: ReadonlyMap<string, Readonly<Record<string, unknown>>>; readonly looked: number }> {
  if (ids.length === 0) return { rows: new Map(), looked: 0 };
  const found = await db.rows<{ id: string; json: string | null }>(
    `select x.id, x.json from (
        select n.id, n.at, r.json, coalesce(sum(octet_length(r.json)) over (order by n.at rows between unbounded preceding and 1 preceding), 0) bytes
        from unnest($1::text[]) with ordinality n (id, at) left join (${rowsQuery(list, { where: 'o.id = any ($1::text[])' })}) r on r.id = n.id) x
      where x.bytes <= ${MOST_READ_BYTES} order by x.at`,
    [arrayLiteral(ids)],
  );
  const rows = found.flatMap(({ id, json }) => (json === null ? [] : [[id, JSON.parse(json) as Readonly<Record<string, unknown>>] as const]));
  return { rows: new Map(rows), looked: found.length };
}

/** Tenants in the order of their ids. */
export async function readTenants(db: Statements, after: string, limit: number): Promise<readonly { readonly id: string; readonly name?: string }[]> {
  const rows = await db.rows<{ id: string; label: string | null }>(
    `select o.id, o.label from grantgate.object o where o.kind in ('tenant', 'customer') and o.kind = 'tenant' and o.id > $1 order by o.id limit $2`,
    [after, limit],
  );
  return rows.map(({ id, label }) => (label === null ? { id } : { id, name: label }));
}
