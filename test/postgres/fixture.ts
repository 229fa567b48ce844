// What do the database suites begin with, and how do they write it down? A small world by plain SQL, and sentences to change it.

import type { openPool } from 'policy-cache/postgres';

export type Sql = ReturnType<typeof openPool>;

/** An `object` row as SQL text. Every part is a literal of the test's own. */
export function object(id: string, tenant: string, kind: string, rest: { readonly type: string; readonly owner?: string }): string {
  return `insert into grantgate.object (id, tenant, kind, type, owner) values ('${id}', '${tenant}', '${kind}', '${rest.type}', ${rest.owner === undefined ? 'null' : `'${rest.owner}'`})`;
}
export const tenant = (id: string): string => object(id, id, 'tenant', { type: 'TENANT' });
export const customer = (id: string, owner: string, of = 't'): string =>
  `${object(id, of, 'customer', { type: 'CUSTOMER', owner })}; insert into grantgate.customer (id, tenant) values ('${id}', '${of}')`;
export const user = (id: string, owner: string, of = 't'): string =>
  `${object(id, of, 'user', { type: 'USER', owner })}; insert into grantgate.user_account (id, tenant) values ('${id}', '${of}')`;
export const group = (id: string, type: string, owner: string, of = 't'): string => object(id, of, 'group', { type, owner });
export const entity = (id: string, type: string, owner: string, of = 't'): string => object(id, of, 'entity', { type, owner });
export const member = (id: string, of: string, rest: { readonly type: string; readonly owner: string }): string =>
  `insert into grantgate.membership (tenant, group_id, member_id, type, owner) values ('t', '${of}', '${id}', '${rest.type}', '${rest.owner}')`;
export const genericRole = (id: string, owner: string, of = 't'): string =>
  `${object(id, of, 'role', { type: 'ROLE', owner })}; insert into grantgate.role (id, tenant, type, permissions) values ('${id}', '${of}', 'GENERIC', '{"ALL": ["ALL"]}')`;
export const groupRole = (id: string, owner: string, of = 't'): string =>
  `${object(id, of, 'role', { type: 'ROLE', owner })}; insert into grantgate.role (id, tenant, type, permissions) values ('${id}', '${of}', 'GROUP', '["READ"]')`;

/** A side of a grant: owner, type and group, where no group is All. */
export type Side = readonly [owner: string, type: string, group?: string];

/** `to[1]` is USER. */
export function grant(id: string, to: Side, role: readonly [id: string, type: string], over?: Side): string {
  const text = (value: string | undefined): string => (value === undefined ? 'null' : `'${value}'`);
  return `${object(id, 't', 'grant', { type: 'GROUP_PERMISSION', owner: to[0] })};
    insert into grantgate.group_permission (id, tenant, user_owner, user_group, role, role_type, entity_owner, entity_type, entity_group)
    values ('${id}', 't', '${to[0]}', ${text(to[2])}, '${role[0]}', '${role[1]}', ${text(over?.[0])}, ${text(over?.[1])}, ${text(over?.[2])})`;
}

/** Tenant t: customer a with b below it. Tenant z: customer zc. Everything else belongs to a, unless its name begins otherwise. */
export const WORLD = [
  tenant('t'),
  tenant('z'),
  customer('a', 't'),
  customer('b', 'a'),
  customer('zc', 'z', 'z'),
  user('u', 'a'),
  user('u2', 'a'),
  group('ug', 'USER', 'a'),
  group('dg', 'DEVICE', 'a'),
  group('ag', 'ASSET', 'a'),
  group('bg', 'DEVICE', 'b'),
  group('cg', 'CUSTOMER', 'a'),
  group('tg', 'USER', 't'),
  group('zg', 'DEVICE', 'zc', 'z'),
  entity('d', 'DEVICE', 'a'),
  entity('d2', 'DEVICE', 'a'),
  genericRole('gen', 't'),
  groupRole('grp', 't'),
  groupRole('zr', 'z', 'z'),
  member('u', 'ug', { type: 'USER', owner: 'a' }),
  member('d', 'dg', { type: 'DEVICE', owner: 'a' }),
  member('b', 'cg', { type: 'CUSTOMER', owner: 'a' }),
  grant('g1', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'DEVICE', 'dg']),
  grant('g2', ['a', 'USER', 'ug'], ['gen', 'GENERIC']),
].join(';\n');

/** The fixture in one transaction. */
export async function seed(sql: Sql, world = WORLD): Promise<void> {
  await sql.unsafe(`begin; ${world}; commit`);
}

/** Runs the statements in a transaction that is given up. The constraint that refused them, or why else they failed; null if they stand. */
export async function refusal(sql: Sql, statements: string): Promise<string | null> {
  try {
    await sql.unsafe(`begin; ${statements}; set constraints all immediate; rollback`);
    return null;
  } catch (error) {
    await sql.unsafe('rollback');
    const { constraint_name: constraint, code, message } = error as { constraint_name?: string; code?: string; message: string };
    return constraint ?? `${code ?? ''} ${message}`;
  }
}

/** The newest version of the log. */
export async function headOf(sql: Sql): Promise<number> {
  return Number((await sql<[{ v: string }]>`select max(version) as v from grantgate.change`)[0].v);
}

/** What the versions above this one say. */
export async function changesSince(sql: Sql, version: number): Promise<readonly { version: string; tag: string; keys: string[] }[]> {
  return sql`select c.version, t.tag, t.keys from grantgate.change c join grantgate.touched t using (n) where c.version > ${version} order by c.version`;
}
