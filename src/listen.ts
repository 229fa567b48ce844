// Where does a server listen: an address and port, or a Unix socket that only a group may use?
//
// A socket file outlives a process that was killed. It is removed only if it is a socket and nobody answers on it; anything else
// at that path is somebody's file or somebody's service.

import { existsSync } from 'node:fs';
import { chmod, chown, lstat, readFile, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Server } from 'node:net';
import { dirname } from 'node:path';
import process from 'node:process';
import { InputError } from 'policy-cache';

/** The settings that an address comes from: problems are told in their names. */
type Listener = 'doors' | 'grpc' | 'api';

export type Address =
  | { readonly host: string; readonly port: number }
  /** `group`: name or number; without it the process's own. `everybody`: mode 0666 instead of 0660. */
  | { readonly path: string; readonly group?: string; readonly everybody?: boolean };

/**
 * Listens; resolves to the address in words (`127.0.0.1:9191`, `unix:/run/authz/http.sock`), with the port that was really taken.
 * @throws InputError, in the names of `settings`, if the address is in use, not ours to use, or the path is not a socket of nobody
 */
export async function listen(server: Server, address: Address, settings: Listener = 'doors'): Promise<string> {
  if (!('path' in address)) {
    await bind(server, { host: address.host, port: address.port }, settings);
    const bound = server.address();
    const port = typeof bound === 'object' && bound !== null ? bound.port : address.port;
    return address.host.includes(':') ? `[${address.host}]:${port}` : `${address.host}:${port}`;
  }
  const { path, group, everybody = false } = address;
  if (Buffer.byteLength(path) > 107)
    throw new InputError(`${settings}.socket`, `a socket's path has at most 107 bytes, ${path} has ${Buffer.byteLength(path)}`);
  const gid = group === undefined ? null : await groupNumber(group, settings);
  await removeStale(path, settings);
  // Between bind and chmod anybody could connect: born closed, then opened. (umask is the process's; bind happens in this turn.)
  const before = process.umask(0o177);
  try {
    const bound = bind(server, { path }, settings);
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
    throw new InputError(
      `${settings}.socketGroup`,
      `cannot give ${path} to the group ${group ?? ''} (${message(thrown)}); be a member of it, or start as root`,
    );
  }
  return `unix:${path}`;
}

function bind(server: Server, where: { host: string; port: number } | { path: string }, settings: Listener): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void =>
      reject('path' in where ? socketProblem(where.path, error, settings) : addressProblem(where, error, settings));
    server.once('error', failed);
    server.listen(where, () => {
      server.off('error', failed);
      resolve();
    });
  });
}

function addressProblem({ host, port }: { host: string; port: number }, error: NodeJS.ErrnoException, settings: Listener): InputError {
  const say = (setting: string, why: string): InputError => new InputError(`${settings}.${setting}`, `cannot listen on ${host}:${port}: ${why}`);
  switch (error.code) {
    case 'EADDRINUSE':
      return say('port', 'another process listens there; end it, or name another port (0 takes any free one)');
    case 'EACCES':
      return say('port', 'this user may not; name one from 1024 on');
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return say('host', 'this machine has no such address');
    default:
      return say('host', error.message);
  }
}

function socketProblem(path: string, error: NodeJS.ErrnoException, settings: Listener): InputError {
  const say = (why: string): InputError => new InputError(`${settings}.socket`, `cannot listen on unix:${path}: ${why}`);
  if (error.code === 'EADDRINUSE') return say('another process listens there');
  if (error.code !== 'EACCES') return say(error.message);
  // libuv says EACCES of a directory that is not there, too.
  const directory = dirname(path);
  return say(existsSync(directory) ? `this user may not write to ${directory}` : `there is no directory ${directory}; make it first`);
}

/** Removes a socket that nobody listens on. */
async function removeStale(path: string, settings: Listener): Promise<void> {
  const setting = `${settings}.socket`;
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw new InputError(setting, `cannot look at ${path}: ${error.message}`);
  });
  if (found === null) return;
  if (!found.isSocket()) throw new InputError(setting, `${path} exists and is not a socket; remove it or name another path`);
  if (await answers(path)) throw new InputError(setting, `another process listens on ${path}`);
  await unlink(path).catch((error: unknown) => {
    throw new InputError(setting, `cannot remove the old socket ${path}: ${message(error)}`);
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
async function groupNumber(group: string, settings: Listener): Promise<number> {
  if (/^\d{1,10}$/.test(group)) return Number(group);
  const file = await readFile('/etc/group', 'utf8').catch(() => '');
  const line = file
    .split('\n')
    .map((each) => each.split(':'))
    .find(([name]) => name === group);
  const gid = Number(line?.[2]);
  if (line === undefined || !Number.isInteger(gid))
    throw new InputError(`${settings}.socketGroup`, `no group ${JSON.stringify(group)} in /etc/group; give its number`);
  return gid;
}

function message(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
