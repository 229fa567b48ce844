// Does this process take checks? `grpc.health.v1.Health`, for whoever asks once (Check, List) and whoever wants to be told (Watch).
//
// Readiness is a question that nobody announces the answer of: it is asked each second while somebody watches, and at once on a drain.

import type { Clock } from 'policy-cache';
import { GRPC, begin, fail, finish, framed, reply, send } from './grpc-call.ts';
import type { GrpcProblem } from './grpc-call.ts';
import type { Stream, StreamOwner } from './h2/stream.ts';
import { Reader, field, lengthTag, number } from './protobuf.ts';

export interface HealthSettings {
  readonly clock: Clock;
  readonly ready: () => boolean;
}

export interface Health {
  /** The method's own name → what answers it. They throw ProtobufError if the bytes are no message. */
  readonly methods: ReadonlyMap<string, (stream: Stream, message: Buffer) => void>;
  /** Not ready from now on, and whoever watches is told. */
  drain(): void;
  /** Ends what is watched over this connection. */
  end(connection: StreamOwner): void;
}

const SERVING = 1;
const NOT_SERVING = 2;
const SERVICE_UNKNOWN = 3;
type Status = typeof SERVING | typeof NOT_SERVING | typeof SERVICE_UNKNOWN;

/** The whole server, and the one service that it is here for. */
const SERVICES = ['', 'envoy.service.auth.v3.Authorization'];
const SERVICE = lengthTag(1);
const TICK_MS = 1000;
const ENDED: GrpcProblem = { status: GRPC.unavailable, message: 'the connection is being closed' };
const TOO_MANY: GrpcProblem = { status: GRPC.resourceExhausted, message: 'too many watch' };
/** Each is a call without an end. */
const MOST_WATCHERS = 10_000;

export function createHealth({ clock, ready }: HealthSettings): Health {
  const watchers = new Map<Stream, { readonly known: boolean; told: Status }>();
  let draining = false;
  let stopTick: (() => void) | null = null;

  const status = (): Status => (!draining && ready() ? SERVING : NOT_SERVING);
  const tell = (): void => {
    const now = status();
    for (const [stream, watcher] of watchers) {
      if (!watcher.known || watcher.told === now) continue;
      watcher.told = now;
      send(stream, messageOf(now));
    }
  };
  const tick = (): void => {
    tell();
    stopTick = watchers.size > 0 ? clock.after(TICK_MS, tick) : null;
  };
  const forget = (stream: Stream): void => {
    watchers.delete(stream);
    if (watchers.size > 0) return;
    stopTick?.();
    stopTick = null;
  };

  const check = (stream: Stream, message: Buffer): void => {
    if (SERVICES.includes(serviceOf(message))) reply(stream, messageOf(status()));
    else fail(stream, { status: GRPC.notFound, message: 'no such service' });
  };
  const list = (stream: Stream): void => {
    const health = number(1, status());
    reply(stream, framed(Buffer.concat(SERVICES.map((service) => field(1, Buffer.concat([field(1, service), field(2, health)]))))));
  };
  const watch = (stream: Stream, message: Buffer): void => {
    if (watchers.size >= MOST_WATCHERS) return fail(stream, TOO_MANY);
    const known = SERVICES.includes(serviceOf(message));
    const told = known ? status() : SERVICE_UNKNOWN;
    watchers.set(stream, { known, told });
    stream.receiver = { data: () => undefined, closed: () => forget(stream) };
    begin(stream);
    send(stream, messageOf(told));
    stopTick ??= clock.after(TICK_MS, tick);
  };

  return {
    methods: new Map([
      ['/grpc.health.v1.Health/Check', check],
      ['/grpc.health.v1.Health/List', list],
      ['/grpc.health.v1.Health/Watch', watch],
    ]),
    drain() {
      draining = true;
      tell();
    },
    end(connection) {
      for (const stream of watchers.keys()) if (stream.owner === connection) finish(stream, ENDED);
    },
  };
}

/** HealthCheckRequest.service */
function serviceOf(message: Buffer): string {
  const reader = new Reader(message);
  let service = '';
  while (reader.at < message.length) {
    const tag = reader.tag(message.length);
    if (tag === SERVICE) service = reader.utf8(message.length);
    else reader.skip(tag, message.length);
  }
  return service;
}

/** HealthCheckResponse */
function messageOf(status: Status): Buffer {
  return framed(number(1, status));
}
