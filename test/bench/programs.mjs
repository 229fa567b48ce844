// How does a bench run `grantgate` as everybody does, as a process, and see what it took?

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, closeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const peak = new URL('peak.mjs', import.meta.url).href;

/**
 * @typedef {object} Run
 * @property {number} seconds from its start to its end
 * @property {number} peakMb resident memory at most
 * @property {number} cpu seconds of a processor
 * @property {string} stdout empty where it went to a file
 * @property {string} stderr
 */

/**
 * A command from start to end. @throws if it does not end with 0
 * @param {readonly string[]} args
 * @param {{ env?: Readonly<Record<string, string>>, stdout?: string }} [options] `stdout`: a file for it
 * @returns {Promise<Run>}
 */
export async function grantgate(args, { env = {}, stdout } = {}) {
  const file = stdout === undefined ? null : openSync(stdout, 'w', 0o600);
  const begun = performance.now();
  const child = spawn(process.execPath, ['--import', peak, program, ...args], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', file ?? 'pipe', 'pipe', 'pipe'],
  });
  if (file !== null) closeSync(file);
  const read = (/** @type {unknown} */ stream) => (stream ? text(/** @type {import('node:stream').Readable} */ (stream)) : '');
  const [out, err, used] = await Promise.all([read(child.stdout), read(child.stderr), read(child.stdio[3]), once(child, 'close')]);
  const seconds = (performance.now() - begun) / 1000;
  if (child.exitCode !== 0) throw new Error(`grantgate ${args.join(' ')}: exit ${child.exitCode ?? child.signalCode}\n${err}${out}`.slice(0, 4_000));
  const [kib = NaN, cpu = NaN] = used.split(' ').map(Number);
  return { seconds, peakMb: kib / 1024, cpu, stdout: out, stderr: err };
}

/**
 * `grantgate serve` with these settings, ready.
 * @param {Readonly<Record<string, string | number>>} settings @param {Readonly<Record<string, string>>} env
 */
export async function startService(settings, env) {
  const args = Object.entries({ 'doors.port': 0, 'grpc.port': 'none', 'api.port': 0, 'shutdown.delay': '0ms', ...settings });
  const child = spawn(process.execPath, [program, 'serve', ...args.flatMap(([path, value]) => ['--set', `${path}=${value}`])], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (/** @type {string} */ part) => (said += part));
  const ended = once(child, 'close');
  const port = (/** @type {string} */ what) => Number(new RegExp(`${what} on 127\\.0\\.0\\.1:(\\d+)`).exec(said)?.[1]);
  const get = async (/** @type {string} */ path) => fetch(`http://127.0.0.1:${port('api')}${path}`);
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
  };
  const ready = async () => port('api') > 0 && (await get('/readyz')).status === 200;
  for (const limit = performance.now() + 60_000; !(await ready()); await new Promise((resolve) => setTimeout(resolve, 20))) {
    if (child.exitCode === null && performance.now() < limit) continue;
    child.kill('SIGKILL');
    throw new Error(`the service is not ready: ${said}`);
  }
  return {
    door: port('doors'),
    stop,
    /** The version that it is at. */
    async version() {
      const { revision } = /** @type {{ revision: string | null }} */ (await (await get('/readyz')).json());
      return Number.parseInt(revision ?? '-1', 10);
    },
    /** Sum over the labels. @param {string} name */
    async metric(name) {
      const lines = (await (await get('/metrics')).text()).split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
      return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
    },
  };
}

/**
 * What the other sessions of a database use, until `stop`: the most memory of their own, and with the shared buffers that they touched; seconds of a
 * processor. Null where /proc does not tell.
 * @param {ReturnType<typeof import('policy-cache/postgres').openPool>} sql
 */
export function watchBackends(sql) {
  const most = { anonymousMb: 0, residentMb: 0 };
  /** @type {Map<number, number>} */ const cpu = new Map();
  let over = false;
  const watching = (async () => {
    for (; !over; await new Promise((resolve) => setTimeout(resolve, 200))) {
      const rows =
        await sql`select pid from pg_stat_activity where backend_type = 'client backend' and datname = current_database() and pid <> pg_backend_pid()`;
      for (const { pid } of rows) {
        const read = (/** @type {string} */ file) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
        const [status, stat] = [await read('status'), await read('stat')];
        const mb = (/** @type {string} */ field) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) / 1024;
        most.anonymousMb = Math.max(most.anonymousMb, mb('RssAnon'));
        most.residentMb = Math.max(most.residentMb, mb('VmHWM'));
        // Hundredths of a second, in user and kernel, as every Linux has them in /proc.
        const [, user = 0, kernel = 0] = (/\) (?:\S+ ){11}(\d+) (\d+)/.exec(stat) ?? []).map(Number);
        if (stat !== '') cpu.set(pid, (user + kernel) / 100);
      }
    }
  })();
  return {
    async stop() {
      over = true;
      await watching;
      return most.residentMb === 0 ? null : { ...most, cpu: [...cpu.values()].reduce((sum, seconds) => sum + seconds, 0) };
    },
  };
}
