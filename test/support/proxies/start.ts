// How does a test run a program with its shipped configuration? On a copy of deploy/<program>, in which the addresses of the one file
// that holds them are those of the test.

import { execFile } from 'node:child_process';
import { chmod, cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startChild, type Child } from '../child.ts';
import type { KitOptions, RunningProxy } from './kit.ts';

const run = promisify(execFile);

type Replacement = readonly [from: string, to: string];

export interface Configured {
  /** The directory of deploy/ that is copied. */
  readonly shipped: string;
  /** The file in it that holds addresses. */
  readonly addresses: string;
  /** What stands there, each exactly once, and what the test has in its place. */
  readonly replace: (port: number) => readonly Replacement[];
  /** One more address, where a program cannot take it from that file. */
  readonly elsewhere?: { readonly file: string; readonly replace: (port: number) => Replacement };
  readonly command: (directory: string) => readonly [program: string, ...args: string[]];
  readonly env?: (directory: string) => Readonly<Record<string, string>>;
  /** What it says when somebody else has taken the port. */
  readonly taken: string;
  /** Does it work on this port? Default: it takes connections. */
  readonly ready?: (port: number) => Promise<boolean>;
  /** Default: SIGTERM. */
  readonly end?: NodeJS.Signals;
  readonly spoil?: KitOptions['spoil'];
}

export interface Started extends RunningProxy {
  /** Where the copy is. */
  readonly directory: string;
}

const START_LIMIT_MS = 30_000;

export async function startConfigured(what: Configured): Promise<Started> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const directory = await mkdtemp(join(tmpdir(), `grantgate-${what.shipped}-`));
    await chmod(directory, 0o711); // workers of another user pass through
    await configure(directory, port, what);
    const started = await tryStart(what, directory, port);
    if (typeof started !== 'string') return started;
    await rm(directory, { recursive: true, force: true });
    // A free port is only known to be free until somebody else takes it.
    if (attempt === 3 || !started.includes(what.taken)) throw new Error(`${what.shipped} did not start: ${started}`);
  }
}

/** What a program says of its version, on either of its outputs. */
export async function versionOf(program: string, flag: string, pattern: RegExp): Promise<string> {
  const { stdout, stderr } = await run(program, [flag]);
  const version = pattern.exec(stdout + stderr)?.[1];
  if (version === undefined) throw new Error(`${program} ${flag} says ${stdout}${stderr}`);
  return version;
}

async function configure(directory: string, port: number, { shipped, addresses, replace, elsewhere, spoil }: Configured): Promise<void> {
  await cp(fileURLToPath(new URL(`../../../deploy/${shipped}`, import.meta.url)), directory, { recursive: true });
  const put = async (file: string, replacements: readonly Replacement[]): Promise<void> => {
    const own = replacements.reduce(
      (text, [from, to]) => {
        if (text.split(from).length !== 2) throw new Error(`deploy/${shipped}/${file} must have "${from}" exactly once`);
        return text.replace(from, () => to);
      },
      await readFile(join(directory, file), 'utf8'),
    );
    await writeFile(join(directory, file), own);
  };
  await put(addresses, replace(port));
  if (elsewhere) await put(elsewhere.file, [elsewhere.replace(port)]);
  if (!spoil) return;
  let spoilt = false;
  for (const name of await readdir(directory)) {
    const before = await readFile(join(directory, name), 'utf8');
    const after = spoil(name, before);
    spoilt ||= after !== before;
    await writeFile(join(directory, name), after);
  }
  if (!spoilt) throw new Error('the negative control changes nothing');
}

async function tryStart(what: Configured, directory: string, port: number): Promise<Started | string> {
  const [program, ...args] = what.command(directory);
  const child = startChild(program, args, { cwd: directory, ...(what.env ? { env: what.env(directory) } : {}) });
  const ready = what.ready ?? accepts;
  let over: string | null = null;
  void child.ended.then((how) => (over = how));
  for (const limit = Date.now() + START_LIMIT_MS; ;) {
    if (over !== null || child.stderr().includes(what.taken)) break;
    if (await ready(port)) return running(child, { directory, port, end: what.end });
    if (Date.now() > limit) break;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await child.stop('SIGKILL');
  return `${over ?? `it does not work within ${START_LIMIT_MS} ms`}: ${child.stderr()}`;
}

function running(child: Child, { directory, port, end }: { directory: string; port: number; end: NodeJS.Signals | undefined }): Started {
  return {
    port,
    directory,
    pid: child.pid,
    errors: () => child.stderr(),
    async stop() {
      await child.stop(end);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true));
    socket.on('error', () => resolve(false)).on('connect', () => socket.destroy());
  });
}

function freePort(): Promise<number> {
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
