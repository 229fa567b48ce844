// How is a command done straight on the database? By the routes of the API in this process: whoever has ADMIN_DATABASE_URL is the operator.

import { clientOver, type AdminClient, type Transport } from '../adminclient.ts';
import { openDirect } from '../api/admin/direct.ts';
import { hostClock } from '../clock.ts';
import { mailSettings } from '../mailserver.ts';
import { newApiKey } from '../opaque.ts';
import { certificatesOf, databaseUrl } from '../database.ts';
import { loadVocabulary } from '../policy.ts';
import { VERSION } from '../version.ts';
import type { Context } from './host.ts';

type Asking = Pick<AdminClient, 'call' | 'items'>;

/** To be closed. @throws InputError if there is no database, or no vocabulary */
export async function directClient({ config, host }: Context): Promise<AdminClient> {
  const { settings } = config();
  const { local } = settings.identity;
  const failed = (error: unknown): void => void host.stderr.write(`grantgate: ${error instanceof Error ? error.message : String(error)}\n`);
  const mail = mailSettings(local.mail);
  const addition = local.enabled
    ? (await import('../api/local/start.ts')).createLocal({
        ...local,
        clock: hostClock(),
        failed,
        mailer: mail === null ? undefined : (await import('../api/local/mail.ts')).createMailer(mail),
      })
    : undefined;
  const certificates = certificatesOf(settings, host.readFile);
  const direct = openDirect({
    database: { url: databaseUrl(settings, 'admin'), insecureTls: settings.database.insecureTls, ...(certificates ? { certificates } : {}) },
    vocabulary: loadVocabulary({ vocabulary: settings.vocabulary.file, readFile: host.readFile }),
    newId: host.uuid,
    newKey: newApiKey,
    version: VERSION,
    addition,
  });
  const inTenant = (tenant: string): Asking => {
    const answers = direct.in(tenant);
    const send: Transport['send'] = async (path, init) => {
      const response = await answers(path, init);
      return { response, text: await response.text() };
    };
    return clientOver({ name: 'the database', send });
  };
  const anywhere = inTenant('');
  return {
    call: anywhere.call,
    async *items(path, page) {
      if (namesTenant(path)) yield* anywhere.items(path, page);
      else for await (const { id } of anywhere.items('/v1/tenants')) yield* inTenant(String(id)).items(path, page);
    },
    everywhere: { inTenant, tenantsOf: (ids) => direct.tenantsOf(ids) },
    close: () => direct.close(),
  };
}

/** A list that is of one tenant by what it names, or of all of them at once; else it is asked of each. */
function namesTenant(path: string): boolean {
  const { pathname, searchParams } = new URL(path, 'http://localhost');
  return pathname === '/v1/tenants' || pathname === '/v1/audit' || searchParams.has('owner') || searchParams.has('group') || pathname.split('/').length > 3;
}
