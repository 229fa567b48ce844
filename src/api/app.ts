// What does the api listener answer?
//
// Never at a door: whatever a client can reach through a proxy must not find a 200 here. Health and metrics ask for no credential,
// everything else for a key of the application that asks.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import type { AdminEnv } from './admin/route.ts';
import { authzenRoutes, type AuthzenParts } from './authzen.ts';
import { barrierRoutes, type Barrier } from './barrier.ts';
import { callers, type CallerSettings } from './credentials.ts';
import { healthRoutes, type Readiness } from './health.ts';
import { boundWaiting } from './pipelined.ts';
import { problem } from './problems.ts';

export interface ApiParts {
  readonly readiness: () => Readiness | Promise<Readiness>;
  /** The metrics as Prometheus text; absent: no `/metrics`. */
  readonly scrape?: (() => Promise<string>) | undefined;
  readonly callers?: CallerSettings;
  /** What decides; absent: no checks here. */
  readonly authzen?: AuthzenParts;
  /** Who knows what the other sidecars have applied; absent: no barrier. */
  readonly barrier?: Barrier;
  /** What a barrier may take where the caller names no time, ms; default 5,000. */
  readonly barrierTimeout?: number;
  /** Everything else below `/v1`; absent: nothing is administered here. */
  readonly administration?: Hono<AdminEnv> | undefined;
  /** Nobody is here to answer anything but health and metrics: why. */
  readonly nobody?: string;
  /** Told of what an answer threw; the client gets a bare 500. */
  readonly failed?: (error: unknown) => void;
}

export function createApi(parts: ApiParts): Hono {
  const { readiness, scrape, callers: settings = { keys: [] }, authzen, barrier, barrierTimeout, administration, nobody, failed } = parts;
  const app = new Hono();
  const requireKey = callers(settings);
  // Outermost, and after the answer: a header set before is lost where somebody answers with a response of his own.
  app.use(async (c, next) => {
    await next();
    const id = c.req.header('x-request-id');
    if (id !== undefined) c.res.headers.set('X-Request-ID', id);
  });
  app.route('/', healthRoutes(readiness));
  if (scrape) app.get('/metrics', async (c) => c.text(await scrape(), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }));
  if (authzen) app.route('/', authzenRoutes(authzen, requireKey));
  if (barrier) app.route('/', barrierRoutes(barrier, requireKey, barrierTimeout));
  if (administration) app.route('/', administration);
  app.notFound(() =>
    nobody === undefined
      ? problem({ status: 404, code: 'no-path', detail: 'there is no such path here' })
      : problem({ status: 503, code: 'starting', detail: nobody }),
  );
  app.onError((error, c) => {
    if (!c.req.raw.signal.aborted) failed?.(error); // else the caller has gone, perhaps in the middle of a body
    return problem({ status: 500, code: 'internal', detail: 'this should not have happened; the log says more' });
  });
  return app;
}

/** A server that answers as the app does, not listening yet. `bodyMs`: so long a body may take, but that of an import. */
export function apiServer(app: Hono, bodyMs = BODY_MS): Server {
  // As at the doors: whoever is slow is ended, whoever keeps a pool (60 s at most proxies and clients) is the one that closes.
  const limits = { headersTimeout: 5000, requestTimeout: 0, connectionsCheckingInterval: 1000, keepAliveTimeout: 75_000, maxHeaderSize: 16 * 1024 };
  const server = createAdaptorServer({ fetch: app.fetch, serverOptions: limits }) as Server;
  boundWaiting(server);
  server.prependListener('request', (incoming, outgoing) => endSlowBody(incoming, outgoing, bodyMs));
  server.maxConnections = 1000;
  return server;
}

const BODY_MS = 10_000;

/** What Node's `requestTimeout` does, but for a body that is read as it comes, for as long as it comes: that of an import which is let in. */
function endSlowBody(incoming: IncomingMessage, outgoing: ServerResponse, ms: number): void {
  const { headers, method, socket, url } = incoming;
  if (headers['content-length'] === undefined && headers['transfer-encoding'] === undefined) return;
  // By method, too: of any other one the body is read whole, from whoever has a credential.
  const isImport = method === 'POST' && url !== undefined && /^\/v1\/import(?:\?|$)/.test(url);
  const late = setTimeout(() => {
    if (incoming.complete) return;
    const isAnswered = outgoing.headersSent;
    if (isImport && !isAnswered) {
      late.refresh();
      return;
    }
    // Where an answer to an earlier request is still to come, this would be taken for it.
    if (!isAnswered && outgoing.socket !== null) socket.write('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n');
    // Only ended, it would be kept by whoever does not end his side.
    socket.destroy();
  }, ms);
  incoming.once('close', () => clearTimeout(late));
  // What is left of a body that is refused is read and dropped, or the connection ends when its client sends the next request. For this
  // nobody may listen any more: a web stream that nobody reads stops it again with each piece.
  outgoing.once('close', () => {
    if (!incoming.complete) incoming.removeAllListeners('data').resume();
  });
}
