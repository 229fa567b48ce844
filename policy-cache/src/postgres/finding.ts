// What does the doctor say of one check?

import type { Source } from '../source.ts';

/** What one look shows. */
export interface Seen {
  /** `unknown`: it could not be looked at, or only with other rights. */
  readonly state: 'ok' | 'problem' | 'unknown';
  readonly text: string;
  /** What to do. */
  readonly fix?: string;
  /** Rows that are meant, the first hundred; and how many more there are. */
  readonly ids?: readonly string[];
  readonly omitted?: number;
}

export interface Finding extends Omit<Seen, 'state'> {
  readonly check: string;
  /** `repaired`: it was a problem, and is none any more. */
  readonly state: Seen['state'] | 'repaired';
}

export interface DoctorOptions {
  /** A sidecar's way in, with its login; null where that is not known. */
  readonly source: Source | null;
  /** How far back the log is to reach, ms. */
  readonly keepMs: number;
  /** A transaction that sits idle for longer was forgotten, ms; default five minutes. */
  readonly forgottenMs?: number;
  /** Mends what can be mended without a loss. */
  readonly repair: boolean;
}
