// How does a test run a command line without a process? `runCli` with a host whose output is read back.

import { randomUUID } from 'node:crypto';
import { runCli } from '../../src/cli.ts';
import type { Host } from '../../src/commands/host.ts';
import { openTrusted, readTrusted } from '../../src/files.ts';

export interface CliRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Read instead of the disk. */
  readonly files?: Readonly<Record<string, string>>;
  readonly stdin?: AsyncIterable<Uint8Array>;
  /** Standard error is a terminal. */
  readonly terminal?: boolean;
}

export async function cli(args: readonly string[], { env = {}, files = {}, stdin, terminal = false }: CliOptions = {}): Promise<CliRun> {
  let stdout = '';
  let stderr = '';
  const code = await runCli(
    args,
    testHost({
      env,
      stdout: {
        write(text, done) {
          stdout += typeof text === 'string' ? text : Buffer.from(text).toString();
          done?.();
        },
      },
      stderr: { write: (text) => (stderr += text), isTTY: terminal },
      ...(stdin ? { stdin } : {}),
      readFile: (path) => files[path] ?? readTrusted(path, []),
      openFile(path) {
        const text = files[path];
        return text === undefined ? openTrusted(path, []) : { size: Buffer.byteLength(text), pieces: pieces(text) };
      },
    }),
  );
  return { code, stdout, stderr };
}

/** The process that a test is, but for these parts. */
export function testHost(parts: Partial<Host> & Pick<Host, 'stdout' | 'stderr'>): Host {
  return {
    env: {},
    stdin: nothing(),
    readFile: (path) => readTrusted(path, []),
    openFile: (path) => openTrusted(path, []),
    onSignal: () => () => undefined,
    exit: (status) => {
      throw new Error(`exit ${status}`);
    },
    wall: () => Date.now(),
    random: () => Math.random(),
    uuid: () => randomUUID(),
    hostname: () => 'test',
    ...parts,
  };
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

async function* pieces(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
