// `grantgate export`: what is in the database, or below one owner in it, as a world file of one revision.

import { InputError } from 'policy-cache';
import { exportRows, openPool, type ExportReport, type ExportScope, type Pool } from 'policy-cache/postgres';
import { certificatesOf, databaseUrl } from '../database.ts';
import { FORMATS, exportText, type Format } from '../exportformat.ts';
import { openOutput, type OutputFile } from '../outputfile.ts';
import { LONGEST_DOCUMENT } from '../worldfiles.ts';
import type { Context, ExitCode, Host } from './host.ts';

export interface ExportFlags {
  readonly tenant?: string;
  readonly customer?: string;
  readonly format?: string;
  readonly output?: string;
}

export async function exportCommand(context: Context, flags: ExportFlags): Promise<ExitCode> {
  const { host } = context;
  const { tenant, customer, output } = flags;
  if (tenant !== undefined && customer !== undefined) throw new InputError('--customer', 'is of one tenant anyway: say --tenant or --customer');
  const scope: ExportScope = { ...(tenant === undefined ? {} : { tenant }), ...(customer === undefined ? {} : { customer }) };
  const format = formatOf(flags);
  const { settings } = context.config();
  const certificates = certificatesOf(settings, host.readFile);
  const sql = openPool({ url: databaseUrl(settings, 'admin'), insecureTls: settings.database.insecureTls, max: 1, ...(certificates ? { certificates } : {}) });
  const file = output === undefined ? null : await openOutput(output, { flag: '--output', part: host.uuid() });
  const deaf = host.onSignal((signal) => {
    // In this turn: the database, or whoever reads, may be what is waited for.
    file?.discard();
    host.stderr.write(`grantgate: the export was stopped by ${signal}\n`);
    host.exit(2);
  });
  try {
    const started = host.wall();
    const { bytes, report } = await exportWorld(sql, { scope, format, to: file ?? toReader(host.stdout) });
    await file?.commit();
    tell(context, { report, bytes, seconds: (host.wall() - started) / 1000, format, file: file !== null });
    return 0;
  } catch (error) {
    if (error === READER_GONE) return 2; // it has not read all of it, and knows
    throw error;
  } finally {
    file?.discard();
    deaf();
    await sql.end({ timeout: 5 });
  }
}

interface Writing {
  readonly scope: ExportScope;
  readonly format: Format;
  readonly to: Pick<OutputFile, 'write'>;
}

/** The whole file, piece by piece. */
export async function exportWorld(sql: Pool, { scope, format, to }: Writing): Promise<{ bytes: number; report: ExportReport }> {
  const text = exportText(format);
  let bytes = 0;
  const write = (piece: Uint8Array | string): Promise<void> => {
    bytes += Buffer.byteLength(piece);
    return to.write(piece);
  };
  const report = await exportRows(sql, {
    scope,
    kind: format === 'ndjson',
    begin: (revision) => write(text.begin({ revision, ...scope })),
    rows: (list, lines) => write(text.rows(list, lines)),
  });
  await write(text.end(Object.values(report.counts).reduce((sum, count) => sum + count, 0)));
  return { bytes, report };
}

const READER_GONE = new Error('whoever read has gone');

/** Waits until each piece is taken, so that a slow reader costs no memory. */
function toReader(stdout: Host['stdout']): Pick<OutputFile, 'write'> {
  return {
    write: (piece) =>
      new Promise((resolve, reject) => {
        stdout.write(piece, (problem) => {
          if (!problem) resolve();
          else reject((problem as NodeJS.ErrnoException).code === 'EPIPE' ? READER_GONE : problem);
        });
      }),
  };
}

function formatOf({ format, output }: ExportFlags): Format {
  if (format === undefined) return /\.ya?ml$/i.test(output ?? '') ? 'yaml' : /\.json$/i.test(output ?? '') ? 'json' : 'ndjson';
  const found = FORMATS.find((name) => name === format);
  if (found === undefined) throw new InputError('--format', `must be one of ${FORMATS.join(', ')}, got ${JSON.stringify(format)}`);
  return found;
}

interface Told {
  readonly report: ExportReport;
  readonly bytes: number;
  readonly seconds: number;
  readonly format: Format;
  readonly file: boolean;
}

/** The result is on stdout where the rows are in a file, else beside them. */
function tell({ host, json }: Context, { report, bytes, seconds, format, file }: Told): void {
  const to = file ? host.stdout : host.stderr;
  if (json) {
    to.write(`${JSON.stringify({ ...report, bytes, seconds })}\n`);
    return;
  }
  const { outside, grantsLeftOut } = report;
  const counts = Object.entries(report.counts)
    .filter(([, count]) => count > 0)
    .map(([list, count]) => `${count} ${list}`);
  to.write(`exported ${counts.length === 0 ? 'nothing' : counts.join(', ')}; revision ${report.revision}; ${bytes} bytes in ${seconds.toFixed(1)} s\n`);
  if (outside.count > 0) {
    const named = outside.first.map(({ id, as }) => `${as} ${JSON.stringify(id)}`);
    const more = outside.count > named.length ? `, … and ${outside.count - named.length} more` : '';
    host.stderr.write(`named in it and not in it, must exist where this is imported: ${named.join(', ')}${more}\n`);
  }
  if (grantsLeftOut > 0) host.stderr.write(`not in it: ${grantsLeftOut} grants of user groups outside, over groups or roles inside\n`);
  if (format !== 'ndjson' && bytes > LONGEST_DOCUMENT)
    host.stderr.write(`an import takes documents of at most ${LONGEST_DOCUMENT / 1e6} MB: --format ndjson has no such limit\n`);
}
