// Which calls does the gRPC listener take, and what may one cost? Envoy's ext_authz and the protocol's own health service.
//
// HTTP/2 by our own h2/, over node:net: see there. Whatever goes wrong is an error of gRPC, which is
// "cannot decide" at Envoy and never an allow; a deny is never an error. Limits are for a peer that is broken, not for one that is
// busy: a proxy that meets one opens another connection, or asks again.

import { createServer } from 'node:net';
import type { Server } from 'node:net';
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
import { createConnections } from './grpc-connections.ts';
import { createHealth } from './grpc-health.ts';
import type { Head } from './h2/head.ts';
import type { Stream } from './h2/stream.ts';
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
  /** Told of the bytes of each check, before they are read. */
  readonly received?: (message: Buffer) => void;
  /** Milliseconds after which a connection is renewed; default 30 minutes, 0: never. */
  readonly connectionAge?: number;
  /** Connections of one server at most; default 10,000. */
  readonly maxConnections?: number;
}

export interface GrpcDoor {
  /** A new server that answers checks, not listening yet: one for each address. */
  server(): Server;
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
  const calls = createCalls({
    clock,
    shed: (cause) => shed[cause]++,
    whole: (call, message) => handle(call, message),
    // How long a message is, is the client's to say: a body, a header. An error would let him pass where the filter fails open.
    tooLong: ({ path }) => (path === CHECK ? FORBIDDEN : null),
  });
  const health = createHealth({ clock, ready });
  const connections = createConnections({
    ...{ clock, random, age: connectionAge },
    opened: (stream, head) => receive(stream, head),
    closing: (connection) => health.end(connection),
    shed: (cause) => shed[cause]++,
  });
  const servers: Server[] = [];
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
    if (stream.closed) return; // the client has gone
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
  const check = (call: Call, message: Buffer): void => {
    settings.received?.(message);
    const { left: timeout, traceparent, tracestate } = call;
    const { outcome, aliases } = checkEnvoy(message, { timeout, traceparent, tracestate });
    inFlight++;
    if (outcome instanceof Promise) answerLater(call, outcome, aliases);
    else answer(call, outcome, aliases);
  };

  const handle = (call: Call, message: Buffer): void => {
    try {
      const method = call.path === CHECK ? undefined : health.methods.get(call.path);
      if (method === undefined) return check(call, message);
      method(call.stream, message);
      if (call.stream.receiver === call) calls.answered(call);
      else calls.release(call); // what is watched has no end
    } catch (thrown) {
      if (thrown instanceof ProtobufError) calls.refuse(call, NO_MESSAGE);
      else fail(call.stream, UNDECIDED);
    }
  };
  const receive = (stream: Stream, head: Head): void => {
    const status = httpProblem(head);
    if (status !== null) return refuse(stream, status);
    if (head.path !== CHECK && !health.methods.has(head.path)) return fail(stream, NO_METHOD);
    const timeout = head.timeout === null ? null : parseTimeout(head.timeout);
    if (head.timeout !== null && timeout === null) return fail(stream, NO_TIME);
    calls.receive(stream, head, timeout);
  };

  const server = (): Server => {
    const made = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => connections.add(socket));
    made.maxConnections = maxConnections;
    made.on('drop', () => shed.connections++);
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
      connections.drain();
    },
    async close(ms) {
      health.drain();
      const listening = servers.splice(0).filter((each) => each.listening);
      const closed = listening.map((each) => new Promise<void>((resolve) => void each.close(() => resolve())));
      await connections.close(ms);
      await Promise.all(closed);
    },
  };
}
