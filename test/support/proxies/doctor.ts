// How does a test let the doctor look at a proxy? Between the real sidecar and an application that serves everything, or in the place of
// either or both.

import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listen } from '../../../src/listen.ts';
import { startApplication } from '../application.ts';
import { cli } from '../cli.ts';
import { sidecar } from '../doors.ts';
import type { Kit, KitOptions } from './kit.ts';

interface Report {
  readonly kind: string | null;
  readonly requests: number;
  readonly undecided: readonly string[];
  readonly findings: readonly {
    readonly code: string;
    readonly state: 'ok' | 'problem' | 'unknown';
    readonly text: string;
    readonly why?: string;
    readonly fix?: string;
  }[];
  readonly notAsked: readonly { readonly option: string; readonly codes: readonly string[] }[];
}

interface Examined {
  readonly code: number;
  readonly report: Report;
  /** What it printed. */
  readonly text: string;
  /** Codes of what is wrong, and of what could not be looked at. */
  readonly problems: readonly string[];
  readonly unknown: readonly string[];
  /** What it must not print. */
  readonly tokens: readonly string[];
}

export interface ExamineOptions extends KitOptions {
  /** Is the doctor in the sidecar's place? Default true; else it has tokens. */
  readonly door?: boolean;
  /** Is it in the application's? Default true. */
  readonly application?: boolean;
  /** Options that it is not given. */
  readonly leave?: readonly string[];
}

/** Above what most proxies wait for a sidecar that hangs. */
const TIMEOUT = '1500ms';
const GROUP = process.getuid?.() === 0 ? 'www-data' : undefined;

/**
 * A port that nobody listens on, and that stays so until the doctor does: not of those that a system gives to connections (Linux: from
 * 32768 on), of which a run makes hundreds.
 */
let next = 20_000 + (process.pid % 1000) * 10;
async function listenablePort(): Promise<number> {
  for (;;) {
    const port = next++;
    const probe = createServer();
    const free = await new Promise<boolean>((resolve) => probe.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)));
    if (!free) continue;
    await new Promise<void>((resolve) => void probe.close(() => resolve()));
    return port;
  }
}

export async function examine(kit: Kit, { spoil, door = true, application = true, leave = [] }: ExamineOptions = {}): Promise<Examined> {
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-doctor-'));
  const closing: (() => Promise<void>)[] = [() => rm(directory, { recursive: true, force: true })];
  try {
    await chmod(directory, 0o711);
    const [socket, port] = [join(directory, 'doors.sock'), await listenablePort()];
    const side = door ? null : await sidecar();
    if (side !== null) {
      closing.unshift(() => side.close());
      await listen(side.doors.server(), { path: socket, ...(GROUP === undefined ? {} : { group: GROUP }) });
    }
    const real = application ? null : await startApplication();
    if (real !== null) closing.unshift(() => real.close());
    const applicationPort = real?.port ?? (await listenablePort());
    const proxy = await kit.start({ socket, port, grpcSocket: `${socket}.grpc`, grpcPort: 0, applicationPort }, spoil ? { spoil } : {});
    closing.unshift(() => proxy.stop());

    const grpc = kit.protocol === 'envoy_grpc';
    const tokens = side === null ? [] : [await side.token('admin'), await side.token('nobody')];
    const given: Readonly<Record<string, string>> = {
      '--proxy': `http://127.0.0.1:${proxy.port}`,
      '--path': '/api/device/d1',
      '--timeout': TIMEOUT,
      ...(side !== null ? { '--token-file': '/run/may', '--other-token-file': '/run/may-not' } : {}),
      ...(door ? (grpc ? { '--grpc-door': `unix:${socket}.grpc` } : { '--door': kit.socket ? `unix:${socket}` : `127.0.0.1:${port}` }) : {}),
      ...(application ? { '--application': `127.0.0.1:${applicationPort}` } : {}),
      ...(door && GROUP !== undefined ? { '--set': `${grpc ? 'grpc' : 'doors'}.socketGroup=${GROUP}` } : {}),
    };
    const args = Object.entries(given).flatMap(([name, value]) => (leave.includes(name) ? [] : [name, value]));
    const files = { '/run/may': `${tokens[0]}\n`, '/run/may-not': `${tokens[1]}\n` };
    const { code, stdout, stderr } = await cli(['doctor', '--json', ...args], { files });
    if (stdout === '') throw new Error(stderr);
    const report = JSON.parse(stdout) as Report;
    const codes = (state: string): string[] => report.findings.filter((finding) => finding.state === state).map((finding) => finding.code);
    return { code, report, text: stdout, problems: codes('problem'), unknown: codes('unknown'), tokens };
  } finally {
    for (const close of closing) await close();
  }
}
