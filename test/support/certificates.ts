// Certificates for a test: authorities of its own, and whoever they sign, in a directory that goes with the test.

import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];

export interface Certificates {
  readonly directory: string;
  /** `<name>.pem` and `<name>.key`. */
  authority(name: string): Promise<void>;
  /** Likewise. `subject` as openssl writes it, the least specific part first; `names` as `URI:…,DNS:…`. */
  sign(name: string, by: string, said: { readonly subject: string; readonly names?: string; readonly ended?: boolean }): Promise<void>;
  /** The status that a client with this certificate gets over TLS; null: without one. */
  ask(
    to: { readonly port: number } | { readonly socketPath: string },
    what: { readonly client: string | null; readonly headers?: Record<string, string> },
  ): Promise<number>;
  remove(): Promise<void>;
}

/** `ca`: the authority that the server's certificate is of. */
export async function certificates({ path, ca }: { readonly path: string; readonly ca: string }): Promise<Certificates> {
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-certificates-'));
  await chmod(directory, 0o711); // workers of another user pass through
  const openssl = (...args: readonly string[]): Promise<unknown> => run('openssl', args, { cwd: directory });
  const read = (name: string): Promise<string> => readFile(join(directory, name), 'utf8');
  return {
    directory,
    async authority(name) {
      await openssl('req', '-x509', ...EC, '-keyout', `${name}.key`, '-out', `${name}.pem`, '-subj', `/O=example/CN=${name}`, '-days', '1');
    },
    async sign(name, by, { subject, names, ended = false }) {
      const own = [
        '-keyout',
        `${name}.key`,
        '-subj',
        subject,
        '-utf8',
        '-multivalue-rdn',
        ...(names === undefined ? [] : ['-addext', `subjectAltName=${names}`]),
      ];
      const signed = ['-CA', `${by}.pem`, '-CAkey', `${by}.key`, '-out', `${name}.pem`];
      if (!ended) return void (await openssl('req', '-x509', ...EC, ...own, ...signed, '-days', '1'));
      await openssl('req', '-new', ...EC, ...own, '-out', `${name}.csr`);
      await openssl('x509', '-req', '-in', `${name}.csr`, ...signed, '-days', '-1'); // `req` signs none that has ended
    },
    async ask(to, { client, headers = {} }) {
      const own = client === null ? {} : { cert: await read(`${client}.pem`), key: await read(`${client}.key`) };
      const trusted = await read(`${ca}.pem`);
      return new Promise((resolve, reject) => {
        request({ ...to, path, headers, ca: trusted, ...own, servername: 'localhost', agent: false }, (response) => {
          response.resume();
          resolve(response.statusCode ?? 0);
        })
          .on('error', reject)
          .end();
      });
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}
