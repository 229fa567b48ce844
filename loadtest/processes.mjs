// What does a process cost? Its processor time and memory as the kernel counts them, where it runs, and when it is ready.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';

/** Nanoseconds of processor that a process and its threads that still run have used. @param {number} pid */
export function cpuNs(pid) {
  let sum = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) sum += Number(text(`/proc/${pid}/task/${thread}/schedstat`).split(' ', 1)[0] ?? 0);
  return sum;
}

/** A process and those that it has started. @param {number} pid @returns {number[]} */
export function family(pid) {
  const children = text(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number);
  return [pid, ...children.flatMap(family)];
}

/** Resident memory in MB. @param {number} pid */
export function residentMb(pid) {
  return Number(/^VmRSS:\s+(\d+)/m.exec(text(`/proc/${pid}/status`))?.[1] ?? 0) / 1024;
}

/** Memory of its own in MB: without the pages of files, which the kernel takes away and brings back as others need room. @param {number} pid */
export function anonymousMb(pid) {
  return Number(/^RssAnon:\s+(\d+)/m.exec(text(`/proc/${pid}/status`))?.[1] ?? 0) / 1024;
}

/** A thread may end while it is looked at. @param {string} path */
function text(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Those that run: none outlives this process, however it ends. @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/**
 * A program of its own, on one processor where that is said.
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ core?: number, env?: Readonly<Record<string, string>>, cwd?: string, quiet?: boolean, stdout?: 'pipe' | 'ignore' }} [options]
 * `stdout: 'ignore'`: nobody reads it, so that reading a decision log takes no processor from what is measured
 */
export function start(program, args, { core, env = {}, cwd, quiet = true, stdout = 'pipe' } = {}) {
  const [command, ...all] = core === undefined ? [program, ...args] : ['taskset', '-c', String(core), program, ...args];
  const child = spawn(command ?? program, all, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', stdout, 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (/** @type {string} */ part) => {
      said = (said + part).slice(-20_000);
      if (!quiet) process.stderr.write(part);
    });
  running.add(child);
  const exited = once(child, 'exit').finally(() => running.delete(child));
  const { pid } = child;
  if (pid === undefined) throw new Error(`${program} cannot be started`);
  return {
    /** `taskset` becomes the program, so it is the program's own. */
    pid,
    child,
    exited,
    /** The last of what it wrote. */
    said: () => said,
    async stop(/** @type {NodeJS.Signals} */ signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      await exited;
    },
  };
}

/** Until it is so. @param {() => boolean | Promise<boolean>} isSo @param {{ ms?: number, every?: number, what: string }} options */
export async function until(isSo, { ms = 60_000, every = 20, what }) {
  const end = performance.now() + ms;
  for (;;) {
    if (await isSo()) return;
    if (performance.now() > end) throw new Error(`${what}: not within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}
