// `grantgate login`: logs a person in at a running service, and prints the token. The password is typed, or comes by standard input: an argument is seen by everybody.

import { InputError } from 'policy-cache';
import { AdminRefusal, createAdminClient } from '../adminclient.ts';
import { print, type Context, type ExitCode, type Host } from './host.ts';
import { refused } from './server.ts';

export interface LoginFlags {
  readonly email: string;
  readonly server?: string;
}

export async function loginCommand(context: Context, { email, server: flag }: LoginFlags): Promise<ExitCode> {
  try {
    const { server, insecureHttp } = context.config().settings.client;
    // What cannot be asked is told before a password is.
    const client = createAdminClient({ server: flag ?? server, token: null, insecureHttp });
    const password = await readPassword(context.host);
    const { body } = await client.call('POST', '/v1/auth/login', { body: { email, password } });
    print(context, String(body['accessToken']), body);
    return 0;
  } catch (error) {
    if (!(error instanceof AdminRefusal)) throw error;
    if (error.problem['reason'] === 'no-credential') throw new InputError('login', 'nobody logs in at this service: identity.local.enabled is not set there');
    return refused(context, error);
  }
}

const ENTER = new Set(['\r', '\n', '\u0004']);
const BACKSPACE = new Set(['\u007f', '\b']);

/** @throws InputError where there is none */
async function readPassword({ stdin, stderr, exit }: Host): Promise<string> {
  const typed = stdin.isTTY === true && stdin.setRawMode !== undefined;
  const decoder = new TextDecoder();
  const characters: string[] = [];
  if (typed) {
    stderr.write('Password: ');
    stdin.setRawMode?.(true); // nothing is shown
  }
  try {
    reading: for await (const piece of stdin)
      for (const character of decoder.decode(piece, { stream: true })) {
        if (character === '\u0003' && typed) {
          stdin.setRawMode?.(false);
          exit(2);
        }
        if (typed ? ENTER.has(character) : character === '\n') break reading;
        if (typed && BACKSPACE.has(character)) characters.pop();
        else characters.push(character);
      }
  } finally {
    if (typed) {
      stdin.setRawMode?.(false);
      stderr.write('\n');
    }
    stdin.destroy?.();
  }
  const password = characters.join('').replace(/\r$/, '');
  if (password === '') throw new InputError('password', 'is missing: type it, or send it by standard input (grantgate login --email … < file)');
  return password;
}
