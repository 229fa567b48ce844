// What is in a database, by other ways than those of the export?

import type { Sql } from './fixture.ts';

const TABLES = ['object', 'user_account', 'customer', 'role', 'membership', 'group_permission'] as const;
export type Dump = Readonly<Record<(typeof TABLES)[number], readonly string[]>>;

/** Every row of every table, less the log and what keeps writers of the tree apart. */
export async function dump(sql: Sql): Promise<Dump> {
  const dumped: Partial<Record<(typeof TABLES)[number], readonly string[]>> = {};
  for (const table of TABLES) {
    const rows = await sql.unsafe<{ row: string }[]>(`select to_jsonb(t)::text as row from grantgate.${table} t`);
    dumped[table] = rows.map(({ row }) => row).toSorted();
  }
  return dumped as Dump;
}

/** Everything that has an owner at or below this one, and itself. */
export async function remove(sql: Sql, root: string): Promise<void> {
  const inside = insideOf(await treeOf(sql), root);
  await sql`delete from grantgate.object where id = ${root} or owner in ${sql(inside)}`;
}

function insideOf(tree: Tree, root: string): readonly string[] {
  return [...tree.keys()].filter((id) => chainOf(tree, id).includes(root));
}

export type Tree = ReadonlyMap<string, string | null>;
export async function treeOf(sql: Sql): Promise<Tree> {
  const rows = await sql<{ id: string; owner: string | null }[]>`select id, owner from grantgate.object where kind in ('tenant', 'customer') order by id`;
  return new Map(rows.map(({ id, owner }) => [id, owner]));
}
function chainOf(tree: Tree, id: string): readonly string[] {
  const above = tree.get(id) ?? null;
  return above === null ? [id] : [id, ...chainOf(tree, above)];
}

interface GrantRow {
  readonly id: string;
  readonly user_owner: string;
  readonly user_group: string | null;
  readonly role_owner: string;
  readonly entity_owner: string | null;
  readonly entity_group: string | null;
  readonly shared: boolean;
}
export async function grantsOf(sql: Sql): Promise<readonly GrantRow[]> {
  return sql<GrantRow[]>`select p.*, o.owner role_owner from grantgate.group_permission p join grantgate.object o on o.id = p.role`;
}

/** Grants of groups outside that go when what hangs below the owner goes. */
export function grantsOver(tree: Tree, grants: readonly GrantRow[], root: string): readonly string[] {
  const inside = insideOf(tree, root);
  const touches = ({ role_owner, entity_owner }: GrantRow): boolean => inside.includes(role_owner) || (entity_owner !== null && inside.includes(entity_owner));
  return grants.filter((grant) => !inside.includes(grant.user_owner) && touches(grant)).map(({ id }) => id);
}

export function withoutGrants(dumped: Dump, ids: readonly string[]): Dump {
  const kept = (rows: readonly string[]): readonly string[] => rows.filter((row) => !ids.includes((JSON.parse(row) as { id: string }).id));
  return { ...dumped, object: kept(dumped.object), group_permission: kept(dumped.group_permission) };
}

/** Is what the random worlds are to have in them? */
export async function oddities(sql: Sql): Promise<Readonly<Record<'dormant' | 'shared' | 'all' | 'predefined', number>>> {
  const tree = await treeOf(sql);
  const grants = await grantsOf(sql);
  const [{ predefined }] = await sql<[{ predefined: number }]>`select count(*)::int predefined from grantgate.object where id ~ '^(admins|users|role):'`;
  return {
    dormant: grants.filter((grant) => !grant.shared && grant.entity_owner !== null && !chainOf(tree, grant.entity_owner).includes(grant.user_owner)).length,
    shared: grants.filter(({ shared }) => shared).length,
    all: grants.filter((grant) => grant.user_group === null || (grant.entity_owner !== null && grant.entity_group === null)).length,
    predefined,
  };
}
