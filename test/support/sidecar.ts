// How does a test run the real service? As its own process, `grantgate serve` from the build, on a Unix socket.

import { execFile } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { signToken, type TokenClaims } from '../../src/issuers/thingsboard.ts';
import { API_KEY } from './api.ts';
import { startChild } from './child.ts';
import { parseExposition, type Metrics } from './exposition.ts';
import { until } from './until.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);
/** The group of Debian's nginx workers. */
const SOCKET_GROUP = 'www-data';

const LINE_LIMIT_MS = 20_000;

export const SIGNING_KEY = Buffer.alloc(64, 'a key of the tests ').toString('base64');

/** A line of the decision log, as far as tests look at it. */
export interface DecisionLine {
  readonly request_id: string;
  readonly decision: 'allow' | 'deny' | 'unauthenticated' | 'unmapped' | 'unavailable';
  readonly reason: string;
  readonly rule: string;
  readonly revision: string | null;
  readonly subject: string;
  readonly actor?: string;
  readonly cache: 'hit' | 'miss' | 'none';
}

export interface Readyz {
  readonly status: number;
  readonly state: string;
  readonly revision: string | null;
  readonly age_ms: number | null;
  readonly cause: string | null;
}

export interface ServedSidecar {
  readonly pid: number;
  /** Unix socket of the doors. */
  readonly doors: string;
  /** Their port on loopback. */
  readonly doorsPort: number;
  /** Unix socket of the gRPC door. */
  readonly grpcSocket: string;
  /** Its port on loopback. */
  readonly grpcPort: number;
  /** Port of the api, which API_KEY opens. */
  readonly api: number;
  /** Takes the decision line of a request out of the log; waits until it is there. */
  line(requestId: string): Promise<DecisionLine>;
  readyz(): Promise<Readyz>;
  /** Waits until /readyz shows this revision or a later one. */
  reached(revision: string): Promise<void>;
  metrics(): Promise<Metrics>;
  /** What it says about itself. */
  log(): string;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export interface SidecarOptions {
  readonly databaseUrl: string;
  /** Route file as an object; default: the shipped one. */
  readonly routes?: unknown;
  /** Settings by path. */
  readonly set?: Readonly<Record<string, string | number>>;
  /** False: it is handed over as soon as it listens, for it is not to become ready. */
  readonly ready?: boolean;
  /** Beside the secrets. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Tests may be run without `npm test`, and then by an old build. */
let built: Promise<unknown> | undefined;

/** Resolves when it is ready. */
export async function startSidecar({ databaseUrl, routes, set = {}, ready = true, env = {} }: SidecarOptions): Promise<ServedSidecar> {
  await (built ??= run(process.execPath, [join(root, 'src/ready.mjs')]));
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-sidecar-'));
  await chmod(directory, 0o711); // nginx's workers pass through
  const doors = String(set['doors.socket'] ?? join(directory, 'doors.sock'));
  const grpcSocket = String(set['grpc.socket'] ?? join(directory, 'grpc.sock'));
  const settings: Record<string, string | number> = {
    'doors.port': 0,
    'doors.socket': doors,
    'grpc.port': 0,
    'grpc.socket': grpcSocket,
    'api.port': 0,
    'log.allowSample': 1,
    'log.buffer': 1_000_000,
    'shutdown.delay': 0,
    'overload.delay': '10s', // a machine that does other work is the subject of few
    ...(process.getuid?.() === 0 ? { 'doors.socketGroup': SOCKET_GROUP, 'grpc.socketGroup': SOCKET_GROUP } : {}),
    ...set,
  };
  if (routes !== undefined) {
    settings['routes.file'] = join(directory, 'routes.yaml');
    await writeFile(settings['routes.file'], JSON.stringify(routes));
  }
  const lines = new Map<string, DecisionLine>();
  const waiting = new Map<string, (line: DecisionLine) => void>();
  let api: string | undefined;
  let doorsPort = NaN;
  let grpcPort = NaN;
  const args = Object.entries(settings).flatMap(([path, value]) => ['--set', `${path}=${value}`]);
  const child = startChild(process.execPath, [join(root, 'dist/main.js'), 'serve', ...args], {
    env: { ...env, DATABASE_URL: databaseUrl, GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: SIGNING_KEY, GRANTGATE_API_KEYS: API_KEY }, // secrets are no arguments: everybody sees those
    line(text, from) {
      if (from === 'stdout') {
        const line = JSON.parse(text) as DecisionLine;
        const give = waiting.get(line.request_id);
        if (give) give(line);
        else lines.set(line.request_id, line);
      } else {
        api ??= /api on (127\.0\.0\.1:\d+)/.exec(text)?.[1];
        doorsPort ||= Number(/doors on 127\.0\.0\.1:(\d+)/.exec(text)?.[1]);
        grpcPort ||= Number(/gRPC on 127\.0\.0\.1:(\d+)/.exec(text)?.[1]);
      }
    },
  });
  let over: string | null = null;
  void child.ended.then((how) => (over = how));
  const fetched = async (path: string): Promise<Response> => {
    if (over !== null) throw new Error(`the service has ended: ${over}\n${child.stderr()}`);
    return fetch(`http://${api}${path}`);
  };
  const readyz = async (): Promise<Readyz> => {
    const response = await fetched('/readyz');
    return { ...((await response.json()) as Omit<Readyz, 'status'>), status: response.status };
  };
  const sidecar: ServedSidecar = {
    pid: child.pid,
    doors,
    get doorsPort() {
      return doorsPort;
    },
    grpcSocket,
    get grpcPort() {
      return grpcPort;
    },
    get api() {
      return Number(api?.split(':')[1]);
    },
    readyz,
    line: (requestId) =>
      new Promise((resolve, reject) => {
        const known = lines.get(requestId);
        lines.delete(requestId);
        if (known) return resolve(known);
        const limit = setTimeout(() => {
          waiting.delete(requestId);
          reject(new Error(`no decision line of ${requestId} within ${LINE_LIMIT_MS} ms`));
        }, LINE_LIMIT_MS);
        waiting.set(requestId, (line) => {
          clearTimeout(limit);
          waiting.delete(requestId);
          resolve(line);
        });
      }),
    async reached(revision) {
      const version = Number.parseInt(revision, 10);
      await until(async () => Number.parseInt((await readyz()).revision ?? '-1', 10) >= version, `revision ${revision} at /readyz`);
    },
    metrics: async () => parseExposition(await (await fetched('/metrics')).text()),
    log: () => child.stderr(),
    async stop(signal) {
      await child.stop(signal);
      await rm(directory, { recursive: true, force: true });
    },
  };
  try {
    await until(async () => over !== null || (api !== undefined && (!ready || (await readyz()).status === 200)), `/readyz; it says ${child.stderr()}`, 40_000);
    await readyz();
  } catch (error) {
    await sidecar.stop('SIGKILL');
    throw error;
  }
  return sidecar;
}

/** An access token of ten minutes. */
export function tokenFor(userId: string, more: Partial<TokenClaims> & { readonly key?: string } = {}): Promise<string> {
  const { key = SIGNING_KEY, ...claims } = more;
  return signToken(key, { userId, scope: 'TENANT_ADMIN', issuedAt: Math.floor(Date.now() / 1000), lifetime: 600, ...claims });
}
