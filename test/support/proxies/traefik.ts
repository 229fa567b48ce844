// Traefik with the files of deploy/traefik.

import { requirePart } from '../require.ts';
import { ANY_2XX, type Kit } from './kit.ts';
import { startConfigured, versionOf } from './start.ts';
import { tell, wireRequest } from './wire.ts';

const program = requirePart('traefik');

export const traefik: Kit = {
  name: 'traefik',
  version: () => versionOf(program, 'version', /Version: +(\d[\d.]*)/),
  protocol: 'traefik',
  // It has none: an address that is a socket is 500.
  socket: false,
  statuses: { unauthenticated: 401, denied: 403, error: 503 },
  resets: 500,
  hangs: null, // 500 after 30 s, which no setting changes
  refuses: 500,
  matrix: ANY_2XX,
  pools: false, // two idle connections to a host, which no setting changes
  verbatim: false,
  trailers: false,
  constants: true,
  computed: false,
  start: ({ port: doors, applicationPort }, { spoil } = {}) =>
    startConfigured({
      shipped: 'traefik',
      addresses: 'traefik.yaml',
      // The others are in the environment: a static file and a dynamic one cannot include the same third.
      replace: (port) => [['address: 127.0.0.1:8088', `address: 127.0.0.1:${port}`]],
      command: (directory) => [program, `--configFile=${directory}/traefik.yaml`],
      env: (directory) => ({
        HOME: directory,
        GRANTGATE_DOOR: `http://127.0.0.1:${doors}`,
        GRANTGATE_APPLICATION: `http://127.0.0.1:${applicationPort}`,
      }),
      taken: 'address already in use',
      ready,
      end: 'SIGKILL', // it takes two seconds over anything else, and leaves nothing
      ...(spoil ? { spoil } : {}),
    }),
};

/**
 * It listens before it has read its routes, and answers 404 until then; so this is asked, and refused by whoever is asked: the
 * sidecar has no row for it, and what stands in its place in the matrix answers what the credential says.
 */
async function ready(port: number): Promise<boolean> {
  const { status } = await tell(port, wireRequest('GET /', [['Authorization', 'Bearer 403']]));
  return status !== 0 && status !== 404;
}
