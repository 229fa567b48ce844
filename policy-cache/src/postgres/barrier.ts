// Is a revision in force everywhere? Waits until every follower that is known has applied it, or may no longer answer (coherence 3.7, G4).
//
// A follower reports before it pulls, so one that the database does not list, or whose lease has run out, answers nothing older than what
// is committed by now. The wait therefore ends within the longest lease, whoever has crashed, frozen or been cut off: what is reported after
// the first look, from wherever, belongs to a pull that sees the revision, so a lease that begins then lets nobody answer from before it.

import { formatRevision, type Revision } from '../model.ts';
import type { Statement } from './link.ts';
import { openPrimary, type PrimaryOptions } from './primary.ts';
import { parseBarrier, type BarrierRow } from './rows.ts';

export type BarrierOptions = PrimaryOptions;

export interface BarrierWait {
  /** Milliseconds after which it gives up; longer than the longest lease, it never needs to. */
  readonly timeoutMs: number;
  /** Ends the wait; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface BarrierReplica {
  readonly id: string;
  /** Role by which it entered the database. */
  readonly login: string;
  /** What it last said its answers are true at; null: it answers nothing yet, or from another history. */
  readonly revision: string | null;
  /** How long ago it said so, by the server's clock. */
  readonly ageMs: number;
  /** How long it may still answer from before the revision; 0: no longer. */
  readonly leaseMs: number;
  /** `applied`: at the revision or later. `expired`: whatever lease it had for something older has run out. `waiting`: neither. */
  readonly state: 'applied' | 'expired' | 'waiting';
}

export interface BarrierReport {
  readonly revision: string;
  /** `unknown-revision`: not of this database's history, or no longer in its change log. */
  readonly outcome: 'applied' | 'timeout' | 'unknown-revision';
  readonly waitedMs: number;
  /** So long there may still be followers that nobody knows of: the server has crashed, or was promoted, and lost their reports. */
  readonly lostMs: number;
  readonly replicas: readonly BarrierReplica[];
}

const BARRIER: Statement = { name: 'barrier', text: 'select grantgate.barrier($1::bigint, $2::text) r' };
const LIMIT_MS = 2_000;
const POLL_MS = { first: 1, longest: 10 };

/**
 * Resolves as soon as no sidecar answers from before the revision, or with `timeout`. A promise about sidecars that report, that is, those
 * with a name (`CacheSettings.follower`).
 * Rejects with PolicyError `source` if no primary answers, InputError if the URL cannot be used.
 */
export async function barrier(options: BarrierOptions, revision: Revision, wait: BarrierWait): Promise<BarrierReport> {
  const started = performance.now();
  const link = await openPrimary(options);
  /** When the leases end that were given before the first look. */
  let ends: ReadonlyMap<string, number> | null = null;
  const abort = (): void => link.destroy();
  wait.signal?.addEventListener('abort', abort);
  try {
    for (let pause = POLL_MS.first; ; pause = Math.min(POLL_MS.longest, pause * 2)) {
      wait.signal?.throwIfAborted();
      const [row] = await link.rows(BARRIER, [revision.version, revision.id], LIMIT_MS);
      const found = parseBarrier((row as { r?: unknown } | undefined)?.r);
      const now = performance.now();
      const known = (ends ??= new Map(found.replicas.map(({ id, leaseMs }) => [id, now + leaseMs])));
      const report = reportOf(revision, found, (id) => (known.get(id) ?? now) - now);
      const waitedMs = now - started;
      const over = report.outcome !== 'timeout' || waitedMs + pause > wait.timeoutMs;
      if (over) return { ...report, waitedMs: Math.round(waitedMs) };
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  } catch (error) {
    wait.signal?.throwIfAborted();
    throw error;
  } finally {
    wait.signal?.removeEventListener('abort', abort);
    link.destroy();
  }
}

function reportOf(revision: Revision, row: BarrierRow, leftOf: (id: string) => number): Omit<BarrierReport, 'waitedMs'> {
  const replicas = row.replicas.map(({ id, login, head, ageMs, leaseMs }): BarrierReplica => {
    const applied = head !== null && head.version >= revision.version;
    const left = Math.max(0, Math.ceil(applied ? leaseMs : Math.min(leaseMs, leftOf(id))));
    return {
      id,
      login,
      revision: head && formatRevision(head),
      ageMs: Math.max(0, ageMs),
      leaseMs: left,
      state: applied ? 'applied' : left === 0 ? 'expired' : 'waiting',
    };
  });
  const open = row.lostMs > 0 || replicas.some(({ state }) => state === 'waiting');
  return { revision: formatRevision(revision), outcome: !row.known ? 'unknown-revision' : open ? 'timeout' : 'applied', lostMs: row.lostMs, replicas };
}
