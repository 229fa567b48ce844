// What does the service say about itself?
//
// One JSON line per event, on stderr; the decision log has stdout for itself.

export const LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export type Level = (typeof LEVELS)[number];

/** `event` is a stable word, `detail` a sentence. Never a token, a password or a URL that has one. */
export type Log = (level: Level, event: string, detail: string) => void;

export interface LogSettings {
  /** The least weight that is written. */
  readonly level: Level;
  readonly write: (line: string) => void;
  /** Milliseconds since 1970. */
  readonly wall: () => number;
}

export function createLog({ level: least, write, wall }: LogSettings): Log {
  return (level, event, detail) => {
    if (LEVELS.indexOf(level) > LEVELS.indexOf(least)) return;
    write(`${JSON.stringify({ ts: new Date(wall()).toISOString(), level, event, detail })}\n`);
  };
}
