// What is a fail-over made of? A primary, a standby that streams from it through a link that can be cut, and a promotion.
//
// Debian's server has pg_basebackup. The embedded one lacks it: there the standby is a copy of the data directory, taken between
// pg_backup_start and pg_backup_stop.

import { chown, copyFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { openPool } from 'policy-cache/postgres';
import type { Cluster } from '../../src/postgres-server.ts';
import { startChild } from './child.ts';
import { startProxy } from './frozen-link.ts';
import { DEBIAN_15, startCluster, type ServerKind, type TestCluster } from './postgres-cluster.ts';
import { startOwnPostgres, type OwnServer, type TestDatabase } from './postgres.ts';
import { until } from './until.ts';

type Sql = ReturnType<typeof openPool>;

/** One database on two servers. */
export interface Pair {
  readonly primary: OwnServer;
  readonly database: TestDatabase;
  readonly standby: TestCluster;
  /** The superuser's, of that database on the standby. */
  readonly nextUrl: string;
  /** The superuser's clients of that database, one connection each. */
  readonly old: Sql;
  readonly next: Sql;
  /** Of a login that may only read: the URL at one server, or at both in this order. */
  url(...hosts: readonly ('primary' | 'standby')[]): string;
  /** Until the standby shows all that the primary has committed. */
  streamed(): Promise<void>;
  /** What the primary commits from now on never reaches the standby, and nobody is told. */
  cut(): void;
  /** Asks, and does not wait until writes are taken. */
  promote(): Promise<void>;
  close(): Promise<void>;
}

export async function startPair(kind: ServerKind): Promise<Pair> {
  // What is written while the directory is copied is streamed afterwards.
  const primary = await startOwnPostgres(kind, { settings: { wal_keep_size: '512MB' } });
  const closing: (() => Promise<unknown>)[] = [() => primary.close()];
  const close = async (): Promise<void> => {
    for (const part of closing.splice(0).toReversed()) await part();
  };
  try {
    const database = await primary.database();
    const reader = new URL(await database.urlAs('grantgate_reader'));
    const { port, password } = new URL(primary.url);
    const link = await startProxy({ port: Number(port) });
    closing.push(() => link.close());
    const standby = await startCluster(kind, {
      password,
      make: (cluster) => (cluster.bin === DEBIAN_15 ? baseBackup(cluster, port) : copyOf(primary, cluster)),
      settings: { primary_conninfo: `host=127.0.0.1 port=${link.port} user=postgres password=${password}` },
    });
    closing.push(() => standby.remove());
    const nextUrl = withPort(database.url, standby.port);
    const [old, next] = [database.url, nextUrl].map((url) => openPool({ url, max: 1 })) as [Sql, Sql];
    closing.push(() => Promise.all([old, next].map((sql) => sql.end({ timeout: 1 }))));
    const { username, pathname } = reader;
    const hosts = { primary: `127.0.0.1:${port}`, standby: `127.0.0.1:${standby.port}` };
    return {
      primary,
      database,
      standby,
      nextUrl,
      old,
      next,
      url: (...names) => `postgres://${username}:${reader.password}@${names.map((name) => hosts[name]).join()}${pathname}`,
      async streamed() {
        const [row] = await old`select pg_current_wal_flush_lsn()::text as lsn`;
        const lsn = String(row?.['lsn']);
        await until(async () => (await next`select pg_last_wal_replay_lsn() >= ${lsn}::pg_lsn as done`)[0]?.['done'] === true, 'the standby has everything');
      },
      cut: () => link.freeze(),
      async promote() {
        await next`select pg_promote(wait => false)`;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function withPort(url: string, port: number): string {
  const changed = new URL(url);
  changed.port = String(port);
  return changed.href;
}

async function baseBackup(cluster: Cluster, port: string): Promise<void> {
  const args = ['-h', '127.0.0.1', '-p', port, '-U', 'postgres', '-D', cluster.data, '-X', 'stream', '-c', 'fast', '--no-sync', '-w'];
  const backup = startChild(join(cluster.bin, 'pg_basebackup'), args, { env: { PGPASSWORD: cluster.password } });
  const how = await backup.ended;
  if (how !== 'exit 0') throw new Error(`pg_basebackup: ${how}: ${backup.stderr()}`);
  await becomesStandby(cluster);
}

async function copyOf(primary: OwnServer, cluster: Cluster): Promise<void> {
  const sql = openPool({ url: primary.url, max: 1 }); // a backup belongs to its session
  try {
    await sql`select pg_backup_start('standby', fast => true)`;
    await copy(primary.directory, cluster.data);
    const [row] = await sql`select labelfile, spcmapfile from pg_backup_stop(wait_for_archive => false)`;
    await writeFile(join(cluster.data, 'backup_label'), String(row?.['labelfile']));
    const tablespaces = String(row?.['spcmapfile'] ?? '');
    if (tablespaces !== '') await writeFile(join(cluster.data, 'tablespace_map'), tablespaces);
  } finally {
    await sql.end({ timeout: 1 });
  }
  await becomesStandby(cluster);
}

/** The running server lives in these. */
const NOT_COPIED = new Set(['postmaster.pid', 'postmaster.opts', 'pg_internal.init']);
/** Their contents are of no use to another server; the write-ahead log is streamed. */
const LEFT_EMPTY = new Set(['pg_wal', 'pg_replslot', 'pg_dynshmem', 'pg_notify', 'pg_serial', 'pg_snapshots', 'pg_stat_tmp', 'pg_subtrans', 'pgsql_tmp']);

async function copy(from: string, to: string): Promise<void> {
  await mkdir(to, { mode: 0o700 });
  if (LEFT_EMPTY.has(basename(from))) return;
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (NOT_COPIED.has(entry.name)) continue;
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await copy(source, target);
    else
      await copyFile(source, target).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // removed meanwhile; so does the log when it is replayed
      });
  }
}

async function becomesStandby({ data, account }: Cluster): Promise<void> {
  await writeFile(join(data, 'standby.signal'), '');
  if (account) for (const name of ['.', ...(await readdir(data, { recursive: true }))]) await chown(join(data, name), account.uid, account.gid);
}
