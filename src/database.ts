// Which database is meant, and by whom is it entered?

import { InputError } from 'policy-cache';
import type { PostgresSourceOptions } from 'policy-cache/postgres';
import type { Config } from './config.ts';

type Settings = Config['settings'];

/** For reading. @throws InputError if there is no URL, or a certificate cannot be read */
export function databaseOptions(settings: Settings, readFile: (path: string) => string): PostgresSourceOptions {
  const { url, connections, insecureTls } = settings.database;
  if (url === undefined)
    throw new InputError(
      'database.url',
      'is not set: say where Postgres is, as DATABASE_URL=postgres://user:password@host:5432/database (`grantgate demo` brings its own)',
    );
  const certificates = certificatesOf(settings, readFile);
  return { url, insecureTls, fillConnections: connections, ...(certificates ? { certificates } : {}) };
}

/** For `import`: a role that may write; for `migrate`: one that may create. @throws InputError */
export function databaseUrl(settings: Settings, as: 'admin' | 'owner'): string {
  const { url, adminUrl, ownerUrl } = settings.database;
  const found = (as === 'owner' ? ownerUrl : undefined) ?? adminUrl ?? url;
  if (found === undefined)
    throw new InputError(
      as === 'owner' ? 'database.ownerUrl' : 'database.adminUrl',
      'is not set, and neither is database.url: set DATABASE_URL, or a role of its own for this',
    );
  return found;
}

export function certificatesOf(settings: Settings, readFile: (path: string) => string): PostgresSourceOptions['certificates'] {
  const { caFile, certFile, keyFile } = settings.database;
  const read = (path: string | undefined, name: string): string | undefined => {
    if (path === undefined) return undefined;
    try {
      return readFile(path);
    } catch (error) {
      throw new InputError(`database.${name}`, `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  const [ca, cert, key] = [read(caFile, 'caFile'), read(certFile, 'certFile'), read(keyFile, 'keyFile')];
  if (ca === undefined && cert === undefined && key === undefined) return undefined;
  return { ...(ca === undefined ? {} : { ca }), ...(cert === undefined ? {} : { cert }), ...(key === undefined ? {} : { key }) };
}
