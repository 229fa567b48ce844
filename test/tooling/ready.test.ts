// Does a command of a fresh clone install and build what is missing, and nothing else? npm is a program of ours that only takes
// notes; .ci/run does it with the real one.

import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, renameSync, utimesSync } from 'node:fs';
import { delimiter } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { copyCheckout, type Checkout } from '../support/checkout.ts';

let checkout: Checkout;
beforeAll(() => {
  checkout = copyCheckout();
  checkout.write('bin/npm', '#!/bin/sh\necho "npm $*" >> npm.log\n');
  chmodSync(checkout.at('bin/npm'), 0o755);
});
afterAll(() => checkout.remove());

test('a clone without dist is built, and the build is not repeated', () => {
  expect(ready()).toMatchObject({ status: 0, stdout: '', stderr: 'grantgate: building (tsc -b)\n' });
  expect(existsSync(at('dist/main.js'))).toBe(true);
  expect(ready()).toMatchObject({ status: 0, stdout: '', stderr: '' });
  expect(existsSync(at('npm.log'))).toBe(false);
});

test('the command is built before it runs, and what it prints and returns is its own', () => {
  expect(grantgate('a', 'b')).toMatchObject({ status: 1, stdout: 'first a b\n' });
  checkout.write('src/word.ts', "export const word = 'second';\n");
  expect(grantgate()).toMatchObject({ status: 1, stdout: 'second \n', stderr: 'grantgate: building (tsc -b)\n' });
});

test('a build that fails says so, and is tried again', () => {
  checkout.write('src/word.ts', "export const word: number = 'third';\n");
  for (const attempt of [1, 2]) {
    const { status, stderr } = ready();
    expect(stderr, `attempt ${attempt}`).toMatch(/word\.ts[\s\S]*failed; its own lines above say why/);
    expect(status).toBe(1);
  }
  checkout.write('src/word.ts', "export const word = 'third';\n");
  expect(ready()).toMatchObject({ status: 0 });
});

test('packages are installed when they are not those of the lock file, whatever the dates are', () => {
  const old = new Date('2001-01-01');
  utimesSync(at('package-lock.json'), old, old);
  expect(ready().stderr).toBe('');

  const lock = readFileSync(at('package-lock.json'), 'utf8');
  const other = JSON.parse(lock) as { packages: Record<string, { version: string }> };
  other.packages['node_modules/hono'] = { version: '0.0.1' };
  checkout.write('package-lock.json', JSON.stringify(other));
  utimesSync(at('package-lock.json'), old, old);
  expect(ready().stderr).toMatch(/^grantgate: installing packages \(npm ci\)\n/);
  expect(notes()).toEqual(['npm ci --ignore-scripts --no-audit --no-fund']);

  checkout.write('package-lock.json', lock);
  renameSync(at('node_modules'), at('elsewhere'));
  expect(ready().stderr).toMatch(/^grantgate: installing packages/);
  expect(notes()).toHaveLength(2);
  renameSync(at('elsewhere'), at('node_modules'));
});

const at = (...path: string[]): string => checkout.at(...path);

function ready(): Run {
  return run('src/ready.mjs');
}

function grantgate(...args: string[]): Run {
  return run('src/grantgate.mjs', ...args);
}

interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(...args: string[]): Run {
  const PATH = `${at('bin')}${delimiter}${process.env['PATH']}`;
  return spawnSync(process.execPath, args, { cwd: checkout.root, encoding: 'utf8', env: { ...process.env, PATH } });
}

function notes(): string[] {
  return readFileSync(at('npm.log'), 'utf8').trim().split('\n');
}
