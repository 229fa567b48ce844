// How does an HTTP subrequest become a check, and an outcome an answer?
//
// Plain node:http, because a door is chosen by the raw bytes of the request target and nothing on this listener but an allow may
// answer 2xx (rule 1). Every answer has an empty body of a stated length, or nginx and Caddy would open a connection per check
// (fact 1). With everything in memory the answer is written in the turn in which the request was read.
// "Rule n" is of the contract's section 3.0.

import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Clock } from 'policy-cache';
import type { Authorize, DoorRequest, Outcome } from '../authorize.ts';
import { parseAtLeast } from '../pdp.ts';
import { HTTP_STATUS } from '../problem.ts';
import type { RequestProblem } from '../problem.ts';
import type { CheckReport, TraceCheck } from '../report.ts';
import { DIALECTS, doorPath, entranceOf, targetOf } from './dialects.ts';
import type { Dialect, Entrance } from './dialects.ts';
import { OUTSIDE, readHeaders, readerOf } from './headers.ts';
import type { HeaderReader, Headers } from './headers.ts';
import { IDENTITY, identityValues } from './identity-headers.ts';
import { IncomingCheck } from './incoming.ts';

export interface HttpDoorsSettings {
  readonly authorize: Authorize;
  /** Told of every answered check, after its answer is written. */
  readonly report: (check: CheckReport) => void;
  readonly clock: Clock;
  readonly dialects?: readonly Dialect[];
  /** Refuse a request that names another method in a header such as `X-HTTP-Method-Override`; default true. */
  readonly refuseMethodOverride?: boolean;
  /** Read from clients which revision an answer must be of, where the dialect has a header for it; default false. */
  readonly atLeast?: boolean;
  /** Header in which the proxy names who asks; then no credential of a client is read. Default null: the credential says it. */
  readonly subjectHeader?: string | null;
  /** Default: no check is traced. */
  readonly trace?: TraceCheck | null;
  /** Connections of one server at most; default 10,000. */
  readonly maxConnections?: number;
}

export interface HttpDoors {
  /** A new server that answers checks, not listening yet: one for each address. */
  server(): Server;
  /** Checks being answered at this moment. */
  readonly inFlight: number;
  /** Requests and connections that never became a check, by cause. */
  readonly shed: Readonly<Record<'malformed' | 'headers-too-large' | 'timeout' | 'connections', number>>;
  /** From now on every answer ends its connection, so that a proxy's pool empties while this process still answers. */
  drain(): void;
  /** Ends every server: idle connections at once, those with a check under way when it is answered, the rest after `ms`. */
  close(ms: number): Promise<void>;
}

interface Door {
  readonly dialect: Dialect;
  readonly reader: HeaderReader;
}

const EMPTY: readonly string[] = ['Content-Length', '0', 'Cache-Control', 'no-store'];
// Rule 8: an identity header goes with an allow and with nothing else. RFC 9110 11.6.1: a 401 names the scheme.
const REFUSAL: Readonly<Record<number, string[]>> = { 401: [...EMPTY, 'WWW-Authenticate', 'Bearer'], 403: [...EMPTY], 503: [...EMPTY] };
const CLOSE: readonly string[] = ['Connection', 'close'];

export function createHttpDoors(settings: HttpDoorsSettings): HttpDoors {
  const {
    authorize,
    report,
    clock,
    dialects = DIALECTS,
    refuseMethodOverride = true,
    atLeast: reads = false,
    subjectHeader = null,
    trace = null,
    maxConnections = 10_000,
  } = settings;
  const doors = new Map<string, Door>(
    dialects.map((dialect) => [
      doorPath(dialect),
      { dialect, reader: readerOf(reads ? dialect : { ...dialect, atLeast: null }, subjectHeader?.toLowerCase() ?? null, trace !== null) },
    ]),
  );
  const servers: Server[] = [];
  /** Connections whose last request came: whatever follows on them may be an unread body, and is not looked at (rule 4). */
  const ended = new WeakSet<object>();
  const shed = { malformed: 0, 'headers-too-large': 0, timeout: 0, connections: 0 };
  let inFlight = 0;
  let draining = false;

  const answer = (res: ServerResponse, outcome: Outcome, { last, started }: { last: boolean; started: number }): void => {
    inFlight--;
    write(res, outcome, last || draining);
    outcome.durationMs = clock.now() - started;
    try {
      report(outcome);
    } catch {
      // It is answered. A line or a count that is lost must not take the door down.
    }
  };

  /** Not where the others are answered: what a closure keeps would be laid out for each of them. */
  const answerLater = (res: ServerResponse, outcome: Promise<Outcome>, how: { last: boolean; started: number }): void =>
    void outcome.then((settled) => answer(res, settled, how)); // authorize never rejects

  const handle = (req: IncomingMessage, res: ServerResponse, expects: boolean): void => {
    if (ended.has(req.socket)) return;
    const started = clock.now();
    inFlight++;
    const entrance = entranceOf(doors, req.url ?? '');
    const headers = readHeaders(entrance?.door.reader ?? OUTSIDE, req.rawHeaders);
    const last = expects || headers.body;
    if (last || draining) ended.add(req.socket);
    // Empty is none: what a proxy sends of a header that its client did not send.
    const atLeast = headers.atLeast === '' ? null : parseAtLeast(headers.atLeast);
    const { method, uri } = originOf(entrance, headers, req.method ?? '');
    const request: DoorRequest = {
      protocol: entrance?.door.dialect.protocol ?? 'none',
      method,
      uri: uri ?? '',
      preflight: headers.preflight,
      requestId: headers.requestId,
      span: trace === null || headers.traceparent === '' ? null : trace(headers.traceparent, headers.tracestate),
      credential: headers.credential,
      credentials: headers.credentials,
      cookies: headers.cookies,
      origin: headers.origin,
      asserted: subjectHeader === null ? null : headers.asserted,
      timeout: null,
      now: started,
      atLeast,
      parameters:
        entrance === null || entrance.resource === null || entrance.operation === null
          ? null
          : { resource: entrance.resource, operation: entrance.operation, target: headers.target },
      problem:
        entrance === null
          ? 'no-door'
          : problemOf(headers, { method, uri, atLeast }, { parameters: entrance.resource !== null, refuseOverride: refuseMethodOverride }),
    };
    const outcome = authorize(request);
    if (outcome instanceof Promise) answerLater(res, outcome, { last, started });
    else answer(res, outcome, { last, started });
  };

  const server = (): Server => {
    // A check waits for nobody: its headers come at once or not at all. 64 KiB, or a long token would be a 431 that nginx makes
    // a 500 of (3.4). keepAliveTimeout lies above the 60 s of a proxy's pool, which must be the one that closes.
    const made = createServer({
      IncomingMessage: IncomingCheck,
      maxHeaderSize: 64 * 1024,
      headersTimeout: 5000,
      requestTimeout: 10_000,
      connectionsCheckingInterval: 1000,
      keepAliveTimeout: 75_000,
      noDelay: true,
      insecureHTTPParser: false,
      requireHostHeader: false, // nothing here depends on Host, and Node's own 400 would be an answer in another form
    });
    made.maxRequestsPerSocket = 0;
    made.maxHeadersCount = 0; // bounded by their bytes; Node would drop the rest in silence, a repeated header among them
    made.maxConnections = maxConnections;
    // No `upgrade` and no `connect` listener: Node would hand them the socket, past this handler (rule 9).
    made.on('request', (req, res) => handle(req, res, false));
    made.on('checkContinue', (req, res) => handle(req, res, true));
    made.on('checkExpectation', (req, res) => handle(req, res, true));
    made.on('drop', () => shed.connections++);
    made.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      const overflow = error.code === 'HPE_HEADER_OVERFLOW';
      if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
      shed[overflow ? 'headers-too-large' : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'timeout' : 'malformed']++;
      const status = overflow ? '431 Request Header Fields Too Large' : '400 Bad Request';
      socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n`, () => socket.destroy());
    });
    servers.push(made);
    return made;
  };

  return {
    server,
    shed,
    get inFlight() {
      return inFlight;
    },
    drain() {
      draining = true;
    },
    async close(ms) {
      draining = true;
      const listening = servers.splice(0).filter((each) => each.listening);
      const closed = listening.map((each) => new Promise<void>((resolve) => each.close(() => resolve())));
      const cancel = clock.after(ms, () => listening.forEach((each) => each.closeAllConnections()));
      await Promise.all(closed);
      cancel();
    },
  };
}

/** The client's own method and raw target; `uri` null: they stand in a URL that is none. */
function originOf(entrance: Entrance<Door> | null, headers: Headers, method: string): { method: string; uri: string | null } {
  const origin = entrance?.door.dialect.origin;
  if (origin?.kind === 'request-line') return { method, uri: entrance?.uri ?? '' };
  return { method: headers.method, uri: origin?.url === true && headers.uri !== '' ? targetOf(headers.uri) : headers.uri };
}

function problemOf(
  headers: Headers,
  { method, uri, atLeast }: { method: string; uri: string | null; atLeast: DoorRequest['atLeast'] },
  { parameters, refuseOverride }: { parameters: boolean; refuseOverride: boolean },
): RequestProblem | null {
  if (headers.repeated) return 'repeated-header';
  // Rule 3: never a default, in either form. An ambiguous path is refused in the form with parameters too, so it must be there.
  if (method === '' || uri === '' || (parameters && headers.target === '')) return 'missing-header';
  if (uri === null) return 'bad-url';
  if (headers.atLeast !== '' && atLeast === null) return 'bad-revision';
  return headers.override && refuseOverride ? 'method-override' : null;
}

/** One function from outcome to wire. What cannot be written as decided is written as "cannot decide". */
function write(res: ServerResponse, outcome: Outcome, last: boolean): void {
  try {
    res.sendDate = false;
    const headers = outcome.verdict === 'permit' ? identityHeaders(outcome) : REFUSAL[HTTP_STATUS[outcome.verdict]]!;
    res.writeHead(HTTP_STATUS[outcome.verdict], last ? [...headers, ...CLOSE] : headers).end();
  } catch {
    if (res.headersSent) res.destroy();
    else res.writeHead(503, [...EMPTY, ...CLOSE]).end();
  }
}

/** Rule 8: the whole set, once each, empty where there is none. */
function identityHeaders(outcome: Outcome): string[] {
  const [user, tenant, customer, decision] = identityValues(outcome);
  // A literal: 25 ns, with EMPTY spread into it 65.
  return ['Content-Length', '0', 'Cache-Control', 'no-store', IDENTITY[0], user, IDENTITY[1], tenant, IDENTITY[2], customer, IDENTITY[3], decision];
}
