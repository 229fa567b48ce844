// Where does a benchmark get a world of a size from? Generated and imported by the real program, once for each directory that is kept.
//
// The server is the one that `grantgate demo` starts. A world is lost if the machine goes down while it is made, and then made anew: so nothing is flushed, which
// halves the time of a large import; reads of a benchmark do not feel it.

import { chmod, mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import postgres from 'postgres';
import { startEmbedded } from '../dist/embedded.js';
import { start, succeeded } from './processes.mjs';

export const PROGRAM = fileURLToPath(new URL('../dist/main.js', import.meta.url));

/** @typedef {{ customers: number, users: number, entities: number, tenants?: number, seed: number }} Size */

const SETTINGS = {
  ...{ shared_buffers: '512MB', max_wal_size: '4GB', maintenance_work_mem: '256MB' },
  ...{ fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', wal_level: 'minimal', max_wal_senders: 0, autovacuum_naptime: '10s' },
};

/** A server of its own in a directory, which is made. @param {string} directory */
export async function startServer(directory) {
  await mkdir(directory, { recursive: true, mode: 0o711 });
  await chmod(directory, 0o711); // the server's account passes through: so that its files are below, and go with it
  return startEmbedded(directory, { settings: SETTINGS });
}

/**
 * The database of a world, imported if the server has none that is whole.
 * @param {{ url: string }} server @param {Size} size @param {(line: string) => void} say
 */
export async function worldOf(server, size, say) {
  const { customers, users, entities, tenants, seed } = size;
  const name = ['world', customers, users, entities, seed, ...(tenants === undefined ? [] : [`t${tenants}`])].join('_');
  const url = Object.assign(new URL(server.url), { pathname: `/${name}` }).href;
  const admin = postgres(server.url, { max: 1, onnotice: () => undefined });
  try {
    const [known] = await admin`select shobj_description(oid, 'pg_database') as whole from pg_database where datname = ${name}`;
    if (known?.['whole'] === 'whole') return { name, url };
    if (known !== undefined) await admin.unsafe(`drop database ${name} with (force)`);
    await admin.unsafe(`create database ${name}`);
    await succeeded(start(process.execPath, [PROGRAM, 'migrate'], { env: { OWNER_DATABASE_URL: url } }), 'grantgate migrate');
    const begun = performance.now();
    const numbers = Object.entries(size).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
    // Foreign keys are left out: the importer has seen every reference, and for a large world they are half of the time. The triggers of ours fire all the same.
    await admin.unsafe(`alter database ${name} set session_replication_role = 'replica'`);
    await imported(['generate', '--quiet', ...numbers], { ADMIN_DATABASE_URL: url });
    await admin.unsafe(`alter database ${name} reset session_replication_role`);
    const own = postgres(url, { max: 1, onnotice: () => undefined });
    try {
      await own.unsafe('vacuum analyze');
      await own.unsafe('checkpoint');
    } finally {
      await own.end({ timeout: 5 });
    }
    await admin.unsafe(`comment on database ${name} is 'whole'`);
    say(`made the world ${name} in ${((performance.now() - begun) / 1000).toFixed(0)} s`);
    return { name, url };
  } finally {
    await admin.end({ timeout: 5 });
  }
}

/** What one command prints is what `grantgate import` reads. @param {readonly string[]} args @param {Readonly<Record<string, string>>} env */
async function imported(args, env) {
  const importer = start(process.execPath, [PROGRAM, 'import', '--json', '-'], { env, stdin: 'pipe', stdout: 'ignore' });
  const { stdin } = importer.child;
  if (stdin === null) throw new Error('the import reads nothing');
  const generator = start(process.execPath, [PROGRAM, ...args], { stdout: stdin });
  stdin.destroy(); // it is the generator's
  await Promise.all([succeeded(generator, 'grantgate generate'), succeeded(importer, 'grantgate import')]);
}
