// Is a table of ids a Map from id to number, for ids of every kind?

import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { NONE } from 'policy-cache';
import { expect, test } from 'vitest';
import { IdTable } from '../src/idtable.ts';
import { seed } from './support.ts';

const uuid = fc.uuid();
/** UUIDs, what looks like one and is none, and names. */
const ids = fc.oneof(
  uuid,
  uuid.map((id) => id.toUpperCase()),
  uuid.map((id) => `${id.slice(0, -1)}g`),
  uuid.map((id) => id.replace('-', '0')),
  // Letters whose code ends in the same bits as a digit's.
  uuid.map((id) => id.replace(/[0-9]/, (digit) => String.fromCharCode(digit.charCodeAt(0) + 0x80))),
  uuid.map((id) => `${id} `),
  fc.constantFrom('', 'tenant', '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
  fc.string({ unit: 'binary' }),
);

test(`every id has its own number, and every number its id (GRANTGATE_SEED=${seed})`, () => {
  fc.assert(
    fc.property(fc.array(ids, { maxLength: 400, size: 'max' }), fc.array(ids, { maxLength: 50 }), fc.boolean(), (added, others, trims) => {
      let table = new IdTable();
      const truth = new Map<string, number>();
      added.forEach((id, i) => {
        expect(table.number(id)).toBe(truth.get(id) ?? NONE);
        if (!truth.has(id)) truth.set(id, truth.size);
        expect(table.add(id)).toBe(truth.get(id));
        if (i % 100 === 99 && trims) table.trim();
        if (i % 150 === 149) table = table.copy();
      });
      for (const [id, number] of truth) expect([table.number(id), table.id(number)]).toEqual([number, id]);
      for (const id of others) expect(table.number(id)).toBe(truth.get(id) ?? NONE);
      expect(table.size).toBe(truth.size);
    }),
    { seed, numRuns: 200 },
  );
});

test('a hundred thousand of them: random, counted up, and alike but for their first digits', () => {
  const kinds = [
    () => randomUUID(),
    (i: number) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`,
    (i: number) => `${String(i).padStart(8, '0')}-0000-4000-8000-000000000000`,
  ];
  for (const kind of kinds) {
    const table = new IdTable();
    const all = Array.from({ length: 100_000 }, (_, i) => kind(i));
    expect(all.findIndex((id, i) => table.add(id) !== i)).toBe(-1);
    table.trim();
    expect(all.findIndex((id, i) => table.number(id) !== i || table.id(i) !== id)).toBe(-1);
    expect(table.number(randomUUID())).toBe(NONE);
  }
});

test('a copy goes its own way', () => {
  const table = new IdTable();
  for (const id of ['a', randomUUID(), randomUUID()]) table.add(id);
  const copy = table.copy();
  const [one, other] = [randomUUID(), randomUUID()];
  expect([table.add(one), copy.add(other)]).toEqual([3, 3]);
  expect([table.number(other), copy.number(one)]).toEqual([NONE, NONE]);
  expect([table.id(3), copy.id(3)]).toEqual([one, other]);
});
