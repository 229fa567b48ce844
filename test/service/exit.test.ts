// What does the process end with when something happens that nobody foresaw?

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

test('an error that nobody caught is "cannot decide", 2, never the 1 of a deny', () => {
  const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
  const fault = 'setInterval(() => { if (process.listenerCount("uncaughtException") > 0) throw new Error("nobody foresaw this"); }, 1)';
  const { status, stderr } = spawnSync(process.execPath, ['--import', `data:text/javascript,${encodeURIComponent(fault)}`, main, '--help'], {
    encoding: 'utf8',
  });
  expect(stderr).toMatch(/^grantgate: Error: nobody foresaw this\n/);
  expect(status).toBe(2);
});
