// What does a run have to say for itself? One summary, printed.

import type { Outcome } from './run.ts';

export function report(title: string, { seconds, history, writers, faults, dropped, barriers, sidecars }: Outcome): string {
  const failures = [...writers.failures].map(([code, count]) => `${code} × ${count}`).join(', ');
  const rows: readonly (readonly [string, (one: Outcome['sidecars'][number]) => number | undefined])[] = [
    ['judged reads', ({ reads }) => reads],
    ['  that had to wait for a fill', ({ misses }) => misses],
    ['  of questions in different states', ({ distinct }) => distinct],
    ['  allowed', ({ allows }) => allows],
    ['WRONG at their revision', ({ wrong }) => wrong],
    ['  allowed wrongly', ({ wrongAllows }) => wrongAllows],
    ['  nor true at any time within the bound', ({ outdated }) => outdated],
    ['older than the bound (G2)', ({ stale }) => stale],
    ['worst staleness, ms', ({ worstStalenessMs }) => Math.round(worstStalenessMs)],
    ['older than reported (G1)', ({ below }) => below],
    ['tokens judged', ({ tokens }) => tokens],
    ['  answered below them (G3)', ({ belowToken }) => belowToken],
    ['older than a barrier passed (G4)', ({ belowBarrier }) => belowBarrier],
    ['allowed again without a grant', ({ notMonotone }) => notMonotone],
    ['first-time askers answered', ({ firsts }) => firsts],
    ['  let in', ({ letIn }) => letIn],
    ['attaches', ({ stats }) => stats?.attaches],
    ['resets after the first', ({ stats }) => stats && total(stats.resets) - stats.resets.start],
    ['  of them: another history', ({ stats }) => stats?.resets.history],
    ['fills', ({ stats }) => stats?.fills],
    ['  refused', ({ stats }) => stats?.fillsRefused],
    ['  failed', ({ stats }) => stats?.fillErrors],
    ['commits found without a ring', ({ stats }) => stats?.changesWithoutRing],
    ...[...new Set(sidecars.flatMap(({ refused }) => Object.keys(refused)))]
      .sort()
      .map((code) => [`unavailable: ${code}`, ({ refused }: Outcome['sidecars'][number]) => refused[code]] as const),
  ];
  const cells = [['', ...sidecars.map(({ name }) => name)], ...rows.map(([label, value]) => [label, ...sidecars.map((one) => shown(value(one)))])];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)));
  const table = cells.map((line) => line.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join('  '));
  return [
    `${title}, ${seconds.toFixed(0)} s`,
    `writers: ${shown(history.commits)} commits in the log; ${shown(writers.repeatableReads)} transactions REPEATABLE READ, ${shown(writers.rollbacks)} rolled back, ${shown(writers.savepoints)} with a savepoint, ${writers.retries} retried; failures ${failures || 'none'}`,
    `faults: ${faults.kills} backends killed, ${faults.freezes} links frozen, ${faults.longFreezes} slow and then frozen for longer than a lease, ${faults.dropPhases} times rings dropped (${shown(dropped)} rings), ${faults.slowFills} times fills slow, ${faults.stops} SIGSTOPs, ${faults.idleListeners} idle listeners, ${faults.locks} locks`,
    `barriers: ${barriers.passed.length} passed, ${barriers.counts.expired} of them by a lease that had run out, the longest after ${shown(barriers.counts.longestMs)} ms`,
    ...table,
    '',
  ].join('\n');
}

function shown(value: number | undefined): string {
  return value === undefined ? '' : value.toLocaleString('en');
}

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, one) => sum + one, 0);
}
