// Is the last line of a run true, whatever happened in it? Runs of small files that pass, fail, are skipped and break.

import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { copyCheckout, type Checkout } from '../support/checkout.ts';

const files = {
  'test/ok.test.ts': "import { test } from 'vitest';\ntest('one', () => undefined);\ntest('two', () => undefined);\n",
  'test/left.test.ts':
    "import { test } from 'vitest';\nimport { requirePart } from './support/require.ts';\nrequirePart('promtool');\ntest('never', () => { throw new Error(); });\n",
  'test/asked.test.ts': "import { test } from 'vitest';\ntest('asked', ({ skip }) => skip('no moon tonight'));\n",
  'test/wrong.test.ts': "import { test } from 'vitest';\ntest('no', () => { throw new Error('no'); });\n",
  'test/unread.test.ts': "import './nowhere.ts';\n",
  'test/after.test.ts': "import { afterAll, test } from 'vitest';\ntest('fine', () => undefined);\nafterAll(() => { throw new Error('after'); });\n",
  'test/loose.test.ts': "import { test } from 'vitest';\ntest('fine', () => void Promise.reject(new Error('loose')));\n",
};

let checkout: Checkout;
beforeAll(() => {
  checkout = copyCheckout();
  checkout.write('test/support/postgres.global.ts', "export default () => { if (process.env['BROKEN']) throw new Error('set-up'); };\n");
  for (const [path, content] of Object.entries(files)) checkout.write(path, content);
});
afterAll(() => checkout.remove());

test('passed tests are counted, each file with its seconds', () => {
  const { status, lines } = run({}, 'test/ok');
  expect(lines.at(-1)).toBe('2 passed, 0 failed');
  expect(lines).toContain(`Node ${process.versions.node}`);
  expect(lines.find((line) => line.startsWith('test/ok.test.ts'))).toMatch(/^test\/ok\.test\.ts +\d+\.\d +2 +0 +0$/);
  expect(status).toBe(0);
});

test('a missing part skips its file and says who brings it; a test that skips itself says why', () => {
  const { status, lines } = run({ PATH: '/nowhere' }, 'test/ok', 'test/left', 'test/asked');
  expect(lines.at(-1)).toBe('2 passed, 0 failed, 2 skipped');
  expect(lines).toContain('  test/left.test.ts: needs promtool (Debian package prometheus: apt-get install prometheus)');
  expect(lines).toContain('  test/asked.test.ts: asked: no moon tonight');
  expect(status).toBe(0);
});

test('where everything is required a missing part is a failure, with the same sentence', () => {
  const { status, lines, stderr } = run({ PATH: '/nowhere', GRANTGATE_REQUIRE: 'all' }, 'test/left');
  expect(lines.at(-1)).toBe('0 passed, 1 failed');
  expect(stderr).toMatch(/needs promtool \(Debian package prometheus: apt-get install prometheus\)/);
  expect(status).toBe(1);
});

test.each([
  ['a test', 'test/wrong', '0 passed, 1 failed'],
  ['a file that cannot be imported', 'test/unread', '0 passed, 1 failed'],
  ['what comes after the tests', 'test/after', '1 passed, 1 failed'],
  ['a promise that nobody awaits', 'test/loose', '1 passed, 1 failed'],
])('%s that fails is counted', (_, file, closing) => {
  const { status, lines } = run({}, file);
  expect(lines.at(-1)).toBe(closing);
  expect(status).toBe(1);
});

test.each([
  ['a set-up that breaks', { BROKEN: 'yes' }, 'test/ok'],
  ['a run of no file', {}, 'test/none'],
])('%s is a failure', (_, env, file) => {
  const { status, lines } = run(env, file);
  expect(lines.at(-1)).toBe('0 passed, 1 failed');
  expect(status).toBe(1);
});

function run(env: NodeJS.ProcessEnv, ...filters: string[]): { status: number | null; lines: string[]; stderr: string } {
  const { PATH, HOME, TMPDIR } = process.env;
  const command = ['node_modules/vitest/vitest.mjs', 'run', ...filters];
  const all = { PATH, HOME, TMPDIR, NO_COLOR: '1', ...env };
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { cwd: checkout.root, encoding: 'utf8', env: all });
  return { status, lines: stdout.trimEnd().split('\n'), stderr };
}
