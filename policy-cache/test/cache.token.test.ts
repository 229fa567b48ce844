// Is a check with a token that is reached the same check as one without: in the same turn, and for nothing?

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { PolicyCache } from '../src/cache.ts';
import { requestOf } from '../src/compile.ts';
import { MemorySource } from '../src/memory.ts';
import { parseRevision } from '../src/model.ts';
import type { Decision, Revision } from '../src/model.ts';
import type { CheckOptions } from '../src/options.ts';
import { compileVocabulary } from '../src/vocabulary.ts';
import { parseWorldFile } from '../src/worldfile.ts';
import { bytesPerCall } from './allocation.ts';
import { FakeClock } from './fakeclock.ts';

const vocabulary = compileVocabulary(parse(readFileSync(new URL('../vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const { world } = parseWorldFile({
  tenants: [{ id: 't' }],
  groups: [{ id: 'staff', type: 'USER', owner: 't' }],
  users: [{ id: 'ann', owner: 't', groups: ['staff'] }],
  entities: [{ id: 'd', type: 'DEVICE', owner: 't' }],
  roles: [{ id: 'reader', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }],
  grants: [{ id: 'g', userGroup: 'staff', role: 'reader' }],
});
const question = requestOf(vocabulary, { user: 'ann', operation: 'READ', resource: 'DEVICE', target: 'd' });

async function warm() {
  const clock = new FakeClock();
  let commits = 0;
  const memory = new MemorySource({ world, newId: () => `00000000-0000-4000-8000-${String(commits++).padStart(12, '0')}` });
  const cache = new PolicyCache({ vocabulary, source: memory, clock, random: () => 0.5 });
  cache.start();
  await clock.advance(1);
  const passed: Revision[] = [memory.revision];
  for (let i = 0; i < 3; i++) {
    passed.push(memory.commit((tables) => (i % 2 === 0 ? tables.remove('d') : tables.addEntity({ id: 'd', type: 'DEVICE', owner: 't', groups: [] }))));
    await clock.advance(1);
  }
  await cache.check(question);
  // As a client sends it: not the very string that the world holds.
  return { cache, clock, memory, passed: passed.map(({ version, id }) => parseRevision(`${version}-${id}`)) };
}

/** Answer or code, in this turn. */
function now(call: () => Decision | Promise<Decision>): string {
  try {
    const answer = call();
    if (!(answer instanceof Promise)) return answer.reason;
    answer.catch(() => undefined); // refused when the test closes the cache
    return 'waits';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('a check with options that are met', () => {
  test('of every revision that went by: answered in the same turn, as a hit, without a pull', async () => {
    const { cache, passed } = await warm();
    const { pulls } = cache.stats;
    const before = { ...pulls };
    const hits = cache.stats.hits;
    for (const atLeast of passed) expect(now(() => cache.check(question, undefined, { atLeast, maxStaleness: 1_000 }))).toBe('unknown-target');
    expect(cache.stats.hits - hits).toBe(passed.length);
    expect(pulls).toEqual(before);
  });

  test('a known version with another id, a later one, and `latest` are not met', async () => {
    const { cache, passed } = await warm();
    const { version, id } = passed.at(-1)!;
    expect(now(() => cache.check(question, undefined, { atLeast: { version, id: passed[0]!.id } }))).toBe('history');
    expect(now(() => cache.check(question, undefined, { atLeast: { version: version + 1, id } }))).toBe('waits');
    expect(now(() => cache.check(question, undefined, { atLeast: 'latest' }))).toBe('waits');
    cache.close();
  });

  test('nor is a smaller bound than the age of the state, whatever the token; nor any when the lease is over', async () => {
    const { cache, clock, memory, passed } = await warm();
    const atLeast = passed.at(-1)!;
    memory.stop(new Error('gone'));
    await clock.advance(500);
    expect(now(() => cache.check(question, undefined, { atLeast, maxStaleness: 300 }))).toBe('stale');
    expect(now(() => cache.check(question, undefined, { atLeast, maxStaleness: 1_000 }))).toBe('unknown-target');
    await clock.advance(1_600);
    expect(now(() => cache.check(question, undefined, { atLeast, maxStaleness: 10_000 }))).toBe('stale');
    cache.close();
  });

  test('costs no memory beyond that of a check without', async () => {
    const { cache, passed } = await warm();
    const bytes = (options?: CheckOptions): number => {
      let wrong = 0;
      const grown = bytesPerCall(() => {
        const answer = cache.check(question, undefined, options);
        if (answer instanceof Promise || answer.reason !== 'unknown-target') wrong++;
      }, 500);
      expect(wrong).toBe(0);
      return grown;
    };
    // The least of several: until it is compiled, the same code leaves numbers on the heap.
    const least = (options?: CheckOptions): number => Math.min(...Array.from({ length: 5 }, () => bytes(options)));
    const without = least();
    for (const atLeast of passed) expect(least({ atLeast, maxStaleness: 1_500, deadline: 100 }) - without).toBeLessThan(1);
  });
});
