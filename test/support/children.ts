// Which processes has a process, and which of them is it that answers?

import { readFileSync } from 'node:fs';
import { until } from './until.ts';

export function childrenOf(pid: number): readonly number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Stops the process that answers the first of two questions, and not the second: which of them is still answered says whether it was that one. */
export async function stoppedOf(pids: readonly number[], first: () => Promise<unknown>, second: () => Promise<unknown>): Promise<number> {
  for (const pid of pids) {
    process.kill(pid, 'SIGSTOP');
    await until(() => /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')), 'a process that is stopped');
    const asked = [first().then(() => 'first'), second().then(() => 'second')];
    for (const each of asked) each.catch(() => undefined); // nobody answers it if its process ends now
    if ((await Promise.race(asked)) === 'second') return pid;
    process.kill(pid, 'SIGCONT');
    await Promise.all(asked);
  }
  throw new Error('none of them is the one');
}
