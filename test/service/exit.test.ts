// What does the process end with when something happens that nobody foresaw?

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

test('settings that are refused late leave nothing behind that keeps the process', () => {
  const { status, signal, stderr } = spawnSync(process.execPath, [main, 'serve'], {
    encoding: 'utf8',
    env: { DATABASE_URL: 'postgres://u@127.0.0.1:1/d' },
    timeout: 20_000,
  });
  expect({ status, signal, stderr }).toMatchObject({ status: 2, signal: null, stderr: expect.stringMatching(/signingKey: is not set/) as string });
});

test('an error that nobody caught is "cannot decide", 2, never the 1 of a deny', () => {
  const fault = 'setInterval(() => { if (process.listenerCount("uncaughtException") > 0) throw new Error("nobody foresaw this"); }, 1)';
  const { status, stderr } = spawnSync(process.execPath, ['--import', `data:text/javascript,${encodeURIComponent(fault)}`, main, '--help'], {
    encoding: 'utf8',
  });
  expect(stderr).toMatch(/^grantgate: Error: nobody foresaw this\n/);
  expect(status).toBe(2);
});
