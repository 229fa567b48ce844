// What does a process cost? Its processor time and memory as the kernel counts them, where it runs, and when it is ready.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

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

/** Those that run, and where they wrote: none outlives this process, however it ends. @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();
/** @type {Set<string>} */
const directories = new Set();
// A signal by itself ends a process without its `exit` handlers.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));
process.on('exit', () => {
  for (const { pid } of running) if (pid !== undefined) family(pid).forEach(kill);
  // The embedded Postgres ends when it is left alone, and may write until then.
  for (const directory of directories) rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

/** @param {number} pid */
function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // ended by itself
  }
}

/** A directory that is gone when this process is. Accounts that servers run as pass through it. @param {string} name of the benchmark */
export function temporaryDirectory(name) {
  const directory = mkdtempSync(join(tmpdir(), `grantgate-${name}-`));
  directories.add(directory);
  chmodSync(directory, 0o711);
  return directory;
}

/** @typedef {ReturnType<typeof start>} Program */

/**
 * A program of its own, on one processor where that is said.
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ core?: number, env?: Readonly<Record<string, string>>, cwd?: string, quiet?: boolean, stdin?: 'pipe' | 'ignore', stdout?: 'pipe' | 'ignore' | import('node:stream').Stream }} [options]
 * `stdout: 'ignore'`: nobody reads it, so that reading a decision log takes no processor from what is measured; a stream: another program's `stdin`
 */
export function start(program, args, { core, env = {}, cwd, quiet = true, stdin = 'ignore', stdout = 'pipe' } = {}) {
  const [command, ...all] = core === undefined ? [program, ...args] : ['taskset', '-c', String(core), program, ...args];
  const child = spawn(command ?? program, all, { cwd, env: { ...process.env, ...env }, stdio: [stdin, stdout, 'pipe'] });
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
      if (!hasEnded(child)) child.kill(signal);
      await exited;
    },
  };
}

/** @param {import('node:child_process').ChildProcess} child */
const hasEnded = ({ exitCode, signalCode }) => exitCode !== null || signalCode !== null;

/** From its start to its end. @throws if that is not with 0 @param {Program} program @param {string} what */
export async function succeeded({ child, exited, said }, what) {
  await exited;
  if (child.exitCode !== 0) throw new Error(`${what} ended with ${child.exitCode ?? child.signalCode}: ${said()}`);
}

/**
 * Until it is so.
 * @param {() => boolean | Promise<boolean>} isSo
 * @param {{ ms?: number, every?: number, what: string, of?: Program }} options `of`: whom it is waited for; its end is the end of the wait, and what it said is told
 */
export async function until(isSo, { ms = 60_000, every = 20, what, of }) {
  const end = performance.now() + ms;
  for (;;) {
    const ended = of !== undefined && hasEnded(of.child);
    if (!ended && (await isSo())) return;
    if (ended || performance.now() > end)
      throw new Error(`${what}: ${ended ? 'has ended' : `not within ${ms} ms`}${of === undefined ? '' : `; it said: ${of.said()}`}`);
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}
