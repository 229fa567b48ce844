// What may a command use of the process that it runs in?
//
// Everything that is not a function of its arguments comes from here, so that a test can be the process.

import type { Config, ConfigInput } from '../config.ts';

export interface Host {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `done` is called when the text is with the reader, or with what went wrong. */
  readonly stdout: { write(text: string | Uint8Array, done?: (problem?: Error | null) => void): unknown };
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number };
  /** `destroy`: nothing of it is read any more, so that it does not keep the process. `setRawMode`: a terminal hands over each key, and shows none. */
  readonly stdin: AsyncIterable<Uint8Array> & { destroy?(): unknown; readonly isTTY?: boolean; setRawMode?(raw: boolean): unknown };
  readonly readFile: (path: string) => string;
  /** As `readFile`, for files of any size; `size` in bytes, null where it cannot be known. */
  readonly openFile: (path: string) => { readonly size: number | null; readonly pieces: AsyncIterable<Uint8Array> };
  /** Calls `f` at SIGINT and SIGTERM, each time; the returned function stops that. */
  readonly onSignal: (f: (signal: string) => void) => () => void;
  /** Ends the process in this turn. */
  readonly exit: (code: number) => never;
  /** Milliseconds since 1970. */
  readonly wall: () => number;
  /** 0 ≤ random() < 1 */
  readonly random: () => number;
  readonly uuid: () => string;
  readonly hostname: () => string;
}

/** What every command is given beside its own options. */
export interface Context {
  readonly host: Host;
  readonly json: boolean;
  /** Reads the configuration. @throws ConfigError with every problem */
  readonly config: (own?: Pick<ConfigInput, 'presets' | 'overrides'>) => Config;
}

/** 0: allow, or done. 1: deny, or not so. 2: cannot decide, or bad input. */
export type ExitCode = 0 | 1 | 2;

/** One line of output, or one JSON value. */
export function print({ host, json }: Context, text: string, value: unknown): void {
  host.stdout.write(json ? `${JSON.stringify(value)}\n` : `${text}\n`);
}
