// When does a cache tell its source where it is, so that a barrier can wait for it, and at whose cost?

import { describe, expect, test } from 'vitest';
import { started } from './watched.ts';

describe('reports to barriers', () => {
  const named = { follower: 'f' };

  test('the first pull of a session carries one, then one before a second is over; it promises a lease that covers what the pulls between prove', async () => {
    const { cache, memory, clock, asked } = await started(named);
    expect(memory.reports.get('f')).toEqual({ follower: 'f', head: null, leaseMs: 3_000 });
    expect(cache.stats.reports).toBe(1);
    await clock.advance(1_000);
    expect(cache.stats.reports).toBe(2);
    expect(memory.reports.get('f')).toEqual({ follower: 'f', head: memory.revision, leaseMs: 3_000 });
    const pulls = asked.pulls;
    await clock.advance(10_000);
    expect(asked.pulls - pulls).toBe(40);
    expect(cache.stats.reports).toBe(15); // with every third beat
  });

  test('a beat takes it along, so that the pull of a revocation does not wait for it', async () => {
    const { cache, memory, clock } = await started(named);
    await clock.advance(600);
    memory.awaitReports(memory.commit((tables) => tables.remove('g1')).version);
    await clock.advance(10); // one of its own, between two beats
    expect(cache.stats.pulls.report).toBe(1);
    await clock.advance(1_010);
    const { reports } = cache.stats;
    memory.commit((tables) => tables.remove('d1'));
    await clock.advance(1);
    expect(cache.stats).toMatchObject({ reports, pulls: { ring: 2 } });
  });

  test('whoever waits is told at once, and once', async () => {
    const { cache, memory, clock } = await started(named);
    await clock.advance(300);
    const revision = memory.commit((tables) => tables.remove('g1'));
    await clock.advance(1);
    const before = cache.stats.reports;
    memory.awaitReports(revision.version);
    await clock.advance(10);
    expect(memory.reports.get('f')?.head).toEqual(revision);
    expect(cache.stats).toMatchObject({ reports: before + 1, pulls: { report: 1 } });
    await clock.advance(500);
    expect(cache.stats.reports).toBe(before + 1);
    // What is not there yet is not reported.
    memory.awaitReports(revision.version + 1);
    await clock.advance(200);
    expect(cache.stats.reports).toBe(before + 1);
  });

  test('a new session reports before it proves anything', async () => {
    const { cache, memory, clock } = await started(named);
    memory.stop();
    memory.reports.clear();
    await clock.advance(100);
    memory.restart();
    await clock.advance(200);
    expect(cache.state().state).toBe('following');
    expect(memory.reports.get('f')?.head).toEqual(memory.revision);
  });

  test('without a name nobody is told', async () => {
    const { cache, memory, clock } = await started();
    memory.awaitReports(memory.revision.version);
    await clock.advance(3_000);
    expect(memory.reports.size).toBe(0);
    expect(cache.stats).toMatchObject({ reports: 0, pulls: { report: 0 } });
  });
});
