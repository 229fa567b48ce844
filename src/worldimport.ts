// How do worlds come from files, or from whoever sends them, into the database?

import type { Vocabulary } from 'policy-cache';
import { importRows, openPool, type ImportOptions, type ImportResult, type Pool, type PoolOptions } from 'policy-cache/postgres';
import type { WorldText } from './worldfiles.ts';
import { textInput, worldRows, type WorldInput, type WorldRowsOptions } from './worldstream.ts';

/** Everything that is wrong with all of the worlds, or everything in them imported as one transaction. */
export async function importWorlds(sql: Pool, texts: readonly WorldText[], vocabulary: Vocabulary): Promise<ImportResult> {
  return importInputs(sql, texts.map(textInput), { vocabulary });
}

/** As `importWorlds`, from files of any size, and as the options say. */
export async function importInputs(sql: Pool, inputs: readonly WorldInput[], options: WorldRowsOptions & Omit<ImportOptions, 'read'>): Promise<ImportResult> {
  const worlds = worldRows(inputs, options);
  const result = await importRows(sql, worlds.rows, { ...options, read: () => worlds.read() });
  return result.ok ? { ...result, warnings: worlds.withFieldLines(result.warnings) } : { ...result, problems: worlds.withFieldLines(result.problems) };
}

export interface SentWorld extends Pick<ImportOptions, 'mode' | 'batch' | 'unknownNames' | 'signal'> {
  readonly requestId: string;
}

/** Imports what is sent as one text of lines, audited as the operator's, on a connection of its own; one at a time. */
export function worldImporter(
  { url, certificates, insecureTls }: PoolOptions,
  vocabulary: Vocabulary,
): (pieces: AsyncIterable<Uint8Array>, sent: SentWorld) => Promise<ImportResult> {
  return async (pieces, { requestId, ...options }) => {
    const pool = openPool({ url, max: 1, ...(certificates ? { certificates } : {}), ...(insecureTls === undefined ? {} : { insecureTls }) });
    try {
      const sent = { joined: true, longestLine: LONGEST_SENT, alone: true, audit: { requestId } };
      return await importInputs(pool, [{ file: SENT, pieces }], { ...options, ...sent, vocabulary });
    } finally {
      await pool.end({ timeout: 5 });
    }
  };
}
/** By its ending it is lines, however it begins. */
const SENT = 'body.ndjson';
/** Checks are answered by the same process, and wait while a line is read. [measured] One of 65,000 groups is 0.1 s. */
const LONGEST_SENT = 1e6;
