// Which Postgres do grantgate, OpenFGA and SpiceDB share? The embedded one, on both cores, flushing as in service; a database for each.

import { chmod, mkdir } from 'node:fs/promises';
import postgres from 'postgres';
import { startEmbedded } from '../../dist/embedded.js';

/** @param {string} directory */
export async function startPostgres(directory) {
  await mkdir(directory);
  await chmod(directory, 0o711); // its account passes through
  const server = await startEmbedded(directory, { settings: { shared_buffers: '512MB' } });
  const sql = postgres(server.url, { max: 1, onnotice: () => undefined });
  const [row] = await sql`select current_setting('server_version') as version`;
  return {
    pid: server.pid,
    version: String(row?.['version']),
    /** A new and empty one. @param {string} name */
    async database(name) {
      await sql.unsafe(`create database peer_${name}`);
      return Object.assign(new URL(server.url), { pathname: `/peer_${name}` }).href;
    },
    async stop() {
      await sql.end({ timeout: 5 });
      await server.stop();
    },
  };
}
