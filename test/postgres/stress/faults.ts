// What goes wrong in a stress run, when and how often? Everything at random from the seed, all at once.

import { setTimeout as wait } from 'node:timers/promises';
import { openPool } from 'policy-cache/postgres';
import type { FaultyLink } from './link.ts';
import { pick, stream } from './random.mjs';
import { openClient } from './client.ts';

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
  slowPulls: number;
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

/** Longer than a lease and less than that a stopped process could be behind by more than one pull carries. */
const LONGEST_MS = 3_000;

export function startFaults(options: { readonly url: string; readonly seed: number; readonly exposed: readonly Exposed[] }): Faults {
  const { url, exposed } = options;
  const stopping = new AbortController();
  const counts: FaultCounts = {
    kills: 0,
    freezes: 0,
    longFreezes: 0,
    slowPulls: 0,
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

  const link =
    (random: () => number, { link: way }: Exposed) =>
    async (): Promise<void> => {
      await pause(random() * 1_500);
      const choice = random();
      if (choice < 0.3) {
        counts.slowFills++;
        way.fillDelayMs = pick(random, [5, 40, 40, 400]);
        await pause(500 + random() * 1_500);
        way.fillDelayMs = 0;
      } else if (choice < 0.55) {
        counts.dropPhases++;
        way.dropRings = true;
        way.fillDelayMs = pick(random, [0, 40]);
        await pause(500 + random() * 2_000);
        way.dropRings = false;
        way.fillDelayMs = 0;
      } else if (choice < 0.8) {
        counts.freezes++;
        way.freeze();
        await pause(50 + random() * 1_000);
        way.thaw();
      } else {
        // The last answer of a slow link came long after it was true; then comes nothing for longer than a lease.
        if (random() < 0.7) {
          counts.slowPulls++;
          way.pullDelayMs = 300 + random() * 600;
          await pause(1_000 + random() * 1_000);
        }
        counts.longFreezes++;
        way.freeze();
        await pause(2_000 + random() * (LONGEST_MS - 2_000));
        way.pullDelayMs = 0;
        way.thaw();
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
  const working = [...streams, ...exposed.map((one, i) => link(stream(options.seed + 1_009 * (i + 1)), one))].map(always);
  return {
    counts,
    async stop() {
      stopping.abort();
      await Promise.all(working);
      await Promise.all([admin.end({ timeout: 5 }), locker.end()]);
    },
  };
}
