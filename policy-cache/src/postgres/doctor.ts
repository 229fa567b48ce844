// What is wrong with a database that no single statement would show, and what can be mended without asking?

import type { Sql } from 'postgres';
import { CHECKS } from './doctor-checks.ts';
import type { DoctorOptions, Finding, Seen } from './finding.ts';
import { sqlState } from './session.ts';

const STATEMENT_MS = 60_000;

/**
 * Looks at everything; with `repair`, mends what it may. The client should be the owner's, and have one connection.
 * Rejects only if the database cannot be reached.
 */
export async function examine(sql: Sql, options: DoctorOptions): Promise<readonly Finding[]> {
  const session = await sql.reserve();
  try {
    await session`select set_config('search_path', 'pg_catalog, pg_temp', false), set_config('statement_timeout', ${String(STATEMENT_MS)}, false)`;
    const findings: Finding[] = [];
    for (const { name, look, repair } of CHECKS) {
      const seen = await look(session, options).catch(unknown);
      if (options.repair && repair && seen.state === 'problem') {
        const did = await repair(session).catch((error: unknown) => `that could not be mended: ${message(error)}`);
        const again = await look(session, options).catch(unknown);
        findings.push(
          again.state === 'ok' ? { check: name, state: 'repaired', text: `${seen.text}; ${did}` } : { ...again, check: name, text: `${again.text}; ${did}` },
        );
      } else findings.push({ check: name, ...seen });
      if (name === 'schema' && seen.state !== 'ok') break; // the others would only repeat it
    }
    return findings;
  } finally {
    session.release();
  }
}

function unknown(error: unknown): Seen {
  const denied = sqlState(error) === '42501';
  return { state: 'unknown', text: message(error), fix: denied ? 'set database.ownerUrl to the login that runs grantgate migrate' : 'look again' };
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
