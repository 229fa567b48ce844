// Does a link keep what it has answered? It lives as long as the process, and is asked four times a second by the pull alone.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { postgresSource } from 'policy-cache/postgres';
import { servers, startPostgres } from '../support/postgres.ts';

const CALLS = 3_000;
/** A pull and a fill together left 1.9 kB each time when both were raced against the end of the link. */
const MOST_BYTES = 100;

test('answers are garbage when they are taken', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const server = await startPostgres(servers[0]!);
  try {
    const database = await server.database();
    const attachment = await postgresSource({ url: database.url }).attach({ ring: () => undefined, closed: () => undefined });
    const ask = async (): Promise<number> => {
      for (let i = 0; i < CALLS; i++) {
        await attachment.pull({ cursor: 0, limit: 100, ask: [] });
        await attachment.objects(['nobody']);
      }
      collect();
      collect();
      return process.memoryUsage().heapUsed;
    };
    const before = await ask();
    expect(((await ask()) - before) / CALLS).toBeLessThan(MOST_BYTES);
    attachment.close();
  } finally {
    await server.close();
  }
});
