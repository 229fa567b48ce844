// `grantgate doctor`: what is wrong with the database, and what to do about it; with --repair, what is safe to do is done.

import { examine, openPool, postgresSource, type Finding } from 'policy-cache/postgres';
import { certificatesOf, databaseOptions, databaseUrl } from '../database.ts';
import type { Context, ExitCode } from './host.ts';

export async function doctorCommand(context: Context, { repair = false }: { readonly repair?: boolean }): Promise<ExitCode> {
  const { host, json } = context;
  const { settings } = context.config();
  const { url, insecureTls, keepChanges } = settings.database;
  const certificates = certificatesOf(settings, host.readFile);
  const source = url === undefined ? null : postgresSource(databaseOptions(settings, host.readFile));
  const sql = openPool({ url: databaseUrl(settings, 'owner'), insecureTls, max: 1, ...(certificates ? { certificates } : {}) });
  try {
    const findings = await examine(sql, { source, keepMs: keepChanges, repair });
    const count = (state: Finding['state']): number => findings.filter((finding) => finding.state === state).length;
    const [problems, unknown] = [count('problem'), count('unknown')];
    host.stdout.write(json ? `${JSON.stringify({ problems, unknown, findings })}\n` : findings.map(lines).join(''));
    return problems > 0 ? 1 : unknown > 0 ? 2 : 0;
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** What to do, and which rows are meant, stand below what was found. */
function lines({ state, check, text, fix, ids = [], omitted = 0 }: Finding): string {
  const below = [...(fix === undefined ? [] : [`to do: ${fix}`]), ...ids, ...(omitted > 0 ? [`… and ${omitted} more`] : [])];
  return [`${state.padEnd(9)} ${check.padEnd(13)} ${text}`, ...below.map((line) => ' '.repeat(24) + line)].map((line) => `${line}\n`).join('');
}
