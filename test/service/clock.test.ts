import { expect, test } from 'vitest';
import { hostClock, steadyNow } from '../../src/clock.ts';

function readings() {
  const at = { monotonic: 1000, wall: 1_700_000_000_000 };
  return { at, read: { monotonic: () => at.monotonic, wall: () => at.wall } };
}

test('it follows the monotonic clock while both clocks agree', () => {
  const { at, read } = readings();
  const now = steadyNow(read);
  for (let i = 1; i <= 1000; i++) {
    at.monotonic += 10.4;
    at.wall += i % 2 === 0 ? 10 : 11; // the wall clock counts whole milliseconds
    expect(now()).toBeCloseTo(1000 + i * 10.4, 6);
  }
});

test('a suspension counts: the wall clock went on, the monotonic one stood', () => {
  const { at, read } = readings();
  const now = steadyNow(read);
  at.monotonic += 3;
  at.wall += 60_003;
  expect(now()).toBe(1000 + 60_003);
  at.monotonic += 10;
  at.wall += 10;
  expect(now()).toBe(1000 + 60_013);
});

test('it never goes back when the wall clock does', () => {
  const { at, read } = readings();
  const now = steadyNow(read);
  const before = now();
  at.wall -= 3_600_000;
  at.monotonic += 1;
  expect(now()).toBe(before + 1);
});

test('differences up to the grain are not added up', () => {
  const { at, read } = readings();
  const now = steadyNow(read);
  for (let i = 0; i < 100; i++) {
    at.monotonic += 10;
    at.wall += 15; // 5 ms ahead each time: at the bound
    now();
  }
  expect(now()).toBe(2000);
  at.monotonic += 10;
  at.wall += 16;
  expect(now()).toBe(2016);
});

test('the host clock calls back once, and not when cancelled', async () => {
  const clock = hostClock();
  const calls: string[] = [];
  clock.after(1, () => calls.push('cancelled'))();
  await new Promise<void>((resolve) => {
    clock.after(5, () => {
      calls.push('called');
      resolve();
    });
  });
  expect(calls).toEqual(['called']);
  expect(clock.now()).toBeGreaterThanOrEqual(0);
});
