// What is behind the proxies? A Postgres with a generated world and the estate in it, `grantgate serve`, and the application.

import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import postgres from 'postgres';
import { startEmbedded } from '../../dist/embedded.js';
import { start, temporaryDirectory, until } from '../processes.mjs';
import { grpcPermits } from '../served.mjs';
import { requireProgram } from './programs.mjs';
import { freePort } from './proxies.mjs';

const grantgate = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const stub = fileURLToPath(new URL('stub.mjs', import.meta.url));
/** Debian's nginx runs its workers as this group, which must be able to connect. */
const GROUP = process.getuid?.() === 0 ? { 'doors.socketGroup': 'www-data', 'grpc.socketGroup': 'www-data' } : {};

/** @typedef {{ pid: number, socket: string, port: number, grpcSocket: string, grpcPort: number, permits?: () => Promise<number> }} Door where a proxy asks; `permits` that its gRPC door has counted */
/** @typedef {() => Promise<unknown>} Close */

/**
 * @param {{ rows: readonly object[], customers: number, key: string, closing: Close[] }} options
 * `customers` of the generated world beside the estate, with five users and twenty entities each; `closing`: what is to be done at the end, the last first
 */
export async function startWorld({ rows, customers, key, closing }) {
  const directory = temporaryDirectory('k6');
  const server = await startEmbedded(directory);
  closing.push(() => server.stop());
  await run(['migrate'], { OWNER_DATABASE_URL: server.url });

  const own = join(directory, 'estate.ndjson');
  writeFileSync(own, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const files = [own];
  if (customers > 0) {
    const sizes = ['--customers', `${customers}`, '--users', `${5 * customers}`, '--entities', `${20 * customers}`];
    files.push(join(directory, 'generated.ndjson'));
    writeFileSync(files[1] ?? '', await run(['generate', '--seed', '1', '--quiet', ...sizes], {}));
  }
  await run(['import', ...files], { ADMIN_DATABASE_URL: server.url });

  const sql = postgres(server.url, { max: 2, onnotice: () => undefined });
  closing.push(() => sql.end({ timeout: 5 }));
  await sql.unsafe(`create role loadtest login password 'loadtest' in role grantgate_reader; analyze`);
  const reader = Object.assign(new URL(server.url), { username: 'loadtest', password: 'loadtest' }).href;
  const env = { DATABASE_URL: reader, GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: key };
  let next = 0;
  const place = () => {
    const path = join(directory, `door-${next++}`);
    mkdirSync(path, { mode: 0o711 });
    return { 'doors.socket': join(path, 'doors.sock'), 'grpc.socket': join(path, 'grpc.sock') };
  };
  return {
    directory,
    sql,
    /** `grantgate serve`, ready. @param {Readonly<Record<string, string | number>>} [settings] */
    serve: (settings = {}) => serve({ ...place(), ...settings }, env),
    /** What answers every check with the same bytes. */
    async floor() {
      const { 'doors.socket': socket, 'grpc.socket': grpcSocket } = place();
      const child = start(process.execPath, [stub, socket, grpcSocket]);
      await until(() => /ports \d+ \d+/.test(child.said()), { what: 'the stub', of: child });
      const [, port, grpcPort] = /ports (\d+) (\d+)/.exec(child.said()) ?? [];
      return { pid: child.pid, socket, grpcSocket, port: Number(port), grpcPort: Number(grpcPort), stop: () => child.stop() };
    },
    application: () => startApplication(directory),
  };
}

/** @param {Readonly<Record<string, string | number>> & { 'doors.socket': string, 'grpc.socket': string }} settings @param {Readonly<Record<string, string>>} env */
async function serve(settings, env) {
  const all = Object.entries({ 'doors.port': 0, 'grpc.port': 0, 'api.port': 0, 'shutdown.delay': '0ms', ...GROUP, ...settings });
  const child = start(process.execPath, [grantgate, 'serve', ...all.flatMap(([path, value]) => ['--set', `${path}=${value}`])], { env, stdout: 'ignore' });
  const port = (/** @type {string} */ what) => Number(new RegExp(`${what} on 127\\.0\\.0\\.1:(\\d+)`).exec(child.said())?.[1]);
  const ready = async () => port('api') > 0 && (await fetch(`http://127.0.0.1:${port('api')}/readyz`)).status === 200;
  await until(ready, { what: 'grantgate serve', of: child });
  return {
    pid: child.pid,
    socket: settings['doors.socket'],
    grpcSocket: settings['grpc.socket'],
    port: port('doors'),
    grpcPort: port('gRPC'),
    permits: () => grpcPermits(port('api')),
    stop: () => child.stop(),
  };
}

/** Says whom it was told, and nothing else: an nginx, so that it takes little of what is measured. @param {string} directory */
async function startApplication(directory) {
  const port = await freePort();
  const home = join(directory, 'application');
  mkdirSync(home, { mode: 0o711 });
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`).join(' ');
  writeFileSync(
    join(home, 'nginx.conf'),
    `daemon off; pid nginx.pid; error_log stderr error; events { worker_connections 4096; }
     http { access_log off; ${places} keepalive_requests 1000000;
       server { listen 127.0.0.1:${port}; location / { add_header X-Seen-User $http_x_auth_user; return 200 "the application\\n"; } } }`,
  );
  const child = start(requireProgram('nginx'), ['-p', home, '-c', join(home, 'nginx.conf'), '-e', 'stderr']);
  await until(async () => (await fetch(`http://127.0.0.1:${port}/`).catch(() => null))?.status === 200, { what: 'the application', of: child });
  return { port, stop: () => child.stop() };
}

/** A command from start to end; what it wrote on stdout. @param {readonly string[]} args @param {Readonly<Record<string, string>>} env */
async function run(args, env) {
  const child = start(process.execPath, [grantgate, ...args], { env, stdout: 'pipe' });
  /** @type {string[]} */ const written = [];
  child.child.stdout?.on('data', (/** @type {string} */ part) => written.push(part));
  await once(child.child, 'close');
  if (child.child.exitCode !== 0) throw new Error(`grantgate ${args[0]}: exit ${child.child.exitCode}\n${child.said()}`);
  return written.join('');
}
