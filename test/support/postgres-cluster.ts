// What is a Postgres server of the tests? One of the two versions, in a directory of its own that goes with it.

import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { embeddedPrograms, serverAccount } from '../../src/embedded-native.ts';
import { initialise, startServer, type Cluster, type RunningServer } from '../../src/postgres-server.ts';

export const serverKinds = ['embedded18', 'debian15'] as const;
export type ServerKind = (typeof serverKinds)[number];
export const DEBIAN_15 = '/usr/lib/postgresql/15/bin';

export interface ClusterOptions {
  /** As in postgresql.conf. */
  readonly settings?: Readonly<Record<string, string | number>>;
  /** For Unix sockets: made over to the server's account. */
  readonly socketDirectory?: string;
  /** True where what survives a crash is the subject; else nothing is flushed, for speed. */
  readonly durable?: boolean;
  /** Makes the data directory; default: by initdb. Its superuser's password is then `password`. */
  readonly make?: (cluster: Cluster) => Promise<void>;
  readonly password?: string;
}

export interface TestCluster {
  readonly kind: ServerKind;
  /** The superuser's, to the database `postgres`. The port stays the same from start to start. */
  readonly url: string;
  readonly port: number;
  /** The data directory: for a suite that makes a standby of it, or reads its files. */
  readonly directory: string;
  readonly pid: () => number;
  stop(mode?: 'fast' | 'immediate'): Promise<void>;
  start(): Promise<void>;
  /** Stops the server for good and removes its files. */
  remove(): Promise<void>;
}

export function isServerKind(name: string): name is ServerKind {
  return (serverKinds as readonly string[]).includes(name);
}

export async function startCluster(kind: ServerKind, options: ClusterOptions = {}): Promise<TestCluster> {
  const directory = await mkdtemp(join(tmpdir(), `grantgate-test-${kind}-`));
  const account = await serverAccount();
  await chmod(directory, 0o711); // its account passes through
  const bin = kind === 'embedded18' ? await embeddedPrograms(account, account ? '/var/lib/grantgate' : directory) : DEBIAN_15;
  const cluster = { bin, data: join(directory, 'data'), account, password: options.password ?? randomBytes(12).toString('hex') };
  const settings = {
    max_connections: 200,
    shared_buffers: '64MB',
    ...(options.durable ? {} : { fsync: 'off', full_page_writes: 'off' }),
    ...(options.socketDirectory === undefined ? {} : { unix_socket_directories: options.socketDirectory }),
    ...options.settings,
  };
  let server: RunningServer;
  try {
    if (options.socketDirectory !== undefined && account) await chown(options.socketDirectory, account.uid, account.gid);
    await (options.make ?? initialise)(cluster);
    server = await startServer(cluster, settings);
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
  const { port } = server;
  return {
    kind,
    port,
    directory: cluster.data,
    url: `postgres://postgres:${cluster.password}@127.0.0.1:${port}/postgres`,
    pid: () => server.pid,
    stop: (mode) => server.stop(mode),
    async start() {
      server = await startServer(cluster, settings, port);
    },
    async remove() {
      await server.stop('immediate');
      await rm(directory, { recursive: true, force: true });
    },
  };
}
