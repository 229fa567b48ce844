// Does a link keep what it has answered? It lives as long as the process, and is asked four times a second by the pull alone.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { postgresSource } from 'policy-cache/postgres';
import { PATIENT, servers, startPostgres } from '../support/postgres.ts';

const CALLS = 2_000;
/** A pull and a fill together left 1.9 kB each time when both were raced against the end of the link. */
const MOST_BYTES = 100;

test('answers are garbage when they are taken', { timeout: 120_000 }, async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const server = await startPostgres(servers[0]!);
  try {
    const database = await server.database();
    const attachment = await postgresSource({ url: database.url, limits: PATIENT }).attach({ ring: () => undefined, closed: () => undefined });
    const ask = async (): Promise<number> => {
      for (let i = 0; i < CALLS; i++) {
        await attachment.pull({ cursor: 0, limit: 100, ask: [] });
        await attachment.objects(['nobody']);
      }
      collect();
      collect();
      return process.memoryUsage().heapUsed;
    };
    // What is kept is kept in every lap; what code and caches still grow by is not.
    const laps = [await ask(), await ask(), await ask(), await ask()];
    const kept = laps.slice(1).map((bytes, i) => (bytes - laps[i]!) / CALLS);
    expect(Math.min(...kept), `bytes a call: ${kept.join(', ')}`).toBeLessThan(MOST_BYTES);
    attachment.close();
  } finally {
    await server.close();
  }
});
