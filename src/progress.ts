// How far is an import, and how long will it take?
//
// One line of a terminal, written over itself. Where nobody looks (a pipe, --json) nothing is written.

import type { ImportPhase } from 'policy-cache/postgres';

export interface Progress {
  /** So many bytes more were read. */
  readonly read: (bytes: number) => void;
  readonly at: (phase: ImportPhase) => void;
  /** Clears the line. May be said twice. */
  readonly end: () => void;
}

export interface ProgressOptions {
  /** Null: nobody looks. */
  readonly terminal: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number } | null;
  /** How many there are to read; null where that is not known. */
  readonly bytes: number | null;
  /** Milliseconds since 1970. */
  readonly wall: () => number;
}

const EVERY_MS = 100;
const BAR = 24;
const CLEAR = '\r\u001b[K';

export function createProgress({ terminal, bytes, wall }: ProgressOptions): Progress {
  if (terminal?.isTTY !== true) return { read: () => undefined, at: () => undefined, end: () => undefined };
  let begun = wall();
  let phase = '';
  let read = 0;
  let shown = 0;
  const show = (name: string, { done, of, words }: { done: number; of: number | null; words: string }): void => {
    const now = wall();
    if (name !== phase) {
      begun = now;
      phase = name;
    } else if (now - shown < EVERY_MS) return;
    shown = now;
    const share = of === null || of === 0 ? null : Math.min(1, done / of);
    const left = share === null || share === 0 || now - begun < EVERY_MS ? '' : `  ${seconds(((now - begun) * (1 - share)) / share)} left`;
    // A terminal that does not say how wide it is says 0.
    const line = `${name} ${share === null ? '' : `${bar(share)} `}${words}${left}`;
    terminal.write(`${CLEAR}${line.slice(0, (terminal.columns || 80) - 1)}`);
  };
  return {
    read(more) {
      read += more;
      show('reading ', { done: read, of: bytes, words: bytes === null ? megabytes(read) : `${megabytes(read)} of ${megabytes(bytes)}` });
    },
    at({ phase: name, rows, of }) {
      if (name === 'checking') show('checking', { done: 0, of: null, words: `${of.toLocaleString('en')} rows` });
      else show('writing ', { done: rows, of, words: `${rows.toLocaleString('en')} of ${of.toLocaleString('en')} rows` });
    },
    end() {
      if (phase !== '') terminal.write(CLEAR);
      phase = '';
    },
  };
}

function bar(share: number): string {
  const full = Math.round(share * BAR);
  return `[${'#'.repeat(full)}${'.'.repeat(BAR - full)}]`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function seconds(ms: number): string {
  const whole = Math.ceil(ms / 1_000);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
