// Who takes old versions out of the change log?
//
// Every sidecar, now and then: the database lets one at a time, and never takes what a follower that was away for less than an
// hour still needs. So nobody has to install a job for it.

import type { Clock } from 'policy-cache';
import { openPool, type PoolOptions } from 'policy-cache/postgres';
import type { Log } from './log.ts';

/** Between two trims of one sidecar. */
const EVERY_MS = 3_600_000;
/** After a start: soon, for services that never live for an hour, and not all of a fleet at once. */
const FIRST_MS = 300_000;

export interface UpkeepSettings {
  /** Removes what is old. @returns how many versions */
  readonly trim: () => Promise<number>;
  readonly clock: Clock;
  /** 0 ≤ random() < 1 */
  readonly random: () => number;
  readonly log: Log;
}

/** Trims from time to time; the returned function ends that. A trim that fails is told and tried again an hour later. */
export function startUpkeep({ trim, clock, random, log }: UpkeepSettings): () => void {
  let cancel = (): void => undefined;
  let stopped = false;
  const later = (ms: number): void => {
    cancel = clock.after(ms, () => void once());
  };
  const once = async (): Promise<void> => {
    try {
      const gone = await trim();
      log('debug', 'trimmed', `${gone} old versions taken out of the change log`);
    } catch (error) {
      log('warn', 'trim', `the change log was not trimmed: ${error instanceof Error ? error.message : String(error)}`);
    }
    if (!stopped) later(EVERY_MS * (0.9 + 0.2 * random()));
  };
  later(FIRST_MS * random());
  return () => {
    stopped = true;
    cancel();
  };
}

/** On a connection of its own, which is closed at once: an hour is long. */
export async function trimChangeLog(options: PoolOptions, keepMs: number): Promise<number> {
  const sql = openPool({ ...options, max: 1 });
  try {
    const [row] = await sql<[{ gone: string }]>`select grantgate.trim(${keepMs / 1000} * interval '1 second') as gone`;
    return Number(row.gone);
  } finally {
    await sql.end({ timeout: 5 });
  }
}
