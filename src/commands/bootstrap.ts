// `grantgate bootstrap`: a tenant and its first administrator, straight in the database, where there is nobody yet who could ask for them.

import { InputError, parseId } from 'policy-cache';
import { AdminRefusal } from '../adminclient.ts';
import { print, type Context, type ExitCode } from './host.ts';
import { refusable } from './server.ts';

export interface BootstrapOptions {
  readonly tenant: string;
  readonly user: string;
  readonly name?: string;
  readonly email?: string;
  readonly activation?: boolean;
}

export async function bootstrapCommand(context: Context, options: BootstrapOptions): Promise<ExitCode> {
  const tenant = parseId(options.tenant, '--tenant');
  const user = parseId(options.user, '--user');
  const { name, email, activation } = options;
  if (activation === true && !context.config().settings.identity.local.enabled)
    throw new InputError('--activation', 'makes a link to log in by, and nobody logs in here: set identity.local.enabled');
  return refusable(context, { direct: true }, async (client) => {
    let made = true;
    try {
      await client.call('POST', '/v1/tenants', { body: { id: tenant, name } });
    } catch (error) {
      if (!(error instanceof AdminRefusal && error.status === 409)) throw ofOption('--tenant', error);
      made = false;
    }
    try {
      const { revision, body } = await client.call('POST', `/v1/tenants/${encodeURIComponent(tenant)}/administrator`, {
        body: { id: user, email, activation },
      });
      const text = `${made ? `made tenant ${tenant} and` : `tenant ${tenant} is there; made`} its first administrator ${user}; revision ${revision}`;
      const told = body['activation'] as { readonly link: string; readonly expires: string } | undefined;
      const how = told === undefined ? '' : `\nwhich sets its password until ${told.expires}: ${told.link}`;
      print(context, text + how, { tenant, made, user, ...(told === undefined ? {} : { activation: told }), revision });
      return 0;
    } catch (error) {
      // Its id is that of something else.
      const noTenant = error instanceof AdminRefusal && error.status === 404;
      throw noTenant
        ? ofOption('--tenant', error, ', and the id is used already: choose another one')
        : ofOption('--user', error, made ? `; tenant ${tenant} is made` : '');
    }
  });
}

/** A fault of the database is none of an option. */
function ofOption(option: string, error: unknown, more = ''): unknown {
  return error instanceof AdminRefusal && error.status < 500 ? new InputError(option, `${error.message}${more}`) : error;
}
