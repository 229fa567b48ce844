// How does a world get into the database: whole or not at all, or in batches that every sidecar follows?
//
// Rows go into a staging table that keeps their file and line; what is wrong is found there by set queries (import-checks.ts), all of
// it at once, before anything is written. Then they are written (import-write.ts) in the same transaction, or in several.

import { InputError, PolicyError } from '../errors.ts';
import type { Vocabulary } from '../vocabulary.ts';
import { findProblems, findWarnings, type Found } from './import-checks.ts';
import { MOST_PROBLEMS } from './import-rows.ts';
import type { ImportProblem } from './import-rows.ts';
import { openSession, type Session } from './import-session.ts';
import { stage, type PiecesOfRows } from './import-staging.ts';
import { write, type ImportMode } from './import-write.ts';
import type { Pool } from './pool.ts';
import { sqlState } from './session.ts';

export type ImportCounts = Readonly<Record<'tenants' | 'customers' | 'groups' | 'users' | 'entities' | 'roles' | 'grants' | 'memberships', number>>;

export type ImportResult =
  | {
      readonly ok: true;
      /** Rows that were given, with those of `defaults`. */
      readonly counts: ImportCounts;
      /** Of those: new ones, and ones that were there and are different now. The rest was there already. */
      readonly created: number;
      readonly updated: number;
      readonly batches: number;
      readonly warnings: readonly ImportProblem[];
      readonly omittedWarnings: number;
      readonly revision: string;
    }
  /** Nothing was imported. `omitted`: how many more there are than these. */
  | { readonly ok: false; readonly problems: readonly ImportProblem[]; readonly omitted: number };

/** What a reader of files has to say when all of them are read. */
export interface RowsRead extends Found {
  /** Rows are missing because of these problems, so that what else would be found is half about the gaps. */
  readonly unreadable: boolean;
  /** Files that ask for the predefined objects of their tenants and customers (semantics 1.2). */
  readonly defaults: ReadonlySet<string>;
}

/** `writing`: so many rows are in the database, in batches for good. */
export type ImportPhase = { readonly phase: 'checking' | 'writing'; readonly rows: number; readonly of: number };

export interface ImportOptions {
  readonly vocabulary: Vocabulary;
  /** `create` (default): an id that is there is a problem. `upsert`: it is changed to what is given; what a row leaves out stays. */
  readonly mode?: ImportMode;
  /**
   * Commits whenever so many keys of the change log are reached (10 to 50,000), and waits for the sidecars before it goes on. Not set: one
   * transaction, which from 100,000 changed tenants and customers on makes every sidecar begin anew.
   */
  readonly batch?: number;
  /** Types that the vocabulary has not may be given as the type of an All group. */
  readonly unknownNames?: boolean;
  /** Asked when all rows have come. */
  readonly read?: () => RowsRead;
  readonly progress?: (at: ImportPhase) => void;
  /** Each transaction writes rows of the audit log, one for each tenant that it has rows of: what the operator's request did. */
  readonly audit?: { readonly requestId: string };
  /** Rejects with PolicyError `overload`, before any row is taken, while another import that says so is at it. */
  readonly alone?: boolean;
  /** Ends the import: at once as long as nothing is in for good, and between two batches. Its reason, an Error, says why. */
  readonly signal?: AbortSignal;
}

/** A pull carries 100,000 keys (coherence 3.4): half of that leaves room for what others write. */
export const BATCH_KEYS = { least: 10, most: 50_000 } as const;

/**
 * Imports rows. Bad rows are a value, `ok: false`, and nothing is written then. Rejects if the database fails, or if somebody else
 * writes the same ids meanwhile: without batches nothing is imported then; with them, those before it are, as the error says. One that
 * loses its connection while it commits cannot know, and says so.
 * @throws InputError if it is the wrong database, the wrong login, or a batch out of bounds
 */
export async function importRows(pool: Pool, rows: PiecesOfRows, options: ImportOptions): Promise<ImportResult> {
  const { batch, signal } = options;
  signal?.throwIfAborted();
  if (batch !== undefined && !(Number.isInteger(batch) && batch >= BATCH_KEYS.least && batch <= BATCH_KEYS.most))
    throw new InputError('batch', `expected ${BATCH_KEYS.least} to ${BATCH_KEYS.most} keys, got ${batch}; a pull carries no more`);
  const link = await pool.dedicated();
  const written: Written = { rows: 0, revision: '', sent: false };
  let stop = (): void => undefined;
  try {
    const session = await openSession(link);
    stop = () => (written.sent ? undefined : session.abandon(reasonOf(signal)));
    signal?.addEventListener('abort', stop);
    if (signal?.aborted) stop();
    if (options.alone === true) await takeTurn(session);
    if (batch === undefined) await session.run('begin');
    const result = await staged(session, rows, { ...options, written });
    written.sent = result.ok;
    if (batch === undefined) await session.run(result.ok ? 'commit' : 'rollback');
    // It would end with the link, but only when the server hears of that: whoever asks next may be sooner.
    if (options.alone === true) await session.rows(`select pg_advisory_unlock(${TURN})`).then(null, () => undefined);
    return result;
  } catch (error) {
    throw explained(error, { ...written, stopped: signal?.aborted === true && error === signal.reason });
  } finally {
    signal?.removeEventListener('abort', stop);
    link.destroy();
  }
}

const TURN = "hashtextextended('grantgate.import', 0)";

/** Until it is given back, or the link ends and the server has ended what it was at. */
async function takeTurn(session: Session): Promise<void> {
  const [row] = await session.rows<{ got: boolean }>(`select pg_try_advisory_lock(${TURN}) as got`);
  if (row?.got !== true) throw new PolicyError('overload', 'another import is under way, and there is one at a time: ask again when it has ended');
}

/** What is in for good. */
interface Written {
  rows: number;
  revision: string;
  /** A commit is under way, or was. */
  sent: boolean;
}

function reasonOf(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new Error(String(reason));
}

async function staged(session: Session, rows: PiecesOfRows, options: ImportOptions & { readonly written: Written }): Promise<ImportResult> {
  const { mode = 'create', batch = null, audit = null, written, progress, signal } = options;
  let read: RowsRead = { problems: [], omitted: 0, unreadable: false, defaults: new Set() };
  const places = await stage(session, rows, () => (read = options.read?.() ?? read).defaults);
  const refused = (...all: readonly Found[]): ImportResult => ({ ok: false, ...merged(all, places.order) });
  if (read.unreadable) return refused(read);
  progress?.({ phase: 'checking', rows: 0, of: places.rows });
  const found = await findProblems(session, { groupable: options.unknownNames === true ? null : options.vocabulary.groupableTypes, mode });
  if ([read, places, found].some(({ problems }) => problems.length > 0)) return refused(read, places, found);
  const odd = merged([await findWarnings(session)], places.order);
  const counts = await count(session);
  let rowsWritten = 0;
  const done = await write(session, {
    mode,
    batch,
    audit,
    wrote(some, revision) {
      if (batch !== null) Object.assign(written, { rows: written.rows + some, revision });
      rowsWritten += some;
      progress?.({ phase: 'writing', rows: rowsWritten, of: places.rows });
    },
    proceed() {
      signal?.throwIfAborted();
      written.sent = batch !== null;
    },
  });
  return { ok: true, counts, warnings: odd.problems, omittedWarnings: odd.omitted, ...done };
}

const MEANING: Readonly<Record<string, string>> = {
  '25006': 'this is a standby: name the primary',
  '42P01': 'it has no schema grantgate, or not all of it: run grantgate migrate',
  '42501': 'this login may not write to the schema grantgate: make it a member of grantgate_writer, or name another',
  '23503': 'somebody else deleted or moved what a row refers to meanwhile',
  '23505': 'somebody else wrote one of the same ids meanwhile',
  '40P01': 'somebody else changed the same rows meanwhile, each waited for the other, and the server ended this one',
};

function explained(error: unknown, { rows, revision, sent, stopped }: Written & { readonly stopped: boolean }): unknown {
  if (error instanceof PolicyError && error.code === 'overload') return error;
  const meaning = MEANING[sqlState(error) ?? ''];
  const why = meaning ?? (error instanceof Error ? error.message : String(error));
  // Whoever loses the connection before a commit is answered cannot know how it ended.
  const unheard = sent && error instanceof PolicyError;
  if (rows > 0)
    return new InputError(
      'import',
      `${why}; ${unheard ? 'at least ' : ''}${rows} rows are in, at revision ${revision}: run it again with --mode upsert to go on`,
    );
  if (unheard) return new InputError('database', `${why}; its commit was under way, and may be in: run it again with --mode upsert`);
  if (stopped) return new InputError('import', `${why}; nothing was imported`);
  return meaning === undefined && !(error instanceof PolicyError) ? error : new InputError('database', `${why}; nothing was imported`);
}

async function count(session: Session): Promise<ImportCounts> {
  const [counts] = await session.rows<ImportCounts>(`
    select (count(*) filter (where kind = 'tenant'))::int as tenants, (count(*) filter (where kind = 'customer'))::int as customers,
      (count(*) filter (where kind = 'group'))::int as groups, (count(*) filter (where kind = 'user'))::int as users,
      (count(*) filter (where kind = 'entity'))::int as entities, (count(*) filter (where kind = 'role'))::int as roles,
      (count(*) filter (where kind = 'grant'))::int as grants, coalesce(sum(cardinality(groups)), 0)::int as memberships
    from pg_temp.staged`);
  if (!counts) throw new Error('a count without a row');
  return { ...counts };
}

/** In the order of the files, then of lines, then of paths as they count (`users[9]` before `users[10]`); the first hundred, and how many more. */
function merged(all: readonly Found[], order: ReadonlyMap<string, number>): Found {
  const rank = (file: string): number => order.get(file) ?? order.size;
  const problems = all
    .flatMap((found) => found.problems)
    .toSorted(
      (a, b) =>
        rank(a.file) - rank(b.file) ||
        (a.line ?? 0) - (b.line ?? 0) ||
        a.path.localeCompare(b.path, 'en', { numeric: true }) ||
        a.field.localeCompare(b.field, 'en', { numeric: true }),
    );
  const omitted = all.reduce((sum, found) => sum + found.omitted, Math.max(0, problems.length - MOST_PROBLEMS));
  return { problems: problems.slice(0, MOST_PROBLEMS), omitted };
}
