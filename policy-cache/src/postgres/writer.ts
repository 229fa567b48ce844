// How does what a person changes get into the database, whole or not at all?
//
// One transaction on a connection of its own, by the rules of every other connection of ours (link.ts): a time limit for each
// statement, no silent reconnect, the primary with the newest history. READ COMMITTED: whoever must not meet a change half done
// locks its rows first. What the database refuses comes back as a `Refusal`, by the name of the constraint.

import postgres from 'postgres';
import { PolicyError } from '../errors.ts';
import { parseRevision, type Revision } from '../model.ts';
import type { Link, Parameter } from './link.ts';
import { openPrimary, type PrimaryOptions } from './primary.ts';

/** Runs one statement. Rejects with PolicyError `source`, or Refusal. */
export interface Statements {
  rows<T>(text: string, parameters?: readonly Parameter[]): Promise<readonly T[]>;
}

/** The database will not have it: a constraint, a trigger, a lock that was not to be had. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  /** SQLSTATE. */
  readonly code: string;
  /** '' where it was none. */
  readonly constraint: string;
  /** The server's own words on which row it was. */
  readonly detail: string;
  constructor({ code, constraint_name, detail, message }: postgres.PostgresError, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.constraint = constraint_name ?? '';
    this.detail = detail ?? '';
  }
}

export interface WriterOptions extends PrimaryOptions {
  /** Connections at the most; default 4. Whoever comes beyond waits. */
  readonly connections?: number;
  /** Milliseconds for a statement; default 10,000. */
  readonly statementMs?: number;
}

export interface Writer {
  /** Outside of a transaction: each statement sees what is committed when it begins. */
  read<T>(work: (db: Statements) => Promise<T>): Promise<T>;
  /**
   * In a transaction, which is begun again, three times at the most, where it met another one (40001, 40P01). Committed when it resolves.
   * When the connection is lost in the middle of the commit, PolicyError `source`: it may have been committed.
   */
  write<T>(work: (db: Statements) => Promise<T>): Promise<T>;
  /** Drops every connection at once: what is under way rejects. */
  close(): void;
}

/** One row of the audit log (`grantgate.audit`). */
export interface AuditEntry {
  readonly tenant: string;
  readonly owner: string;
  readonly actorKind: 'user' | 'operator';
  /** '' for the operator. */
  readonly actor: string;
  /** Whose permissions were used; '' for the operator. */
  readonly asUser: string;
  readonly action: string;
  readonly target: string;
  readonly before: unknown;
  readonly after: unknown;
  readonly requestId: string;
}

const CONNECTIONS = 4;
const STATEMENT_MS = 10_000;
const ATTEMPTS = 3;
/** Whoever waits for a connection beyond these is refused: it would be answered too late. */
const WAITING = 256;
const LOCK_MS = 5_000;

export function openWriter(options: WriterOptions): Writer {
  const most = options.connections ?? CONNECTIONS;
  const statementMs = options.statementMs ?? STATEMENT_MS;
  const idle: Link[] = [];
  const links = new Set<Link>();
  const queue: { resolve(link: Link | null): void; reject(error: unknown): void }[] = [];
  let open = 0;
  let closed = false;

  /** In a place that is taken already. */
  const connect = async (): Promise<Link> => {
    let link: Link | null = null;
    try {
      link = await openPrimary(options);
      if (closed) throw new PolicyError('source', 'the writer was closed');
      links.add(link);
      // A row that somebody holds must not hold up an answer for longer than anybody waits for it, and a statement that is given up
      // here must not go on there: it does until its end, and keeps its locks.
      const text = `select set_config('lock_timeout', '${LOCK_MS}ms', false), set_config('statement_timeout', '${statementMs}ms', false)`;
      await link.rows({ name: 'settings', text }, [], statementMs);
      return link;
    } catch (error) {
      if (link !== null) {
        links.delete(link);
        link.destroy();
      }
      leave();
      throw error;
    }
  };
  /** A place is free. Whoever waits first takes it over, before anybody who comes now could take it too, and makes a connection of its own. */
  const leave = (): void => {
    const waiting = queue.shift();
    if (waiting) waiting.resolve(null);
    else open--;
  };
  const take = async (): Promise<Link> => {
    for (let link = idle.pop(); link !== undefined; link = idle.pop()) {
      if (link.alive) return link;
      drop(link);
    }
    if (closed) throw new PolicyError('source', 'the writer was closed');
    if (open < most) {
      open++;
      return connect();
    }
    if (queue.length >= WAITING) throw new PolicyError('overload', `${WAITING} changes wait for a connection to the database`);
    const link = await new Promise<Link | null>((resolve, reject) => queue.push({ resolve, reject }));
    return link ?? connect();
  };
  const giveBack = (link: Link, clean: boolean): void => {
    if (clean && link.alive && !closed) {
      const waiting = queue.shift();
      if (waiting) waiting.resolve(link);
      else idle.push(link);
      return;
    }
    drop(link);
  };
  const drop = (link: Link): void => {
    links.delete(link);
    link.destroy();
    leave();
  };
  const on = (link: Link): Statements => ({
    async rows<T>(text: string, parameters: readonly Parameter[] = []) {
      try {
        return (await link.rows({ name: 'statement', text }, parameters, statementMs)) as readonly T[];
      } catch (error) {
        throw refusalOf(error) ?? error;
      }
    },
  });
  const attempt = async <T>(work: (db: Statements) => Promise<T>): Promise<T> => {
    const link = await take();
    let clean = false;
    try {
      const db = on(link);
      await db.rows('begin');
      let value: T;
      try {
        value = await work(db);
      } catch (error) {
        if (link.alive) await db.rows('rollback');
        clean = true;
        throw error;
      }
      await db.rows('commit');
      clean = true;
      return value;
    } finally {
      giveBack(link, clean);
    }
  };

  return {
    async read(work) {
      const link = await take();
      let clean = false;
      try {
        const value = await work(on(link));
        clean = true;
        return value;
      } catch (error) {
        // A thing that is not there is no fault of the connection.
        clean = !(error instanceof PolicyError);
        throw error;
      } finally {
        giveBack(link, clean);
      }
    },
    async write(work) {
      for (let left = ATTEMPTS; ; left--) {
        try {
          return await attempt(work);
        } catch (error) {
          if (left <= 1 || !(error instanceof Refusal && (error.code === '40001' || error.code === '40P01'))) throw error;
        }
      }
    },
    close() {
      closed = true;
      for (const link of links) link.destroy();
      links.clear();
      for (const waiting of queue.splice(0)) waiting.reject(new PolicyError('source', 'the writer was closed'));
    },
  };
}

/** Seals the change log and writes down who did what: the last statement of a transaction. @returns the revision of the transaction */
export async function writeAudit(db: Statements, entries: readonly AuditEntry[]): Promise<Revision> {
  const rows = entries.map(({ actorKind, asUser, requestId, ...entry }) => ({ ...entry, actor_kind: actorKind, as_user: asUser, request_id: requestId }));
  const [row] = await db.rows<{ r: string }>('select grantgate.write_audit($1::text::jsonb) r', [JSON.stringify(rows)]);
  return parseRevision(row?.r ?? '');
}

/** Of classes 22 and 23 (what was given), 40 (another transaction), 55P03 (a lock): everything else is a fault of the source. */
function refusalOf(error: unknown): Refusal | null {
  const cause = error instanceof PolicyError ? error.cause : error;
  return cause instanceof postgres.PostgresError && /^(22|23|40)|^55P03$/.test(cause.code) ? new Refusal(cause, { cause }) : null;
}
