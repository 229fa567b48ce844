// What does the process end with when something happens that nobody foresaw?

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

test('an error that nobody caught is "cannot decide", 2, never the 1 of a deny', () => {
  const fault = 'setInterval(() => { if (process.listenerCount("uncaughtException") > 0) throw new Error("nobody foresaw this"); }, 1)';
  const { status, stderr } = spawnSync(process.execPath, ['--import', `data:text/javascript,${encodeURIComponent(fault)}`, main, '--help'], {
    encoding: 'utf8',
  });
  expect(stderr).toMatch(/^grantgate: Error: nobody foresaw this\n/);
  expect(status).toBe(2);
});

test('a service that refuses its settings ends: nothing that it began keeps it', () => {
  const { PATH = '' } = process.env;
  const { status, signal, stderr } = spawnSync(process.execPath, [main, 'serve', '--set', 'database.url=postgres://nobody@127.0.0.1:1/none'], {
    encoding: 'utf8',
    env: { PATH },
    timeout: 20_000,
    killSignal: 'SIGKILL',
  });
  expect(stderr).toMatch(/^grantgate: identity\.thingsboard\.signingKey: is not set/);
  expect({ status, signal }).toEqual({ status: 2, signal: null });
});
