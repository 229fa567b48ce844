// How does a stored row read in the file format of worlds?
//
// One SELECT for each list, a row of JSON text for each row of the list, its fields in the order of the format; `export` streams
// them, and an import shows by them what is stored under an id. Put together as text: [measured] json_build_object takes longer,
// and json_strip_nulls would strip what `details` has of nulls.

/** The lists of a world file, in the order in which an export has them: each refers to earlier ones only. */
export const ROW_LISTS = ['tenants', 'customers', 'groups', 'roles', 'users', 'entities', 'grants'] as const;
export type RowList = (typeof ROW_LISTS)[number];

export interface RowsOptions {
  /** Which rows: a condition over `o`, their row in `grantgate.object`. Default: all. */
  readonly where?: string;
  /** True: `{"kind":"users", …}`, a line of NDJSON. */
  readonly kind?: boolean;
}

/** SELECT of columns `id` and `json` (text), in no order. */
export function rowsQuery(list: RowList, { where, kind = false }: RowsOptions = {}): string {
  const { objects, from = '', fields, holds } = SHAPES[list];
  const memberships =
    holds === undefined
      ? ''
      : where === undefined
        ? `left join (select m.member_id, json_agg(m.group_id order by m.group_id)::text groups from grantgate.membership m
          where m.member_kind = '${holds}' group by m.member_id) m on m.member_id = o.id`
        : // Of a part, one by one: a join goes wrong before the first ANALYZE [measured: 10,000 entities in 12.5 s, and in 0.2 s so].
          `left join lateral (select json_agg(m.group_id order by m.group_id)::text groups from grantgate.membership m
          where m.member_id = o.id) m on true`;
  return `select o.id, '{${kind ? `"kind":"${list}",` : ''}"id":' || to_json(o.id)::text || ${fields.join(' || ')} || '}' json
    from grantgate.object o ${from} ${memberships} where o.kind = '${objects}' and (${where ?? 'true'})`;
}

interface Shape {
  /** Kind in `grantgate.object`. */
  readonly objects: string;
  /** The second row, where there is one. */
  readonly from?: string;
  /** After `id`: expressions of `,"name":value`. */
  readonly fields: readonly string[];
  /** Kind of the members that these rows can be. */
  readonly holds?: string;
}

const text = (name: string, value: string): string => `',"${name}":' || to_json(${value})::text`;
/** Left out where it is null. */
const maybe = (name: string, value: string): string => `coalesce(${text(name, value)}, '')`;
const json = (name: string, value: string): string => `',"${name}":' || ${value}::text`;
const owner = text('owner', 'o.owner');
const groups = `',"groups":' || coalesce(m.groups, '[]')`;

/** RFC 3339 knows four digits of a year, and no infinity: what else a timestamptz can be is written as Postgres writes it. */
const time = (value: string): string =>
  `case when ${value} >= '0001-01-01T00:00:00Z' and ${value} < '9999-12-31T00:00:00Z'
    then to_char(${value} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') else ${value}::text end`;

const SHAPES: Readonly<Record<RowList, Shape>> = {
  tenants: { objects: 'tenant', fields: [maybe('name', 'o.label')] },
  customers: {
    objects: 'customer',
    from: 'join grantgate.customer c on c.id = o.id',
    fields: [owner, maybe('title', 'o.label'), groups, json('details', 'c.details')],
    holds: 'customer',
  },
  groups: { objects: 'group', fields: [text('type', 'o.type'), owner, maybe('name', 'o.label')] },
  roles: {
    objects: 'role',
    from: 'join grantgate.role r on r.id = o.id',
    fields: [
      owner,
      text('type', 'r.type'),
      json('permissions', 'r.permissions'),
      `case when r.type = 'GENERIC' then ${json('excluded', 'r.excluded')} else '' end`,
      maybe('name', 'o.label'),
    ],
  },
  users: {
    objects: 'user',
    from: 'join grantgate.user_account u on u.id = o.id',
    fields: [
      owner,
      json('enabled', 'u.enabled'),
      groups,
      maybe('name', 'o.label'),
      maybe('email', 'u.email'),
      maybe('firstName', 'u.first_name'),
      maybe('lastName', 'u.last_name'),
      maybe('lastLogin', time('u.last_login')),
    ],
    holds: 'user',
  },
  entities: { objects: 'entity', fields: [text('type', 'o.type'), owner, groups, maybe('name', 'o.label')], holds: 'entity' },
  grants: {
    objects: 'grant',
    from: 'join grantgate.group_permission p on p.id = o.id',
    fields: [
      text('userGroup', `coalesce(p.user_group, 'all:USER:' || p.user_owner)`),
      text('role', 'p.role'),
      maybe('entityGroup', `case when p.entity_owner is not null then coalesce(p.entity_group, 'all:' || p.entity_type || ':' || p.entity_owner) end`),
      json('shared', 'p.shared'),
      maybe('name', 'o.label'),
    ],
  },
};

/** SELECT of `id`, `list` and `json` of whatever is stored under the ids of `$1`, a text[]. */
export const STORED_ROWS = ROW_LISTS.map((list) => `select id, '${list}' list, json from (${rowsQuery(list, { where: 'o.id = any ($1::text[])' })}) x`).join(
  '\nunion all\n',
);

/** So many bytes of rows are held at once, where there is more than one: [measured] 1 M memberships of 10,000, 230 MB, took 3.4 GB to change, and all else stood still for 8.5 s. */
export const MOST_READ_BYTES = 16 * 1024 * 1024;
