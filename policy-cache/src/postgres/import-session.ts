// How does an import use its connection, for as long as it takes, and hear at once when it is lost?
//
// The client (postgres 3.4.9) lets a statement on a lost connection wait for ever, and ends the process if one is sent there: so nothing is
// sent on a link that has ended, and everything that is waited for is raced against its end.

import type { Writable } from 'node:stream';
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
  const onLink = async <T>(work: () => PromiseLike<T>): Promise<T> => {
    if (!link.alive) await link.ended;
    return Promise.race([work(), link.ended]);
  };
  const session: Session = {
    rows: (text, parameters = []) => onLink(() => link.sql.unsafe(text, [...parameters])),
    run: async (text) => (await onLink(() => link.sql.unsafe(text))).flat(),
    async copy(text, pieces) {
      const to = await onLink(() => link.sql.unsafe(text).writable());
      const done = new Promise<void>((resolve, reject) => {
        to.once('finish', resolve);
        to.once('error', reject);
      });
      done.catch(() => undefined); // heard of at the next piece
      try {
        for await (const piece of pieces) await onLink(() => Promise.race([taken(to, piece), done]));
        to.end();
        await onLink(() => done);
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

async function taken(to: Writable, piece: string): Promise<void> {
  if (!to.write(piece)) await new Promise<void>((resolve) => void to.once('drain', resolve));
}
