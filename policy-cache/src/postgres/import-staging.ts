// How do rows come into the staging table, a million of them as evenly as one?
//
// By one COPY, in pieces of text, while they are read: neither this process nor a statement ever holds more than a piece.

import { once } from 'node:events';
import { parseAllGroup } from '../model.ts';
import type { ReservedSql } from 'postgres';
import { predefinedOf } from '../predefined.ts';
import { MOST_PROBLEMS } from './import-rows.ts';
import type { ImportProblem, ImportRow } from './import-rows.ts';

const COLUMNS = [
  ...['n', 'f', 'line', 'path', 'kind', 'id', 'owner', 'type', 'label', 'implied', 'derived'],
  ...['enabled', 'email', 'first_name', 'last_name', 'last_login', 'details', 'groups'],
  ...['role_type', 'permissions', 'excluded', 'user_group', 'role', 'entity_group', 'shared', 'user_owner', 'entity_owner', 'entity_type'],
] as const;
type Column = (typeof COLUMNS)[number];

const STAGING = `
create temp table staged (
  n int not null, f int not null, line int, path text not null,
  kind text collate "C" not null, id text collate "C" not null, owner text collate "C", type text collate "C" not null,
  label text, implied boolean not null, derived boolean not null,
  enabled boolean, email text, first_name text, last_name text, last_login timestamptz, details jsonb, groups text[] collate "C",
  role_type text collate "C", permissions jsonb, excluded jsonb,
  user_group text collate "C", role text collate "C", entity_group text collate "C", shared boolean,
  -- the sides of a grant; group null: All
  user_owner text collate "C", entity_owner text collate "C", entity_type text collate "C"
);
create temp table staged_file (f int primary key, file text not null)`;

const PIECE = 256 * 1024;

export interface Staged {
  readonly problems: readonly ImportProblem[];
  readonly omitted: number;
  /** Files in the order in which they came. */
  readonly order: ReadonlyMap<string, number>;
  readonly rows: number;
}

/**
 * Leaves the tables staged, staged_file and staged_member, with indexes and statistics. `defaults`, asked when all rows have come, names the
 * files whose tenants and customers get the predefined objects.
 */
export async function stage(session: ReservedSql, rows: Iterable<ImportRow> | AsyncIterable<ImportRow>, defaults: () => ReadonlySet<string>): Promise<Staged> {
  await session.unsafe(STAGING);
  const problems: ImportProblem[] = [];
  const order = new Map<string, number>();
  let omitted = 0;
  let n = 0;
  const copied = async (more: Iterable<ImportRow> | AsyncIterable<ImportRow>): Promise<void> =>
    copy(session, more, (row) => {
      let f = order.get(row.file);
      if (f === undefined) order.set(row.file, (f = order.size));
      for (const problem of unstorable(row)) {
        if (problems.length < MOST_PROBLEMS) problems.push(problem);
        else omitted++;
      }
      return line(row, n++, f);
    });
  await copied(rows);
  const files = JSON.stringify([...order.keys()]);
  await session`insert into pg_temp.staged_file select (i - 1)::int, file from json_array_elements_text(${files}::text::json) with ordinality x (file, i)`;
  const wanted = [...defaults()].flatMap((file) => order.get(file) ?? []);
  if (wanted.length > 0) {
    await session.unsafe('create index staged_n on pg_temp.staged (n)');
    for (let last = -1; ;) {
      const owners = await ownersAfter(session, last, wanted);
      if (owners.length === 0) break;
      await copied(predefinedRows(owners));
      last = owners.at(-1)!.n;
    }
  }
  await session.unsafe(`
    create index staged_id on pg_temp.staged (id);
    create temp table staged_member as select s.n, (g.i - 1)::int i, g.group_id from pg_temp.staged s, unnest(s.groups) with ordinality g (group_id, i);
    create index staged_member_n on pg_temp.staged_member (n);
    analyze pg_temp.staged; analyze pg_temp.staged_member`);
  return { problems, omitted, order, rows: n };
}

interface StagedOwner {
  readonly n: number;
  readonly file: string;
  readonly line: number | null;
  readonly path: string;
  readonly id: string;
  readonly kind: 'tenant' | 'customer';
}

async function ownersAfter(session: ReservedSql, last: number, files: readonly number[]): Promise<readonly StagedOwner[]> {
  return session<StagedOwner[]>`
    select s.n, f.file, s.line, s.path, s.id, s.kind from pg_temp.staged s join pg_temp.staged_file f using (f)
    where s.n > ${last} and not s.implied and s.kind in ('tenant', 'customer') and s.f in (select json_array_elements_text(${JSON.stringify(files)}::text::json)::int)
    order by s.n limit 10000`;
}

function* predefinedRows(owners: readonly StagedOwner[]): Generator<ImportRow> {
  for (const { file, line, path, id, kind } of owners) {
    const made = { file, line, path, implied: true } as const;
    const { groups, roles, grants } = predefinedOf(id, kind);
    for (const { name, ...row } of groups) yield { ...made, ...row, kind: 'group', label: name };
    for (const row of roles) yield { ...made, ...row, kind: 'role' };
    for (const row of grants) yield { ...made, ...row, kind: 'grant', derived: true };
  }
}

async function copy(session: ReservedSql, rows: Iterable<ImportRow> | AsyncIterable<ImportRow>, text: (row: ImportRow) => string): Promise<void> {
  const to = await session.unsafe(`copy pg_temp.staged (${COLUMNS.join(', ')}) from stdin`).writable();
  // An error of the server's comes as an event, and may come between two writes.
  let failed: { readonly error: unknown } | null = null;
  to.once('error', (error) => (failed = { error }));
  const settled = (): void => {
    if (failed) throw failed.error;
  };
  try {
    let piece = '';
    for await (const row of rows) {
      piece += text(row);
      if (piece.length < PIECE) continue;
      settled();
      if (!to.write(piece)) await once(to, 'drain');
      piece = '';
    }
    settled();
    to.end(piece);
    await once(to, 'finish');
  } catch (error) {
    to.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

const TYPES = { tenant: 'TENANT', customer: 'CUSTOMER', user: 'USER', role: 'ROLE', grant: 'GROUP_PERMISSION' } as const;
type Values = { readonly [K in Column]?: string | number | boolean | null };

/** One line of COPY's text format. */
function line(row: ImportRow, n: number, f: number): string {
  const values: Values = { ...columns(row), n, f, line: row.line, path: row.path, kind: row.kind, id: row.id, implied: row.implied === true };
  let text = '';
  for (const column of COLUMNS) {
    const value = values[column];
    text += `${text === '' ? '' : '\t'}${value === undefined || value === null ? '\\N' : typeof value === 'string' ? escaped(value) : value}`;
  }
  return `${text}\n`;
}

/** COPY's own marks; and what Postgres cannot store, which has been told of by then, and keeps everything out. */
function escaped(text: string): string {
  if (!/[\\\t\n\r\0]|\p{Surrogate}/u.test(text)) return text;
  return text.replace(/[\\\t\n\r\0]|\p{Surrogate}/gu, (mark) => MARKS[mark] ?? '?');
}
const MARKS: Readonly<Record<string, string>> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

function columns(row: ImportRow): Values {
  const label = row.label ?? null;
  switch (row.kind) {
    case 'tenant':
      return { label, type: TYPES.tenant, derived: false };
    case 'customer':
      return { label, type: TYPES.customer, derived: false, owner: row.owner, groups: array(row.groups), details: json(row.details) };
    case 'group':
      return { label, type: row.type, derived: false, owner: row.owner };
    case 'user': {
      const { owner, enabled = null, email = null, firstName = null, lastName = null, lastLogin = null } = row;
      const person = { enabled, email, first_name: firstName, last_name: lastName, last_login: lastLogin };
      return { label, type: TYPES.user, derived: false, owner, groups: array(row.groups), ...person };
    }
    case 'entity':
      return { label, type: row.type, derived: false, owner: row.owner, groups: array(row.groups) };
    case 'role': {
      const excluded = row.type === 'GENERIC' ? json(row.excluded) : '{}';
      return { label, type: TYPES.role, derived: false, owner: row.owner, role_type: row.type, permissions: json(row.permissions), excluded };
    }
    case 'grant': {
      const users = parseAllGroup(row.userGroup);
      const entities = row.entityGroup === undefined ? null : parseAllGroup(row.entityGroup);
      return {
        label,
        type: TYPES.grant,
        derived: row.derived === true,
        user_group: row.userGroup,
        role: row.role,
        entity_group: row.entityGroup ?? null,
        shared: row.shared ?? null,
        user_owner: users?.owner ?? null,
        entity_owner: entities?.owner ?? null,
        entity_type: entities?.type ?? null,
      };
    }
    default:
      return row satisfies never;
  }
}

/** An array literal of Postgres. */
function array(texts: readonly string[] | undefined): string | null {
  return texts === undefined ? null : `{${texts.map((text) => `"${text.replace(/["\\]/g, '\\$&')}"`).join(',')}}`;
}

function json(value: unknown): string | null {
  if (value === undefined) return null;
  const text = JSON.stringify(value);
  return isStorable(text) ? text : '{}';
}

/** Names come from people, and Postgres stores neither U+0000 nor half a character. */
function unstorable(row: ImportRow): readonly ImportProblem[] {
  // Ids have none of the two where they came through the parser, and of most rows ids are all there is.
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
  return json === undefined || !json.includes('\\u') || !/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/i.test(json);
}
