// `grantgate import`: worlds go into the database, straight or over the api, whole or not at all, or in batches that every sidecar follows.

import { InputError } from 'policy-cache';
import { BATCH_KEYS, formatImportProblem, openPool } from 'policy-cache/postgres';
import type { ImportMode, ImportProblem, ImportResult } from 'policy-cache/postgres';
import { AdminRefusal, addressOf, parseAnswer } from '../adminclient.ts';
import { certificatesOf, databaseUrl } from '../database.ts';
import { sendWorld, type Heard } from '../importclient.ts';
import { loadVocabulary } from '../policy.ts';
import { createProgress, type Progress } from '../progress.ts';
import type { WorldText } from '../worldfiles.ts';
import { importInputs } from '../worldimport.ts';
import type { WorldInput } from '../worldstream.ts';
import { Unsendable, sentLines } from '../worldsending.ts';
import type { Context, ExitCode, Host } from './host.ts';
import { refused, serverOf, type ServerFlags } from './server.ts';

export interface ImportFlags extends Pick<ServerFlags, 'server' | 'tokenFile'> {
  readonly mode: string;
  readonly batch?: boolean;
  readonly batchKeys: string;
  readonly unknownNames?: boolean;
}

export async function importCommand(context: Context, files: readonly string[], flags: ImportFlags): Promise<ExitCode> {
  const { host, json } = context;
  const mode = parseMode(flags.mode);
  const batch = parseBatch(flags);
  if (flags.server === undefined && flags.tokenFile !== undefined) throw new InputError('--token-file', 'is for a service: say which by --server');
  const { inputs, bytes, unread } = openInputs(files, host);
  const progress = createProgress({ terminal: json ? null : host.stderr, bytes, wall: host.wall });
  const stop = new AbortController();
  const deaf = host.onSignal((signal) => stop.abort(new Error(`stopped by ${signal}`)));
  try {
    const asked = { mode, ...(batch === null ? {} : { batch }), unknownNames: flags.unknownNames === true, signal: stop.signal, progress };
    const result =
      unread.length > 0
        ? { ok: false as const, problems: unread, omitted: 0 }
        : await (flags.server === undefined ? intoDatabase(context, inputs, asked) : overApi(context, inputs, { ...asked, flags }));
    progress.end();
    if (json) host.stdout.write(`${JSON.stringify(result)}\n`);
    else report(context, result);
    return result.ok ? 0 : 2;
  } catch (error) {
    if (!(error instanceof AdminRefusal)) throw error;
    progress.end();
    return refused(context, error);
  } finally {
    progress.end();
    deaf();
    if (files.includes('-')) host.stdin.destroy?.(); // whoever writes to it may not be done, and hears that way that it is not read
  }
}

interface AskedFor {
  readonly mode: ImportMode;
  readonly batch?: number;
  readonly unknownNames: boolean;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

async function intoDatabase({ config, host }: Context, inputs: readonly WorldInput[], { progress, ...asked }: AskedFor): Promise<ImportResult> {
  const { settings } = config();
  const vocabulary = loadVocabulary({ vocabulary: settings.vocabulary.file, readFile: host.readFile });
  const certificates = certificatesOf(settings, host.readFile);
  const sql = openPool({ url: databaseUrl(settings, 'admin'), insecureTls: settings.database.insecureTls, max: 1, ...(certificates ? { certificates } : {}) });
  try {
    return await importInputs(sql, inputs, { vocabulary, ...asked, took: progress.read, progress: progress.at });
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** @throws AdminRefusal */
async function overApi(context: Context, inputs: readonly WorldInput[], asked: AskedFor & { readonly flags: ServerFlags }): Promise<ImportResult> {
  const { mode, batch, unknownNames, signal, progress, flags } = asked;
  const server = serverOf(context, flags);
  const base = addressOf(server);
  const lines = sentLines(inputs, progress.read);
  const query = new URLSearchParams({ mode, ...(batch === undefined ? {} : { batch: String(batch) }), unknownNames: String(unknownNames) });
  let heard: Heard;
  try {
    heard = await sendWorld({ base, token: server.token, query, pieces: lines.pieces, signal });
  } catch (error) {
    if (error instanceof Unsendable) return { ok: false, problems: error.problems, omitted: error.omitted };
    throw error;
  }
  const answer = parseAnswer(heard.text);
  if (answer === null) throw new InputError('--server', `${base} answered ${heard.status} with something that is no JSON object: is it the api listener?`);
  if (heard.status === 200) {
    const done = answer as unknown as Omit<Extract<ImportResult, { ok: true }>, 'ok'>;
    return { ...done, ok: true, warnings: lines.withLines(done.warnings) };
  }
  const { problems, omitted } = answer as { readonly problems?: readonly ImportProblem[]; readonly omitted?: number };
  if (problems === undefined) throw new AdminRefusal(heard.status, answer);
  return { ok: false, problems: lines.withLines(problems), omitted: omitted ?? 0 };
}

function parseMode(mode: string): ImportMode {
  if (mode === 'create' || mode === 'upsert') return mode;
  throw new InputError('--mode', `must be create (new ids only) or upsert (what is there is changed to what is given), got ${JSON.stringify(mode)}`);
}

function parseBatch({ batch, batchKeys }: ImportFlags): number | null {
  const keys = Number(batchKeys);
  if (!(Number.isInteger(keys) && keys >= BATCH_KEYS.least && keys <= BATCH_KEYS.most))
    throw new InputError(
      '--batch-keys',
      `must be ${BATCH_KEYS.least} to ${BATCH_KEYS.most} (a sidecar pulls no more at once), got ${JSON.stringify(batchKeys)}`,
    );
  return batch === true ? keys : null;
}

/** `-` is standard input. `bytes`: of all of them, null where that cannot be known. */
function openInputs(files: readonly string[], host: Host): { inputs: readonly WorldInput[]; bytes: number | null; unread: readonly ImportProblem[] } {
  if (files.filter((file) => file === '-').length > 1) throw new InputError('-', 'is standard input, and can be read only once: say it once');
  const inputs: WorldInput[] = [];
  const unread: ImportProblem[] = [];
  let bytes: number | null = 0;
  for (const file of files) {
    try {
      const { size, pieces } = file === '-' ? { size: null, pieces: host.stdin } : host.openFile(file);
      bytes = bytes === null || size === null ? null : bytes + size;
      inputs.push({ file: file === '-' ? 'standard input' : file, pieces });
    } catch (error) {
      unread.push(unreadProblem(file, error));
    }
  }
  return { inputs, bytes, unread };
}

function unreadProblem(file: string, error: unknown): ImportProblem {
  return { file, line: null, path: '', field: '', message: `cannot be read: ${error instanceof Error ? error.message : String(error)}`, fix: '' };
}

/** Every file's text; a file that cannot be read is a problem. */
export function readTexts(files: readonly string[], readFile: (path: string) => string): { texts: readonly WorldText[]; unread: readonly ImportProblem[] } {
  const texts: WorldText[] = [];
  const unread: ImportProblem[] = [];
  for (const file of files) {
    try {
      texts.push({ file, text: readFile(file) });
    } catch (error) {
      unread.push(unreadProblem(file, error));
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
  if (result.omittedWarnings > 0) host.stderr.write(`… and ${result.omittedWarnings} more warnings\n`);
  const counts = Object.entries(result.counts)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${count} ${kind}`);
  const { created, updated, batches } = result;
  const rows = Object.entries(result.counts).reduce((sum, [kind, count]) => sum + (kind === 'memberships' ? 0 : count), 0);
  const changes = created === rows ? '' : ` (${created} new, ${updated} changed, ${rows - created - updated} as they were)`;
  const parts = batches === 1 ? '' : ` in ${batches} batches`;
  host.stdout.write(`imported ${counts.length === 0 ? 'nothing' : counts.join(', ')}${changes}${parts}; revision ${result.revision}\n`);
}
