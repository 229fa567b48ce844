// When is the change log trimmed, and who hears of it?

import { describe, expect, test } from 'vitest';
import { until } from '../../test/support/until.ts';
import { startTrimming } from '../src/postgres/trim.ts';

describe('the schedule', () => {
  test('the first comes within the first time, the next after one, also after a failure and under an observer that throws', async () => {
    const started = performance.now();
    const at: number[] = [];
    const told: string[] = [];
    const trim = (keepMs: number): Promise<number> => {
      at.push(performance.now() - started);
      return at.length === 2 ? Promise.reject(new Error('no connection')) : Promise.resolve(keepMs);
    };
    const stop = startTrimming(
      trim,
      { everyMs: 100, keepMs: 7, random: () => 0.5 },
      {
        trimmed: (versions) => {
          told.push(`${versions}`);
          throw new Error('a broken gauge');
        },
        trimFailed: (cause) => void told.push(cause.message),
      },
    );
    await until(() => told.length === 3, 'three trims');
    stop();
    expect(told).toEqual(['7', 'no connection', '7']);
    expect(at[0]).toBeGreaterThan(45);
    expect(at[1]! - at[0]!).toBeGreaterThan(95);
    expect(at[2]! - at[1]!).toBeGreaterThan(95);
  });

  test('stopped while one is under way: nothing is told, and no other comes', async () => {
    const told: unknown[] = [];
    let calls = 0;
    let answer: (versions: number) => void = () => undefined;
    const trim = (): Promise<number> => {
      calls++;
      return new Promise((resolve) => (answer = resolve));
    };
    const stop = startTrimming(trim, { everyMs: 1, random: () => 0 }, { trimmed: (versions) => void told.push(versions) });
    await until(() => calls === 1, 'a trim');
    stop();
    answer(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([calls, told]).toEqual([1, []]);
  });
});
