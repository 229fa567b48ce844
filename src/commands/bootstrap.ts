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
}

export async function bootstrapCommand(context: Context, options: BootstrapOptions): Promise<ExitCode> {
  const tenant = parseId(options.tenant, '--tenant');
  const user = parseId(options.user, '--user');
  const { name, email } = options;
  return refusable(context, { direct: true }, async (client) => {
    let made = true;
    try {
      await client.call('POST', '/v1/tenants', { body: { id: tenant, name } });
    } catch (error) {
      if (!(error instanceof AdminRefusal && error.status === 409)) throw ofOption('--tenant', error);
      made = false;
    }
    try {
      const { revision } = await client.call('POST', `/v1/tenants/${encodeURIComponent(tenant)}/administrator`, { body: { id: user, email } });
      const text = `${made ? `made tenant ${tenant} and` : `tenant ${tenant} is there; made`} its first administrator ${user}; revision ${revision}`;
      print(context, text, { tenant, made, user, revision });
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
