// Is a check that asks for a revision answered by a world that has it, or not at all?

import { describe, expect, test } from 'vitest';
import { PolicyCache } from '../src/cache.ts';
import { FakeClock } from './fakeclock.ts';
import { ask, now, started, vocabulary } from './watched.ts';

describe('tokens', () => {
  test('at least this revision: waits for the pull that brings it', async () => {
    const { cache, memory, clock, hold } = await started();
    await cache.check(ask('ann', 'd1'));
    const release = hold('ring'); // the doorbell is lost: the token alone makes it pull
    const revision = memory.commit((tables) => tables.remove('g1'));
    const answer = Promise.resolve(cache.check(ask('ann', 'd1'), undefined, { atLeast: revision }));
    await clock.advance(1);
    expect((await answer).allow).toBe(false);
    expect(now(cache.check(ask('ann', 'd1'), undefined, { atLeast: revision })).allow).toBe(false);
    await release();
  });

  test('latest: a pull sent after the request', async () => {
    const { cache, memory, clock, hold } = await started();
    await cache.check(ask('ann', 'd1'));
    hold('ring');
    memory.commit((tables) => tables.remove('g1'));
    expect((await cache.check(ask('ann', 'd1'), undefined, { atLeast: 'latest' })).allow).toBe(false);
    await clock.advance(1);
  });

  test('an older revision of this history, even one from before the cache began, is proved by asking the log', async () => {
    const { cache, memory } = await started();
    const first = memory.revision;
    memory.commit((tables) => tables.remove('d2'));
    const { cache: other, clock } = await (async () => {
      const otherClock = new FakeClock();
      const made = new PolicyCache({ vocabulary, source: memory, clock: otherClock, random: () => 0 });
      made.start();
      await otherClock.advance(1);
      return { cache: made, clock: otherClock };
    })();
    const answer = Promise.resolve(other.check(ask('ann', 'd1'), undefined, { atLeast: first }));
    await clock.advance(1);
    expect((await answer).allow).toBe(true);
    cache.close();
  });

  test('a revision of another history: history, and one re-attachment however often it is asked', async () => {
    const { cache, memory, clock, asked } = await started();
    await cache.check(ask('ann', 'd1'));
    const foreign = { version: memory.revision.version, id: 'ffffffff-ffff-4fff-8fff-ffffffffffff' };
    const high = { version: memory.revision.version + 100, id: 'ffffffff-ffff-4fff-8fff-ffffffffffff' };
    for (const atLeast of [foreign, high, foreign, high]) {
      const answer = Promise.resolve()
        .then(() => cache.check(ask('ann', 'd1'), undefined, { atLeast }))
        .then(
          () => 'answered',
          (error: { code: string }) => error.code,
        );
      await clock.advance(90);
      expect(await answer).toBe('history');
    }
    expect(asked.attaches).toBe(2);
    expect(now(cache.check(ask('ann', 'd1'))).allow).toBe(true);
    expect(cache.stats.resets.history).toBe(0);
  });
});
