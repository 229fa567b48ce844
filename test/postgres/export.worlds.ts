// Which worlds might not survive being written down? Random ones whose ids, names and details are what formats stumble over.

import fc from 'fast-check';
import type { WorldFile } from 'policy-cache';
import { worlds } from '../../policy-cache/test/arbitraries.ts';
import type { Names } from '../../policy-cache/test/reference.ts';
import type { Sql } from './fixture.ts';

/** What YAML, JSON, CSV or SQL take for something else where it is not quoted, and what editors and parsers swallow. */
const AWKWARD = [
  ...['yes', 'NO', 'null', '~', 'true', '1e3', '0x1f', '0o17', '1_000', '.inf', '-0', '2026-11-27', '12:30:45', '<<', '=', '---', '...'],
  ...[
    'a: b',
    'a#b',
    ' # c',
    '- x',
    '? y',
    ': z',
    '"',
    "'",
    "''",
    'a"b\'c',
    '\\',
    '\\n',
    '\\.',
    '\\N',
    '{',
    '}',
    '[',
    ']',
    '{a: 1}',
    ',',
    '&a',
    '!c',
    '%d',
    '@e',
  ],
  ...['`', '|', '>', ' leading', 'trailing ', ' ', '\u00a0', '🙂', 'é', 'e\u0301', '\u2028', 'a\u2029b', '\ufeff', '\ufeffa', '\u202e', '\uffff', '\u{10ffff}'],
  ...['__proto__', 'constructor', 'kind', 'end', '$1', '${x}', "'; drop table", 'e\u200bx', 'ab'.repeat(100), '🙂'.repeat(50), 'c'.repeat(200)],
];
const MORE_TEXT = ['', '\n', 'two\nlines', '\r\n', '\t', '\u0001', '\u007f', '\u0085', 'end\\', 'x'.repeat(1000)];

const MOST_WORLDS = 12;

export interface Sample {
  /** Beside one another in one database: an import of ten costs hardly more than one of one. */
  readonly worlds: readonly WorldFile[];
  /** Feeds `draws`. */
  readonly salt: number;
}

export function awkwardWorlds(names: Names): fc.Arbitrary<Sample> {
  return fc.record({ worlds: fc.array(worlds(names), { minLength: 6, maxLength: MOST_WORLDS, size: 'max' }), salt: fc.nat(0x7fffffff) });
}

/** Numbers from 0 to `below` - 1, the same for the same salt. */
export function draws(salt: number): (below: number) => number {
  let state = salt;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** The worlds as NDJSON, under awkward ids, with everything that a row can say. */
export function awkwardText({ worlds: all, salt }: Sample): string {
  const draw = draws(salt);
  const used = new Set<string>();
  const rows = [{ kind: 'defaults' }, ...all.flatMap((world) => rowsOf(world, draw, used))];
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

function rowsOf(world: WorldFile, draw: (below: number) => number, used: Set<string>): readonly object[] {
  const pick = <T>(list: readonly T[]): T => list[draw(list.length)]!;
  const ids = idsOf(world, pick, used);
  const id = (old: string): string => old.replace(/^(all:[^:]+:)?(.*)$/s, (_, all: string | undefined, rest: string) => `${all ?? ''}${ids.get(rest)!}`);
  const text = (): string | undefined => (draw(3) === 0 ? undefined : pick([...AWKWARD, ...MORE_TEXT]));
  const details = (depth = 0): unknown =>
    depth === 3 || draw(3) > 0
      ? pick([null, true, 0, -1.5, 2 ** 40, ...AWKWARD, ...MORE_TEXT])
      : draw(2) === 0
        ? Array.from({ length: draw(3) }, () => details(depth + 1))
        : Object.fromEntries(Array.from({ length: draw(4) }, () => [pick([...AWKWARD, ...MORE_TEXT]), details(depth + 1)]));
  const fitting = (type: string, { owner, groups }: { readonly owner: string; readonly groups: readonly string[] }): readonly string[] =>
    groups.filter((name) => world.groups.some((group) => group.id === name && group.type === type && group.owner === owner)).map(id);
  const lastLogin = (): string | undefined =>
    draw(2) === 0 ? undefined : pick(['2026-11-27T09:30:00.123456Z', '2026-11-27T09:30:00Z', '0001-01-01T00:00:00.000001Z', '9999-12-30T23:59:59.999999Z']);
  return [
    ...world.tenants.map((row) => ({ kind: 'tenants', id: id(row.id), name: text() })),
    ...world.customers.map((row) => ({
      ...{ kind: 'customers', id: id(row.id), owner: id(row.owner), title: text(), groups: fitting('CUSTOMER', row) },
      ...(draw(2) === 0 ? {} : { details: { a: details(), [pick(AWKWARD)]: details() } }),
    })),
    ...world.groups.map((row) => ({ kind: 'groups', id: id(row.id), type: row.type, owner: id(row.owner), name: text() })),
    ...world.users.map((row) => ({
      ...{ kind: 'users', id: id(row.id), owner: id(row.owner), enabled: row.enabled && draw(5) > 0, groups: fitting('USER', row), name: text() },
      ...{ email: text(), firstName: text(), lastName: text(), lastLogin: lastLogin() },
    })),
    ...world.entities.map((row) => ({ kind: 'entities', id: id(row.id), type: row.type, owner: id(row.owner), groups: fitting(row.type, row), name: text() })),
    ...world.roles.map((row) => ({ kind: 'roles', ...row, id: id(row.id), owner: id(row.owner), name: text() })),
    ...world.grants.map(({ entityGroup, ...row }) => ({
      ...{ kind: 'grants', ...row, id: id(row.id), userGroup: id(row.userGroup), role: id(row.role), name: text() },
      ...(entityGroup === undefined ? {} : { entityGroup: id(entityGroup) }),
    })),
  ];
}

/** Each awkward id once, then each with what the object was called: two ids may differ in their last byte alone. */
function idsOf(world: WorldFile, pick: <T>(list: readonly T[]) => T, used: Set<string>): ReadonlyMap<string, string> {
  const ids = new Map<string, string>();
  const { tenants, customers, groups, users, entities, roles, grants } = world;
  for (const { id } of [...tenants, ...customers, ...groups, ...users, ...entities, ...roles, ...grants]) {
    const awkward = pick(AWKWARD);
    const room = /^[tc]/.test(id) ? 200 : 255; // bytes (semantics 1.1)
    const longer = `${Buffer.byteLength(awkward) + 12 > room ? 'ü' : awkward}${id}-${used.size}`;
    const given = used.has(awkward) ? longer.padEnd(/^[gpr]0$/.test(id) ? room - Buffer.byteLength(longer) + longer.length : 0, 'z') : awkward;
    used.add(given);
    ids.set(id, given);
  }
  return ids;
}

/** What no file would bring: customers that moved and shares that were taken back, so that grants are dormant; names that no vocabulary has; users disabled later. */
export async function changeBySql(sql: Sql, salt: number): Promise<void> {
  const draw = draws(salt ^ 0x5bd1e995);
  const tree = await sql<{ id: string; owner: string | null; tenant: string }[]>`
    select id, owner, tenant from grantgate.object where kind in ('tenant', 'customer') order by id`;
  const ownerOf = new Map(tree.map(({ id, owner }) => [id, owner]));
  const chain = (id: string): readonly string[] => {
    const above = ownerOf.get(id) ?? null;
    return above === null ? [id] : [id, ...chain(above)];
  };
  for (const { id, tenant, owner } of tree.filter((node) => node.owner !== null)) {
    const places = tree.filter((node) => node.tenant === tenant && node.id !== owner && !chain(node.id).includes(id));
    if (places.length === 0 || draw(2) === 0) continue;
    const place = places[draw(places.length)]!.id;
    await sql`update grantgate.object set owner = ${place} where id = ${id}`;
    ownerOf.set(id, place);
  }
  await sql`update grantgate.group_permission set shared = false
    where id in (select id from grantgate.group_permission where shared order by id limit (select count(*) / 2 from grantgate.group_permission where shared))`;
  await sql`update grantgate.user_account set enabled = not enabled where id in (select id from grantgate.user_account order by id limit ${draw(2)})`;
  await sql`update grantgate.role set permissions = '["FLY", "FLY", "", "yes"]' where id = (select id from grantgate.role where type = 'GROUP' order by id limit 1)`;
  await sql`update grantgate.role set permissions = '{"NO_SUCH": [], "": ["a\\nb"], "__proto__": ["READ"]}', excluded = '{"~": ["null"]}'
    where id = (select id from grantgate.role where type = 'GENERIC' order by id limit 1)`;
}
