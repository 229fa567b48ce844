// How long does the real service take from its spawn to ready, and what does it say of itself then?

import { connect, createServer } from 'node:net';
import { once } from 'node:events';
import { residentMb, start } from './processes.mjs';

/** An address that nobody listens on at this moment. @returns {Promise<number>} */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** The status of one GET, 0 where nobody answers. By a socket: `fetch` takes longer for its first request than what is measured. @param {number} port @param {string} path */
export function statusOf(port, path) {
  return new Promise((/** @type {(status: number) => void} */ resolve) => {
    let text = '';
    const socket = connect(port, '127.0.0.1');
    socket.setEncoding('latin1').on('data', (/** @type {string} */ part) => (text += part));
    socket.on('error', () => resolve(0)).on('close', () => resolve(Number(text.slice(9, 12)) || 0));
    socket.write(`GET ${path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n`);
  });
}

/** Any program that answers a GET of `path` with 200 when it is ready. @param {readonly string[]} args to Node @param {{ env?: Readonly<Record<string, string>>, port: number, path: string, ms?: number }} options */
export async function startedIn(args, { env = {}, port, path, ms = 120_000 }) {
  const begun = performance.now();
  const running = start(process.execPath, args, { env });
  let over = false;
  void running.exited.then(() => (over = true));
  for (;;) {
    if ((await statusOf(port, path)) === 200) return { ...running, seconds: (performance.now() - begun) / 1000 };
    if (over || performance.now() - begun > ms) {
      await running.stop('SIGKILL');
      throw new Error(`${args.join(' ')} is not ready: ${running.said()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The floor of a start: a program of one line that listens and answers. @returns {Promise<number>} seconds */
export async function bareStart() {
  const port = await freePort();
  const bare = await startedIn(
    ['--input-type=module', '-e', `import { createServer } from 'node:http'; createServer((_, answer) => answer.end()).listen(${port}, '127.0.0.1')`],
    {
      port,
      path: '/',
    },
  );
  await bare.stop('SIGKILL');
  return bare.seconds;
}

/**
 * `grantgate serve`, ready. Who asks is said by the header `X-User`, so that no token has to be verified.
 * @param {string} program @param {string} url of the database @param {Readonly<Record<string, string | number>>} [settings]
 * @param {Readonly<Record<string, string>>} [secrets] settings that are no arguments, as variables of the environment
 */
export async function serve(program, url, settings = {}, secrets = {}) {
  const [doors, api] = [await freePort(), await freePort()];
  const all = {
    ...{ 'doors.port': doors, 'grpc.port': 'none', 'api.port': api, 'shutdown.delay': '0ms', 'log.decisions': 'false', 'doors.deadline': '1s' },
    ...{ 'doors.identity': 'header', 'doors.subjectHeader': 'X-User', 'identity.asserted.tenants': '*' },
    ...settings,
  };
  const args = [program, 'serve', ...Object.entries(all).flatMap(([path, value]) => ['--set', `${path}=${value}`])];
  const running = await startedIn(args, { env: { DATABASE_URL: url, ...secrets }, port: api, path: '/readyz' });
  return {
    ...running,
    port: doors,
    api,
    memoryMb: () => residentMb(running.pid),
    metric: (/** @type {string} */ name, /** @type {RegExp} */ labels = /./) => metricOf(api, name, labels),
  };
}

/** Sum over the labels that match. @param {number} api port of it @param {string} name @param {RegExp} labels */
export async function metricOf(api, name, labels) {
  const text = await (await fetch(`http://127.0.0.1:${api}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return lines.filter((line) => labels.test(line)).reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** Calls that the gRPC door has answered with an allow: to a client that only sees 200 they are all the same. @param {number} api port of it */
export async function grpcPermits(api) {
  const labels = ['protocol="envoy_grpc"', 'decision="allow"'].map((label) => `(?=.*${label})`).join('');
  return metricOf(api, 'authz_decisions_total', new RegExp(labels));
}
