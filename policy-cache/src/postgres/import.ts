// How does a world get into the database, whole or not at all?
//
// Rows go into staging tables that keep their file and line; what is wrong is found there by set queries (import-checks.ts), all of
// it at once; then everything is inserted, in the order of ids, in the same transaction. Import only adds.

import type { Sql, TransactionSql } from 'postgres';
import { InputError } from '../errors.ts';
import { parseAllGroup } from '../model.ts';
import type { Vocabulary } from '../vocabulary.ts';
import { findProblems, findWarnings } from './import-checks.ts';
import type { ImportProblem, ImportRow } from './import-rows.ts';
import { sqlState } from './session.ts';

export type ImportCounts = Readonly<Record<'tenants' | 'customers' | 'groups' | 'users' | 'entities' | 'roles' | 'grants' | 'memberships', number>>;

export type ImportResult =
  | { readonly ok: true; readonly counts: ImportCounts; readonly warnings: readonly ImportProblem[]; readonly revision: string }
  /** Nothing was imported. `omitted`: how many more there are than these. */
  | { readonly ok: false; readonly problems: readonly ImportProblem[]; readonly omitted: number };

export interface ImportOptions {
  readonly vocabulary: Vocabulary;
  /** What is known to be wrong already (names that the vocabulary has not): given together with what is found here. */
  readonly problems?: readonly ImportProblem[];
}

/**
 * Imports rows as one transaction. Bad rows are a value, `ok: false`; rejects only if the database fails, or if somebody else
 * writes the same ids meanwhile: then too nothing is imported.
 * @throws InputError if it is the wrong database or the wrong login
 */
export async function importRows(sql: Sql, rows: Iterable<ImportRow> | AsyncIterable<ImportRow>, options: ImportOptions): Promise<ImportResult> {
  const refused = new Refusal();
  try {
    return await sql.begin(async (tx): Promise<ImportResult> => {
      await tx`set local search_path = pg_catalog, pg_temp`; // no function of somebody's own in public
      const places = await stage(tx, rows);
      const { problems, omitted } = await findProblems(tx, options.vocabulary.groupableTypes);
      const all = sorted([...(options.problems ?? []), ...places.problems, ...problems], places.order);
      if (all.length > 0) {
        refused.result = { ok: false, problems: all, omitted };
        throw refused; // the only way to roll a transaction back with this client
      }
      const warnings = sorted(await findWarnings(tx), places.order);
      const counts = await insert(tx);
      // What is deferred otherwise: the check for second rows first, so that the latch of the log is held for less.
      await tx`set constraints grantgate.second_row immediate`;
      await tx`set constraints all immediate`;
      const [{ revision }] = await tx<[{ revision: string }]>`select grantgate.revision() as revision`;
      return { ok: true, counts, warnings, revision };
    });
  } catch (error) {
    if (error === refused && refused.result) return refused.result;
    const meaning = MEANING[sqlState(error) ?? ''];
    throw meaning === undefined ? error : new InputError('database', `${meaning}; nothing was imported`);
  }
}

const MEANING: Readonly<Record<string, string>> = {
  '25006': 'this is a standby: name the primary',
  '42P01': 'it has no schema grantgate, or not all of it: run grantgate migrate',
  '42501': 'this login may not write to the schema grantgate: make it a member of grantgate_writer, or name another',
};

class Refusal extends Error {
  result: ImportResult | null = null;
}

const STAGING = `
create temp table staged (
  n int primary key, f int not null, file text not null, line int, path text not null,
  kind text collate "C" not null, id text collate "C" not null, owner text collate "C", type text collate "C" not null,
  label text, enabled boolean, role_type text collate "C", permissions jsonb, excluded jsonb,
  user_group text collate "C", role text collate "C", entity_group text collate "C", shared boolean,
  -- the sides of a grant; group null: All
  user_owner text collate "C", entity_owner text collate "C", entity_type text collate "C"
) on commit drop;
create temp table staged_member (n int not null, i int not null, group_id text collate "C" not null) on commit drop`;

const BATCH = 5_000;

interface Staged {
  readonly problems: readonly ImportProblem[];
  /** Files in the order in which they came. */
  readonly order: ReadonlyMap<string, number>;
}

async function stage(tx: TransactionSql, rows: Iterable<ImportRow> | AsyncIterable<ImportRow>): Promise<Staged> {
  await tx.unsafe(STAGING);
  const problems: ImportProblem[] = [];
  const order = new Map<string, number>();
  let batch: object[] = [];
  let members: object[] = [];
  let n = 0;
  const flush = async (): Promise<void> => {
    // As text: a parameter of type json would be encoded a second time by the client.
    await tx`insert into pg_temp.staged select * from json_populate_recordset(null::pg_temp.staged, ${JSON.stringify(batch)}::text::json)`;
    await tx`insert into pg_temp.staged_member select * from json_populate_recordset(null::pg_temp.staged_member, ${JSON.stringify(members)}::text::json)`;
    batch = [];
    members = [];
  };
  for await (const row of rows) {
    if (!order.has(row.file)) order.set(row.file, order.size);
    problems.push(...unstorable(row));
    batch.push({ ...columns(row), n, f: order.get(row.file) });
    if ('groups' in row) row.groups.forEach((group, i) => members.push({ n, i, group_id: storable(group) }));
    n++;
    if (batch.length + members.length >= BATCH) await flush();
  }
  await flush();
  await tx.unsafe('create index on pg_temp.staged (id); analyze pg_temp.staged; analyze pg_temp.staged_member');
  return { problems, order };
}

const TYPES = { tenant: 'TENANT', customer: 'CUSTOMER', user: 'USER', role: 'ROLE', grant: 'GROUP_PERMISSION' } as const;

function columns(row: ImportRow): object {
  const shared = { file: row.file, line: row.line, path: row.path, kind: row.kind, id: storable(row.id) };
  switch (row.kind) {
    case 'tenant':
      return { ...shared, type: TYPES.tenant, label: optional(row.label) };
    case 'customer':
      return { ...shared, type: TYPES.customer, owner: storable(row.owner), label: optional(row.label) };
    case 'group':
      return { ...shared, type: storable(row.type), owner: storable(row.owner), label: optional(row.label) };
    case 'user':
      return { ...shared, type: TYPES.user, owner: storable(row.owner), enabled: row.enabled };
    case 'entity':
      return { ...shared, type: storable(row.type), owner: storable(row.owner) };
    case 'role': {
      const bad = !isStorable(JSON.stringify(row.permissions)) || (row.type === 'GENERIC' && !isStorable(JSON.stringify(row.excluded)));
      const stored = bad ? { permissions: {}, excluded: {} } : { permissions: row.permissions, excluded: row.type === 'GENERIC' ? row.excluded : {} };
      return { ...shared, type: TYPES.role, owner: storable(row.owner), role_type: row.type, ...stored };
    }
    case 'grant': {
      const users = parseAllGroup(row.userGroup);
      const entities = row.entityGroup === undefined ? null : parseAllGroup(row.entityGroup);
      return {
        ...shared,
        type: TYPES.grant,
        user_group: storable(row.userGroup),
        role: storable(row.role),
        entity_group: optional(row.entityGroup),
        shared: row.shared,
        user_owner: optional(users?.owner),
        entity_owner: optional(entities?.owner),
        entity_type: optional(entities?.type),
      };
    }
    default:
      return row satisfies never;
  }
}

/** Names come from people, and Postgres stores neither U+0000 nor half a character. */
function unstorable(row: ImportRow): readonly ImportProblem[] {
  if (isStorable(JSON.stringify(row))) return [];
  const found = Object.entries(row).filter(([field, value]) => !['file', 'line', 'path'].includes(field) && !isStorable(JSON.stringify(value)));
  return found.map(([field]) => ({
    file: row.file,
    line: row.line,
    path: row.path,
    field: field === 'label' ? (row.kind === 'customer' ? 'title' : 'name') : field,
    message: 'has a U+0000 or a lone surrogate in it',
    fix: 'take it out',
  }));
}

/** Of text that JSON.stringify made: there both are written as escapes. */
function isStorable(json: string | undefined): boolean {
  return json === undefined || !/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/i.test(json);
}

function storable(text: string): string {
  return isStorable(JSON.stringify(text)) ? text : text.replace(/\0|\p{Surrogate}/gu, '?');
}

function optional(text: string | undefined): string | null {
  return text === undefined ? null : storable(text);
}

async function insert(tx: TransactionSql): Promise<ImportCounts> {
  await tx.unsafe(`
    insert into grantgate.object (id, tenant, kind, type, owner, label)
      select s.id, coalesce(d.tenant, s.id), s.kind, s.type, s.owner, s.label
      from pg_temp.staged s left join pg_temp.node d on d.id = s.owner order by s.id;
    insert into grantgate.customer (id, tenant)
      select s.id, d.tenant from pg_temp.staged s join pg_temp.node d on d.id = s.owner where s.kind = 'customer' order by s.id;
    insert into grantgate.user_account (id, tenant, enabled)
      select s.id, d.tenant, s.enabled from pg_temp.staged s join pg_temp.node d on d.id = s.owner where s.kind = 'user' order by s.id;
    insert into grantgate.role (id, tenant, type, permissions, excluded)
      select s.id, d.tenant, s.role_type, s.permissions, s.excluded
      from pg_temp.staged s join pg_temp.node d on d.id = s.owner where s.kind = 'role' order by s.id;
    insert into grantgate.group_permission (id, tenant, user_owner, user_group, role, role_type, entity_owner, entity_type, entity_group, shared)
      select s.id, d.tenant, s.owner, case when not starts_with(s.user_group, 'all:') then s.user_group end, s.role, r.role_type,
        s.entity_owner, s.entity_type, case when not starts_with(s.entity_group, 'all:') then s.entity_group end, s.shared
      from pg_temp.staged s join pg_temp.node d on d.id = s.owner join pg_temp.named r on r.id = s.role where s.kind = 'grant' order by s.id;
    insert into grantgate.membership (tenant, group_id, member_id, type, owner)
      select distinct d.tenant, m.group_id, s.id, s.type, s.owner
      from pg_temp.staged_member m join pg_temp.staged s using (n) join pg_temp.node d on d.id = s.owner order by s.id, m.group_id`);
  const [counts] = await tx<[ImportCounts]>`
    select count(*) filter (where kind = 'tenant')::int as tenants, count(*) filter (where kind = 'customer')::int as customers,
      count(*) filter (where kind = 'group')::int as groups, count(*) filter (where kind = 'user')::int as users,
      count(*) filter (where kind = 'entity')::int as entities, count(*) filter (where kind = 'role')::int as roles,
      count(*) filter (where kind = 'grant')::int as grants,
      (select count(*)::int from (select distinct n, group_id from pg_temp.staged_member) m) as memberships
    from pg_temp.staged`;
  return { ...counts };
}

/** In the order of the files, then of lines, then of paths as they count (`users[9]` before `users[10]`). */
function sorted(problems: readonly ImportProblem[], order: ReadonlyMap<string, number>): readonly ImportProblem[] {
  const rank = (file: string): number => order.get(file) ?? order.size;
  return problems.toSorted(
    (a, b) =>
      rank(a.file) - rank(b.file) ||
      (a.line ?? 0) - (b.line ?? 0) ||
      a.path.localeCompare(b.path, 'en', { numeric: true }) ||
      a.field.localeCompare(b.field, 'en', { numeric: true }),
  );
}
