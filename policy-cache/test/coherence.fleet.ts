// For which commits would a barrier return now?
//
// What deploy/sql keeps of reports: a row of the follower, unlogged, so that a crash or a promotion empties it; and since when rows have
// been kept, from which on the longest lease is waited for. Times are ages in ticks. The earliest barrier is the hardest to keep: it is
// called at the promotion or the crash itself, and looked at in every state.

import type { FollowerReport } from '../src/source.ts';
import { contains, headOf, historyOf } from './coherence.database.ts';
import type { Database, Faults } from './coherence.database.ts';

export interface Fleet {
  /** The commit that the follower reported (-1: none that this server's log has); how many ticks its lease still runs. Null: not listed. */
  readonly listed: { readonly commit: number; readonly lease: number } | null;
  /** Ticks for which leases of before the promotion or the crash may still run. */
  readonly lost: number;
}

export const NO_FLEET: Fleet = { listed: null, lost: 0 };

/** A report that the primary has kept. */
export function listed(fleet: Fleet, database: Database, { report, tick, faults }: { report: FollowerReport; tick: number; faults: Faults }): Fleet {
  const { head } = report;
  const history = [...historyOf(database, headOf(database))];
  const known = history.find(({ version, id }) => version === head?.version && (faults.blindReports === true || id === head.id));
  return { ...fleet, listed: { commit: known?.number ?? -1, lease: Math.ceil(report.leaseMs / tick) } };
}

export function older({ listed: row, lost }: Fleet): Fleet {
  return { listed: row && { ...row, lease: Math.max(0, row.lease - 1) }, lost: Math.max(0, lost - 1) };
}

/** After a crash or a promotion nobody is listed; `longest` ticks are waited for. */
export const emptied = (longest: number, faults: Faults): Fleet => ({ listed: null, lost: faults.noMarker === true ? 0 : longest });

/** The commits of the present primary for which a barrier would return, as bits. */
export function passed({ listed: row, lost }: Fleet, database: Database): number {
  if (lost > 0) return 0;
  const head = headOf(database);
  let bits = 0;
  for (const { number, version } of historyOf(database, head)) {
    if (number < database.kept[database.heads.length - 1]!) break;
    const applied =
      row === null || row.lease === 0 || (row.commit >= 0 && contains(database, head, row.commit) && database.commits[row.commit]!.version >= version);
    if (applied) bits |= 1 << number;
  }
  return bits;
}
