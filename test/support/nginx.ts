// How does a test run the shipped nginx configuration? The files of deploy/nginx, byte for byte, but for the three addresses.

import { chmod, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startChild, type Child } from './child.ts';
import { requirePart } from './require.ts';

const program = requirePart('nginx');
const shipped = fileURLToPath(new URL('../../deploy/nginx', import.meta.url));

export interface Nginx {
  readonly port: number;
  readonly directory: string;
  /** What it wrote about errors. */
  errors(): string;
  /** Process ids of its workers. */
  workers(): Promise<readonly number[]>;
  stop(): Promise<void>;
}

export interface NginxOptions {
  /** Unix socket of the doors. */
  readonly doors: string;
  readonly applicationPort: number;
  /** For a negative control: changes a file of the configuration. Must change something. */
  readonly spoil?: (file: string, text: string) => string;
}

const ADDRESSES = { doors: 'server unix:/run/grantgate/doors.sock;', application: 'server 127.0.0.1:8080;', listen: 'listen 127.0.0.1:8088;' };
const START_LIMIT_MS = 10_000;

export async function startNginx(options: NginxOptions): Promise<Nginx> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const directory = await mkdtemp(join(tmpdir(), 'grantgate-nginx-'));
    await chmod(directory, 0o711); // the workers pass through
    await configure(directory, port, options);
    const started = await tryStart(directory, port);
    if (typeof started !== 'string') return started;
    await rm(directory, { recursive: true, force: true });
    // A free port is only known to be free until somebody else takes it.
    if (attempt === 3 || !started.includes('Address already in use')) throw new Error(`nginx did not start: ${started}`);
  }
}

/** Copies the shipped files and puts the addresses of this test into local.conf. */
export async function configure(directory: string, port: number, { doors, applicationPort, spoil }: NginxOptions): Promise<void> {
  await cp(shipped, directory, { recursive: true });
  const local = await readFile(join(shipped, 'local.conf'), 'utf8');
  const changed = [
    [ADDRESSES.doors, `server unix:${doors};`],
    [ADDRESSES.application, `server 127.0.0.1:${applicationPort};`],
    [ADDRESSES.listen, `listen 127.0.0.1:${port};`],
  ].reduce((text, [from = '', to = '']) => {
    if (text.split(from).length !== 2) throw new Error(`deploy/nginx/local.conf must have "${from}" exactly once`);
    return text.replace(from, to);
  }, local);
  // Only root may name a user, and only its directory needs to be opened for one.
  await writeFile(join(directory, 'local.conf'), process.getuid?.() === 0 ? changed : changed.replace(/^user .*$/m, ''));
  if (!spoil) return;
  let spoilt = false;
  for (const name of ['local.conf', 'grantgate.conf', 'grantgate-maps.conf']) {
    const before = await readFile(join(directory, name), 'utf8');
    const after = spoil(name, before);
    spoilt ||= after !== before;
    await writeFile(join(directory, name), after);
  }
  if (!spoilt) throw new Error('the negative control changes nothing');
}

async function tryStart(directory: string, port: number): Promise<Nginx | string> {
  const child = startChild(program, ['-p', directory, '-c', join(directory, 'local.conf')], { cwd: directory });
  const stopped = new Promise<string>((resolve) => void child.ended.then((how) => resolve(`${how}: ${child.stderr()}`)));
  const limit = Date.now() + START_LIMIT_MS;
  for (;;) {
    const workers = await workersOf(child.pid); // they begin when the sockets are open
    if (workers.length > 0) return nginx(child, directory, port);
    const over = await Promise.race([stopped, new Promise<null>((resolve) => setTimeout(resolve, 10, null))]);
    if (over !== null) return over;
    if (Date.now() > limit) {
      await child.stop('SIGKILL');
      return `no worker within ${START_LIMIT_MS} ms: ${child.stderr()}`;
    }
  }
}

function nginx(child: Child, directory: string, port: number): Nginx {
  return {
    port,
    directory,
    errors: () => child.stderr(),
    workers: () => workersOf(child.pid),
    async stop() {
      await child.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function workersOf(pid: number): Promise<readonly number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return children.trim().split(' ').filter(Boolean).map(Number);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      const port = typeof address === 'object' && address ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}
