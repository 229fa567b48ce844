// What is the same of every nginx that runs the files of deploy/nginx?

import { requirePart, type PartName } from '../require.ts';
import type { Kit, KitOptions } from './kit.ts';
import { startConfigured, versionOf, type Started } from './start.ts';

export interface NginxAddresses extends KitOptions {
  /** Unix socket of the doors. */
  readonly doors: string;
  readonly applicationPort: number;
}

/** @throws MissingPart if this nginx is not here, so a module that calls it skips the files that import it */
export function nginxKit(name: string, part: PartName): Kit & { readonly startAt: (addresses: NginxAddresses) => Promise<Started> } {
  const program = requirePart(part);
  const startAt = ({ doors, applicationPort, spoil }: NginxAddresses): Promise<Started> =>
    startConfigured({
      shipped: 'nginx',
      addresses: 'addresses.conf',
      replace: (port) => [
        ['server unix:/run/grantgate/doors.sock;', `server unix:${doors};`],
        ['server 127.0.0.1:8080;', `server 127.0.0.1:${applicationPort};`],
        ['listen 127.0.0.1:8088;', `listen 127.0.0.1:${port};`],
      ],
      command: (directory) => [program, '-p', directory, '-c', `${directory}/local.conf`, '-e', 'stderr'],
      taken: 'Address already in use',
      ...(spoil ? { spoil } : {}),
    });
  return {
    name,
    version: () => versionOf(program, '-v', /nginx\/([\d.]+)/),
    protocol: 'nginx',
    socket: true,
    statuses: { unauthenticated: 401, denied: 403, error: 500 },
    // Any 2xx lets the request pass; what is neither that nor 401 nor 403 is nginx's own 500.
    matrix: {
      200: 200,
      201: 200,
      204: 200,
      206: 200,
      301: 500,
      302: 500,
      304: 500,
      400: 500,
      401: 401,
      403: 403,
      404: 500,
      407: 500,
      429: 500,
      500: 500,
      503: 500,
    },
    pools: true,
    verbatim: true,
    trailers: false,
    constants: true,
    computed: true,
    start: ({ socket, applicationPort }, options) => startAt({ doors: socket, applicationPort, ...options }),
    startAt,
  };
}
