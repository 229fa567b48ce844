// In which order do connections get to workers that have no room at the moment, and which are turned away?

import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import type { Held } from '../../src/workers-process.ts';
import { createWaiting } from '../../src/workers-waiting.ts';

const held = (listener: number): Held => ({ listener, socket: new Socket() });

/** What a worker process is to those that wait. */
function worker(room = 0) {
  const given: Held[] = [];
  const takes = { isReady: true, missed: 0, room, given, onTheirWay: 0, open: () => given.length, give: (one: Held) => void given.push(one) };
  Object.defineProperty(takes, 'onTheirWay', { get: () => Math.max(0, 16 - takes.room + given.length) });
  return takes;
}

test('each listener in turn, each in the order of its coming; those that a worker left come first', () => {
  const one = worker();
  const waiting = createWaiting({ listeners: 2, up: () => [one], nobody: () => undefined });
  const [a, b, c, health, left] = [held(1), held(1), held(1), held(0), held(1)];
  for (const each of [a, b, c, health]) waiting.add(each);
  waiting.giveBack([left]);
  expect([one.given, waiting.length]).toEqual([[], 5]);
  one.room = 3;
  waiting.next();
  expect(one.given.map((each) => [left, a, b, c, health].indexOf(each)).toSorted()).toEqual([0, 1, 4]);
  one.room = 5;
  waiting.next();
  expect(one.given.filter(({ listener }) => listener === 1)).toEqual([left, a, b, c]);
  expect(waiting.length).toBe(0);
});

test('by count while there is room; one that is missed only when there is nobody else', () => {
  const [one, other, missed] = [worker(8), worker(8), { ...worker(), onTheirWay: 0, missed: 2 }];
  let up = [one, other, missed];
  const lost: Held[] = [];
  const waiting = createWaiting({ listeners: 1, up: () => up, nobody: (each) => void lost.push(each) });
  for (let i = 0; i < 20; i++) waiting.add(held(0));
  expect([one.given.length, other.given.length, missed.given.length, waiting.length]).toEqual([8, 8, 0, 4]);
  up = [missed];
  waiting.next();
  expect([missed.given.length, waiting.length]).toEqual([4, 0]);
  up = [];
  waiting.add(held(0));
  expect([lost.length, waiting.length]).toEqual([1, 0]);
});

test('10,000 of a listener wait, one more is turned away, and counted; at the end the others are, too', () => {
  const waiting = createWaiting({ listeners: 2, up: () => [worker()], nobody: () => undefined });
  const all = Array.from({ length: 10_000 }, () => held(1));
  for (const each of all) waiting.add(each);
  const [late, health] = [held(1), held(0)];
  waiting.add(late);
  waiting.add(health);
  expect([waiting.shed, waiting.length, late.socket.destroyed, all.some(({ socket }) => socket.destroyed)]).toEqual([1, 10_001, true, false]);
  waiting.end();
  expect([waiting.length, [...all, health].every(({ socket }) => socket.destroyed)]).toEqual([0, true]);
});
