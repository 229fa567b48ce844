// Who takes old versions out of the change log?
//
// Every attachment, about once an hour, so that nobody has to install a job for it (coherence 3.6). The database lets one at a time,
// and keeps what a follower that was away for less than an hour still needs. It asks the server that it follows: a URL with
// several hosts may name a standby first.

export interface TrimOptions {
  /** How far back the log is to reach, ms; default 24 hours. The database keeps an hour in any case. */
  readonly keepMs?: number;
  /** Between two trims of one attachment, ms, give or take a tenth; default an hour. The first comes at any moment of the first such time. */
  readonly everyMs?: number;
  /** 0 ≤ random() < 1, so that a fleet does not ask all at once. Default Math.random. */
  readonly random?: () => number;
}

export interface TrimObserver {
  /** So many versions were taken out of the log; 0 too where another follower was at it. */
  trimmed?(versions: number): void;
  /** Nothing was taken out, or nobody said so in time. It is tried again. */
  trimFailed?(cause: Error): void;
}

const KEEP_MS = 24 * 3_600_000;
const EVERY_MS = 3_600_000;

/** Trims from time to time, until the returned function is called. Never throws. */
export function startTrimming(trim: (keepMs: number) => Promise<number>, options: TrimOptions = {}, observer: TrimObserver = {}): () => void {
  const { keepMs = KEEP_MS, everyMs = EVERY_MS, random = Math.random } = options;
  let stopped = false;
  let timer: NodeJS.Timeout;
  const later = (ms: number): void => {
    timer = setTimeout(() => void once(), ms).unref();
  };
  const tell = (what: () => void): void => {
    try {
      if (!stopped) what();
    } catch {
      return; // an observer's own affair: the next trim comes all the same
    }
  };
  const once = async (): Promise<void> => {
    await trim(keepMs).then(
      (versions) => tell(() => observer.trimmed?.(versions)),
      (error: unknown) => tell(() => observer.trimFailed?.(error instanceof Error ? error : new Error(String(error)))),
    );
    if (!stopped) later(everyMs * (0.9 + random() / 5));
  };
  later(everyMs * random());
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
