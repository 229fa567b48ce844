// How does a test see a program's configuration work whose program does not run here, but asks as nginx does? By a real nginx with
// the server that the program would render of it, on a Unix socket.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startChild } from '../child.ts';
import { connectRaw, requestBytes, type RawAnswer } from '../raw.ts';
import { requirePart } from '../require.ts';
import { until } from '../until.ts';
import type { InMemory } from './in-front.ts';

const program = requirePart('nginx');

type Line = readonly [name: string, value: string];

export interface RenderedNginx {
  /** One connection, one request of these lines; `Host: app.example` unless they have one. */
  ask(line: string, headers: readonly Line[]): Promise<RawAnswer>;
  stop(): Promise<void>;
}

/** Runs what stands in the http block; a server of it listens on `LISTEN`. */
export async function startRendered(http: string): Promise<RenderedNginx> {
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-rendered-'));
  const socket = join(directory, 'nginx.sock');
  await writeFile(
    join(directory, 'nginx.conf'),
    `daemon off; pid nginx.pid; error_log stderr warn; user root; events { }
http {
  access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  ${http.replace('LISTEN', `unix:${socket}`)}
}`,
  );
  const child = startChild(program, ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', 'stderr'], { cwd: directory });
  let over: string | null = null;
  void child.ended.then((how) => (over = how));
  await until(async () => over !== null || (await accepts(socket)), 'nginx');
  if (over !== null) throw new Error(`${String(over)}: ${child.stderr()}`);
  return {
    async ask(line, headers) {
      const connection = await connectRaw({ path: socket });
      const all: Line[] = [...headers, ['Connection', 'close']];
      if (!headers.some(([name]) => name === 'Host') && !line.endsWith('/1.0')) all.unshift(['Host', 'app.example']);
      connection.send(requestBytes(line, all));
      try {
        return await connection.answer();
      } finally {
        connection.destroy();
      }
    },
    async stop() {
      await child.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export interface Asked {
  readonly status: number;
  /** Of each check. */
  readonly reason: string;
  /** What the application was asked. */
  readonly reached: string | null;
  readonly challenge: string | undefined;
}

/** One request, and what came of it everywhere. Of the reports before it none is left. */
export async function askThrough(
  at: RenderedNginx,
  { side, application: { seen } }: InMemory,
  { line, headers }: { line: string; headers: readonly Line[] },
): Promise<Asked> {
  const before = seen.length;
  side.reports.length = 0;
  const answer = await at.ask(line, headers);
  const reason = side.reports.map((report) => report.reason).join();
  return { status: answer.status, reason, reached: seen.length > before ? seen.at(-1)!.url : null, challenge: answer.header('www-authenticate') };
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => resolve(true));
    socket.on('error', () => resolve(false)).on('connect', () => socket.destroy());
  });
}
