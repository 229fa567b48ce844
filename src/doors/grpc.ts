// Which calls does the gRPC listener take, and what may one cost? Envoy's ext_authz and the protocol's own health service.
//
// Raw node:http2: around the same pipeline grpc-js takes twice the processor (`npm run bench:grpc`). Whatever goes wrong is an error of gRPC, which is
// "cannot decide" at Envoy and never an allow; a deny is never an error. Limits are for a peer that is broken, not for one that is
// busy: a proxy that meets one opens another connection, or asks again.

import { createServer } from 'node:http2';
import type { Http2Server, ServerHttp2Session, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { Server } from 'node:net';
import type { Clock } from 'policy-cache';
import type { Authorize, Outcome } from '../authorize.ts';
import type { CheckReport, TraceCheck } from '../report.ts';
import { FORBIDDEN, checkResponse } from './check-response.ts';
import { createEnvoyCheck } from './envoy.ts';
import type { Asserts } from './envoy.ts';
import { GRPC, fail, httpProblem, parseTimeout, refuse, reply } from './grpc-call.ts';
import type { GrpcProblem } from './grpc-call.ts';
import { TOO_LATE, createCalls } from './grpc-calls.ts';
import type { Call } from './grpc-calls.ts';
import { createHealth } from './grpc-health.ts';
import { createSessions } from './grpc-sessions.ts';
import { ProtobufError } from './protobuf.ts';

export interface GrpcDoorSettings {
  readonly authorize: Authorize;
  /** Told of every answered check, after its answer is written. */
  readonly report: (check: CheckReport) => void;
  readonly clock: Clock;
  /** 0 ≤ random() < 1 */
  readonly random: () => number;
  /** Would a check be decided now? */
  readonly ready: () => boolean;
  /** Refuse a request that names another method in a header such as `X-HTTP-Method-Override`; default true. */
  readonly refuseMethodOverride?: boolean;
  /** Read from clients which revision an answer must be of; default false. */
  readonly atLeast?: boolean;
  /** Who names the subject; default `none`: tokens. */
  readonly asserts?: Asserts;
  /** Default: no check is traced. */
  readonly trace?: TraceCheck | null;
  /** Milliseconds after which a connection is renewed; default 30 minutes, 0: never. */
  readonly connectionAge?: number;
  /** Connections of one server at most; default 10,000. */
  readonly maxConnections?: number;
}

export interface GrpcDoor {
  /** A new server that answers checks, not listening yet: one for each address. */
  server(): Http2Server;
  /** Checks being answered at this moment. */
  readonly inFlight: number;
  /** Calls and connections that never became a check, by cause. */
  readonly shed: Readonly<Record<'malformed' | 'timeout' | 'connections', number>>;
  /** Not ready from now on, for whoever asks or watches; then no new calls are asked for, while those that come are answered. */
  drain(): void;
  /** Ends every server: connections when their calls are answered, the rest after `ms`. */
  close(ms: number): Promise<void>;
}

const CHECK = '/envoy.service.auth.v3.Authorization/Check';

const UNDECIDED: GrpcProblem = { status: GRPC.unavailable, message: 'cannot decide' };
const NO_MESSAGE: GrpcProblem = { status: GRPC.invalidArgument, message: 'not a message' };
const NO_TIME: GrpcProblem = { status: GRPC.internal, message: 'not a grpc-timeout' };
const NO_METHOD: GrpcProblem = { status: GRPC.unimplemented, message: 'no such method' };

export function createGrpcDoor(settings: GrpcDoorSettings): GrpcDoor {
  const { report, clock, random, ready, refuseMethodOverride = true, atLeast = false, asserts = 'none', trace = null } = settings;
  const { connectionAge = 1_800_000, maxConnections = 10_000 } = settings;
  const checkEnvoy = createEnvoyCheck({ authorize: settings.authorize, refuseMethodOverride, atLeast, asserts, trace });
  const shed = { malformed: 0, timeout: 0, connections: 0 };
  const calls = createCalls({ clock, shed: (cause) => shed[cause]++ });
  const health = createHealth({ clock, ready });
  const sessions = createSessions({ clock, random, age: connectionAge, closing: (session) => health.end(session), silent: () => shed.timeout++ });
  const servers: Http2Server[] = [];
  let inFlight = 0;

  const answer = (call: Call, outcome: Outcome, aliases: readonly string[]): void => {
    inFlight--;
    write(call, outcome, aliases);
    outcome.durationMs = calls.answered(call);
    try {
      report(outcome);
    } catch {
      // It is answered. A line or a count that is lost must not take the door down.
    }
  };
  const write = (call: Call, outcome: Outcome, aliases: readonly string[]): void => {
    const { stream } = call;
    if (stream.destroyed || stream.closed) return; // the client has gone
    try {
      const frame = checkResponse(outcome, aliases);
      if (frame !== null) reply(stream, frame);
      else fail(stream, outcome.reason === 'deadline' && calls.isLate(call) ? TOO_LATE : UNDECIDED);
    } catch {
      fail(stream, UNDECIDED);
    }
  };
  /** Not where the others are answered: what a closure keeps would be laid out for each of them. */
  const answerLater = (call: Call, outcome: Promise<Outcome>, aliases: readonly string[]): void =>
    void outcome.then((settled) => answer(call, settled, aliases)); // authorize never rejects
  const check = (call: Call, message: Buffer, sent: IncomingHttpHeaders): void => {
    const { outcome, aliases } = checkEnvoy(message, {
      timeout: call.left,
      traceparent: textOf(sent['traceparent']),
      tracestate: textOf(sent['tracestate']),
    });
    inFlight++;
    if (outcome instanceof Promise) answerLater(call, outcome, aliases);
    else answer(call, outcome, aliases);
  };

  const handle = (call: Call, message: Buffer, { path, headers }: { path: string; headers: IncomingHttpHeaders }): void => {
    try {
      const method = health.methods.get(path);
      if (method === undefined) check(call, message, headers);
      else {
        calls.release(call); // what is watched has no end
        method(call.stream, message);
      }
    } catch (thrown) {
      if (thrown instanceof ProtobufError) calls.refuse(call, NO_MESSAGE);
      else fail(call.stream, UNDECIDED);
    }
  };
  const receive = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void => {
    stream.on('error', () => undefined); // a client that resets its call: `close` follows
    const status = httpProblem(headers);
    if (status !== null) return refuse(stream, status);
    const path = headers[':path'] ?? '';
    if (path !== CHECK && !health.methods.has(path)) return fail(stream, NO_METHOD);
    const given = headers['grpc-timeout'];
    const timeout = given === undefined ? null : parseTimeout(String(given));
    if (given !== undefined && timeout === null) return fail(stream, NO_TIME);
    // How long a message is, is the client's to say: a body, a header. An error would let him pass where the filter fails open.
    calls.receive(stream, timeout, { whole: (call, message) => handle(call, message, { path, headers }), tooLong: path === CHECK ? FORBIDDEN : null });
  };

  const server = (): Http2Server => {
    const made = createServer({
      // Of nghttp2 and Node: streams that a client opens and resets are counted, and end its connection (rapid reset).
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 100,
      maxSessionMemory: 16,
      // Envoy takes 60 KiB of headers of a client, and hands its `tracestate` on: a call that is reset would be an error (rule 6).
      settings: { maxConcurrentStreams: 1000, maxHeaderListSize: 62 * 1024, enablePush: false },
    });
    made.maxConnections = maxConnections;
    // Node hides the socket from whoever has the session, which is made in the same turn.
    let below: ServerHttp2Session['socket'];
    made.prependListener('connection', (socket: typeof below) => void (below = socket));
    made.on('session', (session) => sessions.add(session, below));
    made.on('stream', receive);
    made.on('drop', () => shed.connections++);
    made.on('sessionError', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNRESET') shed.malformed++;
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
      health.drain();
      sessions.drain();
    },
    async close(ms) {
      health.drain();
      const listening = servers.splice(0).filter((each) => each.listening);
      const closed = listening.map((each) => new Promise<void>((resolve) => stopListening(each, resolve)));
      await sessions.close(ms);
      await Promise.all(closed);
    },
  };
}

/** Of a header that Node has not joined to one text, nothing. */
function textOf(value: string | readonly string[] | undefined): string {
  return typeof value === 'string' ? value : '';
}

/**
 * From Node 24 on the close of an HTTP/2 server also ends its connections, in one step and before ours: a call that is on its way would be lost,
 * and the notice of our first step, coming after a last call, is an error of the protocol that loses those under way.
 */
function stopListening(server: Http2Server, done: () => void): void {
  Server.prototype.close.call(server, done);
}
