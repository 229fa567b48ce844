// How does an import use its connection, for as long as it takes, and hear at once when it is lost?
//
// The client (postgres 3.4.9) lets a statement on a lost connection wait for ever, and ends the process if one is sent there: so nothing is
// sent on a link that has ended, and everything that is waited for ends with it.

import type { Link } from './link.ts';
import { sqlState } from './session.ts';

export interface Session {
  /** One statement. */
  rows<T>(text: string, parameters?: readonly (string | number)[]): Promise<readonly T[]>;
  /** Any number of statements, in one round trip; the rows of all that have any. */
  run(text: string): Promise<readonly unknown[]>;
  /** Feeds `copy … from stdin`. A piece is taken when the promise resolves. */
  copy(text: string, pieces: AsyncIterable<string>): Promise<void>;
  /** From now on nothing is waited for or sent: everything rejects with this. What the server is at is rolled back when the link ends. */
  abandon(cause: Error): void;
}

type Writable = Awaited<ReturnType<ReturnType<Link['sql']['unsafe']>['writable']>>;

/** For hash tables of a million rows, and plans by what is there now (a link's own settings are for look-ups). */
const SETTINGS = `set search_path = pg_catalog, pg_temp; set enable_seqscan = on; set plan_cache_mode = auto;
  set work_mem = '64MB'; set maintenance_work_mem = '128MB'`;
/**
 * A server that works, or waits for a lock, does not see that the link has ended unless it looks; what it holds meanwhile others wait for,
 * and the next import for its turn.
 */
const NOTICE = "set client_connection_check_interval = '1s'";

export async function openSession(link: Link): Promise<Session> {
  // No race with the link's end: a promise that lives as long as the link would keep whatever was raced with it.
  let gone: { readonly cause: unknown } | null = null;
  const waiting = new Set<(cause: unknown) => void>();
  const abandon = (cause: unknown): void => {
    gone ??= { cause };
    for (const reject of waiting) reject(gone.cause);
  };
  link.ended.catch(abandon);
  const onLink = async <T>(work: () => PromiseLike<T>): Promise<T> => {
    if (gone !== null) throw gone.cause;
    let mine: (cause: unknown) => void = () => undefined;
    try {
      return await new Promise<T>((resolve, reject) => {
        waiting.add((mine = reject));
        (link.alive ? work() : link.ended).then(resolve, reject);
      });
    } finally {
      waiting.delete(mine);
    }
  };
  const session: Session = {
    rows: (text, parameters = []) => onLink(() => link.sql.unsafe(text, [...parameters])),
    run: async (text) => (await onLink(() => link.sql.unsafe(text))).flat(),
    async copy(text, pieces) {
      const query = link.sql.unsafe(text);
      const to = await onLink(() => query.writable());
      const failed = watched(query, to);
      const iterator = pieces[Symbol.asyncIterator]();
      try {
        const next = (): Promise<IteratorResult<string>> => onLink(() => failed.or(iterator.next()));
        for (let got = await next(); got.done !== true; got = await next()) {
          const { value } = got;
          await onLink(() => failed.or(taken(to, value)));
        }
        await onLink(() => failed.or(ended(to)));
      } catch (error) {
        // Not waited for: what is read from may never say another word.
        void iterator.return?.(undefined)?.then(undefined, () => undefined);
        // Tells the server; on a lost link there is nobody to tell.
        if (link.alive && sqlState(error) === null) to.destroy(error instanceof Error ? error : new Error(String(error)));
        throw error;
      }
    },
    abandon,
  };
  await session.run(SETTINGS);
  await session.run(NOTICE).catch((error: unknown) => {
    if (sqlState(error) === null) throw error; // the link, and not a server whose system cannot tell
  });
  return session;
}

/**
 * What the server has against a COPY. The client (3.4.9) says it by the stream only until its end is sent, and from then on by rejecting the
 * query, which was resolved with that stream: nobody would ever hear of a last piece that the server does not take.
 */
function watched(query: object, to: Writable): { or<T>(work: Promise<T>): Promise<T> } {
  let error: unknown = null;
  let tell: (error: unknown) => void = () => undefined;
  const fail = (cause: unknown): void => {
    error ??= cause;
    tell(error);
  };
  to.on('error', fail);
  Object.assign(query, { reject: fail });
  return {
    or: (work) =>
      new Promise((resolve, reject) => {
        tell = reject;
        if (error !== null) tell(error);
        work.then(resolve, reject);
      }),
  };
}

async function taken(to: Writable, piece: string): Promise<void> {
  if (!to.write(piece)) await new Promise<void>((resolve) => void to.once('drain', resolve));
}

async function ended(to: Writable): Promise<void> {
  await new Promise<void>((resolve) => {
    to.once('finish', resolve);
    to.end();
  });
}
