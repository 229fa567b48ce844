// How do the tests run? From the sources: `policy-cache` is resolved by its export condition `source`, so that no test waits for
// a build or sees an old one. (What a test starts as a process of its own is the build; src/ready.mjs keeps it fresh.)

import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/sequencer.ts';

const shared = {
  runner: './test/support/runner.ts',
  pool: 'forks',
  // For what hangs. On a machine that others use too, seconds become half a minute.
  testTimeout: 60_000,
  hookTimeout: 120_000,
} as const;

/** They count on a lease or a pull of seconds, or do what they can in a given time: what else runs would be felt. */
const PAIRED = [
  'test/admin/contract.test.ts',
  'test/postgres/{barrier,deposed,failover,hazards,hazards.size,hosts,session}.test.ts',
  'test/service/{overload,traces,workers}.test.ts',
];
/** What they assert are milliseconds, a rate, or that nothing came late: nothing else runs beside them. */
const TIMED = ['test/proxies/nginx.{flips,outage,revocation,tokens,traces}.test.ts', 'test/proxies/k6.test.ts'];
const ABUSE = ['test/abuse/**/*.test.ts'];
/** Each file by itself: what CI does with those that failed beside others. */
const alone = process.env['GRANTGATE_TESTS_ALONE'] !== undefined;

export default defineConfig({
  test: {
    globalSetup: ['test/support/postgres.global.ts'],
    reporters: ['default', './test/support/reporter.ts'],
    sequence: { sequencer: LongestFirst },
    // One project after the other.
    projects: [
      // One project, which transforms each source once. Two at a time, for there are two processors: with a third, what sheds checks when a
      // processor is short does shed them.
      project('together', { include: ['policy-cache/test/**/*.test.ts', 'test/**/*.test.ts'], exclude: [...PAIRED, ...TIMED, ...ABUSE], workers: 2 }),
      project('paired', { include: PAIRED, workers: 2 }),
      project('timed', { include: TIMED }),
      // Its faults are of its own making: beside other suites it would be short of a processor, too.
      project('coherence', { include: ['test/postgres/**/*.stress.ts'] }),
      project('abuse', { include: ABUSE }),
    ].map((make, groupOrder) => make(groupOrder)),
  },
});

interface Files {
  readonly include: readonly string[];
  readonly exclude?: readonly string[];
  /** So many at a time. */
  readonly workers?: number;
}

function project(name: string, { include, exclude = [], workers = 1 }: Files) {
  const files = [...include, ...exclude.map((each) => `!${each}`)];
  return (groupOrder: number) => ({
    ssr: { resolve: { conditions: ['source', 'node'] } },
    test: { ...shared, name, include: files, maxWorkers: alone ? 1 : workers, sequence: { groupOrder } },
  });
}
