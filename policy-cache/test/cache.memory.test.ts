// Does a miss leave anything behind but the entry that it was filled into?

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { PolicyCache, parseWorldFile, requestOf } from 'policy-cache';
import { MemorySource } from 'policy-cache/memory';
import { expect, test } from 'vitest';
import { FakeClock } from './fakeclock.ts';
import { vocabulary } from './support.ts';

const STRANGERS = 20_000;
/** Of a cache that keeps a hundred: 2 bytes for each stranger. An empty set and its name for each would be 250. */
const MOST_BYTES = 20;

test('ids that come by once', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const { world } = parseWorldFile({ tenants: [{ id: 't' }], users: [{ id: 'u', owner: 't' }] });
  let commits = 0;
  const source = new MemorySource({ world, newId: () => `00000000-0000-4000-8000-${String(commits++).padStart(12, '0')}` });
  const clock = new FakeClock();
  const cache = new PolicyCache({ vocabulary, source, clock, random: () => 0.5, limits: { subjects: 100, targets: 100, absent: 100 } });
  cache.start();
  await clock.advance(1);
  const strangers = async (from: number): Promise<number> => {
    for (let i = 0; i < STRANGERS; i++) {
      const asked = cache.check(requestOf(vocabulary, { user: 'u', operation: 'READ', resource: 'DEVICE', target: `stranger-${from + i}` }));
      if (i % 50 !== 49) continue;
      await clock.advance(1);
      expect((await asked).reason).toBe('unknown-target');
    }
    await clock.advance(2_000);
    collect();
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = await strangers(0);
  const kept = ((await strangers(STRANGERS)) - before) / STRANGERS;
  expect(kept).toBeLessThan(MOST_BYTES);
  cache.close();
});
