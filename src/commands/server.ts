// Which service does a command of the administration ask, and as whom?

import { InputError } from 'policy-cache';
import { AdminRefusal, createAdminClient, type AdminClient } from '../adminclient.ts';
import type { Context, ExitCode } from './host.ts';

export interface ServerFlags {
  readonly server?: string;
  readonly tokenFile?: string;
}

/** @throws InputError if there is no token, or no such file */
export function clientOf({ config, host }: Context, flags: ServerFlags): AdminClient {
  const { server, token, insecureHttp } = config().settings.client;
  const given = flags.tokenFile === undefined ? token : readToken(flags.tokenFile, host.readFile);
  if (given === undefined)
    throw new InputError('client.token', "is not set: say who you are by GRANTGATE_CLIENT_TOKEN or --token-file (a user's token, or the operator's secret)");
  return createAdminClient({ server: flags.server ?? server, token: given, insecureHttp });
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
export async function refusable({ host, json }: Context, work: () => Promise<ExitCode>): Promise<ExitCode> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof AdminRefusal)) throw error;
    host.stderr.write(json ? `${JSON.stringify({ error: error.problem })}\n` : `grantgate: ${error.message}\n`);
    return error.status === 400 || error.status === 401 || error.status >= 500 ? 2 : 1;
  }
}
