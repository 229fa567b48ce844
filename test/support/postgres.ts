// How does a test file get its Postgres? A server of a kind, shared by the whole run, and in it a database of its own, cloned
// from a migrated template (17 ms). A suite that stops, freezes or kills servers asks for its own.

import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { migrate, openPool } from 'policy-cache/postgres';
import { inject } from 'vitest';
import { serverKinds, startCluster, type ClusterOptions, type ServerKind } from './postgres-cluster.ts';
import { isMissing } from './require.ts';

export type { ServerKind } from './postgres-cluster.ts';

type Sql = ReturnType<typeof openPool>;

/** For `describe.each(servers)`: the kinds that are installed here. */
export const servers: readonly ServerKind[] = serverKinds.filter((kind) => !isMissing(kind === 'embedded18' ? 'embedded18' : 'postgres15'));

export interface TestDatabase {
  readonly name: string;
  /** The superuser's. */
  readonly url: string;
  /** Of a login role that is a member of `role` alone (grantgate_reader, grantgate_writer, …). */
  urlAs(role: string): Promise<string>;
  /** With every connection to it. */
  drop(): Promise<void>;
}

export interface TestServer {
  readonly kind: ServerKind;
  /** The superuser's, to the database `postgres`. */
  readonly url: string;
  /** A new database: a clone of the migrated template, or an empty one. */
  database(content?: 'migrated' | 'empty'): Promise<TestDatabase>;
  /** Drops what `database()` made, and ends a server of one's own. For `afterAll`. */
  close(): Promise<void>;
}

export interface OwnServer extends TestServer {
  /** The data directory. */
  readonly directory: string;
  stop(mode?: 'fast' | 'immediate'): Promise<void>;
  start(): Promise<void>;
  /** SIGSTOP and SIGCONT to every process of the server. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
}

/** The shared server of a kind. Its settings, roles and life belong to all test files. */
export async function startPostgres(kind: ServerKind): Promise<TestServer> {
  const broker = inject('postgresBroker') as string | undefined; // a run without the global set-up has none
  if (broker === undefined) return startOwnPostgres(kind);
  const response = await fetch(`${broker}/${kind}`);
  const url = await response.text();
  if (!response.ok) throw new Error(`no shared ${kind}: ${url}`);
  return testServer(kind, url);
}

/** Limits of a source, for suites that are about something else: on a machine that others use too, a fill may take longer than 250 ms. */
export const PATIENT = { connectMs: 10_000, pullMs: 10_000, fillMs: 10_000 } as const;

/** A server for one suite: 0.7 s. */
export async function startOwnPostgres(kind: ServerKind, options: ClusterOptions = {}): Promise<OwnServer> {
  const cluster = await startCluster(kind, options);
  const server = testServer(kind, cluster.url);
  const signal = async (name: NodeJS.Signals): Promise<void> => {
    // The postmaster's children, frozen first or woken last, so that none is born between.
    if (name === 'SIGSTOP') process.kill(cluster.pid(), name);
    for (const pid of await childrenOf(cluster.pid())) process.kill(pid, name);
    if (name !== 'SIGSTOP') process.kill(cluster.pid(), name);
  };
  return {
    ...server,
    directory: cluster.directory,
    stop: (mode) => cluster.stop(mode),
    start: () => cluster.start(),
    freeze: () => signal('SIGSTOP'),
    thaw: () => signal('SIGCONT'),
    close: () => cluster.remove(),
  };
}

function testServer(kind: ServerKind, url: string): TestServer {
  const made: TestDatabase[] = [];
  return {
    kind,
    url,
    async database(content = 'migrated') {
      const name = `test_${randomBytes(6).toString('hex')}`;
      await asAdmin(url, async (sql) => {
        const template = content === 'empty' ? 'template0' : await migratedTemplate(sql, url);
        await sql.unsafe(`create database ${name} template ${template} strategy wal_log`);
      });
      const database = testDatabase(url, name);
      made.push(database);
      return database;
    },
    async close() {
      await Promise.all(made.splice(0).map((database) => database.drop()));
    },
  };
}

function testDatabase(server: string, name: string): TestDatabase {
  return {
    name,
    url: withPath(server, name),
    async urlAs(role) {
      const login = `login_${randomBytes(6).toString('hex')}`;
      await asAdmin(server, (sql) => sql.unsafe(`create role ${login} login password '${login}' in role ${role}`));
      const url = new URL(withPath(server, name));
      url.username = url.password = login;
      return url.href;
    },
    drop: () => asAdmin(server, async (sql) => void (await sql.unsafe(`drop database if exists ${name} with (force)`))),
  };
}

const TEMPLATE = 'grantgate_template';

/** Made once per server, by whichever file comes first; nobody is ever connected to it afterwards, else it could not be cloned. */
async function migratedTemplate(sql: Sql, url: string): Promise<string> {
  await sql`select pg_advisory_lock(7331)`;
  const [known] = await sql`select 1 from pg_database where datname = ${TEMPLATE} and datistemplate`;
  if (!known) {
    await sql.unsafe(`drop database if exists ${TEMPLATE}`);
    await sql.unsafe(`create database ${TEMPLATE} template template0`);
    await migrateTemplate(withPath(url, TEMPLATE));
    await sql.unsafe(`alter database ${TEMPLATE} is_template true`);
  }
  await sql`select pg_advisory_unlock(7331)`;
  return TEMPLATE;
}

async function migrateTemplate(url: string): Promise<void> {
  const directory = new URL('../../deploy/sql/', import.meta.url);
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql'));
  const files = await Promise.all(names.map(async (name) => ({ name, text: await readFile(new URL(name, directory), 'utf8') })));
  await asAdmin(url, async (sql) => {
    const { statements } = await migrate(sql, files);
    if (statements.length > 0) throw new Error(`the superuser may not migrate: ${statements.join('; ')}`);
  });
}

async function asAdmin<T>(url: string, work: (sql: Sql) => Promise<T>): Promise<T> {
  const sql = openPool({ url, max: 1 });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

function withPath(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}

async function childrenOf(pid: number): Promise<number[]> {
  return (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ').filter(Boolean).map(Number);
}
