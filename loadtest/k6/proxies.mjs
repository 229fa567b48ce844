// Which ways lead to a door? The shipped configuration of each proxy, with this run's addresses in the place of its own.

import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { start, until } from '../processes.mjs';
import { requireProgram } from './programs.mjs';

const deploy = fileURLToPath(new URL('../../deploy/', import.meta.url));

/** @typedef {import('./service.mjs').Door} Door */
/** @typedef {{ door: Door, application: number, port: number, directory: string }} Addresses */
/** @typedef {readonly [file: string, from: string, to: string]} Replacement each stands in its file exactly once */
/**
 * @typedef {object} Way
 * @property {string} program
 * @property {string} shipped directory below deploy
 * @property {(addresses: Addresses) => readonly Replacement[]} replace
 * @property {(addresses: Addresses) => readonly string[]} args
 * @property {(addresses: Addresses) => Readonly<Record<string, string>>} [env]
 * @property {NodeJS.Signals} [end] SIGTERM where it is left out
 */

/** @param {(door: Door) => string} server @returns {Way} */
const nginx = (server) => ({
  program: 'nginx',
  shipped: 'nginx',
  replace: ({ door, application, port }) => [
    ['addresses.conf', 'server unix:/run/grantgate/doors.sock;', `server ${server(door)};`],
    ['addresses.conf', 'server 127.0.0.1:8080;', `server 127.0.0.1:${application};`],
    ['addresses.conf', 'listen 127.0.0.1:8088;', `listen 127.0.0.1:${port};`],
  ],
  args: ({ directory }) => ['-p', directory, '-c', join(directory, 'local.conf'), '-e', 'stderr'],
});

/** @param {string} file @returns {Way} */
const envoy = (file) => ({
  program: 'envoy',
  shipped: 'envoy',
  replace: ({ door, application, port }) => [
    ['addresses.yaml', '/run/grantgate/doors.sock', door.socket],
    ['addresses.yaml', '/run/grantgate/grpc.sock', door.grpcSocket],
    ['addresses.yaml', 'port_value: 8080', `port_value: ${application}`],
    [file, 'port_value: 8088', `port_value: ${port}`],
  ],
  args: ({ directory }) => [
    ...['-c', join(directory, file), '--config-yaml', readFileSync(join(directory, 'addresses.yaml'), 'utf8')],
    ...['--concurrency', '1', '--disable-hot-restart', '-l', 'error'],
  ],
});

/** @type {Readonly<Record<string, Way>>} */
export const PROXIES = {
  nginx: nginx((door) => `unix:${door.socket}`),
  'nginx-tcp': nginx((door) => `127.0.0.1:${door.port}`),
  haproxy: {
    program: 'haproxy',
    shipped: 'haproxy',
    replace: ({ door, application, port }) => [
      ['addresses.cfg', '127.0.0.1:9191', `127.0.0.1:${door.port}`],
      ['addresses.cfg', '127.0.0.1:8080', `127.0.0.1:${application}`],
      ['addresses.cfg', '127.0.0.1:8088', `127.0.0.1:${port}`],
    ],
    args: ({ directory }) => ['-C', directory, '-db', '-f', 'addresses.cfg', '-f', 'haproxy.cfg'],
  },
  caddy: {
    program: 'caddy',
    shipped: 'caddy',
    replace: ({ door, application, port }) => [
      ['addresses.caddyfile', 'unix//run/grantgate/doors.sock', `unix/${door.socket}`],
      ['addresses.caddyfile', 'to 127.0.0.1:8080', `to 127.0.0.1:${application}`],
      ['addresses.caddyfile', 'http_port 8088', `http_port ${port}`],
      // A current one, which may keep its connections.
      ['addresses.caddyfile', '\tkeepalive off\n', ''],
      ['addresses.caddyfile', '#keepalive 60s', 'keepalive 60s'],
      ['addresses.caddyfile', '#keepalive_idle', 'keepalive_idle'],
    ],
    args: ({ directory }) => ['run', '--config', join(directory, 'Caddyfile')],
    env: ({ directory }) => ({ HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory }),
  },
  traefik: {
    program: 'traefik',
    shipped: 'traefik',
    replace: ({ port }) => [['traefik.yaml', 'address: 127.0.0.1:8088', `address: 127.0.0.1:${port}`]],
    args: ({ directory }) => [`--configFile=${join(directory, 'traefik.yaml')}`],
    env: ({ directory, door, application }) => ({
      ...{ HOME: directory, GRANTGATE_DOOR: `http://127.0.0.1:${door.port}` },
      GRANTGATE_APPLICATION: `http://127.0.0.1:${application}`,
    }),
    end: 'SIGKILL', // it takes two seconds over anything else
  },
  envoy: envoy('http.yaml'),
  'envoy-grpc': envoy('grpc.yaml'),
};

let next = 0;

/** @param {Way} way @param {{ door: Door, application: number, below: string }} to */
export async function startProxy(way, { door, application, below }) {
  const directory = join(below, `proxy-${next++}`);
  const port = await freePort();
  const addresses = { door, application, port, directory };
  cpSync(join(deploy, way.shipped), directory, { recursive: true });
  for (const [file, from, to] of way.replace(addresses)) {
    const text = readFileSync(join(directory, file), 'utf8');
    if (text.split(from).length !== 2) throw new Error(`deploy/${way.shipped}/${file} must have "${from}" exactly once`);
    writeFileSync(
      join(directory, file),
      text.replace(from, () => to),
    );
  }
  const child = start(requireProgram(way.program), way.args(addresses), { cwd: directory, ...(way.env ? { env: way.env(addresses) } : {}) });
  // Without a token: 401 of a door, 200 of the floor. (Traefik listens before it has read its routes, and answers 404 until then.)
  const ready = async () => [200, 401].includes((await fetch(`http://127.0.0.1:${port}/api/device/none`).catch(() => null))?.status ?? 0);
  await until(ready, { ms: 15_000, what: `${way.program} in front of the door`, of: child });
  return {
    port,
    pid: child.pid,
    async stop() {
      await child.stop(way.end);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** @returns {Promise<number>} */
export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
