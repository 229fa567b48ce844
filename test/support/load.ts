// How does a suite put load on a proxy or a door? load.mjs as a process, asked for its figures.

import { fileURLToPath } from 'node:url';
import { startChild } from './child.ts';
import type { Figures, Plan } from './load.mjs';
import { until } from './until.ts';

export interface Load {
  readonly pid: number;
  /** Ends a period: what came in it. */
  period(): Promise<Figures>;
  /** What came so far in this one. */
  look(): Promise<Figures>;
  /** Waits until all that was to be sent is answered; the figures of the period. */
  finished(ms: number): Promise<Figures>;
  stop(): Promise<void>;
}

const LONGEST_S = 600;
const program = fileURLToPath(new URL('load.mjs', import.meta.url));

/** Resolves when it has begun to ask. */
export async function startLoad(plan: Omit<Plan, 'seconds'> & { readonly seconds?: number }): Promise<Load> {
  const waiting: ((figures: Figures) => void)[] = [];
  let begun = false;
  const child = startChild(process.execPath, [program], {
    listens: true,
    line(text, from) {
      if (from === 'stderr') return;
      const said = JSON.parse(text) as Figures | 'begun';
      if (said === 'begun') begun = true;
      else waiting.shift()?.(said);
    },
  });
  child.say(JSON.stringify({ seconds: LONGEST_S, ...plan }));
  let over: string | null = null;
  void child.ended.then((how) => (over = how));
  const told = (word: 'look' | 'period'): Promise<Figures> =>
    new Promise((resolve, reject) => {
      waiting.push(resolve);
      void child.ended.then((how) => reject(new Error(`the load has ended: ${how}\n${child.stderr()}`)));
      child.say(word);
    });
  await until(() => begun || over !== null, 'the load');
  if (over !== null) throw new Error(`the load did not begin: ${String(over)}\n${child.stderr()}`);
  return {
    pid: child.pid,
    period: () => told('period'),
    look: () => told('look'),
    async finished(ms) {
      await until(async () => (await told('look')).done, 'the end of the load', ms);
      return told('period');
    },
    stop: () => child.stop('SIGKILL'),
  };
}
