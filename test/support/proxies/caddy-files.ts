// What is the same of every Caddy that runs the files of deploy/caddy?

import { requirePart, type PartName } from '../require.ts';
import { ANY_2XX, type Kit } from './kit.ts';
import { startConfigured, versionOf } from './start.ts';

export interface CaddyOptions {
  /** Is it one that may keep connections to the sidecar? The files have those lines, too, for whoever has a current one. */
  readonly keeps: boolean;
}

/** In addresses.caddyfile. */
export const KEPT: readonly (readonly [from: string, to: string])[] = [
  ['\tkeepalive off\n', ''],
  ['#keepalive 60s', 'keepalive 60s'],
  ['#keepalive_idle', 'keepalive_idle'],
];

/** @throws MissingPart if this Caddy is not here, so a module that calls it skips the files that import it */
export function caddyKit(name: string, part: PartName, { keeps }: CaddyOptions): Kit {
  const program = requirePart(part);
  return {
    name,
    version: () => versionOf(program, 'version', /v?(\d[\d.]*)/),
    protocol: 'caddy',
    socket: true,
    statuses: { unauthenticated: 401, denied: 403, error: 503 },
    resets: 502,
    hangs: 504,
    refuses: 502,
    matrix: ANY_2XX,
    pools: keeps,
    verbatim: false,
    trailers: false,
    constants: true,
    computed: false,
    start: ({ socket, applicationPort }, { spoil } = {}) =>
      startConfigured({
        shipped: 'caddy',
        addresses: 'addresses.caddyfile',
        replace: (port) => [
          ['unix//run/grantgate/doors.sock', `unix/${socket}`],
          ['to 127.0.0.1:8080', `to 127.0.0.1:${applicationPort}`],
          ['http_port 8088', `http_port ${port}`],
          ...(keeps ? KEPT : []),
        ],
        command: (directory) => [program, 'run', '--config', `${directory}/Caddyfile`],
        // It keeps things at home, whatever it is told.
        env: (directory) => ({ HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory }),
        taken: 'address already in use',
        ...(spoil ? { spoil } : {}),
      }),
  };
}
