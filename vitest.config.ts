// How do the tests run? From the sources: `policy-cache` is resolved by its export condition `source`, so that no test waits for
// a build or sees an old one. (What a test starts as a process of its own is the build; src/ready.mjs keeps it fresh.)

import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/sequencer.ts';

const shared = {
  runner: './test/support/runner.ts',
  pool: 'forks',
  testTimeout: 30_000,
  hookTimeout: 60_000,
} as const;

/** What they assert are milliseconds, or a rate: nothing else runs beside them. */
const TIMED = ['test/proxies/nginx.{tokens,revocation,outage}.test.ts', 'test/proxies/k6.test.ts'];
const ABUSE = ['test/abuse/**/*.test.ts'];
const not = (files: readonly string[]): string[] => files.map((file) => `!${file}`);

export default defineConfig({
  test: {
    globalSetup: ['test/support/postgres.global.ts'],
    reporters: ['default', './test/support/reporter.ts'],
    sequence: { sequencer: LongestFirst },
    projects: [
      // One project, which transforms each source once. Three at a time, for a suite waits a third of its time and more: for a lease to
      // end, a server to start, a process to stop.
      project('together', ['policy-cache/test/**/*.test.ts', 'test/**/*.test.ts', ...not(TIMED), ...not(ABUSE)], 0, 3),
      project('timed', TIMED, 1),
      // Its faults are of its own making: beside other suites it would be short of a processor, too.
      project('coherence', ['test/postgres/**/*.stress.ts'], 2),
      project('abuse', ABUSE, 3),
    ],
  },
});

function project(name: string, include: string[], groupOrder: number, maxWorkers = 1) {
  return {
    ssr: { resolve: { conditions: ['source', 'node'] } },
    test: { ...shared, name, include, maxWorkers, sequence: { groupOrder } },
  };
}
