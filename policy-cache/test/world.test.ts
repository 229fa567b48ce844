// What does a world keep of the changes that it was told, and what does it say of those that it has forgotten?

import { expect, test } from 'vitest';
import { OwnerTree, type Change, type PullReply } from 'policy-cache';
import { applyPull, newWorld, provedObject, type World } from '../src/world.ts';

const store = () => ({ get: () => undefined, set: () => undefined, evict: () => undefined, size: 0 });
const id = (version: number): string => `id-${version}`;
function world(): World {
  return newWorld({ version: 0, id: id(0) }, new OwnerTree(), { subjects: store(), targets: store(), absent: store(), classes: store() } as never);
}
/** Version by version, one key each: `k1` at 1, `k2` at 2, … */
function pull(of: World, keys: number, limit: number): void {
  const from = of.head.version;
  const changes = Array.from({ length: keys }, (_, i): Change => [from + i + 1, id(from + i + 1), 'o', [`k${from + i + 1}`]]);
  const head = { version: from + keys, id: id(from + keys) };
  const reply: PullReply = {
    pid: 1,
    timeline: null,
    head,
    over: false,
    cursorId: id(from),
    changes,
    tree: [],
    answers: [],
    awaited: null,
    queueUsage: null,
    lagMs: null,
  };
  applyPull(of, reply, limit);
}

test('keys beyond the limit are forgotten a tenth at once, the oldest first, and the floor says up to where', () => {
  const kept = world();
  pull(kept, 100, 100);
  expect([kept.touched.o.size, kept.floor.o]).toEqual([100, 0]);
  pull(kept, 1, 100);
  expect([kept.touched.o.size, kept.floor.o]).toEqual([90, 11]);
  expect([kept.touched.o.has('k11'), kept.touched.o.get('k12')]).toEqual([false, 12]);
  pull(kept, 10, 100);
  expect([kept.touched.o.size, kept.floor.o]).toEqual([100, 11]);
});

test('an entry from before what was forgotten is not served; one of the same age as the floor is', () => {
  const kept = world();
  pull(kept, 101, 100);
  const entry = (at: number) => ({ at }) as never;
  expect(provedObject(kept, 'x', entry(10))).toBe(false);
  expect(provedObject(kept, 'x', entry(11))).toBe(true);
  expect(provedObject(kept, 'k12', entry(11))).toBe(false);
});

test('a key that is touched again is the youngest', () => {
  const kept = world();
  pull(kept, 100, 100);
  const head = { version: 102, id: id(102) };
  const changes: readonly Change[] = [
    [101, id(101), 'o', ['k1']],
    [102, id(102), 'o', ['new']],
  ];
  applyPull(
    kept,
    { pid: 1, timeline: null, head, over: false, cursorId: id(100), changes, tree: [], answers: [], awaited: null, queueUsage: null, lagMs: null },
    100,
  );
  expect([kept.touched.o.get('k1'), kept.touched.o.has('k2'), kept.floor.o]).toEqual([101, false, 12]);
});

test('ids of versions are kept for 65,536, less a tenth when they are more', () => {
  const kept = world();
  pull(kept, 70_000, 1_000_000);
  expect(kept.ids.size).toBeGreaterThan(58_000);
  expect(kept.ids.size).toBeLessThanOrEqual(65_536);
  expect([kept.ids.get(70_000), kept.ids.get(1)]).toEqual([id(70_000), undefined]);
});
