// What may be said to `grantgate doctor --proxy`? Known to the command line before the examination is loaded.

import { KINDS } from '../proxydoctor/mends.ts';

export interface ProxyOptions {
  readonly proxy: string;
  readonly path?: string;
  readonly deniedPath?: string;
  readonly tokenFile?: string;
  readonly otherTokenFile?: string;
  readonly door?: string;
  readonly grpcDoor?: string;
  readonly application?: string;
  readonly kind?: string;
  readonly host?: string;
  readonly timeout?: string;
  readonly caFile?: string;
  readonly insecureTls?: true;
}

export const PROXY_OPTIONS: readonly (readonly [flags: string, description: string])[] = [
  ['--proxy <url>', 'a proxy instead of the database: some 100 requests (200 in the place of others), GET and HEAD alone, one after the other'],
  ['--path <path>', 'a path that it guards and that may be asked for by GET (default: /)'],
  ['--denied-path <path>', 'one that the token may not GET (default: a made-up neighbour of the path)'],
  ['--token-file <file>', 'token of somebody who may GET the path; /dev/stdin reads it from a pipe'],
  ['--other-token-file <file>', 'token of somebody else, for requests with two (default: none of anybody)'],
  [
    '--door <address>',
    'listen in the place of the sidecar, HOST:PORT or unix:/PATH (its group: --set doors.socketGroup): what the proxy asks, and what it does when nobody answers',
  ],
  ['--grpc-door <address>', 'the same for an Envoy that asks by gRPC (its group: --set grpc.socketGroup)'],
  ['--application <address>', 'listen in the place of the application: what comes through to it'],
  ['--kind <proxy>', `in whose words to mend it: ${KINDS.join(', ')} (default: found out)`],
  ['--host <name>', 'name to ask for, and in its certificate, where the URL has an address'],
  ['--timeout <time>', 'how long an answer is waited for (default: 3s)'],
  ['--ca-file <file>', 'authorities (PEM) that its certificate is checked against (default: those of Node)'],
  ['--insecure-tls', 'do not check its certificate'],
];
