// How does one connection to Postgres behave that never surprises us? (coherence 1.1, 1.2)
//
// One `postgres` instance with one connection, over a socket that we opened: so a frozen link is destroyed at once, TLS is verified
// by our rule, and nothing ever reconnects silently (the client would, without the LISTEN). Every statement has a time limit,
// which the client lacks. A link that has ended stays ended.

import postgres from 'postgres';
import type { PolicyError } from '../errors.ts';
import { describeAddress, type Address } from './address.ts';
import { dial, failure, within, type Dialled, type DialOptions } from './dial.ts';

export interface LinkOptions extends DialOptions {
  readonly notified?: () => void;
}

export interface Link {
  /** The address as reached: a host name's IP. */
  readonly peer: string;
  readonly alive: boolean;
  /** Resolves with the reason when the link ends by itself; never after `destroy`. */
  readonly lost: Promise<Error>;
  /** Rejects when the link ends in whatever way. */
  readonly ended: Promise<never>;
  /** The rows of a statement, prepared on first use. Rejects with PolicyError `source`; a late answer is dropped. */
  rows(statement: Statement, parameters: readonly Parameter[], limitMs: number): Promise<readonly unknown[]>;
  /** For a transaction; whoever uses it races it against `ended`. */
  readonly sql: postgres.Sql;
  destroy(): void;
}

export interface Statement {
  readonly name: string;
  readonly text: string;
}
export type Parameter = string | number | null;

const TERMINATE = Buffer.from([88, 0, 0, 0, 4]);

/** Connects and authenticates. Rejects with PolicyError `source` naming the address; nothing is left open then. */
export async function openLink(address: Address, options: LinkOptions): Promise<Link> {
  const link = makeLink(address, await dial(address, options), options);
  try {
    await link.rows(SETTINGS, [], options.connectMs);
    return link;
  } catch (error) {
    link.destroy();
    throw error;
  }
}

// search_path: a function in a schema that others may write to (public, in databases from before PostgreSQL 15) is called instead of a
// built-in one with a variadic or polymorphic argument, json_build_array among them: whoever made it would write the answers.
// A plan made while a table was small would scan it for ever after an import ([measured] 22,434 scans where 0 are needed), planning
// a look-up anew each time costs more than the look-up, and so does JIT.
// Transactions as the server begins them: a role that is made to read only could not report, and under REPEATABLE READ two barriers at
// once end in 40001.
const SETTINGS: Statement = {
  name: 'settings',
  text: `select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false), pg_catalog.set_config('enable_seqscan', 'off', false),
    pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', false), pg_catalog.set_config('jit', 'off', false),
    pg_catalog.set_config('default_transaction_read_only', 'off', false), pg_catalog.set_config('default_transaction_isolation', 'read committed', false)`,
};

function makeLink(address: Address, at: Dialled, options: LinkOptions): Link {
  let used = false;
  let ended: PolicyError | null = null;
  let report: (cause: Error) => void;
  let abandon: (cause: PolicyError) => void;
  const lost = new Promise<Error>((resolve) => (report = resolve));
  const gone = new Promise<never>((_, reject) => (abandon = reject));
  gone.catch(() => undefined); // nobody may be waiting
  /** Of those who wait for an answer. */
  const waiting = new Set<(cause: PolicyError) => void>();
  // No race against `gone`: each would leave a reaction there, and with it its answer, for the life of the link [measured: 0.6 kB a pull].
  const orGone = <T>(work: PromiseLike<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      waiting.add(reject);
      work.then(resolve, reject).then(
        () => waiting.delete(reject),
        () => undefined, // neither of the two throws
      );
    });
  const end = (cause: PolicyError, byItself: boolean): void => {
    if (ended) return;
    ended = cause;
    abandon(cause);
    for (const reject of waiting) reject(cause);
    waiting.clear();
    if (byItself) report(cause);
    at.socket.destroy();
    at.raw.destroy();
  };
  at.socket.once('error', (error) => end(failure(describeAddress(address), error), true));
  at.socket.once('close', () => end(failure(describeAddress(address), 'the connection was closed'), true));
  const sql = postgres({
    // Without the types of arrays: that is a query of the client's own after connecting, and if the link ends in the middle of it, its
    // rejection is nobody's and ends the process [measured with 3.4.9].
    ...clientOptions(address, { ...options, fetchTypes: false }),
    // Called again when the client would reconnect.
    socket: () => (used ? Promise.reject(ended ?? new Error('the connection was closed')) : ((used = true), Promise.resolve(at.socket))),
  } as postgres.Options<Record<string, never>>);
  return {
    sql,
    lost,
    ended: gone,
    peer: at.raw.remoteAddress ?? address.host,
    get alive() {
      return ended === null;
    },
    async rows(statement, parameters, limitMs) {
      if (ended) throw ended;
      try {
        return await within(limitMs, `${describeAddress(address)}: ${statement.name}`, () =>
          orGone(sql.unsafe(statement.text, parameters as postgres.ParameterOrJSON<never>[], { prepare: true })),
        );
      } catch (error) {
        throw failure(`${describeAddress(address)}: ${statement.name}`, error);
      }
    },
    destroy() {
      if (!ended && at.socket.writable) at.socket.write(TERMINATE); // so that a healthy server has nothing to complain about
      end(failure(describeAddress(address), 'the connection was given up'), false);
    },
  };
}

/** Everything is said, so that the client reads nothing from the environment (PGHOST, PGSSL, PGPASSWORD, …). */
export function clientOptions(address: Address, options: { connectMs: number; fetchTypes: boolean; notified?: () => void }): Record<string, unknown> {
  return {
    host: address.host,
    port: address.port,
    path: false,
    database: address.database,
    user: address.user,
    pass: () => address.password,
    ssl: false,
    sslnegotiation: null,
    max: 1,
    max_pipeline: 100,
    prepare: true,
    debug: false,
    publications: 'alltables',
    idle_timeout: null,
    max_lifetime: null,
    connect_timeout: Math.ceil(options.connectMs / 1_000),
    keep_alive: 10,
    backoff: () => 0,
    fetch_types: options.fetchTypes,
    connection: { application_name: address.applicationName },
    onnotice: () => undefined,
    onnotify: () => options.notified?.(),
    onclose: () => undefined,
  };
}
