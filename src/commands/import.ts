// `grantgate import`: worlds go into the database, whole or not at all.

import type { Vocabulary } from 'policy-cache';
import { formatImportProblem, importRows, openPool, type ImportProblem, type ImportResult } from 'policy-cache/postgres';
import { certificatesOf, databaseUrl } from '../database.ts';
import { loadVocabulary } from '../policy.ts';
import { firstOf, nameProblems, readWorlds, withFieldLines, worldRows, type WorldText } from '../worldfiles.ts';
import type { Context, ExitCode } from './host.ts';

export async function importCommand(context: Context, files: readonly string[]): Promise<ExitCode> {
  const { host, json } = context;
  const { settings } = context.config();
  const vocabulary = loadVocabulary({ vocabulary: settings.vocabulary.file, readFile: host.readFile });
  const { texts, unread } = readTexts(files, host.readFile);
  const certificates = certificatesOf(settings, host.readFile);
  const sql = openPool({ url: databaseUrl(settings, 'admin'), insecureTls: settings.database.insecureTls, max: 1, ...(certificates ? { certificates } : {}) });
  try {
    const result = unread.length > 0 ? { ok: false as const, problems: unread, omitted: 0 } : await importWorlds(sql, texts, vocabulary);
    if (json) host.stdout.write(`${JSON.stringify(result)}\n`);
    else report(context, result);
    return result.ok ? 0 : 2;
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** Everything that is wrong with all of the files, or everything in them imported as one transaction. */
export async function importWorlds(sql: Parameters<typeof importRows>[0], texts: readonly WorldText[], vocabulary: Vocabulary): Promise<ImportResult> {
  const { worlds, problems } = readWorlds(texts);
  // A file that is no world has no rows to look at: what else the others have would be about half of the whole.
  if (problems.length > 0) return { ok: false, ...firstOf(problems) };
  const result = await importRows(sql, worldRows(worlds), { vocabulary, problems: nameProblems(vocabulary, worlds) });
  return result.ok ? { ...result, warnings: withFieldLines(result.warnings, worlds) } : { ...result, problems: withFieldLines(result.problems, worlds) };
}

/** Every file's text; a file that cannot be read is a problem of the import. */
export function readTexts(files: readonly string[], readFile: (path: string) => string): { texts: readonly WorldText[]; unread: readonly ImportProblem[] } {
  const texts: WorldText[] = [];
  const unread: ImportProblem[] = [];
  for (const file of files) {
    try {
      texts.push({ file, text: readFile(file) });
    } catch (error) {
      unread.push({ file, line: null, path: '', field: '', message: `cannot be read: ${error instanceof Error ? error.message : String(error)}`, fix: '' });
    }
  }
  return { texts, unread };
}

/** One line each, and one for those that are left out. */
export function problemLines({ problems, omitted }: { readonly problems: readonly ImportProblem[]; readonly omitted: number }): string {
  return [...problems.map(formatImportProblem), ...(omitted > 0 ? [`… and ${omitted} more`] : [])].map((line) => `${line}\n`).join('');
}

export function counted(problems: number): string {
  return `${problems} problem${problems === 1 ? '' : 's'}`;
}

function report({ host }: Context, result: ImportResult): void {
  if (!result.ok) {
    host.stderr.write(`${problemLines(result)}nothing was imported: ${counted(result.problems.length + result.omitted)}\n`);
    return;
  }
  for (const warning of result.warnings) host.stderr.write(`warning: ${formatImportProblem(warning)}\n`);
  const counts = Object.entries(result.counts)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${count} ${kind}`);
  host.stdout.write(`imported ${counts.length === 0 ? 'nothing' : counts.join(', ')}; revision ${result.revision}\n`);
}
