// Does a session have a server process of its own, or does a transaction pooler hand out another one for each statement?
//
// Behind such a pooler LISTEN succeeds and no notification ever comes (coherence 1.4). The session leaves a mark in its server
// process. If another connection of ours reads that mark, the two share a process; if the session itself does not find it, it has
// been given another. Poolers hand out the process that was last given back, or take turns: the first shows by the one question, the
// second by the other. Not by the pid alone: behind a balancer two servers may well have a process of the same number.

import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { PolicyError } from '../errors.ts';
import type { Link, Statement } from './link.ts';

/** Asks every fill connection the same. */
export type AskOthers = (statement: Statement, limitMs: number) => Promise<readonly unknown[]>;

export interface DirectOptions {
  readonly limitMs: number;
  /** How often the question is repeated: somebody else's statement may take the shared process just then. */
  readonly rounds: number;
}

const MARK: Statement = { name: 'mark', text: "select set_config('grantgate.session', $1, false) || ' ' || pg_backend_pid() r" };
const READ: Statement = { name: 'reading the mark', text: "select current_setting('grantgate.session', true) || ' ' || pg_backend_pid() r" };

/** What a pooler without prepared statements of its own makes of ours: the process that prepared one is not the one that is to run it. */
const UNKNOWN_STATEMENT = '26000';

/** Rejects with PolicyError `source` where the session's server process is not its own. */
export async function assertDirect(link: Link, others: AskOthers, { limitMs, rounds }: DirectOptions): Promise<void> {
  const [marked] = await link.rows(MARK, [randomUUID()], limitMs);
  const backend = answer(marked);
  for (let round = 0; round < rounds; round++) {
    const read = await others(READ, limitMs);
    // Twice running: by turns among as many processes as we have connections, every round would end where it began.
    const own = [...(await link.rows(READ, [], limitMs)), ...(await link.rows(READ, [], limitMs))];
    if (read.some((row) => answer(row) === backend) || own.some((row) => answer(row) !== backend)) throw pooled();
  }
}

/** Of an error of a statement that must be known to the server. */
export function betraysPooler(error: unknown): boolean {
  const cause = error instanceof PolicyError ? error.cause : error;
  return cause instanceof postgres.PostgresError && cause.code === UNKNOWN_STATEMENT;
}

export function pooled(cause?: unknown): PolicyError {
  return new PolicyError(
    'source',
    'a transaction pooler stands between, through which no notification comes: lead the URL to the server itself, or to a pool in session mode',
    { cause },
  );
}

function answer(row: unknown): unknown {
  return (row as { r?: unknown } | undefined)?.r;
}
