// What time is it for the cache, on a machine that may be suspended?
//
// A lease is measured on the monotonic clock, which stands still while a machine or virtual machine sleeps; the wall clock
// goes on. Where the wall clock ran ahead of the monotonic one between two readings, the difference is added. A wall clock
// set forward looks the same: that only fails closed, until the next pull.

import { setTimeout as startTimer, clearTimeout } from 'node:timers';
import { performance } from 'node:perf_hooks';
import type { Clock } from 'policy-cache';

export interface ClockReadings {
  /** Milliseconds of a clock that never goes back. */
  monotonic(): number;
  /** Milliseconds since 1970. */
  wall(): number;
}

/** Below this a difference is the clocks' own grain and slew: Date.now() counts whole milliseconds. */
const GRAIN_MS = 5;

/** A `now` that never goes back and counts the time of a suspension. */
export function steadyNow(read: ClockReadings): () => number {
  let monotonic = read.monotonic();
  let wall = read.wall();
  let slept = 0;
  return () => {
    const monotonicNow = read.monotonic();
    const wallNow = read.wall();
    const ahead = wallNow - wall - (monotonicNow - monotonic);
    if (ahead > GRAIN_MS) slept += ahead;
    monotonic = monotonicNow;
    wall = wallNow;
    return monotonicNow + slept;
  };
}

/** The clock of this machine. */
export function hostClock(read: ClockReadings = { monotonic: () => performance.now(), wall: () => Date.now() }): Clock {
  return {
    now: steadyNow(read),
    after(ms, f) {
      const timer = startTimer(f, ms);
      return () => clearTimeout(timer);
    },
  };
}
