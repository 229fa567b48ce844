// What does the proxy send to the sidecar, and what to the application? The doctor listens in the place of each.
//
// In the sidecar's place it is a strict one: it reads a subrequest as the real door does, and allows its own credential everything
// but one path. Whoever else asks meanwhile is refused (401 here, 503 in the application's place): a doctor lets nobody in.

import { createServer } from 'node:http';
import type { Server as HttpServer } from 'node:http';
import type { Server, Socket } from 'node:net';
import { InputError } from 'policy-cache';
import { listen } from '../listen.ts';
import type { Address } from '../listen.ts';
import { canonical, isMethod } from '../target.ts';
import { valuesOf } from './wire.ts';
import type { Header } from './wire.ts';

/** In every request of one run, and in its credential; nobody can guess it. */
export interface Run {
  readonly nonce: string;
  readonly credential: string;
  /** A path that the credential of this run may not GET. */
  readonly deniedPath: string;
}

export const MARK = 'X-Grantgate-Doctor';
/** Of a probe: nothing else in a message looks like it. */
export const BODY = 'a body of grantgate doctor';

export interface Received {
  /** Which request it is. */
  readonly mark: string;
  readonly method: string;
  readonly target: string;
  readonly headers: readonly Header[];
  readonly body: string;
}

export interface Application {
  /** Every request of this run, in order. */
  readonly seen: readonly Received[];
  close(): Promise<void>;
}

export interface Subrequest {
  /** Where it came: the door's path, or the method of gRPC. */
  readonly where: string;
  /** Name of the door's dialect; null: there is no door. */
  readonly kind: string | null;
  /** What a door has to be told, and was not. */
  readonly missing: readonly string[];
  /** Method and raw target that the proxy says it checks; `uri` null: it is in a URL that is none. */
  readonly checked: { readonly method: string; readonly uri: string | null };
  /** In the form with parameters, the target; null: the route table decides. */
  readonly target: string | null;
  /** It carries the credential of this run. */
  readonly ours: boolean;
  readonly headers: readonly Header[];
  readonly bodyAnnounced: boolean;
  /** Bytes of the client's body that came. */
  readonly bodyBytes: () => number;
  readonly connection: Socket | null;
}

/** How the door answers what carries this run's credential. */
export type Behaviour = 'decide' | 'wait for a body' | 'undecided' | 'reset' | 'end' | 'garbage' | 'hang' | { readonly status: number };

export interface Door {
  /** Envoy's ext_authz over gRPC: no body can be owed there, and no connection is for one check. */
  readonly grpc: boolean;
  readonly seen: readonly Subrequest[];
  behaviour: Behaviour;
  /** All the ways not to allow that it has, beside a refusal and nobody listening. */
  readonly failures: readonly (readonly [what: string, behaviour: Behaviour])[];
  /** Connections that the proxy has ended by itself. */
  readonly ended: ReadonlySet<Socket>;
  /** Nobody listens any more, until it is opened again. */
  close(): Promise<void>;
  open(): Promise<void>;
}

/** Who the credential of this run belongs to, in the order of an answer. The customer is empty: that is a case of its own. */
export function identityOf(run: Run): readonly Header[] {
  return [
    ['X-Auth-User', `doctor-${run.nonce}`],
    ['X-Auth-Tenant', 'grantgate-doctor'],
    ['X-Auth-Customer', ''],
    ['X-Authz-Decision-Id', `decision-${run.nonce}`],
  ];
}

export const LIMITS = { maxHeaderSize: 64 * 1024, keepAliveTimeout: 75_000, requireHostHeader: false } as const;

export async function openApplication(run: Run, address: Address): Promise<Application> {
  const seen: Received[] = [];
  const server = createServer(LIMITS, (req, res) => {
    const parts: Buffer[] = [];
    const headers = pairs(req.rawHeaders);
    req.on('data', (part: Buffer) => parts.push(part));
    req.on('error', () => undefined);
    req.on('end', () => {
      const mark = valuesOf(headers, MARK.toLowerCase())[0] ?? '';
      const ours = mark.startsWith(run.nonce);
      if (ours) seen.push({ mark, method: req.method ?? '', target: req.url ?? '', headers, body: Buffer.concat(parts).toString('latin1') });
      res.writeHead(ours ? 200 : 503, { 'Content-Length': 0 }).end();
    });
  });
  await listenAs('--application', server, address);
  return { seen, close: () => closed(server) };
}

/** What a door that is told so decides for this run: a policy of one line. */
export function decidedFor(
  run: Run,
  asked: { readonly method: string; readonly uri: string | null; readonly credential: string; readonly credentials: number },
): 200 | 401 | 403 {
  const path = asked.uri === null ? null : canonical(asked.uri);
  if (path === null || path.kind === 'refused' || !isMethod(asked.method)) return 403;
  if (asked.credentials !== 1 || asked.credential !== `Bearer ${run.credential}`) return 401;
  return path.path === run.deniedPath ? 403 : 200;
}

export async function listenAs(option: string, server: Server, address: Address): Promise<void> {
  try {
    await listen(server, address);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(option, error.message.slice(error.message.indexOf(': ') + 2));
  }
}

export async function closed(server: HttpServer): Promise<void> {
  const done = new Promise<void>((resolve) => void server.close(() => resolve()));
  server.closeAllConnections();
  await done;
}

export function pairs(raw: readonly string[]): readonly Header[] {
  return raw.flatMap((name, i): Header[] => (i % 2 === 0 ? [[name, raw[i + 1] ?? '']] : []));
}
