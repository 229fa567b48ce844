// How do the tests run? From the sources: `policy-cache` is resolved by its export condition `source`, so that no test waits for
// a build or sees an old one. (What a test starts as a process of its own is the build; src/ready.mjs keeps it fresh.)

import { defineConfig } from 'vitest/config';

const shared = {
  runner: './test/support/runner.ts',
  pool: 'forks',
  testTimeout: 30_000,
  hookTimeout: 60_000,
} as const;

/** They ask for what is answered, and not how soon: two of them at a time. */
const UNHURRIED = [
  'doctor.*',
  '*.special',
  '*.handshake',
  '*.mtls',
  '*.oidc',
  '*.meshes',
  '*.configurations',
  '*.routes',
  '*.paths',
  'envoy.door',
  'apisix',
  'ingress-nginx',
].map((name) => `test/proxies/${name}.test.ts`);

export default defineConfig({
  test: {
    globalSetup: ['test/support/postgres.global.ts'],
    reporters: ['default', './test/support/reporter.ts'],
    projects: [
      project('library', ['policy-cache/test/**/*.test.ts'], 0),
      project('service', ['test/**/*.test.ts', '!test/proxies/**', '!test/abuse/**'], 1),
      // Its faults are of its own making: beside other suites it would be short of a processor, too.
      project('coherence', ['test/postgres/**/*.stress.ts'], 2, 1),
      project('proxies', UNHURRIED, 3),
      // They measure milliseconds, so nothing else runs beside them.
      project('timed', ['test/proxies/**/*.test.ts', ...UNHURRIED.map((file) => `!${file}`)], 4, 1),
      project('abuse', ['test/abuse/**/*.test.ts'], 5, 1),
    ],
  },
});

function project(name: string, include: string[], groupOrder: number, maxWorkers = 2) {
  return {
    ssr: { resolve: { conditions: ['source', 'node'] } },
    test: { ...shared, name, include, maxWorkers, sequence: { groupOrder } },
  };
}
