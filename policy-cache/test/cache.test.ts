// Does the shell around the protocol keep its word: hits without a promise, one flight per key, leases, deadlines?

import { describe, expect, test } from 'vitest';
import type { Decision } from '../src/model.ts';
import type { CheckStatus } from '../src/options.ts';
import { settle } from './fakeclock.ts';
import { ask, now, setUp, started } from './watched.ts';

describe('a hit and a miss', () => {
  test('a miss is a promise, the second time it is answered in the same turn, and says by whom', async () => {
    const { cache, asked } = await started();
    expect((await cache.check(ask('cy', 'd2'))).allow).toBe(true);
    const status: CheckStatus = { tenant: '?', customer: '?', revision: null, hit: false };
    expect(now(cache.check(ask('cy', 'd2'), status))).toMatchObject({ allow: true, reason: 'generic', rule: '6a' });
    expect(status).toMatchObject({ tenant: 't', customer: 'c', hit: true });
    expect(now(cache.check(ask('cy', 'nothing', 'nonsense'))).reason).toBe('unknown-vocabulary');
    expect(asked.objects).toEqual([['cy'], ['d2']]);
    expect(cache.stats).toMatchObject({ hits: 2, misses: 1 });
  });

  test('a stranger causes no reading of the target', async () => {
    const { cache, asked } = await started();
    expect((await cache.check(ask('nobody', 'd1'))).reason).toBe('unknown-subject');
    expect(asked.objects).toEqual([['nobody']]);
    expect(now(cache.check(ask('nobody', 'd1'))).reason).toBe('unknown-subject');
  });

  test('users with the same owner and groups share one class', async () => {
    const { cache, asked } = await started();
    await cache.check(ask('ann', 'd1'));
    await cache.check(ask('ben', 'd1'));
    expect(asked.classes).toHaveLength(1);
    expect(cache.sizes()).toMatchObject({ subjects: 2, classes: 1, targets: 1 });
  });

  test('50 first checks of one user at once are all answered, each key asked for once', async () => {
    const { cache, asked } = await started();
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => cache.check(ask('cy', `m${i}`))));
    expect(answers.every(({ allow }) => allow)).toBe(true);
    const keys = asked.objects.flat();
    expect(new Set(keys).size).toBe(keys.length);
    expect(asked.objects.length).toBeLessThan(keys.length / 2);
    expect(asked.classes).toHaveLength(1);
  });

  test('of one subject at most 10 keys fly and 200 wait; what is beyond is told at once', async () => {
    const { cache, asked, hold, clock } = await started();
    await cache.check(ask('cy', 'd2'));
    const release = hold('objects');
    const answers = Array.from({ length: 250 }, (_, i) =>
      Promise.resolve()
        .then(() => cache.check(ask('cy', `m${i}`)))
        .then(
          () => 'answered',
          (error: { code: string }) => error.code,
        ),
    );
    await settle();
    const flying = asked.objects.flat().length - 2;
    expect(flying).toBeLessThanOrEqual(10);
    const other = Promise.resolve(cache.check(ask('ann', 'd1')));
    await release();
    expect((await other).allow).toBe(true);
    await clock.advance(1);
    const counts = new Map<string, number>();
    for (const answer of await Promise.all(answers)) counts.set(answer, (counts.get(answer) ?? 0) + 1);
    expect(Object.fromEntries(counts)).toEqual({ answered: flying + 200, overload: 50 - flying });
  });
});

describe('what changes', () => {
  test('a revocation is refused once the pull is applied; nothing else is read again', async () => {
    const { cache, memory, clock, asked } = await started();
    for (const user of ['ann', 'cy']) await cache.check(ask(user, 'd2'));
    const before = asked.objects.length;
    memory.commit((tables) => tables.remove('g1'));
    expect(now(cache.check(ask('ann', 'd2'))).allow).toBe(true);
    await clock.advance(1);
    expect(await cache.check(ask('ann', 'd2'))).toMatchObject({ allow: false, reason: 'no-grant' });
    expect(now(cache.check(ask('cy', 'd2'))).allow).toBe(true);
    expect(asked.objects.length).toBe(before);
  });

  test('a fill that read before the change is not let in', async () => {
    const { cache, memory, clock, hold } = await started();
    await cache.check(ask('ann', 'd1'));
    const release = hold('objects');
    const answer = Promise.resolve(cache.check(ask('ann', 'd2')));
    await settle();
    memory.commit((tables) => tables.remove('d2'));
    await clock.advance(1);
    await release();
    expect((await answer).reason).toBe('unknown-target');
    expect(cache.stats.fillsRefused).toBe(1);
  });

  test('a fill that is ahead waits for the pull', async () => {
    const { cache, memory, clock, hold } = await started();
    await cache.check(ask('ann', 'd1'));
    const release = hold('pull');
    memory.commit((tables) => tables.removeMember('cy', 'guests'));
    await settle();
    const answer = Promise.resolve(cache.check(ask('ann', 'd2')));
    await clock.advance(50);
    expect(cache.sizes().targets).toBe(1);
    await release();
    expect((await answer).allow).toBe(true);
    expect(cache.stats.fillsRefused).toBe(0);
  });

  test('a customer that moves invalidates nobody, and flips what the tree decides', async () => {
    const { cache, memory, clock, asked } = await started();
    memory.commit((tables) => tables.addCustomer({ id: 'c2', owner: 't', groups: [] }));
    await clock.advance(1);
    expect((await cache.check(ask('cy', 'd1'))).reason).toBe('out-of-scope');
    memory.commit((tables) => tables.changeOwner('c', 'c2'));
    await clock.advance(1);
    const statements = asked.objects.length;
    expect(now(cache.check(ask('cy', 'd1'))).reason).toBe('out-of-scope');
    expect(asked.objects.length).toBe(statements);
  });

  test('everything touched by hand: one RESET, the old world answers on, and every check is answered', async () => {
    const { cache, memory, clock, hold } = await started();
    await cache.check(ask('ann', 'd1'));
    const release = hold('load');
    memory.touch('*');
    await clock.advance(1);
    expect(now(cache.check(ask('ann', 'd1'))).allow).toBe(true);
    await release();
    await clock.advance(1);
    expect(cache.stats.resets).toMatchObject({ start: 1, everything: 1 });
    expect(cache.sizes().targets).toBe(0);
    expect((await Promise.all(Array.from({ length: 50 }, (_, i) => cache.check(ask('ann', `m${i}`))))).every(({ allow }) => allow)).toBe(true);
  });
});

describe('when it cannot decide', () => {
  const code = async (value: () => Decision | Promise<Decision>): Promise<string> =>
    Promise.resolve()
      .then(value)
      .then(
        () => 'answered',
        (error: { code: string }) => error.code,
      );

  test('before the first world: starting', async () => {
    const { cache } = setUp();
    expect(() => cache.check(ask('ann', 'd1'))).toThrow(expect.objectContaining({ code: 'starting' }));
    await expect(started().then(({ cache: other }) => (other.close(), other.check(ask('ann', 'd1'))))).rejects.toMatchObject({ code: 'starting' });
  });

  test('the source gone: answers go on until the lease ends, then stale; back again: the cache is kept', async () => {
    const { cache, memory, clock, asked } = await started();
    await cache.check(ask('ann', 'd1'));
    memory.stop(new Error('shutting down'));
    await clock.advance(1_900);
    expect(cache.state()).toMatchObject({ state: 'detached', fresh: true, cause: 'shutting down' });
    expect(now(cache.check(ask('ann', 'd1'))).allow).toBe(true);
    await clock.advance(200);
    expect(await code(() => cache.check(ask('ann', 'd1')))).toBe('stale');
    expect(cache.state().fresh).toBe(false);
    memory.restart();
    await clock.advance(2_100);
    expect(now(cache.check(ask('ann', 'd1'))).allow).toBe(true);
    expect(asked.objects).toHaveLength(2);
    expect(cache.stats.resets).toMatchObject({ start: 1, history: 0 });
    expect(cache.state()).toMatchObject({ state: 'following', cause: null });
  });

  test('attempts to attach are spaced out: 20 ms doubling to 2 s, with jitter', async () => {
    const { cache, memory, clock, asked } = await started();
    memory.stop();
    await clock.advance(60_000);
    expect(asked.attaches).toBeGreaterThan(30);
    expect(asked.attaches).toBeLessThan(60);
    expect(cache.state().state).toBe('detached');
  });

  test('a held fill ends at the deadline, and a caller may ask for a fresher answer than the cache would give', async () => {
    const { cache, clock, hold, memory } = await started();
    await cache.check(ask('ann', 'd1'));
    hold('objects');
    const late = code(() => cache.check(ask('ann', 'd2')));
    await clock.advance(101);
    expect(await late).toBe('deadline');
    expect(cache.stats.unavailable.deadline).toBe(1);
    memory.stop();
    await clock.advance(500);
    expect(await code(() => cache.check(ask('ann', 'd1'), undefined, { maxStaleness: 300 }))).toBe('stale');
    expect(await code(() => cache.check(ask('ann', 'd1'), undefined, { maxStaleness: 1_000 }))).toBe('answered');
  });

  test('a database that does not answer a fill is named as the cause, however long the check would wait', async () => {
    const { cache, clock, hold, asked } = await started();
    await cache.check(ask('ann', 'd1'));
    hold('objects');
    const before = asked.objects.length;
    const answer = code(() => cache.check(ask('ann', 'd2'), undefined, { deadline: 10_000 }));
    await clock.advance(5 * 250 + 1);
    expect(await answer).toBe('source');
    expect(asked.objects.length - before).toBe(5);
  });
});
