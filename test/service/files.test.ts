// Is a file believed that anybody could have written?

import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTrusted, readTrusted } from '../../src/files.ts';
import { cli } from '../support/cli.ts';
import { SIGNING_KEY } from '../support/sidecar.ts';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const ENV = { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none', GRANTGATE_API_PORT: '0', GRANTGATE_DOORS_PORT: '0' };
const KEY = { GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: SIGNING_KEY };

let directory: string;
beforeAll(() => void (directory = mkdtempSync(join(tmpdir(), 'grantgate-files-'))));
afterAll(() => rmSync(directory, { recursive: true }));

function file(name: string, text: string, mode: number): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

describe('a file that every user may write to stops the start, and the fix is named', () => {
  test.each<[string, (path: string) => { env: Record<string, string>; args: string[] }]>([
    ['the settings', (path) => ({ env: KEY, args: ['--config', path] })],
    ['the settings, by the environment', (path) => ({ env: { ...KEY, GRANTGATE_CONFIG: path }, args: [] })],
    ['a key', (path) => ({ env: { GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY_FILE: path }, args: [] })],
    ['the routes', (path) => ({ env: KEY, args: ['--set', `routes.file=${path}`] })],
    ['the vocabulary', (path) => ({ env: KEY, args: ['--set', `vocabulary.file=${path}`] })],
    ['authorities of the database', (path) => ({ env: KEY, args: ['--set', `database.caFile=${path}`] })],
  ])('%s', async (name, use) => {
    const path = file(name.replaceAll(' ', '-'), '{}', 0o666);
    const { env, args } = use(path);
    const { code, stderr } = await cli(['serve', ...args], { env: { ...ENV, ...env } });
    expect(stderr).toContain(`every user of this machine may write to it, and so decide in your place: chmod o-w ${path}`);
    expect(code).toBe(2);
  });

  test('as a process', () => {
    const path = file('settings', '{}', 0o666);
    const { status, stderr } = spawnSync(process.execPath, [main, 'serve', '--config', path], { encoding: 'utf8', env: { ...ENV, ...KEY }, timeout: 20_000 });
    expect(stderr).toContain(`chmod o-w ${path}`);
    expect(status).toBe(2);
  });

  test('so does the directory of the socket', async () => {
    const open = mkdtempSync(join(directory, 'open-'));
    chmodSync(open, 0o1777); // as /tmp: while this process is away, anybody may make the name his
    const { code, stderr } = await cli(['serve', '--set', `doors.socket=${open}/doors.sock`], { env: { ...ENV, ...KEY, GRANTGATE_DOORS_PORT: 'none' } });
    expect(stderr).toMatch(/doors\.socket: every user of this machine may write to .*chmod o-w/);
    expect(code).toBe(2);
  });
});

test('a file of a group is read, and what is no file, and what came with the program', () => {
  const shared = file('of-a-group', 'text', 0o664);
  expect(readTrusted(shared, [])).toBe('text');
  expect(readTrusted('/dev/null', [])).toBe('');
  const open = file('open', 'shipped', 0o666);
  expect(() => readTrusted(open, [])).toThrow(/chmod o-w/);
  expect(readTrusted(open, [directory])).toBe('shipped');
  expect(() => readTrusted(join(directory, 'nowhere'), [])).toThrow(/ENOENT/);
});

test('a pipe with a name that every user may write to is not believed either; one that nobody else can open is', () => {
  const pipe = join(directory, 'pipe');
  execFileSync('/bin/sh', ['-c', 'mkfifo "$1"', 'sh', pipe]); // Node has no way of its own
  const writer = openSync(pipe, 'r+'); // or whoever opens it to read waits for one
  chmodSync(pipe, 0o622);
  expect(() => openTrusted(pipe, [])).toThrow(/chmod o-w/);
  chmodSync(pipe, 0o600);
  writeSync(writer, 'x');
  expect(openTrusted(pipe, []).size).toBe(null);
  closeSync(writer);
});
