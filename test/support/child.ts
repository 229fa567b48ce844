// How does a test run a program beside it, so that it never outlives the test, however that ends?
//
// A shell holds a pipe of ours: when we end in any way, SIGKILL included, the pipe closes and the shell ends the program.

import { spawn, type ChildProcess } from 'node:child_process';

export interface Child {
  readonly pid: number;
  /** Settles when the program has ended and its output is read: `exit 0`, `SIGKILL`. */
  readonly ended: Promise<string>;
  /** What it wrote on stderr, the last 64 KiB. */
  stderr(): string;
  /** A line on its stdin, where that was asked for. */
  say(line: string): void;
  /** Resolves when it has ended; SIGKILL follows the signal after `ms`. */
  stop(signal?: NodeJS.Signals, ms?: number): Promise<void>;
}

export interface ChildOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** True: it reads what `say` writes. Default: its stdin is empty. */
  readonly listens?: boolean;
  /** Told of each line on stdout, and on stderr. */
  readonly line?: (line: string, from: 'stdout' | 'stderr') => void;
}

export function startChild(command: string, args: readonly string[], options: ChildOptions = {}): Child {
  const env = { PATH: process.env['PATH'] ?? '', ...options.env }; // no setting of the person who runs the tests
  const child = spawn(command, args, { env, cwd: options.cwd ?? '/', stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.on('error', () => undefined); // it has ended: `ended` says so
  if (!options.listens) child.stdin.end();
  let errors = '';
  readLines(child.stdout, (line) => options.line?.(line, 'stdout'));
  readLines(child.stderr, (line) => {
    errors = (errors + line + '\n').slice(-65_536);
    options.line?.(line, 'stderr');
  });
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(signal ?? `exit ${code}`));
  });
  leash(child, ended);
  return {
    pid: child.pid ?? 0,
    ended,
    stderr: () => errors,
    say: (line) => void child.stdin.write(`${line}\n`),
    async stop(signal = 'SIGTERM', ms = 20_000) {
      child.kill('SIGCONT'); // a stopped process hears no other signal
      child.kill(signal);
      const timer = setTimeout(() => child.kill('SIGKILL'), ms);
      await ended;
      clearTimeout(timer);
    },
  };
}

function readLines(stream: NodeJS.ReadableStream, line: (line: string) => void): void {
  let rest = '';
  stream.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    lines.forEach(line);
  });
  stream.on('end', () => void (rest !== '' && line(rest)));
}

function leash(child: ChildProcess, ended: Promise<string>): void {
  if (child.pid === undefined) return;
  const shell = spawn('/bin/sh', ['-c', 'read -r done || { kill -CONT "$1"; kill "$1"; }', 'sh', String(child.pid)], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  shell.on('error', () => undefined);
  shell.stdin.on('error', () => undefined);
  shell.unref();
  void ended.then(() => shell.stdin.end('done\n')); // the pid may be somebody else's from now on
}
