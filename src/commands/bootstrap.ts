// `grantgate bootstrap`: a tenant and its first administrator, straight in the database, where there is nobody yet who could ask for them.

import { InputError, parseId } from 'policy-cache';
import { openWriter } from 'policy-cache/postgres';
import { createPerformer } from '../api/admin/perform.ts';
import { createTenantAction, firstAdministratorAction } from '../api/admin/tenants.ts';
import { Exists, NotFound, Violation } from '../api/admin/refusals.ts';
import { certificatesOf, databaseUrl } from '../database.ts';
import { print, type Context, type ExitCode } from './host.ts';

export interface BootstrapOptions {
  readonly tenant: string;
  readonly user: string;
  readonly name?: string;
  readonly email?: string;
  readonly activation?: boolean;
}

export async function bootstrapCommand(context: Context, options: BootstrapOptions): Promise<ExitCode> {
  const { host } = context;
  const tenant = parseId(options.tenant, '--tenant');
  const user = parseId(options.user, '--user');
  const { settings } = context.config();
  if (options.activation === true && !settings.identity.local.enabled)
    throw new InputError('--activation', 'makes a link to log in by, and nobody logs in here: set identity.local.enabled');
  const link = options.activation === true ? (await import('../api/local/links.ts')).newLink(settings.identity.local) : undefined;
  const certificates = certificatesOf(settings, host.readFile);
  const writer = openWriter({ url: databaseUrl(settings, 'admin'), insecureTls: settings.database.insecureTls, ...(certificates ? { certificates } : {}) });
  let of = '--tenant';
  let made = true;
  try {
    const performer = createPerformer({
      writer,
      // Whoever may write to the database is the operator here, and what the operator does needs nothing else.
      authority: { require: () => Promise.resolve() },
      applied: () => Promise.resolve(),
    });
    const asked = { who: { caller: { kind: 'operator' }, tenant: '', owner: '' }, ifMatch: null, requestId: '' } as const;
    try {
      await performer.perform(asked, createTenantAction({ id: tenant, name: options.name }));
    } catch (error) {
      if (!(error instanceof Exists)) throw error;
      made = false;
    }
    of = '--user';
    const { revision, value } = await performer.perform(asked, firstAdministratorAction(tenant, { id: user, email: options.email, link }));
    const text = `${made ? `made tenant ${tenant} and` : `tenant ${tenant} is there; made`} its first administrator ${user}; revision ${revision.version}-${revision.id}`;
    const activation = link === undefined ? {} : { activation: { link: link.link, expires: value.expires } };
    const how = link === undefined ? '' : `\nwhich sets its password until ${value.expires ?? ''}: ${link.link}`;
    print(context, text + how, { tenant, made, user, ...activation, revision: `${revision.version}-${revision.id}` });
    return 0;
  } catch (error) {
    // Its id is that of something else.
    if (error instanceof NotFound) throw new InputError('--tenant', `${error.message}, and the id is used already: choose another one`);
    if (error instanceof Violation || error instanceof Exists)
      throw new InputError(of, `${error.message}${of === '--user' && made ? `; tenant ${tenant} is made` : ''}`);
    throw error;
  } finally {
    writer.close();
  }
}
