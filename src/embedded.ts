// Which database does a fresh machine have? The Postgres 18 that came with npm, started below a directory of ours.
//
// It is a real server (LISTEN included), meant for the demo and for tests. It listens on loopback only, with a random password that
// is kept, 0600, in the given directory: trust on loopback would make every local user its superuser, and the path of a Unix
// socket has 107 bytes, which a checkout may exceed. One process at a time uses a directory; what a killed one left is cleared away.

import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { canReach, embeddedPrograms, serverAccount } from './embedded-native.ts';
import { initialise, isAlive, liveServer, runSingleUser, startServer, type Cluster, type RunningServer } from './postgres-server.ts';

export interface EmbeddedOptions {
  /** As in postgresql.conf. */
  readonly settings?: Readonly<Record<string, string | number>>;
  /** Where root puts what the server's account cannot reach otherwise; default /var/lib/grantgate. */
  readonly systemDirectory?: string;
}

export interface EmbeddedPostgres {
  /** The superuser's, to the database `grantgate`. Contains the password. */
  readonly url: string;
  readonly pid: number;
  /** Settles with the server's last words when it has ended, whoever ended it. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
}

const MAJOR = '18';
const STOP_LIMIT_MS = 30_000;

/** Starts the server of a directory, which is made at the first time. Rejects with a sentence that names the way out. */
export async function startEmbedded(directory: string, options: EmbeddedOptions = {}): Promise<EmbeddedPostgres> {
  const home = resolve(directory);
  const owner = join(home, 'postgres.owner');
  let release = async (): Promise<void> => undefined;
  try {
    await ownDirectory(home);
    await claim(owner);
    release = () => rm(owner, { force: true });
    const cluster = await place(home, options.systemDirectory ?? '/var/lib/grantgate');
    await prepare(home, cluster);
    const server = await startServer(cluster, { max_connections: 200, shared_buffers: '64MB', ...options.settings });
    return running(server, cluster.password, release);
  } catch (error) {
    await release();
    const problem = error instanceof Error ? error.message : String(error);
    throw new Error(`embedded Postgres in ${home}: ${problem}. A Postgres of your own serves too: DATABASE_URL and demo --no-embedded.`, { cause: error });
  }
}

/**
 * Makes the directory. One that is there must be ours, or root's: we believe the files in it, a password among them, and write where
 * a link in it leads.
 */
export async function ownDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o755 });
  const { uid, mode } = await stat(path);
  const us = process.getuid?.();
  if (us === undefined) return; // Windows
  if (uid !== us && uid !== 0) throw new Error(`${path} belongs to uid ${uid}, who may have put anything into it: choose another directory, or be that user`);
  if ((mode & 0o002) !== 0) throw new Error(`everybody may write to ${path}: take that right away (chmod o-w), or choose another directory`);
}

function running(server: RunningServer, password: string, release: () => Promise<void>): EmbeddedPostgres {
  const released = server.ended.then(release);
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${server.port}/grantgate`,
    pid: server.pid,
    ended: server.ended,
    async stop() {
      await server.stop();
      await released;
    },
  };
}

/** Where the programs and the data are: below the directory, or, for what the account cannot reach there, in the system's. */
async function place(home: string, system: string): Promise<Cluster> {
  const account = await serverAccount();
  const bin = await embeddedPrograms(account, account ? system : home);
  const reachable = !account || (await canReach(account, home));
  const key = createHash('sha256')
    .update(await realpath(home))
    .digest('hex')
    .slice(0, 16);
  const data = reachable ? join(home, 'postgres') : join(system, `data-${key}`);
  return { bin, data, account, password: await password(home) };
}

async function password(home: string): Promise<string> {
  const file = join(home, 'postgres.password');
  const made = randomBytes(24).toString('base64url');
  try {
    await writeFile(file, made, { mode: 0o600, flag: 'wx' });
    return made;
  } catch {
    return (await readFile(file, 'utf8')).trim();
  }
}

/** Leaves a stopped cluster with our password, whatever was there before. */
async function prepare(home: string, cluster: Cluster): Promise<void> {
  const marker = join(home, 'postgres.data');
  const state = JSON.stringify({ data: cluster.data, password: createHash('sha256').update(cluster.password).digest('hex') });
  const known = await readFile(marker, 'utf8').catch(() => null);
  await clear(cluster.data);
  const found = await stat(cluster.data).catch(() => null);
  const us = cluster.account?.uid ?? process.getuid?.();
  if (found && found.uid !== us)
    throw new Error(`${cluster.data} belongs to uid ${found.uid} and the server would run as ${us}: remove it, or start as the user who made it`);
  // The system's directory outlives ours: without our marker its data belong to a directory that was thrown away.
  if (found && known === null && !cluster.data.startsWith(home)) await rm(cluster.data, { recursive: true });
  if (!(await stat(cluster.data).catch(() => null))) {
    await initialise(cluster);
    await runSingleUser(cluster, 'create database grantgate');
  } else {
    const version = (await readFile(join(cluster.data, 'PG_VERSION'), 'utf8')).trim();
    if (version !== MAJOR)
      throw new Error(`${cluster.data} was made by PostgreSQL ${version} and this is ${MAJOR}: remove it, or keep the version that made it`);
    if (known !== state) await runSingleUser(cluster, `alter role postgres password '${cluster.password}'`);
  }
  await writeFile(marker, state, { mode: 0o600 });
}

/** One process per directory. Of a process that was killed only its file is left. */
async function claim(owner: string): Promise<void> {
  const us = `${process.pid} ${await bornAt(process.pid)}`;
  for (;;) {
    try {
      await writeFile(owner, us, { flag: 'wx' });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const [pid = '', born = ''] = (await readFile(owner, 'utf8').catch(() => '')).split(' ');
    if (Number(pid) > 0 && (await isAlive(Number(pid))) && (await bornAt(Number(pid))) === born)
      throw new Error(`process ${pid} is using it: stop that, or choose another directory`);
    await rm(owner, { force: true });
  }
}

/** Start time of a process, so that a process id that is used again is not taken for it; '' where /proc does not tell. */
async function bornAt(pid: number): Promise<string> {
  const line = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return line.slice(line.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

/** Ends a server that a killed owner left behind, and removes the lock file of one that is gone. */
async function clear(data: string): Promise<void> {
  const left = await liveServer(data);
  if (left !== null) {
    process.kill(left, 'SIGCONT');
    process.kill(left, 'SIGINT');
    for (const limit = Date.now() + STOP_LIMIT_MS; await liveServer(data);) {
      if (Date.now() > limit) throw new Error(`the server ${left} that an earlier start left behind does not stop: end it by hand`);
      await new Promise((done) => setTimeout(done, 20));
    }
  }
  // In a container process ids start anew: Postgres would take its stale lock for a live server of the same number.
  await rm(join(data, 'postmaster.pid'), { force: true });
}
