// How does a test run the shipped Envoy configurations? The files of deploy/envoy, byte for byte, but for the three addresses.

import { execFile } from 'node:child_process';
import { readFile, writeFile, mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../../../src/postgres-server.ts';
import { startChild } from '../child.ts';
import { requirePart } from '../require.ts';
import type { Kit, KitOptions, RunningProxy, Upstreams } from './kit.ts';

export const program = requirePart('envoy');
const run = promisify(execFile);
const shipped = fileURLToPath(new URL('../../../deploy/envoy/', import.meta.url));

export const ADDRESSES = 'addresses.yaml';
export const CONFIGURATIONS = ['http.yaml', 'prefix.yaml', 'grpc.yaml'] as const;
export type Configuration = (typeof CONFIGURATIONS)[number];

/** Envoy merges a second file into the first by this flag, as the comment at the head of each shipped file says. */
export async function argumentsFor(file: string, addresses: string): Promise<string[]> {
  return ['-c', file, '--config-yaml', await readFile(addresses, 'utf8')];
}

const START_LIMIT_MS = 10_000;

/** Upstreams that a configuration does not use may be left out. */
export type EnvoyUpstreams = Partial<Upstreams>;

export async function startEnvoy(configuration: Configuration, to: EnvoyUpstreams, { spoil }: KitOptions = {}): Promise<RunningProxy> {
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-envoy-'));
  try {
    for (let attempt = 1; ; attempt++) {
      const port = await freePort();
      await configure(directory, configuration, { to, port, spoil });
      const started = await tryStart(directory, configuration, port);
      if (typeof started !== 'string') return started;
      if (attempt === 3 || !started.includes('Address already in use')) throw new Error(`envoy did not start: ${started}`);
    }
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

interface Changes {
  readonly to: EnvoyUpstreams;
  readonly port: number;
  readonly spoil: KitOptions['spoil'];
}

/** Copies the two files and puts the addresses of this test into them. */
async function configure(directory: string, configuration: Configuration, { to, port, spoil }: Changes): Promise<void> {
  const nobody = join(directory, 'nobody.sock');
  const texts = new Map([
    [
      ADDRESSES,
      replaced(await readFile(join(shipped, ADDRESSES), 'utf8'), [
        ['/run/grantgate/doors.sock', to.socket || nobody],
        ['/run/grantgate/grpc.sock', to.grpcSocket || nobody],
        ['port_value: 8080', `port_value: ${to.applicationPort ?? 1}`],
      ]),
    ],
    // The one address that Envoy cannot take from another file: it merges into no list.
    [configuration, replaced(await readFile(join(shipped, configuration), 'utf8'), [['port_value: 8088', `port_value: ${port}`]])],
  ]);
  let spoilt = false;
  for (const [name, text] of texts) {
    const after = spoil?.(name, text) ?? text;
    spoilt ||= after !== text;
    await writeFile(join(directory, name), after);
  }
  if (spoil && !spoilt) throw new Error('the negative control changes nothing');
}

/** `from` must stand there exactly once. */
export function replaced(text: string, changes: readonly (readonly [from: string, to: string])[]): string {
  return changes.reduce((so, [from, to]) => {
    if (so.split(from).length !== 2) throw new Error(`must have "${from}" exactly once:\n${so}`);
    return so.replace(from, () => to);
  }, text);
}

async function tryStart(directory: string, configuration: Configuration, port: number): Promise<RunningProxy | string> {
  const child = startChild(program, [
    ...(await argumentsFor(join(directory, configuration), join(directory, ADDRESSES))),
    ...['--concurrency', '1', '--disable-hot-restart', '-l', 'error'],
  ]);
  let over: string | null = null;
  void child.ended.then((how) => (over = `${how}: ${reasonIn(child.stderr())}`));
  for (const limit = Date.now() + START_LIMIT_MS; !(await accepts(port));) {
    if (over !== null) return over;
    if (Date.now() > limit) {
      await child.stop('SIGKILL');
      return `nobody on port ${port} within ${START_LIMIT_MS} ms: ${child.stderr()}`;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return {
    port,
    pid: child.pid,
    errors: () => child.stderr(),
    async stop() {
      await child.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** It prints the whole configuration before it says what is wrong with it. */
function reasonIn(errors: string): string {
  return errors.match(/Proto constraint.*|.*(?:Address already in use|error initializing).*/)?.[0] ?? errors;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(port, '127.0.0.1', () => resolve(probe.destroy().destroyed));
    probe.once('error', () => resolve(false));
  });
}

async function version(): Promise<string> {
  const { stdout } = await run(program, ['--version']);
  return `Envoy ${/\/(\d+\.\d+\.\d+)\//.exec(stdout)?.[1] ?? stdout}`;
}

const common = { version, socket: true, statuses: { unauthenticated: 401, denied: 403, error: 503 }, pools: true, computed: false } as const;
// Whatever is no 200 and no 5xx is a refusal, and its status the client's: a 204 too.
const matrix = { 200: 200, 201: 201, 204: 204, 302: 302, 400: 400, 401: 401, 403: 403, 404: 404, 407: 407, 429: 429, 500: 503, 502: 503, 503: 503, 504: 503 };

const kit = (configuration: Configuration, rest: Pick<Kit, 'name' | 'protocol' | 'constants' | 'matrix'>): Kit => ({
  ...common,
  ...rest,
  start: (to, options) => startEnvoy(configuration, to, options),
});

/** `path_override`: the door has a constant path, and Envoy's own headers say what was asked. */
export const envoyHttp = kit('http.yaml', { name: 'envoy-http', protocol: 'envoy_http', constants: true, matrix });
/** `path_prefix`: the client's target stands behind the door's. */
export const envoyPrefix = kit('prefix.yaml', { name: 'envoy-prefix', protocol: 'envoy_http_prefix', constants: false, matrix });
/** The whole request in a message, parameters in `context_extensions`. */
export const envoyGrpc = kit('grpc.yaml', { name: 'envoy-grpc', protocol: 'envoy_grpc', constants: true });
