// How does a test run a command line without a process? `runCli` with a host whose output is read back.

import { randomUUID } from 'node:crypto';
import { runCli } from '../../src/cli.ts';
import { readTrusted } from '../../src/files.ts';

export interface CliRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Read instead of the disk. */
  readonly files?: Readonly<Record<string, string>>;
}

export async function cli(args: readonly string[], { env = {}, files = {} }: CliOptions = {}): Promise<CliRun> {
  let stdout = '';
  let stderr = '';
  const code = await runCli(args, {
    env,
    stdout: {
      write(text, done) {
        stdout += text;
        done?.();
      },
    },
    stderr: { write: (text) => (stderr += text) },
    readFile: (path) => files[path] ?? readTrusted(path, []),
    onSignal: () => () => undefined,
    exit: (status) => {
      throw new Error(`exit ${status}`);
    },
    wall: () => Date.now(),
    random: () => Math.random(),
    uuid: () => randomUUID(),
    hostname: () => 'test',
  });
  return { code, stdout, stderr };
}
