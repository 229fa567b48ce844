// How does a test put a real pooler before its Postgres? PgBouncer in the foreground, on a port of its own.

import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serverAccount } from '../../src/embedded-native.ts';
import { freePort } from '../../src/postgres-server.ts';
import { startChild } from './child.ts';
import { requirePart } from './require.ts';
import { until } from './until.ts';

const program = requirePart('pgbouncer');

export interface Pooler {
  /** The URL with the pooler's port in it. */
  through(url: string): string;
  stop(): Promise<void>;
}

export interface PoolerOptions {
  readonly mode: 'transaction' | 'statement' | 'session';
  /** Lines of `[pgbouncer]`. */
  readonly settings?: Readonly<Record<string, string | number>>;
}

/** In front of the server of this URL, for the logins of these URLs. */
export async function startPooler(urls: readonly string[], { mode, settings }: PoolerOptions): Promise<Pooler> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await tryStart(urls, { mode, ...(settings ? { settings } : {}) });
    } catch (error) {
      // A free port is only known to be free until somebody else takes it.
      if (attempt === 3 || !String(error).includes('Address already in use')) throw error;
    }
  }
}

async function tryStart(urls: readonly string[], { mode, settings }: PoolerOptions): Promise<Pooler> {
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-pgbouncer-'));
  const port = await freePort();
  const { port: serverPort } = new URL(urls[0]!);
  const lines = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    auth_type: 'plain',
    auth_file: join(directory, 'users.txt'),
    pool_mode: mode,
    default_pool_size: 20,
    max_client_conn: 200,
    ...settings,
  };
  const ini = join(directory, 'pgbouncer.ini');
  await writeFile(
    ini,
    `[databases]\n* = host=127.0.0.1 port=${serverPort}\n[pgbouncer]\n${Object.entries(lines)
      .map(([name, value]) => `${name} = ${value}\n`)
      .join('')}`,
  );
  const users = urls.map((url) => new URL(url)).map(({ username, password }) => `"${username}" "${password}"\n`);
  await writeFile(lines.auth_file, users.join(''));
  // It refuses to be root. Its files have no secret that outlives the test.
  const account = await serverAccount();
  await chmod(directory, 0o755);
  if (account) for (const path of [directory, ini, lines.auth_file]) await chown(path, account.uid, account.gid);
  const child = account
    ? startChild('setpriv', [`--reuid=${account.uid}`, `--regid=${account.gid}`, '--clear-groups', program, ini])
    : startChild(program, [ini]);
  let over: string | null = null;
  void child.ended.then((how) => (over = how));
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    await until(async () => {
      if (over !== null) throw new Error(`pgbouncer has ended: ${over}\n${child.stderr()}`);
      return listens(port);
    }, 'pgbouncer');
  } catch (error) {
    await child.stop();
    await remove();
    throw error;
  }
  return {
    through(url) {
      const changed = new URL(url);
      changed.port = String(port);
      return changed.href;
    },
    async stop() {
      await child.stop();
      await remove();
    },
  };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
