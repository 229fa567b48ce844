// How does a world get into a database for the administration, and what is it afterwards?
//
// Written as the administration writes, without asking who may; read as it is stored. Many worlds share a database: each has its ids.

import type { WorldFile } from 'policy-cache';
import { insertObjects, readObjects, type NewObject, type RowList, type Statements } from 'policy-cache/postgres';

/** Every id with a prefix, those of All groups within. */
export function prefixed(world: WorldFile, prefix: string): WorldFile {
  const renamed = (id: string): string => id.replace(/^(all:[^:]+:)?/, `$1${prefix}`);
  const fields = new Set(['id', 'owner', 'userGroup', 'role', 'entityGroup']);
  return JSON.parse(JSON.stringify(world), (key, value: unknown) => {
    if (fields.has(key) && typeof value === 'string') return renamed(value);
    return key === 'groups' && Array.isArray(value) ? value.map((each: unknown) => (typeof each === 'string' ? renamed(each) : each)) : value;
  }) as WorldFile;
}

/** The world as a database can hold it: without the memberships that do not count (semantics 1.3), and names of no vocabulary. */
export function storable(world: WorldFile, entityTypes: ReadonlySet<string>): WorldFile {
  const groups = new Map(world.groups.map((group) => [group.id, group]));
  const counts = <T extends { readonly owner: string; readonly groups: readonly string[] }>(row: T, type: string): T => ({
    ...row,
    groups: row.groups.filter((id) => groups.get(id)?.type === type && groups.get(id)?.owner === row.owner),
  });
  return {
    ...world,
    customers: world.customers.map((row) => counts(row, 'CUSTOMER')),
    users: world.users.map((row) => counts(row, 'USER')),
    entities: world.entities.filter(({ type }) => entityTypes.has(type)).map((row) => counts(row, row.type)),
  };
}

export async function insertWorld(db: Statements, world: WorldFile): Promise<void> {
  const tenantOf = new Map(world.tenants.map(({ id }) => [id, id]));
  for (const { id, owner } of world.customers) tenantOf.set(id, tenantOf.get(owner)!);
  const groups = new Map(world.groups.map((group) => [group.id, group]));
  const roles = new Map(world.roles.map((role) => [role.id, role]));
  const side = (id: string): { owner: string; type: string; group: string | null } => {
    const [, type, owner] = /^all:([^:]+):(.+)$/.exec(id) ?? [];
    if (type !== undefined && owner !== undefined) return { owner, type, group: null };
    const group = groups.get(id)!;
    return { owner: group.owner, type: group.type, group: id };
  };
  const owned = ({ owner }: { readonly owner: string }) => ({ owner, tenant: tenantOf.get(owner)! });
  const objects: readonly NewObject[] = [
    ...world.tenants.map(({ id }): NewObject => ({ id, tenant: id, kind: 'tenant', type: 'TENANT', owner: null })),
    ...world.customers.map((row): NewObject => ({ id: row.id, ...owned(row), kind: 'customer', type: 'CUSTOMER', groups: row.groups })),
    ...world.groups.map((row): NewObject => ({ id: row.id, ...owned(row), kind: 'group', type: row.type })),
    ...world.users.map((row): NewObject => ({ id: row.id, ...owned(row), kind: 'user', type: 'USER', enabled: row.enabled, groups: row.groups })),
    ...world.entities.map((row): NewObject => ({ id: row.id, ...owned(row), kind: 'entity', type: row.type, groups: row.groups })),
    ...world.roles.map((row): NewObject => {
      const { permissions, type } = row;
      return { id: row.id, ...owned(row), kind: 'role', type: 'ROLE', roleType: type, permissions, excluded: type === 'GENERIC' ? row.excluded : undefined };
    }),
    ...world.grants.map(({ id, userGroup, role, entityGroup, shared }): NewObject => {
      const users = side(userGroup);
      const grant = {
        userGroup: users.group,
        role,
        roleType: roles.get(role)!.type,
        entities: entityGroup === undefined ? null : side(entityGroup),
        shared,
      };
      return { id, ...owned(users), kind: 'grant', type: 'GROUP_PERMISSION', grant };
    }),
  ];
  await insertObjects(db, objects);
}

/** All that is stored of these tenants, in the order of ids. */
export async function readWorld(db: Statements, tenants: readonly string[]): Promise<WorldFile> {
  const ids = await db.rows<{ id: string }>('select id from grantgate.object where tenant = any (select jsonb_array_elements_text($1::text::jsonb))', [
    JSON.stringify(tenants),
  ]);
  const lists: Record<RowList, unknown[]> = { tenants: [], customers: [], groups: [], roles: [], users: [], entities: [], grants: [] };
  const all = await readObjects(
    db,
    ids.map(({ id }) => id),
  );
  for (const { list, row } of all.values()) lists[list].push(row);
  return { defaults: false, checks: [], ...lists } as unknown as WorldFile;
}
