// Does a miss leave anything behind but the entry that it was filled into?

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { PolicyCache, parseWorldFile, requestOf } from 'policy-cache';
import { MemorySource } from 'policy-cache/memory';
import { expect, test } from 'vitest';
import { FakeClock } from './fakeclock.ts';
import { vocabulary } from './support.ts';

const STRANGERS = 10_000;
/** Of a cache that keeps a hundred: 2 bytes for each stranger. An empty set and its name for each would be 250. */
const MOST_BYTES = 20;

/** An entry that is kept, with its id, in a map. As a slice of its URL it would be 2 kB more. */
const MOST_KEPT = 500;

test('ids that come by once leave nothing', async () => {
  const { strangers, cache } = await started(100);
  await strangers(0, (i) => `stranger-${i}`);
  expect(await strangers(STRANGERS, (i) => `stranger-${i}`)).toBeLessThan(MOST_BYTES);
  cache.close();
});

test('an id that is remembered does not keep the URL that it was cut from', async () => {
  const { strangers, cache } = await started(STRANGERS);
  const kept = await strangers(0, (i) => `/api/device/stranger-${String(i).padStart(10, '0')}${'?'.repeat(2_000)}`.slice(12, 31));
  expect(cache.sizes().absent).toBe(STRANGERS);
  expect(kept).toBeLessThan(MOST_KEPT);
  cache.close();
});

/** `strangers`: so many ids are asked about; the bytes that each left. */
async function started(absent: number) {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const { world } = parseWorldFile({ tenants: [{ id: 't' }], users: [{ id: 'u', owner: 't' }] });
  let commits = 0;
  const source = new MemorySource({ world, newId: () => `00000000-0000-4000-8000-${String(commits++).padStart(12, '0')}` });
  const clock = new FakeClock();
  const cache = new PolicyCache({ vocabulary, source, clock, random: () => 0.5, limits: { subjects: 100, targets: 100, absent } });
  cache.start();
  await clock.advance(1);
  const heap = (): number => {
    collect();
    collect();
    return process.memoryUsage().heapUsed;
  };
  const strangers = async (from: number, id: (i: number) => string): Promise<number> => {
    const before = heap();
    for (let i = 0; i < STRANGERS; i++) {
      const asked = cache.check(requestOf(vocabulary, { user: 'u', operation: 'READ', resource: 'DEVICE', target: id(from + i) }));
      if (i % 50 !== 49) continue;
      await clock.advance(1);
      expect((await asked).reason).toBe('unknown-target');
    }
    await clock.advance(2_000);
    return (heap() - before) / STRANGERS;
  };
  return { strangers, cache };
}
