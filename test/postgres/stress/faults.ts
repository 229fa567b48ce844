// What goes wrong in a stress run, when and how often? Everything at random from the seed, all at once.

import { setTimeout as wait } from 'node:timers/promises';
import { openPool } from 'policy-cache/postgres';
import { openClient } from './client.ts';
import type { FaultyLink } from './link.ts';
import { pick, stream } from './random.mjs';
import { MAX_STALENESS } from './record.mjs';

export interface Exposed {
  readonly pid: number;
  /** Login of its connections. */
  readonly login: string;
  readonly link: FaultyLink;
}

export interface FaultCounts {
  kills: number;
  freezes: number;
  longFreezes: number;
  slowFills: number;
  dropPhases: number;
  stops: number;
  idleListeners: number;
  locks: number;
}

export interface Faults {
  readonly counts: FaultCounts;
  /** Resolves when everything works again. */
  stop(): Promise<void>;
}

/** Longer than a lease, and not so long that a sidecar could be behind by more commits than one pull carries. */
const LONGEST_MS = 3_000;

export function startFaults(options: { readonly url: string; readonly seed: number; readonly exposed: readonly Exposed[] }): Faults {
  const { url, exposed } = options;
  const stopping = new AbortController();
  const counts: FaultCounts = {
    kills: 0,
    freezes: 0,
    longFreezes: 0,
    slowFills: 0,
    dropPhases: 0,
    stops: 0,
    idleListeners: 0,
    locks: 0,
  };
  /** The schedule itself: how long a fault lasts is no waiting for a thing. */
  const pause = (ms: number): Promise<unknown> => wait(ms, undefined, { signal: stopping.signal }).catch(() => undefined);
  const always = async (work: () => Promise<void>): Promise<void> => {
    while (!stopping.signal.aborted) await work();
  };
  const admin = openPool({ url, max: 1 });
  const locker = openClient(url); // what is killed, or locked, is asked for on another connection

  const kill = (random: () => number) => async (): Promise<void> => {
    await pause(200 + random() * 1_300);
    const login = random() < 0.15 ? 'postgres' : pick(random, exposed).login;
    const which = pick(random, ["query like '%timeline%'", "query not like '%timeline%'", 'true']); // of a sidecar: session, fills, both
    const limit = random() < 0.3 ? '' : 'limit 1';
    const gone = await admin.unsafe(
      `select pg_terminate_backend(pid) from (select pid from pg_stat_activity where datname = current_database() and usename = '${login}'
        and pid <> pg_backend_pid() and ${login === 'postgres' ? "query like 'begin%'" : which} order by random() ${limit}) x`,
    );
    counts.kills += gone.length;
  };

  const slowFills = async ({ link }: Exposed, random: () => number): Promise<void> => {
    counts.slowFills++;
    link.fillDelayMs = pick(random, [5, 40, 40, 400]);
    await pause(500 + random() * 1_500);
    link.fillDelayMs = 0;
  };
  const dropRings = async ({ link }: Exposed, random: () => number): Promise<void> => {
    counts.dropPhases++;
    link.dropRings = true;
    link.fillDelayMs = pick(random, [0, 40]);
    await pause(500 + random() * 2_000);
    link.dropRings = false;
    link.fillDelayMs = 0;
  };
  const freeze = async ({ link }: Exposed, random: () => number): Promise<void> => {
    counts.freezes++;
    link.freeze();
    await pause(50 + random() * 1_000);
    link.thaw();
  };
  /** The last answer of a slow link came long after it was true; then comes nothing for longer than a lease. */
  const slowThenFrozen = async ({ link }: Exposed, random: () => number): Promise<void> => {
    counts.longFreezes++;
    link.pullDelayMs = 300 + random() * 600;
    await pause(1_000 + random() * 500);
    link.freeze();
    await pause(MAX_STALENESS + random() * (LONGEST_MS - MAX_STALENESS));
    link.pullDelayMs = 0;
    link.thaw();
  };
  /** Each has its turn, in a new order each time. */
  const links = (random: () => number, one: Exposed) => async (): Promise<void> => {
    const kinds = [slowFills, dropRings, freeze, slowThenFrozen];
    while (kinds.length > 0) {
      await pause(random() * 1_500);
      const [kind] = kinds.splice(Math.floor(random() * kinds.length), 1);
      await kind?.(one, random);
    }
  };

  const stop = (random: () => number) => async (): Promise<void> => {
    await pause(500 + random() * 2_500);
    const { pid } = pick(random, exposed);
    counts.stops++;
    process.kill(pid, 'SIGSTOP');
    await pause(random() < 0.5 ? 100 + random() * 400 : 500 + random() * (LONGEST_MS - 500));
    process.kill(pid, 'SIGCONT');
  };

  /** Hears nothing itself, and keeps the server from clearing the queue of notifications. */
  const idle = (random: () => number) => async (): Promise<void> => {
    const listener = openClient(url);
    counts.idleListeners++;
    await listener.run('listen grantgate; begin; select 1');
    await pause(1_000 + random() * 2_000);
    await listener.run('commit').catch(() => undefined); // or it was killed
    await listener.end();
    await pause(random() * 1_000);
  };

  /** Fills wait in the server, and so read late what was asked for early. */
  const lock = (random: () => number) => async (): Promise<void> => {
    await pause(1_000 + random() * 2_000);
    counts.locks++;
    const table = pick(random, ['object', 'membership', 'role']);
    await locker
      .run(
        `begin; set local lock_timeout = '50ms'; lock table grantgate.${table} in access exclusive mode; select pg_sleep(${(random() * 0.15).toFixed(3)}); commit`,
      )
      .catch(() => undefined); // somebody else had it, or it was killed
  };

  const streams = [kill, stop, idle, lock].map((fault, i) => fault(stream(options.seed + 31 * (i + 1))));
  const working = [...streams, ...exposed.map((one, i) => links(stream(options.seed + 1_009 * (i + 1)), one))].map(always);
  return {
    counts,
    async stop() {
      stopping.abort();
      await Promise.all(working);
      await Promise.all([admin.end({ timeout: 5 }), locker.end()]);
    },
  };
}
