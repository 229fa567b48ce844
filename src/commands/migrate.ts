// `grantgate migrate`: bring the database's schema to the version of this program.

import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { migrate, openPool, type MigrationFile } from 'policy-cache/postgres';
import { certificatesOf, databaseUrl } from '../database.ts';
import type { Context, ExitCode } from './host.ts';

export async function migrateCommand(context: Context): Promise<ExitCode> {
  const { host, json } = context;
  const { settings } = context.config();
  const certificates = certificatesOf(settings, host.readFile);
  const sql = openPool({ url: databaseUrl(settings, 'owner'), insecureTls: settings.database.insecureTls, max: 1, ...(certificates ? { certificates } : {}) });
  try {
    const report = await migrate(sql, migrationFiles(host.readFile));
    if (json) host.stdout.write(`${JSON.stringify(report)}\n`);
    else {
      for (const name of report.applied) host.stdout.write(`applied ${name}\n`);
      host.stdout.write(
        report.applied.length === 0
          ? report.statements.length > 0
            ? 'nothing was changed\n' // the version that is reported is only what this login can see
            : `nothing to do: the schema is at version ${report.to}\n`
          : `the schema went from version ${report.from} to ${report.to}\n`,
      );
      if (report.statements.length > 0)
        host.stdout.write(
          `\nThis login may not do the following. Let somebody who may run it, then run migrate again:\n\n${report.statements.map((statement) => `${statement};`.replace(/;;$/, ';')).join('\n')}\n`,
        );
    }
    return report.statements.length > 0 ? 1 : 0;
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** The numbered files that ship with the program. */
export function migrationFiles(readFile: (path: string) => string): readonly MigrationFile[] {
  const directory = fileURLToPath(new URL('../../deploy/sql/', import.meta.url));
  return readdirSync(directory)
    .filter((name) => name.endsWith('.sql'))
    .sort()
    .map((name) => ({ name, text: readFile(directory + name) }));
}
