// `grantgate trim`: take old versions out of the change log now. A service that follows does it about once an hour.

import { InputError } from 'policy-cache';
import { openPool } from 'policy-cache/postgres';
import { certificatesOf, databaseUrl } from '../database.ts';
import { duration } from '../setting-kinds.ts';
import { print, type Context, type ExitCode } from './host.ts';

/** The database keeps no less. */
const LEAST_MS = 3_600_000;

export async function trimCommand(context: Context, { keep }: { readonly keep?: string }): Promise<ExitCode> {
  const { settings } = context.config();
  const span = duration(LEAST_MS, 8_760 * LEAST_MS).safeParse(keep ?? settings.database.keepChanges);
  if (!span.success) throw new InputError('--keep', `${span.error.issues[0]!.message}, got ${JSON.stringify(keep)}`);
  const certificates = certificatesOf(settings, context.host.readFile);
  const sql = openPool({ url: databaseUrl(settings, 'admin'), insecureTls: settings.database.insecureTls, max: 1, ...(certificates ? { certificates } : {}) });
  try {
    const [{ trimmed }] = await sql<[{ trimmed: number }]>`select grantgate.trim(${span.data}::float8 * interval '1 millisecond')::int as trimmed`;
    print(context, trimmed === 0 ? 'nothing to take out of the log' : `${trimmed} version${trimmed === 1 ? '' : 's'} taken out of the log`, { trimmed });
    return 0;
  } finally {
    await sql.end({ timeout: 5 });
  }
}
