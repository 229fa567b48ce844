// How do the suites of the log's hazards watch a follower, and one that may not follow? A policy cache over a real database, in this process, asked about users and things.

import { PolicyCache, PolicyError, requestOf, type CacheLimits } from 'policy-cache';
import { postgresSource } from 'policy-cache/postgres';
import { onTestFinished } from 'vitest';
import { hostClock } from '../../src/clock.ts';
import { vocabulary } from '../support/stack.ts';
import type { Sql } from './fixture.ts';

export interface Following {
  readonly cache: PolicyCache;
  /** May the user read the device, in a state that was pulled after this question? */
  reads(user: string, device: string): Promise<boolean>;
  /** RESETs that were no start, and attaches. */
  upsets(): { readonly resets: Readonly<Record<string, number>>; readonly attaches: number };
}

/** Two busy cores: longer than in service. */
const LIMITS = { fillMs: 5_000, pullMs: 3_000 };

/** Resolves when it is ready. Closed when the test is over. */
export async function follow(url: string, limits: Partial<CacheLimits> = {}, pullMs = LIMITS.pullMs): Promise<Following> {
  const source = postgresSource({ url, limits: { ...LIMITS, pullMs } });
  const cache = new PolicyCache({ vocabulary, source, clock: hostClock(), random: Math.random, limits });
  onTestFinished(() => cache.close());
  cache.start();
  await cache.ready(20_000);
  return {
    cache,
    async reads(user, device) {
      const request = requestOf(vocabulary, { user, operation: 'READ', resource: 'DEVICE', target: device });
      return (await cache.check(request, undefined, { atLeast: 'latest', deadline: 20_000 })).allow;
    },
    upsets() {
      const { start, ...resets } = cache.stats.resets;
      if (start !== 1) throw new Error(`${start} starts`);
      return { resets, attaches: cache.stats.attaches };
    },
  };
}

/** Why an attach is refused; null if it is not. */
export async function attachRefusal(url: string): Promise<string | null> {
  try {
    (await postgresSource({ url }).attach({ ring: () => undefined, closed: () => undefined })).close();
    return null;
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    return error.message;
  }
}

export const CALM = { resets: { history: 0, backlog: 0, everything: 0 }, attaches: 1 } as const;

/** Takes a guard out of a function of the schema. It must be there. */
export async function without(sql: Sql, name: string, guard: RegExp): Promise<void> {
  const [{ text }] = await sql<[{ text: string }]>`select pg_get_functiondef(p.oid) as text from pg_proc p
    where p.pronamespace = 'grantgate'::regnamespace and p.proname = ${name}`;
  const changed = text.replace(guard, '');
  if (changed === text) throw new Error(`${name} has no ${guard.source}`);
  await sql.unsafe(changed);
}
