// Which service does a command of the administration ask, and as whom? Or none: it is done straight on the database.

import { InputError } from 'policy-cache';
import { AdminRefusal, addressOf, createAdminClient, type AdminClient, type AdminServer } from '../adminclient.ts';
import { printable } from '../printable.ts';
import type { Context, ExitCode } from './host.ts';

export interface ServerFlags {
  readonly server?: string;
  readonly tokenFile?: string;
  /** No service: whatever ADMIN_DATABASE_URL leads to, by whoever has it. */
  readonly direct?: boolean;
}

/** To be closed. @throws InputError if there is no token, no such file, no database */
async function clientOf(context: Context, flags: ServerFlags): Promise<AdminClient> {
  if (flags.direct === true) return (await import('./direct.ts')).directClient(context);
  const server = serverOf(context, flags);
  return { ...createAdminClient(server), address: addressOf(server), close: () => undefined };
}

/** @throws InputError if there is no token, or no such file */
export function serverOf({ config, host }: Context, flags: ServerFlags): AdminServer & { readonly token: string } {
  const { server, token, insecureHttp } = config().settings.client;
  const given = flags.tokenFile === undefined ? token : readToken(flags.tokenFile, host.readFile);
  if (given === undefined)
    throw new InputError('client.token', "is not set: say who you are by GRANTGATE_CLIENT_TOKEN or --token-file (a user's token, or the operator's secret)");
  return { server: flags.server ?? server, token: given, insecureHttp };
}

function readToken(file: string, readFile: (path: string) => string): string {
  let text: string;
  try {
    text = readFile(file).trim();
  } catch (error) {
    throw new InputError('--token-file', `${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (text === '' || /\s/.test(text)) throw new InputError('--token-file', `${file} must hold one token and nothing else`);
  return text;
}

/** What a person is told of a refusal; 1 where it is a no, 2 where it was not understood or cannot be done now. */
export async function refusable(context: Context, flags: ServerFlags, work: (client: AdminClient) => Promise<ExitCode>): Promise<ExitCode> {
  const client = await clientOf(context, flags);
  try {
    return await work(client);
  } catch (error) {
    if (!(error instanceof AdminRefusal)) throw error;
    return refused(context, error);
  } finally {
    client.close();
  }
}

export function refused({ host, json }: Context, { problem, message, status }: AdminRefusal): ExitCode {
  const isElsewhere = problem['code'] === 'no-path';
  const why = isElsewhere ? '; the service has no such thing: its administration wants ADMIN_DATABASE_URL, logging in identity.local.enabled' : '';
  host.stderr.write(json ? `${JSON.stringify({ error: problem })}\n` : `grantgate: ${printable(message)}${why}\n`);
  return NO.has(status) && !isElsewhere ? 1 : 2;
}

/** Understood, and not so; any other one was not understood, or cannot be done now. */
const NO: ReadonlySet<number> = new Set([403, 404, 409, 412, 413, 422]);
