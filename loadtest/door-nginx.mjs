// How does nginx stand before a door in a benchmark? With the shipped configuration, and an application that costs nothing.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { requireProgram } from './k6/programs.mjs';
import { start, until } from './processes.mjs';

const run = promisify(execFile);
const shipped = fileURLToPath(new URL('../deploy/nginx', import.meta.url));
const CONNECTIONS = 32;

/** @param {string} directory of its own @param {string} socket of the door */
export async function startNginx(directory, socket) {
  const port = await freePort();
  await mkdir(directory);
  await cp(shipped, directory, { recursive: true });
  const replace = async (/** @type {string} */ name, /** @type {readonly (readonly [RegExp, string])[]} */ changes) => {
    const before = await readFile(join(directory, name), 'utf8');
    let text = before;
    for (const [from, to] of changes) {
      assert.match(text, from, `${name} of deploy/nginx has changed`);
      text = text.replace(from, to);
    }
    await writeFile(join(directory, name), text);
  };
  // As root it would become a user who may not open the socket. The application is nginx itself, or half of the time would be its.
  const root = process.getuid?.() === 0 ? 'user root;' : '';
  await replace('local.conf', [
    [/^user www-data;.*$/m, `${root}\nworker_processes 1;`],
    [/^error_log stderr warn;$/m, 'error_log stderr error;'], // a deny is an error of its own kind to it
  ]);
  await replace('addresses.conf', [
    [/unix:\S+;/, `unix:${socket};`],
    [/127\.0\.0\.1:8088/, `127.0.0.1:${port}`],
  ]);
  await replace('grantgate.conf', [[/^location \/ \{$/m, 'location /api/device/ { empty_gif; }\nlocation / {']]);
  const nginx = start(requireProgram('nginx'), ['-p', directory, '-c', join(directory, 'local.conf')]);
  await until(async () => (await fetch(`http://127.0.0.1:${port}/`).catch(() => null)) !== null, { what: 'nginx', of: nginx });
  return { port, stop: () => nginx.stop() };
}

/** Requests a second, all of them allowed. @param {number} port @param {{ script: string, seconds: number }} options */
export async function wrk(port, { script, seconds }) {
  const { stdout } = await run('wrk', ['-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '-s', script, `http://127.0.0.1:${port}`]);
  assert(!/Non-2xx|Socket errors/.test(stdout), stdout);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}
