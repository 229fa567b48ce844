// How do rows come into the staging table, a million of them as evenly as one?
//
// By one COPY, in pieces of text, while they are read: neither this process nor a statement ever holds more than a piece.

import { parseAllGroup } from '../model.ts';
import { predefinedOf } from '../predefined.ts';
import { MOST_PROBLEMS } from './import-rows.ts';
import type { ImportProblem, ImportRow } from './import-rows.ts';
import type { Session } from './import-session.ts';

const COLUMNS = `n, f, line, path, kind, id, implied, derived, owner, type, label, groups,
  enabled, email, first_name, last_name, last_login, details, role_type, permissions, excluded,
  user_group, role, entity_group, shared, user_owner, entity_owner, entity_type`;
type Value = string | number | boolean | null | undefined;

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

/** Most rows are entities, and most questions are about the others. */
const INDEXES = `
create index staged_id on pg_temp.staged (id);
create index staged_named on pg_temp.staged (n) where kind in ('tenant', 'customer', 'group', 'role');
create index staged_grant on pg_temp.staged (n) where kind = 'grant';
create index staged_implied on pg_temp.staged (n) where implied;
create temp table staged_member as
  select s.n, (g.i - 1)::int i, g.group_id, s.type, s.owner from pg_temp.staged s, unnest(s.groups) with ordinality g (group_id, i);
analyze pg_temp.staged;
analyze pg_temp.staged_member`;

/** Rows as they come: some at a time. */
export type PiecesOfRows = Iterable<readonly ImportRow[]> | AsyncIterable<readonly ImportRow[]>;

const PIECE = 64 * 1024;

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
export async function stage(session: Session, rows: PiecesOfRows, defaults: () => ReadonlySet<string>): Promise<Staged> {
  await session.run(STAGING);
  const problems: ImportProblem[] = [];
  const order = new Map<string, number>();
  let omitted = 0;
  let n = 0;
  const text = (row: ImportRow): string => {
    let f = order.get(row.file);
    if (f === undefined) order.set(row.file, (f = order.size));
    const { text, storable } = line(row, n++, f);
    if (!storable) {
      const told = unstorable(row);
      const room = MOST_PROBLEMS - problems.length;
      problems.push(...told.slice(0, room));
      omitted += Math.max(0, told.length - room);
    }
    return text;
  };
  const copy = async (more: PiecesOfRows): Promise<void> => session.copy(`copy pg_temp.staged (${COLUMNS}) from stdin`, copied(more, text));
  await copy(rows);
  const files = JSON.stringify([...order.keys()]);
  await session.rows('insert into pg_temp.staged_file select (i - 1)::int, file from json_array_elements_text($1::text::json) with ordinality x (file, i)', [
    files,
  ]);
  const wanted = [...defaults()].flatMap((file) => order.get(file) ?? []);
  if (wanted.length > 0) {
    await session.run("create index staged_owner on pg_temp.staged (n) where kind in ('tenant', 'customer'); analyze pg_temp.staged");
    for (let last = -1; ;) {
      const owners = await ownersAfter(session, last, wanted);
      if (owners.length === 0) break;
      await copy([[...predefinedRows(owners)]]);
      last = owners.at(-1)!.n;
    }
  }
  await session.run(INDEXES);
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

async function ownersAfter(session: Session, last: number, files: readonly number[]): Promise<readonly StagedOwner[]> {
  return session.rows<StagedOwner>(
    `select s.n, f.file, s.line, s.path, s.id, s.kind from pg_temp.staged s join pg_temp.staged_file f using (f)
     where s.n > $1 and not s.implied and s.kind in ('tenant', 'customer') and s.f = any ($2::int[]) order by s.n limit 10000`,
    [last, arrayLiteral(files.map(String))],
  );
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

async function* copied(rows: PiecesOfRows, text: (row: ImportRow) => string): AsyncGenerator<string> {
  let piece = '';
  for await (const some of rows) {
    for (const row of some) {
      piece += text(row);
      if (piece.length < PIECE) continue;
      yield piece;
      piece = '';
    }
  }
  if (piece !== '') yield piece;
}

const TYPES = { tenant: 'TENANT', customer: 'CUSTOMER', user: 'USER', role: 'ROLE', grant: 'GROUP_PERMISSION' } as const;

const NULL = '\\N';
const tabs = (nulls: number): string => `\t${NULL}`.repeat(nulls);
const NO_PERSON = tabs(5);
const NO_DETAILS = tabs(1);
const NO_ROLE = tabs(3);
const NO_GRANT = tabs(7);
const NO_GROUPS = tabs(1);

/** One line of COPY's text format, in the order of COLUMNS; whatever cannot be stored stands as `?` in it. */
function line(row: ImportRow, n: number, f: number): { readonly text: string; readonly storable: boolean } {
  const line: Line = { text: `${n}\t${f}\t${row.line ?? NULL}`, storable: true };
  add(line, row.path, row.kind, row.id, row.implied === true, row.kind === 'grant' && row.derived === true);
  switch (row.kind) {
    case 'tenant':
      add(line, null, TYPES.tenant, row.label);
      line.text += NO_GROUPS + NO_PERSON + NO_DETAILS + NO_ROLE + NO_GRANT;
      break;
    case 'customer':
      add(line, row.owner, TYPES.customer, row.label, groupsOf(row));
      line.text += NO_PERSON;
      addJson(line, row.details);
      line.text += NO_ROLE + NO_GRANT;
      break;
    case 'group':
      add(line, row.owner, row.type, row.label);
      line.text += NO_GROUPS + NO_PERSON + NO_DETAILS + NO_ROLE + NO_GRANT;
      break;
    case 'user':
      add(line, row.owner, TYPES.user, row.label, groupsOf(row), row.enabled, row.email, row.firstName, row.lastName, row.lastLogin);
      line.text += NO_DETAILS + NO_ROLE + NO_GRANT;
      break;
    case 'entity':
      add(line, row.owner, row.type, row.label, groupsOf(row));
      line.text += NO_PERSON + NO_DETAILS + NO_ROLE + NO_GRANT;
      break;
    case 'role':
      add(line, row.owner, TYPES.role, row.label);
      line.text += NO_GROUPS + NO_PERSON + NO_DETAILS;
      add(line, row.type);
      addJson(line, row.permissions);
      addJson(line, row.type === 'GENERIC' ? row.excluded : {});
      line.text += NO_GRANT;
      break;
    case 'grant': {
      const users = parseAllGroup(row.userGroup);
      const entities = row.entityGroup === undefined ? null : parseAllGroup(row.entityGroup);
      add(line, null, TYPES.grant, row.label);
      line.text += NO_GROUPS + NO_PERSON + NO_DETAILS + NO_ROLE;
      add(line, row.userGroup, row.role, row.entityGroup, row.shared, users?.owner, entities?.owner, entities?.type);
      break;
    }
    default:
      return row satisfies never;
  }
  line.text += '\n';
  return line;
}

interface Line {
  text: string;
  storable: boolean;
}

function add(line: Line, ...values: readonly Value[]): void {
  for (const value of values) {
    if (value === undefined || value === null) line.text += `\t${NULL}`;
    else if (typeof value !== 'string') line.text += `\t${value}`;
    else if (!UNSAFE.test(value)) line.text += `\t${value}`;
    else {
      if (UNSTORABLE.test(value)) line.storable = false;
      line.text += `\t${value.replace(EACH_UNSAFE, (mark) => MARKS[mark] ?? '?')}`;
    }
  }
}

function addJson(line: Line, value: unknown): void {
  const text = value === undefined ? null : JSON.stringify(value);
  if (isStorable(text)) add(line, text);
  else {
    line.storable = false;
    add(line, '{}');
  }
}

/** COPY's own marks, and what Postgres cannot store. */
const UNSAFE = /[\\\t\n\r\0]|\p{Surrogate}/u;
const EACH_UNSAFE = /[\\\t\n\r\0]|\p{Surrogate}/gu;
const UNSTORABLE = /\0|\p{Surrogate}/u;
const MARKS: Readonly<Record<string, string>> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

function groupsOf({ groups }: { readonly groups?: readonly string[] | undefined }): string | null {
  return groups === undefined ? null : arrayLiteral(groups);
}

/** An array literal of Postgres. */
export function arrayLiteral(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replace(/["\\]/g, '\\$&')}"`).join(',')}}`;
}

/** Names come from people, and Postgres stores neither U+0000 nor half a character. */
function unstorable(row: ImportRow): readonly ImportProblem[] {
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
function isStorable(json: string | null | undefined): boolean {
  return json === null || json === undefined || !json.includes('\\u') || !/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/i.test(json);
}
