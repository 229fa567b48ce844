// How much is kept of each kind of entry?

import { LRUCache } from 'lru-cache';
import type { CacheLimits, CacheSizes } from './options.ts';
import { RecentStore } from './recent.ts';
import type { Stores, World } from './world.ts';

export const LIMITS: CacheLimits = { subjects: 100_000, targets: 1_000_000, absent: 20_000, classes: 50_000, keys: 100_000, touched: 200_000 };

export function newStores(limits: CacheLimits): Stores {
  return {
    subjects: new RecentStore(limits.subjects),
    targets: new RecentStore(limits.targets),
    absent: new RecentStore(limits.absent),
    classes: bounded(limits.classes),
    keys: new RecentStore(limits.keys),
    absentKeys: new RecentStore(limits.absent),
  };
}

export function sizesOf(world: World | null): CacheSizes {
  return {
    subjects: world?.subjects.size ?? 0,
    targets: world?.targets.size ?? 0,
    absent: world?.absent.size ?? 0,
    classes: world?.classes.size ?? 0,
    keys: world?.keys.size ?? 0,
    nodes: world?.tree.size ?? 0,
  };
}

/** For permission classes, which a check that hits reaches by its subject. By `maxSize`, not `max`, which lays out all slots at once. */
function bounded<V extends object>(entries: number): LRUCache<string, V> {
  return new LRUCache<string, V>({ maxSize: entries, sizeCalculation: () => 1 });
}
