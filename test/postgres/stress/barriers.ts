// Who asks during a stress run whether a revision is in force everywhere, and when was it told so?

import { setTimeout as pause } from 'node:timers/promises';
import { parseRevision } from 'policy-cache';
import { barrier } from 'policy-cache/postgres';
import { monotonic } from './record.mjs';

/** From then on no sidecar that reports may answer from before the version. */
export interface Passed {
  readonly version: number;
  /** CLOCK_MONOTONIC, ms. */
  readonly at: number;
}

export interface Barriers {
  /** In the order of time. */
  readonly passed: Passed[];
  /** Those that came to an end because a lease had run out, and the longest wait of all, ms; `failures`: no end within the time limit, or an error. */
  readonly counts: { expired: number; longestMs: number; readonly failures: string[] };
  stop(): Promise<void>;
}

/** Longer than any lease: a barrier never needs it. */
const TIMEOUT_MS = 15_000;

/** `newest`: of the revisions that a writer knows of; null: of none yet. */
export function startBarriers(options: { readonly url: string; readonly random: () => number; newest(): string | null }): Barriers {
  const stopping = new AbortController();
  const barriers = { passed: [] as Passed[], counts: { expired: 0, longestMs: 0, failures: [] as string[] } };
  const asking = (async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await pause(options.random() * 400);
      const text = options.newest();
      if (text === null) continue;
      const revision = parseRevision(text);
      try {
        const { outcome, waitedMs, replicas } = await barrier({ url: options.url }, revision, { timeoutMs: TIMEOUT_MS });
        const at = monotonic();
        barriers.counts.longestMs = Math.max(barriers.counts.longestMs, waitedMs);
        if (outcome !== 'applied') barriers.counts.failures.push(`${text}: ${outcome}`);
        else barriers.passed.push({ version: revision.version, at });
        if (replicas.some(({ state }) => state === 'expired')) barriers.counts.expired++;
      } catch (error) {
        barriers.counts.failures.push(String(error));
      }
    }
  })();
  return {
    ...barriers,
    async stop() {
      stopping.abort();
      await asking;
    },
  };
}
