// How does a database get to the schema that this program needs, and stay there?
//
// Numbered files, each once, each in one transaction, under one advisory lock. The roles grantgate_owner, grantgate_writer and
// grantgate_reader are made where the login may; where it may not, the statements are handed back for somebody who may, and the
// schema then belongs to the login until the next run finds the roles.

import type { ReservedSql, Sql } from 'postgres';
import { InputError } from '../errors.ts';

/** One numbered file, `0001_model.sql`, as read by the caller. */
export interface MigrationFile {
  readonly name: string;
  readonly text: string;
}

export interface MigrationReport {
  /** Version of the schema before; 0: there was none. */
  readonly from: number;
  /** And after. Less than the number of files only if `statements` say what must be done first. */
  readonly to: number;
  /** Names of the files that were run now. */
  readonly applied: readonly string[];
  /** What this login may not do, to be run by one who may, before `migrate` is run again. Empty: all is well. */
  readonly statements: readonly string[];
}

interface Step {
  readonly version: number;
  readonly name: string;
  readonly text: string;
}
interface Row {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
}

const ROLES = ['grantgate_owner', 'grantgate_writer', 'grantgate_reader'] as const;
const DENIED = '42501';
const BUSY = '55P03';
const WAIT_MS = 60_000;
const PRESENT = new Set(['42710', '23505']); // by now the role is there: another database of the cluster is migrated at the same time

/**
 * Runs the files that the database does not have yet. Running it again changes nothing.
 * @param waitMs how long for another migration to end
 * @throws InputError if a file was changed after it was applied, a number is missing, or the database is newer than the program
 */
export async function migrate(sql: Sql, files: readonly MigrationFile[], waitMs = WAIT_MS): Promise<MigrationReport> {
  const steps = numbered(files);
  const session = await sql.reserve();
  try {
    await session`set client_min_messages = warning`;
    // Else a function of somebody's own in public, with the name of a built-in one, would run with all the rights of this login.
    await session`set search_path = pg_catalog, pg_temp`;
    await refuseServer(session);
    await lock(session, waitMs);
    try {
      return await migrateLocked(session, steps);
    } finally {
      await session`select pg_advisory_unlock(hashtextextended('grantgate.migrate', 0))`;
    }
  } finally {
    await session`reset client_min_messages`.catch(() => undefined); // a dead connection has nothing to reset
    await session`reset search_path`.catch(() => undefined);
    session.release();
  }
}

/**
 * A session's lock: it outlives each of the transactions. Released by hand, because the connection goes back to the pool. Every login of
 * the database could hold it, so whoever does is named.
 */
async function lock(session: ReservedSql, waitMs: number): Promise<void> {
  await session`select set_config('lock_timeout', ${String(waitMs)}, false)`;
  try {
    await session`select pg_advisory_lock(hashtextextended('grantgate.migrate', 0))`;
  } catch (error) {
    if (codeOf(error) !== BUSY) throw error;
    const holders = await session<{ pid: number; login: string }[]>`
      select a.pid, a.usename as login from pg_locks l join pg_stat_activity a on a.pid = l.pid
        where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.database = (select oid from pg_database where datname = current_database())
          and (l.classid::int8 << 32 | l.objid::int8) = hashtextextended('grantgate.migrate', 0)`;
    const [who, ends] = [
      holders.map(({ pid, login }) => `${pid} of ${login}`).join(', '),
      holders.map(({ pid }) => `select pg_terminate_backend(${pid})`).join('; '),
    ];
    throw new InputError('database', `another migration has not ended within ${waitMs / 1000} s, in session ${who}: wait for it, or if there is none, ${ends}`);
  } finally {
    await session`reset lock_timeout`.catch(() => undefined);
  }
}

async function migrateLocked(session: ReservedSql, steps: readonly Step[]): Promise<MigrationReport> {
  const statements = await ensureRoles(session);
  const owner = await ensureSchema(session, statements);
  if (owner === null) return { from: 0, to: 0, applied: [], statements };

  await transaction(
    session,
    owner,
    () => session`
    create table if not exists grantgate.migration (
      version int primary key, name text not null, checksum text not null, at timestamptz not null default clock_timestamp())`,
  );
  const rows = await session<Row[]>`select version, name, checksum from grantgate.migration order by version`;
  await refuseHistory(session, rows, steps);

  const applied: string[] = [];
  for (const step of steps.slice(rows.length)) {
    await transaction(session, owner, async () => {
      await session.unsafe(step.text).catch((error: unknown) => Promise.reject(located(error, step)));
      await session`insert into grantgate.migration (version, name, checksum)
        values (${step.version}, ${step.name}, ${await checksum(session, step.text)})`;
    });
    applied.push(step.name);
  }
  // Every time: roles may have been made since.
  if (steps.length > 0) await transaction(session, owner, () => session`select grantgate.grant_roles()`);
  return { from: rows.length, to: rows.length + applied.length, applied, statements };
}

function numbered(files: readonly MigrationFile[]): readonly Step[] {
  const steps = files
    .map(({ name, text }): Step => {
      const version = /^([0-9]{4})_[a-z0-9_]+\.sql$/.exec(name)?.[1];
      if (version === undefined) throw new InputError(name, 'a migration is called like 0001_model.sql');
      return { version: Number(version), name, text: text.replaceAll('\r\n', '\n') };
    })
    .sort((a, b) => a.version - b.version);
  steps.forEach((step, i) => {
    if (step.version !== i + 1) throw new InputError(step.name, `expected number ${i + 1} here: migrations are numbered 1, 2, 3, … without gaps`);
  });
  return steps;
}

async function refuseServer(session: ReservedSql): Promise<void> {
  const [server] = await session<[{ number: number; version: string; encoding: string }]>`
    select current_setting('server_version_num')::int as number, current_setting('server_version') as version,
      current_setting('server_encoding') as encoding`;
  if (server.number < 150_000) throw new InputError('database', `PostgreSQL 15 or later is needed, this is ${server.version}`);
  if (server.encoding !== 'UTF8')
    throw new InputError('database', `encoding UTF8 is needed (ids are UTF-8, compared byte by byte), this one has ${server.encoding}`);
}

/** Everything that makes this program the wrong one for this database, at once. */
async function refuseHistory(session: ReservedSql, rows: readonly Row[], steps: readonly Step[]): Promise<void> {
  const problems: string[] = [];
  const newest = rows.at(-1)?.version ?? 0;
  if (newest > steps.length)
    problems.push(`it is at version ${newest} and this program knows ${steps.length}: use the program that migrated it, or a later one`);
  for (const [i, row] of rows.entries()) {
    const step = steps[i];
    if (row.version !== i + 1) problems.push(`version ${i + 1} is missing in grantgate.migration`);
    else if (step && (await checksum(session, step.text)) !== row.checksum)
      problems.push(`${step.name} was changed after it was applied: restore it, and put the change into a new file`);
  }
  if (problems.length > 0) throw new InputError('database', problems.join('; '));
}

async function checksum(session: ReservedSql, text: string): Promise<string> {
  const [row] = await session<[{ sum: string }]>`select encode(sha256(convert_to(${text}, 'UTF8')), 'hex') as sum`;
  return row.sum;
}

/** Makes the roles; returns the statements for what the login may not do. */
async function ensureRoles(session: ReservedSql): Promise<string[]> {
  const statements: string[] = [];
  for (const role of ROLES) {
    const [row] = await session`select 1 from pg_roles where rolname = ${role}`;
    const make = `create role ${role} nologin`;
    if (!row && !(await allowed(session, make))) statements.push(make);
  }
  if (!(await maySetRole(session, 'grantgate_owner'))) {
    const [login] = await session<[{ name: string }]>`select quote_ident(current_user) as name`;
    const join = `grant grantgate_owner to ${login.name}`;
    if (statements.length > 0 || !(await allowed(session, join))) statements.push(join);
  }
  return statements;
}

async function allowed(session: ReservedSql, statement: string): Promise<boolean> {
  try {
    await session.unsafe(statement);
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code !== undefined && PRESENT.has(code)) return true;
    if (code === DENIED) return false;
    throw error;
  }
}

async function maySetRole(session: ReservedSql, role: string): Promise<boolean> {
  try {
    await session.unsafe(`set role ${role}; reset role`);
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code === DENIED || code === '22023') return false; // 22023: no such role
    throw error;
  }
}

/** Makes the schema; returns the role that migrations run as, which owns it. Null: this login can do nothing here. */
async function ensureSchema(session: ReservedSql, statements: string[]): Promise<string | null> {
  const owned = await maySetRole(session, 'grantgate_owner');
  const [login] = await session<[{ name: string; database: string }]>`select quote_ident(current_user) as name, quote_ident(current_database()) as database`;
  const before = await schemaOwner(session);
  if (before === null) {
    if (!(await allowed(session, `create schema grantgate authorization ${owned ? 'grantgate_owner' : 'current_user'}`))) {
      statements.push(`grant create on database ${login.database} to ${login.name}`);
      return null;
    }
    return schemaOwner(session);
  }
  if (!(await maySetRole(session, before))) {
    if (before === 'grantgate_owner') return null; // ensureRoles has said what is missing
    throw new InputError('database', `the schema grantgate belongs to ${before}, for whom ${login.name} may not act: run migrate as ${before}`);
  }
  // Only what this login made itself is handed over; another owner was somebody's choice.
  if (before !== login.name || !owned || before === 'grantgate_owner') return before;
  if (await allowed(session, HAND_OVER)) return 'grantgate_owner';
  statements.push(`grant create on database ${login.database} to ${login.name}`); // what changing a schema's owner asks for
  return before;
}

/** From the login that made everything while there was no grantgate_owner. A sequence of an identity column follows its table. */
const HAND_OVER = `
do $$
declare
  statement text;
begin
  alter schema grantgate owner to grantgate_owner;
  for statement in
    select format('alter %s %s owner to grantgate_owner', case c.relkind when 'S' then 'sequence' else 'table' end, c.oid::regclass)
      from pg_class c
      where c.relnamespace = 'grantgate'::regnamespace and (c.relkind = 'r' or c.relkind = 'S'
        and not exists (select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i')))
    union all
    select format('alter function %s owner to grantgate_owner', p.oid::regprocedure)
      from pg_proc p where p.pronamespace = 'grantgate'::regnamespace
  loop
    execute statement;
  end loop;
end $$`;

async function schemaOwner(session: ReservedSql): Promise<string | null> {
  const [row] = await session<{ owner: string }[]>`select quote_ident(pg_get_userbyid(nspowner)) as owner from pg_namespace where nspname = 'grantgate'`;
  return row?.owner ?? null;
}

async function transaction(session: ReservedSql, role: string, work: () => PromiseLike<unknown>): Promise<void> {
  await session.unsafe(`begin; set local role ${role}`);
  try {
    await work();
    await session`commit`;
  } catch (error) {
    await session`rollback`;
    throw error;
  }
}

/** The error of a migration, with its file and line. */
function located(error: unknown, step: Step): Error {
  const message = error instanceof Error ? error.message : String(error);
  const position = Number((error as { position?: unknown }).position);
  const line = position > 0 ? `:${step.text.slice(0, position).split('\n').length}` : '';
  return new Error(`${step.name}${line}: ${message}`, { cause: error });
}

function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}
