// Which calls does the gRPC listener take, and what may one cost? Envoy's ext_authz and the protocol's own health service.
//
// Raw node:http2: around the same pipeline grpc-js takes 1.7 times the processor (`npm run bench:grpc`). Whatever goes wrong is an error of gRPC, which is
// "cannot decide" at Envoy and never an allow; a deny is never an error. Limits are for a peer that is broken, not for one that is
// busy: a proxy that meets one opens another connection, or asks again.

import { createServer } from 'node:http2';
import type { Http2Server, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Clock } from 'policy-cache';
import type { Authorize, Outcome } from '../authorize.ts';
import type { CheckReport } from '../report.ts';
import { checkResponse } from './check-response.ts';
import { createEnvoyCheck } from './envoy.ts';
import type { Asserts } from './envoy.ts';
import { GRPC, Message, fail, httpProblem, parseTimeout, refuse, reply } from './grpc-call.ts';
import type { GrpcProblem } from './grpc-call.ts';
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

interface Call {
  readonly stream: ServerHttp2Stream;
  readonly started: number;
  /** Milliseconds that the client waits; null: not said. */
  readonly timeout: number | null;
  /** All of it came, or no more of it is read. */
  ended: boolean;
  /** When what is to come of the client must have come: the rest of its message, then that it takes its answer. Infinity: it waits for us. */
  due: number;
}

const CHECK = '/envoy.service.auth.v3.Authorization/Check';
/** A call that never ends its message is ended, and one whose client never reads its answer; looked at so often. */
const RECEIVE_MS = 10_000;
const UNREAD_MS = 10_000;
const TICK_MS = 100;
/** Node's timers go off so much early at most: both their time and the loop's lose what is less than a millisecond. */
const TIMER_GRAIN_MS = 2;

const UNDECIDED: GrpcProblem = { status: GRPC.unavailable, message: 'cannot decide' };
const TOO_LATE: GrpcProblem = { status: GRPC.deadlineExceeded, message: 'too late' };
const NOT_WHOLE: GrpcProblem = { status: GRPC.invalidArgument, message: 'not a whole message' };
const NO_MESSAGE: GrpcProblem = { status: GRPC.invalidArgument, message: 'not a message' };
const NO_TIME: GrpcProblem = { status: GRPC.internal, message: 'not a grpc-timeout' };
const NO_METHOD: GrpcProblem = { status: GRPC.unimplemented, message: 'no such method' };

export function createGrpcDoor(settings: GrpcDoorSettings): GrpcDoor {
  const { report, clock, random, ready, refuseMethodOverride = true, atLeast = false, asserts = 'none' } = settings;
  const { connectionAge = 1_800_000, maxConnections = 10_000 } = settings;
  const checkEnvoy = createEnvoyCheck({ authorize: settings.authorize, refuseMethodOverride, atLeast, asserts });
  const shed = { malformed: 0, timeout: 0, connections: 0 };
  const health = createHealth({ clock, ready });
  const sessions = createSessions({ clock, random, age: connectionAge, closing: (session) => health.end(session), silent: () => shed.timeout++ });
  const servers: Http2Server[] = [];
  const open = new Set<Call>();
  let sweeping = false;
  let inFlight = 0;

  const waited = ({ started }: Call): number => clock.now() - started;
  const isLate = (call: Call, grain = 0): boolean => call.timeout !== null && waited(call) + grain >= call.timeout;

  const end = (call: Call, problem: GrpcProblem): void => {
    call.ended = true;
    call.due = clock.now() + UNREAD_MS;
    shed[problem === TOO_LATE ? 'timeout' : 'malformed']++;
    fail(call.stream, problem);
  };
  // A timer for each call would cost as much as its check: nearly all are whole in the turn in which they come.
  const sweep = (): void => {
    for (const call of open) {
      if (clock.now() < call.due) continue;
      if (call.ended) call.stream.destroy();
      else end(call, TOO_LATE);
    }
    sweeping = open.size > 0;
    if (sweeping) clock.after(TICK_MS, sweep);
  };

  const answer = (call: Call, outcome: Outcome, aliases: readonly string[]): void => {
    inFlight--;
    call.due = clock.now() + UNREAD_MS;
    write(call, outcome, aliases);
    outcome.durationMs = waited(call);
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
      else fail(stream, outcome.reason === 'deadline' && isLate(call, TIMER_GRAIN_MS) ? TOO_LATE : UNDECIDED);
    } catch {
      fail(stream, UNDECIDED);
    }
  };
  const check = (call: Call, message: Buffer): void => {
    const { outcome, aliases } = checkEnvoy(message, call.timeout === null ? null : call.timeout - waited(call));
    inFlight++;
    if (outcome instanceof Promise)
      void outcome.then((settled) => answer(call, settled, aliases)); // authorize never rejects
    else answer(call, outcome, aliases);
  };

  const handle = (call: Call, message: Buffer, path: string): void => {
    try {
      const method = health.methods.get(path);
      if (method === undefined) check(call, message);
      else {
        open.delete(call); // what is watched has no end
        method(call.stream, message);
      }
    } catch (thrown) {
      if (thrown instanceof ProtobufError) end(call, NO_MESSAGE);
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
    const started = clock.now();
    const call: Call = { stream, started, timeout, ended: false, due: started + Math.min(timeout ?? RECEIVE_MS, RECEIVE_MS) };
    const message = new Message();
    open.add(call);
    if (!sweeping) sweep();
    stream.on('data', (part: Buffer) => {
      const problem = call.ended ? null : message.add(part);
      if (problem !== null) end(call, problem);
    });
    stream.once('end', () => {
      if (call.ended) return;
      call.ended = true;
      call.due = Infinity;
      const whole = message.whole();
      if (whole === null) end(call, NOT_WHOLE);
      else if (isLate(call)) end(call, TOO_LATE);
      else handle(call, whole, path);
    });
    stream.once('close', () => open.delete(call));
  };

  const server = (): Http2Server => {
    const made = createServer({
      // Of nghttp2 and Node: streams that a client opens and resets are counted, and end its connection (rapid reset).
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 100,
      maxSessionMemory: 16,
      settings: { maxConcurrentStreams: 1000, maxHeaderListSize: 16 * 1024, enablePush: false },
    });
    made.maxConnections = maxConnections;
    made.on('session', (session) => sessions.add(session));
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
      const closed = listening.map((each) => new Promise<void>((resolve) => void each.close(() => resolve())));
      await sessions.close(ms);
      await Promise.all(closed);
    },
  };
}
