// How do the writes of the conformance suite look in SQL? Plain rows: what import and the writer do is not this suite's subject.

import { parseAllGroup } from '../src/model.ts';
import { expandDefaults, type WorldFile } from '../src/worldfile.ts';
import type { openPool } from '../src/postgres/pool.ts';
import type { Write } from './source.conformance.ts';

export type Sql = ReturnType<typeof openPool>;
type Transaction = Parameters<Parameters<Sql['begin']>[1]>[0];

export async function write(sql: Transaction, change: Write): Promise<void> {
  switch (change.do) {
    case 'insert':
      return insert(sql, expandDefaults(change.world));
    case 'addMember':
      return addMembers(sql, [{ member: change.member, group: change.group }]);
    case 'removeMember':
      return done(sql`delete from grantgate.membership where member_id = ${change.member} and group_id = ${change.group}`);
    case 'changeOwner':
      return done(sql`update grantgate.object set owner = ${change.owner} where id = ${change.id}`);
    case 'setEnabled':
      return done(sql`update grantgate.user_account set enabled = ${change.enabled} where id = ${change.user}`);
    case 'editRole':
      return done(sql`update grantgate.role set permissions = ${JSON.stringify(change.permissions)}::text::jsonb, excluded = '{}' where id = ${change.id}`);
    case 'setShared':
      return done(sql`update grantgate.group_permission set shared = ${change.shared} where id = ${change.grant}`);
    case 'remove':
      return done(sql`delete from grantgate.object where id = ${change.id}`);
    // What has an actor is a session, whose row also says when it ends as a whole.
    case 'insertKey':
      if (change.key.actor !== '')
        return done(sql`insert into grantgate.session (id, tenant, user_id, actor, hash, expires, ends)
          select ${change.key.hash}, o.tenant, o.id, ${change.key.actor}, ${change.key.hash}, x.at, x.at
          from grantgate.object o, (select to_timestamp(${change.key.expires}::float8 / 1000) at) x where o.id = ${change.key.user}`);
      return done(sql`insert into grantgate.api_key (hash, id, tenant, user_id, expires, created_by)
        select ${change.key.hash}, ${change.key.hash}, o.tenant, o.id, to_timestamp(${change.key.expires}::float8 / 1000), '' from grantgate.object o where o.id = ${change.key.user}`);
    case 'updateKey':
      if (change.key.actor !== '')
        return done(sql`update grantgate.session s set actor = ${change.key.actor}, expires = x.at, ends = x.at
          from (select to_timestamp(${change.key.expires}::float8 / 1000) at) x where s.hash = ${change.key.hash}`);
      return done(sql`update grantgate.api_key set expires = to_timestamp(${change.key.expires}::float8 / 1000) where hash = ${change.key.hash}`);
    case 'removeKey':
      return done(sql`with s as (delete from grantgate.session where hash = ${change.hash} returning 1), k as (delete from grantgate.api_key where hash = ${change.hash} returning 1)
        select from s union all select from k`);
    case 'touchEverything':
      return done(sql`select grantgate.touch('*')`);
    default:
      return change satisfies never;
  }
}

async function done(statement: Promise<{ readonly count: number }>): Promise<void> {
  if ((await statement).count === 0) throw new Error('no such row');
}

interface Row {
  readonly id: string;
  readonly tenant: string;
  readonly kind: string;
  readonly type: string;
  readonly owner: string | null;
}

async function insert(sql: Transaction, world: WorldFile): Promise<void> {
  const there = await sql<Row[]>`select id, tenant, kind, type, owner from grantgate.object`;
  const rows = new Map<string, Row>(there.map((row) => [row.id, row]));
  const old = rows.size;
  const add = (id: string, kind: string, at: { readonly type: string; readonly owner: string }): void =>
    void rows.set(id, { id, tenant: rows.get(at.owner)!.tenant, kind, ...at });
  for (const { id } of world.tenants) rows.set(id, { id, tenant: id, kind: 'tenant', type: 'TENANT', owner: null });
  for (const { id, owner } of world.customers) add(id, 'customer', { type: 'CUSTOMER', owner });
  for (const { id, type, owner } of world.groups) add(id, 'group', { type, owner });
  for (const { id, owner } of world.users) add(id, 'user', { type: 'USER', owner });
  for (const { id, type, owner } of world.entities) add(id, 'entity', { type, owner });
  for (const { id, owner } of world.roles) add(id, 'role', { type: 'ROLE', owner });
  const side = (group: string): { owner: string; type: string; group: string | null } => {
    const all = parseAllGroup(group);
    const row = rows.get(group);
    return all ? { ...all, group: null } : { owner: row!.owner!, type: row!.type, group };
  };
  for (const { id, userGroup } of world.grants) add(id, 'grant', { type: 'GROUP_PERMISSION', owner: side(userGroup).owner });
  const tenantOf = (id: string): string => rows.get(id)!.tenant;

  await many(sql, 'object (id, tenant, kind, type, owner)', [...rows.values()].slice(old));
  await many(
    sql,
    'user_account (id, tenant, enabled)',
    world.users.map(({ id, enabled }) => ({ id, tenant: tenantOf(id), enabled })),
  );
  await many(
    sql,
    'customer (id, tenant)',
    world.customers.map(({ id }) => ({ id, tenant: tenantOf(id) })),
  );
  await many(
    sql,
    'role (id, tenant, type, permissions, excluded)',
    world.roles.map((role) => ({ excluded: {}, ...role, tenant: tenantOf(role.id) })),
  );
  await many(
    sql,
    'group_permission (id, tenant, user_owner, user_group, role, role_type, entity_owner, entity_type, entity_group, shared)',
    world.grants.map(({ id, userGroup, role, entityGroup, shared }) => {
      const target = entityGroup === undefined ? null : side(entityGroup);
      return {
        id,
        tenant: tenantOf(id),
        user_owner: side(userGroup).owner,
        user_group: side(userGroup).group,
        role,
        role_type: world.roles.find((one) => one.id === role)!.type,
        entity_owner: target?.owner,
        entity_type: target?.type,
        entity_group: target?.group,
        shared,
      };
    }),
  );
  await addMembers(
    sql,
    [...world.customers, ...world.users, ...world.entities].flatMap(({ id, groups }) => groups.map((group) => ({ member: id, group }))),
    'those that count',
  );
}

/** `those that count`: foreign keys refuse a membership of another type or owner, and sources would not count it (semantics 1.3). */
async function addMembers(
  sql: Transaction,
  members: readonly { readonly member: string; readonly group: string }[],
  which: 'all' | 'those that count' = 'all',
): Promise<void> {
  const { count } = await sql`
    insert into grantgate.membership (tenant, group_id, member_id, type, owner)
    select g.tenant, g.id, x.member, g.type, g.owner from json_to_recordset(${JSON.stringify(members)}::text::json) x (member text, "group" text)
    join grantgate.object g on g.id = x."group" join grantgate.object m on m.id = x.member where g.type = m.type and g.owner = m.owner`;
  if (which === 'all' && count !== members.length) throw new Error('a membership that could not be added');
}

async function many(sql: Transaction, into: string, rows: readonly object[]): Promise<void> {
  if (rows.length === 0) return;
  const [table = '', columns = ''] = into.replace(')', '').split(' (');
  await sql.unsafe(`insert into grantgate.${table} (${columns}) select ${columns} from json_populate_recordset(null::grantgate.${table}, $1::text::json)`, [
    JSON.stringify(rows),
  ]);
}
