// Does a bounded store keep what was asked about lately, and say exactly what it has?

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RecentStore } from '../src/recent.ts';
import { seed } from './support.ts';

interface Entry {
  readonly name: string;
  used: boolean;
}
const entry = (name: string): Entry => ({ name, used: false });
const uuid = (number: number): string =>
  `${(Math.imul(number, 2_654_435_761) >>> 0).toString(16).padStart(8, '0')}-0000-4000-8000-${String(number).padStart(12, '0')}`;
/** Large enough to be made of parts. */
const LARGE = 300_000;
/** As a check that is answered from memory does. */
function use(store: RecentStore<Entry>, id: string): boolean {
  const found = store.get(id);
  if (found !== undefined) found.used = true;
  return found !== undefined;
}

test(`it is a Map for whatever it has not let go (GRANTGATE_SEED=${seed})`, () => {
  const steps = fc.array(fc.tuple(fc.constantFrom('set', 'set', 'set', 'get', 'delete'), fc.nat(300)), { maxLength: 1_000, size: 'max' });
  fc.assert(
    fc.property(steps, (all) => {
      const store = new RecentStore<Entry>(64);
      const truth = new Map<string, Entry>();
      for (const [what, number] of all) {
        const id = `device-${number}`;
        if (what === 'set') {
          const made = entry(id);
          store.set(id, made);
          truth.set(id, made);
          expect(store.get(id)).toBe(made);
        } else if (what === 'delete') {
          store.delete(id);
          truth.delete(id);
        }
        const found = store.get(id);
        if (found !== undefined) expect(found).toBe(truth.get(id));
      }
      expect(store.size).toBeLessThanOrEqual(64);
      const kept = [...store.keys()];
      expect(kept).toHaveLength(store.size);
      expect(kept.filter((id) => store.get(id) !== truth.get(id))).toEqual([]);
    }),
    { seed, numRuns: 50 },
  );
});

test.each([
  ['one part', 1_000],
  ['many parts', LARGE],
])('what is asked about again and again stays, whatever else comes by: %s', (_, limit) => {
  const store = new RecentStore<Entry>(limit);
  const hot = Array.from({ length: limit >> 2 }, (__, i) => uuid(i));
  for (const id of hot) store.set(id, entry(id));
  let missed = 0;
  for (let i = 0; i < 4 * limit; i++) {
    const stranger = uuid(1_000_000 + i);
    store.set(stranger, entry(stranger));
    const id = hot[i % hot.length]!;
    if (!use(store, id)) {
      missed++;
      store.set(id, entry(id));
    }
  }
  expect(store.size).toBeGreaterThan(limit * 0.9);
  expect(store.size).toBeLessThanOrEqual(limit);
  expect(missed / (4 * limit)).toBeLessThan(0.001);
});

test('a store whose every entry is in use lets some go all the same, and never the newest', () => {
  const store = new RecentStore<Entry>(LARGE);
  let lost = 0;
  for (let i = 0; i < 2 * LARGE; i++) {
    const id = uuid(i);
    store.set(id, entry(id));
    if (!use(store, id)) lost++;
  }
  expect(lost).toBe(0);
  expect(store.size).toBeGreaterThan(LARGE * 0.9);
});

test('ids that fall into one part are kept as well as others', () => {
  const store = new RecentStore<Entry>(LARGE);
  const alike = Array.from({ length: LARGE }, (_, i) => `${String(i).padStart(8, '0')}-aaaaaaaaaaaaaaaaaaaaaaaaaaaa`);
  for (const id of alike) store.set(id, entry(id));
  expect(store.size).toBe(LARGE);
  store.set('x', entry('x'));
  expect(store.get('x')?.name).toBe('x');
});

test('what is put in anew is the youngest again', () => {
  const store = new RecentStore<Entry>(1_000);
  for (let i = 0; i < 1_000; i++) store.set(uuid(i), entry(uuid(i)));
  store.set(uuid(0), entry(uuid(0)));
  store.set('one more', entry('one more'));
  expect(store.get(uuid(0))).toBeDefined();
  expect(store.get(uuid(1))).toBeUndefined();
});

test.each([
  ['random', (i: number) => `${uuid(i).slice(0, 24)}${(Math.imul(i, 0x9e3779b1) >>> 0).toString(16).padStart(12, '0')}`],
  ['of a clock, as ThingsBoard makes them', (i: number) => `${((i * 7_919) >>> 0).toString(16).padStart(8, '0')}-4c1a-11ee-9d2b-8f6a3b1c5d7e`],
  ['numbers', (i: number) => String(i)],
  ['names', (i: number) => `meter-${String(i).padStart(8, '0')}`],
])('no part of a large store is much larger than others: ids %s', (_, id) => {
  const store = new RecentStore<Entry>(8_000_000);
  const count = 100_000;
  for (let i = 0; i < count; i++) store.set(id(i), entry(id(i)));
  const parts = new Map<object, number>();
  for (let i = 0; i < count; i++) {
    const part = store.partOf(id(i));
    parts.set(part, (parts.get(part) ?? 0) + 1);
  }
  expect(Math.max(...parts.values())).toBeLessThan((6 * count) / 64);
});

test.each([
  ['one part', 1_000],
  ['many parts', LARGE],
])('its ids come as whoever has room for a few wants them, those in use first: %s', (_, limit) => {
  const store = new RecentStore<Entry>(limit);
  for (let i = 0; i < 900; i++) store.set(uuid(i), entry(uuid(i)));
  const hot = [3, 500, 899].map(uuid);
  for (const id of hot) use(store, id);
  const ids = [...store.keys()];
  expect(ids).toHaveLength(900);
  expect(new Set(ids.slice(0, 3))).toEqual(new Set(hot));
});
