// Where does a server listen: an address and port, or a Unix socket that only a group may use?
//
// A socket file outlives a process that was killed. It is removed only if it is a socket and nobody answers on it; anything else
// at that path is somebody's file or somebody's service.
//
// A socket is bound in a closed directory beside its place and then moved there: nobody connects before it has its mode and group, and
// it can replace another process's in one step, so that no connection is refused between the two. (libuv removes the name that it
// bound when a server closes; that is then never a successor's.)

import { existsSync, lstatSync, unlinkSync } from 'node:fs';
import { chmod, chown, link, lstat, mkdtemp, readFile, rename, rm, stat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { InputError } from 'policy-cache';

/** The settings that an address comes from: problems are told in their names. */
type Listener = 'doors' | 'grpc' | 'api';

/** What the kernel keeps of a socket's path. */
const MOST_BYTES = 107;

export type Address =
  | { readonly host: string; readonly port: number }
  /**
   * `group`: name or number; without it the process's own. `everybody`: mode 0666 instead of 0660. `takeOver`: another process that
   * listens there loses the name, and keeps the connections that it has.
   */
  | { readonly path: string; readonly group?: string; readonly everybody?: boolean; readonly takeOver?: boolean };

/** Of the settings of one listener. */
interface Listening {
  readonly host: string;
  readonly port: number | 'none';
  readonly socket?: string | undefined;
  readonly socketGroup?: string | undefined;
  readonly insecureWorldWritableSocket: boolean;
}

/** Where a listener is to be: its port, its socket, or both. */
export function addressesOf({ host, port, socket, socketGroup, insecureWorldWritableSocket }: Listening, takeOver: boolean): readonly Address[] {
  return [
    ...(port === 'none' ? [] : [{ host, port }]),
    ...(socket === undefined
      ? []
      : [{ path: socket, takeOver, everybody: insecureWorldWritableSocket, ...(socketGroup === undefined ? {} : { group: socketGroup }) }]),
  ];
}

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
  const { path, group, everybody = false, takeOver = false } = address;
  const setting = `${settings}.socket`;
  if (Buffer.byteLength(path) > MOST_BYTES)
    throw new InputError(setting, `a socket's path has at most ${MOST_BYTES} bytes, ${path} has ${Buffer.byteLength(path)}`);
  const gid = group === undefined ? null : await groupNumber(group, settings);
  if (!everybody) await refuseOpenDirectory(dirname(path), settings);
  await removeStale(path, settings, takeOver);
  const closed = await mkdtemp(`${dirname(path)}/.`).catch((error: NodeJS.ErrnoException) => {
    throw socketProblem(path, error, settings);
  });
  let ino: number;
  try {
    const born = join(closed, 's');
    if (Buffer.byteLength(born) > MOST_BYTES) throw new InputError(setting, `the directory of a socket has at most ${MOST_BYTES - 9} bytes: ${dirname(path)}`);
    await bind(server, { path, born }, settings);
    try {
      if (gid !== null) await chown(born, -1, gid).catch((error: unknown) => Promise.reject(groupProblem(settings, error)));
      await chmod(born, everybody ? 0o666 : 0o660);
      ({ ino } = await lstat(born)); // at its place it may be a successor's before it is looked at
      // A link and no rename, unless asked: of two that start at once only one gets the name.
      await (takeOver ? rename : link)(born, path).catch((error: NodeJS.ErrnoException) => Promise.reject(socketProblem(path, error, settings)));
    } catch (thrown) {
      await new Promise<void>((resolve) => void server.close(() => resolve()));
      throw thrown;
    }
  } finally {
    await rm(closed, { recursive: true, force: true });
  }
  server.once('close', () => removeOwn(path, ino));
  return `unix:${path}`;
}

function groupProblem(settings: Listener, error: unknown): InputError {
  return new InputError(`${settings}.socketGroup`, `cannot give the socket to this group (${message(error)}); be a member of it, or start as root`);
}

/** A closed server's name goes with it, unless it is a successor's by now. */
function removeOwn(path: string, ino: number): void {
  try {
    if (lstatSync(path).ino === ino) unlinkSync(path);
  } catch {
    // It is gone, which is what was wanted.
  }
}

/** Where everybody may make and remove names, anybody may put a socket of his own there, and allow everything. */
async function refuseOpenDirectory(directory: string, settings: Listener): Promise<void> {
  const found = await stat(directory).catch(() => null); // that it is not there is said in better words when it is bound
  if (found === null || (found.mode & 0o002) === 0) return;
  throw new InputError(
    `${settings}.socket`,
    `every user of this machine may write to ${directory}, and could put a socket there that allows everything: chmod o-w ${directory}, or use a directory of its own`,
  );
}

function bind(server: Server, where: { host: string; port: number } | { path: string; born: string }, settings: Listener): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void =>
      reject('path' in where ? socketProblem(where.path, error, settings) : addressProblem(where, error, settings));
    server.once('error', failed);
    server.listen('path' in where ? { path: where.born } : where, () => {
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
  if (error.code === 'EADDRINUSE' || error.code === 'EEXIST') return say('another process listens there');
  if (error.code !== 'EACCES' && error.code !== 'ENOENT') return say(error.message);
  // libuv says EACCES of a directory that is not there, too.
  const directory = dirname(path);
  return say(existsSync(directory) ? `this user may not write to ${directory}` : `there is no directory ${directory}; make it first`);
}

/** Removes a socket that nobody listens on. */
async function removeStale(path: string, settings: Listener, takeOver: boolean): Promise<void> {
  const setting = `${settings}.socket`;
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw new InputError(setting, `cannot look at ${path}: ${error.message}`);
  });
  if (found === null) return;
  if (!found.isSocket()) throw new InputError(setting, `${path} exists and is not a socket; remove it or name another path`);
  if (takeOver) return; // replaced in one step, whoever listens there
  if (await answers(path)) throw new InputError(setting, `another process listens on ${path}; end it first, or let this one take over: doors.takeOver: true`);
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
