// When is work turned away? A clock of the test's own stands for the event loop.

import { PolicyError } from 'policy-cache';
import type { Clock } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { createAdmission, type Admission } from '../../src/admission.ts';

const DELAY = 50;
const MOST = 10;

/** `turn`: the loop comes to its timers after so many milliseconds. */
function loop(): { clock: Clock; turn(ms: number): void; readonly timers: number } {
  let now = 1000;
  const timers = new Map<symbol, { at: number; f: () => void }>();
  return {
    clock: {
      now: () => now,
      after(ms, f) {
        const id = Symbol('timer');
        timers.set(id, { at: now + ms, f });
        return () => void timers.delete(id);
      },
    },
    turn(ms) {
      now += ms;
      for (const [id, { at, f }] of [...timers]) if (at <= now && timers.delete(id)) f();
    },
    get timers() {
      return timers.size;
    },
  };
}

function refusal(admission: Admission, waiting = 0): string | null {
  try {
    admission.admit(waiting, MOST);
    return null;
  } catch (error) {
    return error instanceof PolicyError ? error.code : 'something else';
  }
}

describe('the loop', () => {
  test('behind for a whole window: refused and counted; one turn in time ends it', () => {
    const { clock, turn } = loop();
    const admission = createAdmission({ clock, delay: DELAY });
    turn(20);
    expect(refusal(admission)).toBeNull();
    turn(100); // 80 ms late, and the window is not full
    for (let i = 0; i < 2; i++) turn(100);
    expect(refusal(admission)).toBe('overload');
    expect(admission.shed).toEqual({ delay: 1, inflight: 0 });
    turn(20);
    expect(refusal(admission)).toBeNull();
    expect(admission.behindFor()).toBe(0);
    admission.close();
  });
  test('a single long turn is not overload, however long', () => {
    const { clock, turn } = loop();
    const admission = createAdmission({ clock, delay: DELAY });
    for (const ms of [20, 90, 20, 90, 25, 70, 20, 20, 90, 20]) {
      turn(ms);
      expect(refusal(admission), `after a turn of ${ms} ms`).toBeNull();
    }
    admission.close();
  });
  test('it does not leave at a turn between half the limit and the limit', () => {
    const { clock, turn } = loop();
    const admission = createAdmission({ clock, delay: DELAY });
    for (let i = 0; i < 3; i++) turn(100);
    for (let i = 0; i < 10; i++) {
      turn(20 + 0.6 * DELAY);
      expect(refusal(admission)).toBe('overload');
    }
    expect(admission.behindFor()).toBeGreaterThan(400);
    admission.close();
  });
  test('and it does not enter there', () => {
    const { clock, turn } = loop();
    const admission = createAdmission({ clock, delay: DELAY });
    for (let i = 0; i < 20; i++) turn(20 + 0.9 * DELAY);
    expect(refusal(admission)).toBeNull();
    admission.close();
  });
  test('closed, it leaves no timer', () => {
    const turns = loop();
    const admission = createAdmission({ clock: turns.clock, delay: DELAY });
    turns.turn(20);
    admission.close();
    expect(turns.timers).toBe(0);
  });
});

test('as much as is allowed may wait, and no more', () => {
  const { clock } = loop();
  const admission = createAdmission({ clock, delay: DELAY });
  expect([refusal(admission, 9), refusal(admission, 10), refusal(admission, 11)]).toEqual([null, 'overload', 'overload']);
  expect(admission.shed).toEqual({ delay: 0, inflight: 2 });
  admission.close();
});
