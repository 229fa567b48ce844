// Which customers would be above themselves, by what is given and what is there?

import type { ImportProblem } from './import-rows.ts';
import type { Session } from './import-session.ts';

interface Hanging {
  readonly id: string;
  readonly owner: string;
  /** Null: it is in the database, and stays where it is. */
  readonly file: string | null;
  readonly line: number | null;
  readonly path: string | null;
}

/** One problem for each cycle, at its first row. Walked here: in SQL each of its customers would walk all of it. */
export async function findCycles(session: Session): Promise<readonly ImportProblem[]> {
  const rows = await session.rows<Hanging>(`
    select k.id, k.owner, f.file, s.line, s.path from pg_temp.named k left join pg_temp.staged s using (n) left join pg_temp.staged_file f using (f)
    where k.kind = 'customer' and not exists (select from pg_temp.node d where d.id = k.id) order by k.n nulls last`);
  const hanging = new Map(rows.map((row) => [row.id, row]));
  const walked = new Map<string, string>(); // id -> the row whose walk came by
  const problems: ImportProblem[] = [];
  for (const start of rows) {
    let at: Hanging | undefined = start;
    while (at && !walked.has(at.id)) {
      walked.set(at.id, start.id);
      at = hanging.get(at.owner);
    }
    if (at && walked.get(at.id) === start.id) problems.push(cycle(hanging, at, rows));
  }
  return problems;
}

function cycle(hanging: ReadonlyMap<string, Hanging>, from: Hanging, order: readonly Hanging[]): ImportProblem {
  const ring = [from];
  for (let at = hanging.get(from.owner)!; at !== from; at = hanging.get(at.owner)!) ring.push(at);
  const members = new Set(ring);
  const { id, file, line, path } = order.find((row) => members.has(row))!; // the first that was given: what is stored is no ring
  const start = ring.findIndex((row) => row.id === id);
  const steps = [...ring.slice(start), ...ring.slice(0, start)].slice(0, 10).map((row) => row.id);
  return {
    file: file ?? '',
    line,
    path: path ?? '',
    field: 'owner',
    message: `${JSON.stringify(id)} would be above itself: ${[...steps, ring.length > steps.length ? '…' : '', id].filter(Boolean).join(' → ')}`,
    fix: 'hang one of them on a tenant, or on a customer outside the ring',
  };
}
