// Where does a server listen: an address and port, or a Unix socket that only a group may use?
//
// A socket file outlives a process that was killed. It is removed only if it is a socket and nobody answers on it; anything else
// at that path is somebody's file or somebody's service.

import { chmod, chown, lstat, readFile, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Server } from 'node:net';
import process from 'node:process';
import { InputError } from 'policy-cache';

export type Address =
  | { readonly host: string; readonly port: number }
  /** `group`: name or number; without it the process's own. `everybody`: mode 0666 instead of 0660. */
  | { readonly path: string; readonly group?: string; readonly everybody?: boolean };

/**
 * Listens; resolves to the address in words (`127.0.0.1:9191`, `unix:/run/authz/http.sock`), with the port that was really taken.
 * @throws InputError if the address is in use, not ours to use, or the path is not a socket of nobody
 */
export async function listen(server: Server, address: Address): Promise<string> {
  if (!('path' in address)) {
    await bind(server, { host: address.host, port: address.port }, `${address.host}:${address.port}`);
    const bound = server.address();
    const port = typeof bound === 'object' && bound !== null ? bound.port : address.port;
    return address.host.includes(':') ? `[${address.host}]:${port}` : `${address.host}:${port}`;
  }
  const { path, group, everybody = false } = address;
  if (Buffer.byteLength(path) > 107) throw new InputError('socket', `a socket's path has at most 107 bytes, ${path} has ${Buffer.byteLength(path)}`);
  const gid = group === undefined ? null : await groupNumber(group);
  await removeStale(path);
  // Between bind and chmod anybody could connect: born closed, then opened. (umask is the process's; bind happens in this turn.)
  const before = process.umask(0o177);
  try {
    const bound = bind(server, { path }, `unix:${path}`);
    process.umask(before);
    await bound;
  } finally {
    process.umask(before);
  }
  try {
    if (gid !== null) await chown(path, -1, gid);
    await chmod(path, everybody ? 0o666 : 0o660);
  } catch (thrown) {
    await new Promise<void>((resolve) => void server.close(() => resolve()));
    throw new InputError('socketGroup', `cannot give ${path} to the group ${group ?? ''} (${message(thrown)}); be a member of it, or start as root`);
  }
  return `unix:${path}`;
}

function bind(server: Server, where: { host: string; port: number } | { path: string }, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => {
      const why = error.code === 'EADDRINUSE' ? 'another process listens there' : error.code === 'EACCES' ? 'this user may not' : error.message;
      reject(new InputError('listen', `cannot listen on ${name}: ${why}`));
    };
    server.once('error', failed);
    server.listen(where, () => {
      server.off('error', failed);
      resolve();
    });
  });
}

/** Removes a socket that nobody listens on. */
async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw new InputError('socket', `cannot look at ${path}: ${error.message}`);
  });
  if (found === null) return;
  if (!found.isSocket()) throw new InputError('socket', `${path} exists and is not a socket; remove it or name another path`);
  if (await answers(path)) throw new InputError('socket', `another process listens on ${path}`);
  await unlink(path).catch((error: unknown) => {
    throw new InputError('socket', `cannot remove the old socket ${path}: ${message(error)}`);
  });
}

/** Only a refused connection proves that nobody is there: a full queue or a missing right does not. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'));
  });
}

/** Node knows no group names: /etc/group does (directory services do not get there; give their groups by number). */
async function groupNumber(group: string): Promise<number> {
  if (/^\d{1,10}$/.test(group)) return Number(group);
  const file = await readFile('/etc/group', 'utf8').catch(() => '');
  const line = file
    .split('\n')
    .map((each) => each.split(':'))
    .find(([name]) => name === group);
  const gid = Number(line?.[2]);
  if (line === undefined || !Number.isInteger(gid)) throw new InputError('socketGroup', `no group ${JSON.stringify(group)} in /etc/group; give its number`);
  return gid;
}

function message(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
