// How does an import use its connection, for as long as it takes, and hear at once when it is lost?
//
// The client (postgres 3.4.9) lets a statement on a lost connection wait for ever, and ends the process if one is sent there: so nothing is
// sent on a link that has ended, and everything that is waited for is raced against its end.

import { once } from 'node:events';
import { finished } from 'node:stream/promises';
import type { Link } from './link.ts';
import { sqlState } from './session.ts';

export interface Session {
  /** One statement. */
  rows<T>(text: string, parameters?: readonly (string | number)[]): Promise<readonly T[]>;
  /** Any number of statements, in one round trip; the rows of all that have any. */
  run(text: string): Promise<readonly unknown[]>;
  /** Feeds `copy … from stdin`. A piece is taken when the promise resolves. */
  copy(text: string, pieces: AsyncIterable<string>): Promise<void>;
}

/** For hash tables of a million rows, and plans by what is there now (a link's own settings are for look-ups). */
const SETTINGS = `set search_path = pg_catalog, pg_temp; set enable_seqscan = on; set plan_cache_mode = auto;
  set work_mem = '64MB'; set maintenance_work_mem = '128MB'`;

export async function openSession(link: Link): Promise<Session> {
  // No race with the link's end: a promise that lives as long as the link would keep whatever was raced with it.
  const waiting = new Set<(cause: unknown) => void>();
  link.ended.catch((cause: unknown) => waiting.forEach((abandon) => abandon(cause)));
  const onLink = async <T>(work: () => PromiseLike<T>): Promise<T> => {
    let abandon: (cause: unknown) => void = () => undefined;
    try {
      return await new Promise<T>((resolve, reject) => {
        waiting.add((abandon = reject));
        (link.alive ? work() : link.ended).then(resolve, reject);
      });
    } finally {
      waiting.delete(abandon);
    }
  };
  const session: Session = {
    rows: (text, parameters = []) => onLink(() => link.sql.unsafe(text, [...parameters])),
    run: async (text) => (await onLink(() => link.sql.unsafe(text))).flat(),
    async copy(text, pieces) {
      const to = await onLink(() => link.sql.unsafe(text).writable());
      let failed: { readonly error: unknown } | null = null;
      to.once('error', (error) => (failed = { error })); // may come between two pieces
      try {
        for await (const piece of pieces) {
          if (failed || !link.alive) break; // the client would write to a socket that is no more
          if (!to.write(piece)) await onLink(() => once(to, 'drain'));
        }
        await onLink(() => finished(to.end()));
      } catch (error) {
        // Tells the server; on a lost link there is nobody to tell.
        if (link.alive && sqlState(error) === null) to.destroy(error instanceof Error ? error : new Error(String(error)));
        throw error;
      }
    },
  };
  await session.run(SETTINGS);
  return session;
}
