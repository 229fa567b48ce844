// Debian's HAProxy with the files of deploy/haproxy.

import { requirePart } from '../require.ts';
import type { Kit } from './kit.ts';
import { startConfigured, versionOf } from './start.ts';

const program = requirePart('haproxy');

export const haproxy: Kit = {
  name: 'haproxy',
  version: () => versionOf(program, '-v', /version (\d[\d.]*)/),
  protocol: 'haproxy',
  // Not every build keeps the connections of its Lua client to one.
  socket: false,
  // What the script says of an answer that is neither 200, 401 nor 403.
  statuses: { unauthenticated: 401, denied: 403, error: 503 },
  matrix: {
    200: 200,
    201: 503,
    204: 503,
    206: 503,
    301: 503,
    302: 503,
    304: 503,
    400: 503,
    401: 401,
    403: 403,
    404: 503,
    407: 503,
    429: 503,
    500: 503,
    503: 503,
  },
  pools: true,
  verbatim: true,
  trailers: true,
  constants: true,
  computed: true,
  start: ({ port: doors, applicationPort }, { spoil } = {}) =>
    startConfigured({
      shipped: 'haproxy',
      addresses: 'addresses.cfg',
      replace: (port) => [
        ['127.0.0.1:9191', `127.0.0.1:${doors}`],
        ['127.0.0.1:8080', `127.0.0.1:${applicationPort}`],
        ['127.0.0.1:8088', `127.0.0.1:${port}`],
      ],
      command: (directory) => [program, '-C', directory, '-db', '-f', 'addresses.cfg', '-f', 'haproxy.cfg'],
      taken: 'Address already in use',
      ...(spoil ? { spoil } : {}),
    }),
};
