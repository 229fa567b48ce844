// `grantgate trim`: take old versions out of the change log now. A service that follows does it about once an hour.

import { InputError } from 'policy-cache';
import { openPool } from 'policy-cache/postgres';
import { certificatesOf, databaseUrl } from '../database.ts';
import { print, type Context, type ExitCode } from './host.ts';

const UNITS: Readonly<Record<string, string>> = { m: 'minutes', h: 'hours', d: 'days' };

export async function trimCommand(context: Context, { keep }: { readonly keep?: string }): Promise<ExitCode> {
  const { settings } = context.config();
  const span = keep === undefined ? `${settings.database.keepChanges} milliseconds` : interval(keep);
  const certificates = certificatesOf(settings, context.host.readFile);
  const sql = openPool({ url: databaseUrl(settings, 'admin'), insecureTls: settings.database.insecureTls, max: 1, ...(certificates ? { certificates } : {}) });
  try {
    const [{ trimmed }] = await sql<[{ trimmed: number }]>`select grantgate.trim(${span}::interval)::int as trimmed`;
    print(context, trimmed === 0 ? 'nothing to take out of the log' : `${trimmed} version${trimmed === 1 ? '' : 's'} taken out of the log`, { trimmed });
    return 0;
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** At least an hour: the database keeps no less. */
function interval(text: string): string {
  const [, count, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  const minutes = Number(count) * (unit === 'd' ? 1440 : unit === 'h' ? 60 : 1);
  if (count === undefined || unit === undefined || minutes < 60)
    throw new InputError('--keep', `expected a time of at least an hour, as 90m, 24h or 7d, got ${JSON.stringify(text)}`);
  return `${count} ${UNITS[unit]}`;
}
