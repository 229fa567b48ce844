// Does the cache keep its promises against a real Postgres, whatever goes wrong at the same time?
//
// Writers, readers and faults, all at random; every answer is judged afterwards against the log. A cache that just deletes what it is
// told of runs beside ours, under the same faults, and has to fail. GRANTGATE_STRESS_SECONDS lengthens the run. GRANTGATE_SEED makes
// the same writes, questions and faults again (when each of them meets the others is up to the machine).

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { servers, startOwnPostgres, type OwnServer } from '../support/postgres.ts';
import { report } from './stress/report.ts';
import { run, type Outcome } from './stress/run.ts';

const USUAL = 30; // three million reads on two cores
const SECONDS = wholeNumber('GRANTGATE_STRESS_SECONDS') ?? USUAL;
const SEED = wholeNumber('GRANTGATE_SEED') ?? Date.now() % 0x7fff_ffff;
const READS = 1_000_000 * Math.min(1, SECONDS / USUAL);
/** The main run is on the server that comes with npm; the other version gets a quarter of it. */
const SHARE = { embedded18: 1, debian15: 0.25 } as const;
/** In less, not every fault has its turn, nor every mistake. */
const LONG_ENOUGH = 30;

beforeAll(() => void execFileSync(process.execPath, [fileURLToPath(new URL('../../src/ready.mjs', import.meta.url))])); // the sidecars run the build

describe.each(servers)('on %s', (kind) => {
  const seconds = SECONDS * SHARE[kind];
  const reads = READS * SHARE[kind];
  let server: OwnServer;
  let outcome: Outcome;
  const ours = (): Outcome['sidecars'] => outcome.sidecars.filter(({ engine }) => engine === 'ours');
  const sum = (count: (one: Outcome['sidecars'][number]) => number): number => ours().reduce((total, one) => total + count(one), 0);

  beforeAll(
    async () => {
      server = await startOwnPostgres(kind);
      outcome = await run({ server, seed: SEED, seconds, reads });
      process.stdout.write(report(`coherence on ${kind}, GRANTGATE_SEED=${SEED}`, outcome));
    },
    8_000 * seconds + 120_000,
  );
  afterAll(() => server.close());

  test('every answer is what the specification says at its revision', () => {
    for (const { wrong, examples } of ours()) expect({ wrong, examples }).toEqual({ wrong: 0, examples: [] });
  });

  test('none is older than its bound, than what was reported before, or than its token', () => {
    for (const { stale, below, belowToken } of ours()) expect({ stale, below, belowToken }).toEqual({ stale: 0, below: 0, belowToken: 0 });
    expect(sum(({ tokens }) => tokens)).toBeGreaterThan(0);
  });

  test('once a barrier is passed, nobody who reports answers from before it', () => {
    for (const { belowBarrier } of ours()) expect(belowBarrier).toBe(0);
    expect(outcome.barriers.counts.failures).toEqual([]);
    expect(outcome.barriers.passed.length).toBeGreaterThan(0);
  });

  test('what was refused is not allowed again without a grant, and no first-time asker gets in', () => {
    for (const { notMonotone, letIn } of ours()) expect({ notMonotone, letIn }).toEqual({ notMonotone: 0, letIn: 0 });
    expect(sum(({ firsts }) => firsts)).toBeGreaterThan(0);
  });

  test('no history is given up: nothing of the database was lost', () => {
    for (const { stats, refused } of ours()) expect([stats?.resets.history, stats?.resets.start, refused['history'] ?? 0]).toEqual([0, 1, 0]);
  });

  test('the control fails: the harness finds what it is there for', () => {
    const [control] = outcome.sidecars.filter(({ engine }) => engine === 'naive');
    const { wrong = 0, outdated = 0, stale = 0 } = control ?? {};
    if (seconds < LONG_ENOUGH) expect(wrong + stale).toBeGreaterThan(0);
    else expect(Math.min(wrong, outdated, stale)).toBeGreaterThan(0);
  });

  test('there was enough of everything', () => {
    expect(sum((one) => one.reads)).toBeGreaterThanOrEqual(reads);
    expect(sum(({ allows }) => allows)).toBeGreaterThan(0.05 * reads);
    if (seconds < LONG_ENOUGH) return;
    expect(Object.entries(outcome.faults).filter(([, count]) => count === 0)).toEqual([]);
    expect(sum(({ stats }) => stats?.fillsRefused ?? 0)).toBeGreaterThan(0);
  });
});

function wholeNumber(name: string): number | null {
  const text = process.env[name];
  if (text === undefined || text === '') return null;
  if (!/^[0-9]{1,10}$/.test(text)) throw new Error(`${name}: expected a whole number, got ${JSON.stringify(text)}`);
  return Number(text);
}
