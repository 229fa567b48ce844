// `grantgate barrier`: is a revision in force at every sidecar? The receipt for whoever must prove that a revocation took effect.

import { InputError, parseRevision } from 'policy-cache';
import { barrier, type BarrierReplica, type BarrierReport } from 'policy-cache/postgres';
import { databaseOptions } from '../database.ts';
import { duration } from '../setting-kinds.ts';
import { print, type Context, type ExitCode } from './host.ts';

const LONGEST_MS = 3_600_000;

export async function barrierCommand(context: Context, text: string, options: { readonly timeout: string }): Promise<ExitCode> {
  const revision = parseRevision(text, 'revision');
  const timeout = duration(0, LONGEST_MS).safeParse(options.timeout);
  if (!timeout.success) throw new InputError('--timeout', `${timeout.error.issues[0]!.message}, got ${JSON.stringify(options.timeout)}`);
  const { settings } = context.config();
  const report = await barrier(databaseOptions(settings, context.host.readFile), revision, { timeoutMs: timeout.data });
  if (report.outcome === 'unknown-revision')
    throw new InputError('revision', `${report.revision} is not in the change log: it is of another database, was lost in a fail-over, or was trimmed`);
  print(context, [sentence(report), ...report.replicas.map(line)].join('\n'), report);
  return report.outcome === 'applied' ? 0 : 1;
}

function sentence({ outcome, revision, waitedMs, lostMs, replicas }: BarrierReport): string {
  const expired = replicas.filter(({ state }) => state === 'expired').length;
  const all = `${replicas.length} sidecar${replicas.length === 1 ? '' : 's'}${expired > 0 ? `, ${expired} of them with a lease that has run out` : ''}`;
  if (outcome === 'applied') return `applied  ${revision}  after ${waitedMs} ms  ${all}`;
  const lost = lostMs > 0 ? `; for ${lostMs} ms more there may be sidecars whose reports the database has lost` : '';
  return `not applied  ${revision}  within ${waitedMs} ms  ${all}${lost}`;
}

function line({ id, state, revision, ageMs, leaseMs }: BarrierReplica): string {
  const lease = { applied: '', expired: '  its lease has run out: it answers nothing older', waiting: `  it may answer for ${leaseMs} ms more` }[state];
  return `  ${id}  ${state}  ${revision ?? 'no revision yet'}  said ${ageMs} ms ago${lease}`;
}
