// Who writes in a stress run, in which transactions, and what is known of each commit afterwards?

import { setTimeout as pause } from 'node:timers/promises';
import { codeOf, openClient, type Client } from './client.ts';
import { pick, stream } from './random.mjs';
import { monotonic } from './record.mjs';
import { anyStatement, forget, giveAccess, inBulk, takeAccess, type Slot } from './statements.ts';

/** A commit that its writer knows of. */
export interface Acknowledged {
  readonly xid: string;
  /** CLOCK_MONOTONIC, ms, when the writer knew. */
  readonly at: number;
  /** The transaction's own revision; null where it was numbered only while it committed. */
  readonly revision: string | null;
}

export interface WriterCounts {
  commits: number;
  rollbacks: number;
  savepoints: number;
  repeatableReads: number;
  retries: number;
  /** By SQLSTATE, or what else the client said. */
  readonly failures: Map<string, number>;
}

export interface Writers {
  readonly acknowledged: Acknowledged[];
  readonly counts: WriterCounts;
  /** First-time askers: user number → revision at which the access was taken away. */
  readonly revoked: Map<number, string>;
  /** Resolves when the transactions under way are over. */
  stop(): Promise<void>;
}

export interface WriterOptions {
  readonly url: string;
  readonly seed: number;
  readonly slots: readonly Slot[];
  readonly writers: number;
  committed(revision: string): void;
  /** Here is a user to ask about. */
  newUser(user: number): void;
  /** The access of a user whom nobody asked about yet was taken away. */
  firstTime(user: number, revision: string): void;
}

/** Told to the retry of a serialization failure or a deadlock; anything else is not tried again. */
const AGAIN = new Set(['40001', '40P01']);
const FIRST_USER = 1_000;
/** By then they have been asked about. */
const REMEMBERED = 200;

export function startWriters(options: WriterOptions): Writers {
  const stopping = new AbortController();
  const acknowledged: Acknowledged[] = [];
  const counts: WriterCounts = { commits: 0, rollbacks: 0, savepoints: 0, repeatableReads: 0, retries: 0, failures: new Map() };
  const revoked = new Map<number, string>();

  const transact = async (client: Client, text: string): Promise<Acknowledged | null> => {
    for (let tries = 0; tries < 4; tries++) {
      try {
        const results = await client.run(text);
        const at = monotonic();
        const own = results.flat().find((row) => 'xid' in row) as Pick<Acknowledged, 'xid' | 'revision'> | undefined;
        if (own === undefined) throw new Error('a transaction without an xid');
        const commit = { ...own, at };
        if (!text.endsWith('commit')) return null;
        counts.commits++;
        acknowledged.push(commit);
        return commit;
      } catch (error) {
        const code = codeOf(error);
        counts.failures.set(code, (counts.failures.get(code) ?? 0) + 1);
        if (!AGAIN.has(code)) return null;
        counts.retries++;
      }
    }
    return null;
  };

  const writer = async (number: number): Promise<void> => {
    const random = stream(options.seed + 7_919 * (number + 1));
    const client = openClient(options.url);
    while (!stopping.signal.aborted) {
      const { text, rolledBack } = transaction(random, options.slots, counts);
      if (rolledBack) counts.rollbacks++;
      const commit = await transact(client, text);
      if (commit?.revision) options.committed(commit.revision);
      await pause(random() * 12);
    }
    await client.end();
  };

  const askers = async (): Promise<void> => {
    const random = stream(options.seed + 104_729);
    const client = openClient(options.url);
    for (let user = FIRST_USER; !stopping.signal.aborted; user += 2) {
      const shared = random() < 0.5;
      const given = await transact(client, enclosed(`${forget(user - REMEMBERED)}; ${giveAccess(user, shared)}`));
      if (given && shared) options.newUser(user + 1);
      await pause(random() * 40);
      const taken = given && (await transact(client, enclosed(takeAccess(user, shared, random))));
      if (taken?.revision) {
        revoked.set(user, taken.revision);
        options.firstTime(user, taken.revision);
      }
      await pause(20 + random() * 80);
    }
    await client.end();
  };

  const working = [...Array.from({ length: options.writers }, (_, number) => writer(number)), askers()];
  return {
    acknowledged,
    counts,
    revoked,
    async stop() {
      stopping.abort();
      await Promise.all(working);
    },
  };
}

/** A transaction at random: of one to three statements, some of them taken back; quick, slow before it takes its number, or slow with it. */
function transaction(random: () => number, slots: readonly Slot[], counts: WriterCounts): { readonly text: string; readonly rolledBack: boolean } {
  const parts: string[] = [];
  for (let left = pick(random, [1, 1, 1, 2, 3]); left > 0; left--) parts.push(anyStatement(random, slots));
  if (random() < 0.15) {
    counts.savepoints++;
    const back = random() < 0.7 ? 'rollback to savepoint s; ' : '';
    parts.splice(Math.floor(random() * (parts.length + 1)), 0, `savepoint s; ${anyStatement(random, slots)}; ${back}release savepoint s`);
  } else if (random() < 0.02) parts.push(inBulk(random() < 0.1));
  if (random() < 0.08) parts.push(`select pg_sleep(${(0.05 + random() * 0.4).toFixed(3)})`);
  const latched = random() < 0.05 ? `select pg_sleep(${(random() * 0.05).toFixed(3)})` : null;
  const isolation = random() < 0.3 ? 'repeatable read' : 'read committed';
  if (isolation === 'repeatable read') counts.repeatableReads++;
  const rolledBack = random() < 0.1;
  return {
    text: enclosed(parts.join('; '), {
      isolation,
      numbered: latched !== null || random() < 0.5,
      latched,
      end: rolledBack ? 'rollback' : 'commit',
    }),
    rolledBack,
  };
}

interface Enclosure {
  readonly isolation?: string;
  /** Takes its number before the commit, and so can tell its revision. */
  readonly numbered?: boolean;
  readonly latched?: string | null;
  readonly end?: string;
}

function enclosed(statements: string, { isolation = 'read committed', numbered = true, latched = null, end = 'commit' }: Enclosure = {}): string {
  return [
    `begin isolation level ${isolation}`,
    "set local lock_timeout = '3s'",
    statements,
    ...(numbered ? ['set constraints all immediate'] : []),
    `select pg_current_xact_id()::text as xid, ${numbered ? 'grantgate.revision()' : 'null::text'} as revision`,
    ...(latched === null ? [] : [latched]),
    end,
  ].join('; ');
}
