// What may callers, observers and odd values do to the cache? Nothing that stops it, keeps it alive, or makes it answer too late.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { PolicyCache } from '../src/cache.ts';
import { requestOf } from '../src/compile.ts';
import { MemorySource } from '../src/memory.ts';
import type { Held } from '../src/memory.ts';
import type { AccessRequest } from '../src/model.ts';
import type { CacheSettings } from '../src/options.ts';
import { compileVocabulary } from '../src/vocabulary.ts';
import { parseWorldFile } from '../src/worldfile.ts';
import { FakeClock, settle } from './fakeclock.ts';

const vocabulary = compileVocabulary(parse(readFileSync(new URL('../vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const { world } = parseWorldFile({
  tenants: [{ id: 't' }],
  groups: [{ id: 'staff', type: 'USER', owner: 't' }],
  users: [{ id: 'ann', owner: 't', groups: ['staff'] }],
  entities: ['d1', 'd2', 'd3'].map((id) => ({ id, type: 'DEVICE', owner: 't' })),
  roles: [{ id: 'reader', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }],
  grants: [{ id: 'g1', userGroup: 'staff', role: 'reader' }],
});

async function started(settings: Partial<CacheSettings> = {}) {
  const clock = new FakeClock();
  const holds = new Map<Held, Promise<void>>();
  let commits = 0;
  const memory = new MemorySource({
    world,
    newId: () => `00000000-0000-4000-8000-${String(commits++).padStart(12, '0')}`,
    hold: (what) => holds.get(what),
  });
  const cache = new PolicyCache({ vocabulary, source: memory, clock, random: () => 0.5, ...settings });
  const hold = (what: Held): (() => void) => {
    let release: () => void = () => undefined;
    holds.set(what, new Promise((resolve) => (release = resolve)));
    return () => {
      holds.delete(what);
      release();
    };
  };
  cache.start();
  await clock.advance(1);
  await cache.ready(0);
  return { cache, clock, memory, hold };
}

const ask = (target: string): AccessRequest => requestOf(vocabulary, { user: 'ann', operation: 'READ', resource: 'DEVICE', target });
const outcome = (work: () => unknown): Promise<unknown> =>
  Promise.resolve()
    .then(work)
    .then(
      (value) => (value as { allow: boolean }).allow,
      (error: unknown) => (error as { code?: string }).code ?? error,
    );

describe('a reading of the clock that is handed in', () => {
  test('is the one that a hit is judged by, and past the bound there is none', async () => {
    const { cache, clock, memory } = await started();
    await cache.check(ask('d1'));
    memory.stop();
    await clock.advance(500);
    let readings = 0;
    const read = clock.now.bind(clock);
    clock.now = () => (readings++, read());
    const { hits } = cache.stats;
    expect(cache.check(ask('d1'), undefined, undefined, read())).toMatchObject({ allow: true });
    expect(cache.check(ask('d1'), undefined, { maxStaleness: 1_000 }, read())).toMatchObject({ allow: true });
    expect([readings, cache.stats.hits - hits]).toEqual([0, 2]);
    expect(await outcome(() => cache.check(ask('d1'), undefined, { maxStaleness: 300 }, read()))).toBe('stale');
    await clock.advance(2_000);
    expect(await outcome(() => cache.check(ask('d1'), undefined, undefined, read()))).toBe('stale');
    expect(await outcome(() => cache.check(ask('d1'), undefined, { maxStaleness: 10_000 }, read()))).toBe('stale');
    cache.close();
  });

  test('that is no number is none', async () => {
    const { cache, clock, memory } = await started();
    await cache.check(ask('d1'));
    memory.stop();
    await clock.advance(2_100);
    expect(await outcome(() => cache.check(ask('d1'), undefined, undefined, Number.NaN))).toBe('stale');
    cache.close();
  });
});

describe('bounds that are no numbers', () => {
  test('a lease of NaN is no lease', async () => {
    const { cache, clock, memory } = await started();
    await cache.check(ask('d1'));
    expect(await outcome(() => cache.check(ask('d1'), undefined, { maxStaleness: Number.NaN }))).toBe('stale');
    memory.stop();
    await clock.advance(3_600_000);
    expect(await outcome(() => cache.check(ask('d1'), undefined, { maxStaleness: Number.NaN }))).toBe('stale');
    const other = await started({ maxStaleness: Number.NaN });
    expect(await outcome(() => other.cache.check(ask('d1')))).toBe('stale');
  });
});

describe('an observer that throws', () => {
  test('loses what it was told, and nothing else', async () => {
    const boom = (): never => {
      throw new Error('a broken gauge');
    };
    const { cache, clock, memory } = await started({ observer: { applied: boom, filled: boom, event: boom } });
    expect(await outcome(() => cache.check(ask('d1')))).toBe(true);
    memory.commit((tables) => tables.remove('g1'));
    await clock.advance(1);
    expect(await outcome(() => cache.check(ask('d1')))).toBe(false);
    memory.stop();
    await clock.advance(100);
    memory.restart();
    await clock.advance(4_000);
    expect(cache.state()).toMatchObject({ state: 'following', fresh: true });
  });

  test('may close the cache', async () => {
    const { cache, clock, memory } = await started({ observer: { event: ({ kind }) => void (kind === 'closed' && cache.close()) } });
    const waiting = outcome(() => cache.check(ask('d1'), undefined, { atLeast: { version: 99, id: 'ffffffff-ffff-4fff-8fff-ffffffffffff' } }));
    memory.stop();
    await clock.advance(1);
    expect(await waiting).toBe('starting');
    expect(cache.stats.unavailable).toMatchObject({ starting: 1 });
  });
});

test('a request that cannot be decided at all fails by itself, and others go on', async () => {
  const { cache, clock } = await started();
  const bad = outcome(() => cache.check({ ...ask('*'), operation: vocabulary.operation('CREATE'), groups: [undefined as unknown as string] }));
  const good = outcome(() => cache.check(ask('d1')));
  await clock.advance(1);
  expect(await bad).toBeInstanceOf(TypeError);
  expect(await good).toBe(true);
});

describe('an outage shorter than the deadline', () => {
  test('a check that waits is answered by the next attachment', async () => {
    const { cache, clock, memory, hold } = await started({ maxStaleness: 60_000 });
    await cache.check(ask('d1'));
    const release = hold('objects');
    const waiting = outcome(() => cache.check(ask('d2'), undefined, { deadline: 10_000 }));
    await settle();
    memory.stop();
    const later = outcome(() => cache.check(ask('d3'), undefined, { deadline: 10_000 }));
    await clock.advance(3_000);
    memory.restart();
    release();
    await clock.advance(3_000);
    expect(await Promise.all([waiting, later])).toEqual([true, true]);
  });
});

describe('after close', () => {
  test('no timer is left, whoever waits is told, and it cannot be started again', async () => {
    const { cache, clock, memory, hold } = await started();
    await cache.check(ask('d1'));
    hold('objects');
    const check = outcome(() => cache.check(ask('d2')));
    memory.stop();
    await settle();
    cache.close();
    expect(await check).toBe('starting');
    expect(await outcome(() => cache.check(ask('d1')))).toBe('starting');
    expect(clock.timers).toBe(0);
    await expect(cache.ready(1_000)).rejects.toMatchObject({ code: 'starting' });
    cache.start();
    expect(clock.timers).toBe(0);
  });

  test('whoever waits for readiness is told', async () => {
    const clock = new FakeClock();
    const memory = new MemorySource({ newId: () => '00000000-0000-4000-8000-000000000000' });
    memory.stop(new Error('shutting down'));
    const cache = new PolicyCache({ vocabulary, source: memory, clock, random: () => 0.5 });
    cache.start();
    const ready = outcome(() => cache.ready(30_000));
    await clock.advance(100);
    cache.close();
    expect(await ready).toBe('starting');
    expect(clock.timers).toBe(0);
  });

  test('started twice is started once', async () => {
    const { cache, clock } = await started();
    const before = clock.timers;
    cache.start();
    await clock.advance(1);
    expect(clock.timers).toBe(before);
    expect(cache.stats.attaches).toBe(1);
  });
});
