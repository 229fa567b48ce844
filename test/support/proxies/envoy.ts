// Envoy with each of the files of deploy/envoy.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { requirePart } from '../require.ts';
import type { Kit, KitOptions, Upstreams } from './kit.ts';
import { startConfigured, versionOf, type Started } from './start.ts';

const program = requirePart('envoy');
const ADDRESSES = 'addresses.yaml';

export const CONFIGURATIONS = ['http.yaml', 'prefix.yaml', 'grpc.yaml'] as const;
export type Configuration = (typeof CONFIGURATIONS)[number];

/** The command at the head of each file: Envoy merges the addresses into it. */
export function envoyCommand(directory: string, configuration: Configuration): [program: string, ...args: string[]] {
  return [program, '-c', join(directory, configuration), '--config-yaml', readFileSync(join(directory, ADDRESSES), 'utf8')];
}

/** What a configuration does not use may be left out. */
export function startEnvoy(configuration: Configuration, to: Partial<Upstreams>, { spoil }: KitOptions = {}): Promise<Started> {
  const nobody = 'nobody.sock';
  return startConfigured({
    shipped: 'envoy',
    addresses: ADDRESSES,
    replace: () => [
      ['/run/grantgate/doors.sock', to.socket || nobody],
      ['/run/grantgate/grpc.sock', to.grpcSocket || nobody],
      ['port_value: 8080', `port_value: ${to.applicationPort ?? 1}`],
    ],
    // The one address that Envoy takes from no other file: what it merges into a list, it appends.
    elsewhere: { file: configuration, replace: (port) => ['port_value: 8088', `port_value: ${port}`] },
    command: (directory) => [...envoyCommand(directory, configuration), '--concurrency', '1', '--disable-hot-restart', '-l', 'error'],
    taken: 'Address already in use',
    ...(spoil ? { spoil } : {}),
  });
}

// Whatever is no 200 and no 5xx is a refusal, and its status the client's: a 204, too.
const matrix = {
  200: 200,
  201: 201,
  204: 204,
  206: 206,
  301: 301,
  302: 302,
  304: 304,
  400: 400,
  401: 401,
  403: 403,
  404: 404,
  407: 407,
  429: 429,
  500: 503,
  502: 503,
  503: 503,
  504: 503,
};

const kit = (configuration: Configuration, rest: Pick<Kit, 'name' | 'protocol' | 'constants' | 'matrix'>): Kit => ({
  version: () => versionOf(program, '--version', /\/(\d+\.\d+\.\d+)\//),
  socket: true,
  statuses: { unauthenticated: 401, denied: 403, error: 503 },
  pools: true,
  verbatim: false,
  trailers: false,
  // Nothing in Envoy makes a header of one segment of a path.
  computed: false,
  start: (to, options) => startEnvoy(configuration, to, options),
  ...rest,
});

/** The door has a constant path, and Envoy's own headers say what was asked. */
export const envoyHttp = kit('http.yaml', { name: 'envoy-http', protocol: 'envoy_http', constants: true, matrix });
/** The client's target stands behind the door's path. */
export const envoyPrefix = kit('prefix.yaml', { name: 'envoy-prefix', protocol: 'envoy_http_prefix', constants: false, matrix });
/** The whole request in a message, parameters in `context_extensions`. */
export const envoyGrpc = kit('grpc.yaml', { name: 'envoy-grpc', protocol: 'envoy_grpc', constants: true });
