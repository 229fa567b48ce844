// How does a test see what a cache asks of its source, hold back its answers, and let its time go by?

import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { PolicyCache } from '../src/cache.ts';
import type { CacheSettings } from '../src/options.ts';
import { requestOf } from '../src/compile.ts';
import { MemorySource } from '../src/memory.ts';
import type { Held } from '../src/memory.ts';
import type { AccessRequest, Decision } from '../src/model.ts';
import type { Attachment, ClassKey, Source } from '../src/source.ts';
import { compileVocabulary } from '../src/vocabulary.ts';
import { parseWorldFile } from '../src/worldfile.ts';
import { FakeClock, settle } from './fakeclock.ts';

export const vocabulary = compileVocabulary(parse(readFileSync(new URL('../vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
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
export function setUp(settings: Partial<CacheSettings> = {}) {
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

export async function started(settings: Partial<CacheSettings> = {}) {
  const all = setUp(settings);
  all.cache.start();
  await all.clock.advance(1);
  await all.cache.ready(0);
  return all;
}

export const ask = (user: string, target: string, operation = 'READ'): AccessRequest => requestOf(vocabulary, { user, operation, resource: 'DEVICE', target });
export const now = (value: Decision | Promise<Decision>): Decision => {
  if (value instanceof Promise) throw new Error('expected an answer in this turn, got a promise');
  return value;
};
