// Does the shell around the protocol keep its word: hits without a promise, one flight per key, leases, deadlines, tokens?

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { PolicyCache } from '../src/cache.ts';
import type { CacheSettings, CheckStatus } from '../src/options.ts';
import { requestOf } from '../src/compile.ts';
import { MemorySource } from '../src/memory.ts';
import type { Held } from '../src/memory.ts';
import type { AccessRequest, Decision } from '../src/model.ts';
import type { Attachment, ClassKey, Source } from '../src/source.ts';
import { compileVocabulary } from '../src/vocabulary.ts';
import { parseWorldFile } from '../src/worldfile.ts';
import { FakeClock, settle } from './fakeclock.ts';

const vocabulary = compileVocabulary(parse(readFileSync(new URL('../vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const { world } = parseWorldFile({
  tenants: [{ id: 't' }],
  customers: [{ id: 'c', owner: 't' }],
  groups: [
    { id: 'staff', type: 'USER', owner: 't' },
    { id: 'guests', type: 'USER', owner: 'c' },
  ],
  users: [
    { id: 'ann', owner: 't', groups: ['staff'] },
    { id: 'ben', owner: 't', groups: ['staff'] },
    { id: 'cy', owner: 'c', groups: ['guests'] },
  ],
  entities: [
    { id: 'd1', type: 'DEVICE', owner: 't' },
    { id: 'd2', type: 'DEVICE', owner: 'c' },
    ...Array.from({ length: 60 }, (_, i) => ({ id: `m${i}`, type: 'DEVICE', owner: 'c' })),
  ],
  roles: [{ id: 'reader', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }],
  grants: [
    { id: 'g1', userGroup: 'staff', role: 'reader' },
    { id: 'g2', userGroup: 'guests', role: 'reader' },
  ],
});

/** A memory source that counts what it is asked, and whose answers a test may hold back. */
function setUp(settings: Partial<CacheSettings> = {}) {
  const clock = new FakeClock();
  const holds = new Map<Held, Promise<void>>();
  let commits = 0;
  const memory = new MemorySource({ world, newId: () => `00000000-0000-4000-8000-${String(commits++).padStart(12, '0')}`, hold: (what) => holds.get(what) });
  const asked = { objects: [] as (readonly string[])[], classes: [] as (readonly ClassKey[])[], attaches: 0, pulls: 0 };
  const source: Source = {
    async attach(on): Promise<Attachment> {
      asked.attaches++;
      const inner = await memory.attach(on);
      return {
        pull: (request) => (asked.pulls++, inner.pull(request)),
        load: (take) => inner.load(take),
        close: () => inner.close(),
        objects: (ids) => (asked.objects.push(ids), inner.objects(ids)),
        classes: (keys) => (asked.classes.push(keys), inner.classes(keys)),
        keys: (hashes) => inner.keys(hashes),
      };
    },
  };
  const cache = new PolicyCache({ vocabulary, source, clock, random: () => 0.5, ...settings });
  const hold = (what: Held): (() => Promise<void>) => {
    let release: () => void = () => undefined;
    holds.set(what, new Promise((resolve) => (release = resolve)));
    return async () => {
      holds.delete(what);
      release();
      await settle();
    };
  };
  return { cache, clock, memory, asked, hold };
}

async function started(settings: Partial<CacheSettings> = {}) {
  const all = setUp(settings);
  all.cache.start();
  await all.clock.advance(1);
  await all.cache.ready(0);
  return all;
}

const ask = (user: string, target: string, operation = 'READ'): AccessRequest => requestOf(vocabulary, { user, operation, resource: 'DEVICE', target });
const now = (value: Decision | Promise<Decision>): Decision => {
  if (value instanceof Promise) throw new Error('expected an answer in this turn, got a promise');
  return value;
};

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
