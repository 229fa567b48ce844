// Which calls are under way, and which of them wait for a client that does not come?
//
// One sweep looks at all of them: a timer for each would cost as much as its check, and nearly all are whole in the turn in which they come.
//
// They stand in an array, each with its place, and not in a Set. A Set is copied into a new table again and again as calls come and go, and the
// table that it leaves points to the next one: once one of them has become old, V8's young collections keep all that came after it, calls, streams
// and messages, until a full collection. Measured (Node 20, node:http2 bare, 64 calls at once): each young collection kept 2.5 MB and took 18 ms
// with the Set, 0.7 MB and 4.7 ms without it.

import type { Clock } from 'policy-cache';
import { GRPC, Message, TOO_LONG, fail, reply, wholeIn } from './grpc-call.ts';
import type { GrpcProblem } from './grpc-call.ts';
import type { Head } from './h2/head.ts';
import type { Receiver, Stream } from './h2/stream.ts';

export interface CallsSettings {
  readonly clock: Clock;
  /** Told of a message that is whole and in time. It is read at once, or copied. */
  readonly whole: (call: Call, message: Buffer) => void;
  /** Framed answer to a message that is too long; null: an error of gRPC. */
  readonly tooLong: (call: Call) => Buffer | null;
  /** Told of a call that never became a question. */
  readonly shed: (cause: 'malformed' | 'timeout') => void;
}

export interface Calls {
  /** Reads the message of a call, and hands it on. `timeout`: milliseconds that the client waits; null: not said. */
  receive(stream: Stream, head: Head, timeout: number | null): void;
  /** An error in place of an answer, by the fault of whoever asked. */
  refuse(call: Call, problem: GrpcProblem): void;
  /** It is answered: from now on its client must take that. Milliseconds since it came. */
  answered(call: Call): number;
  /** It stays open as long as its client likes. */
  release(call: Call): void;
  /** Has its client given up, by its own word? */
  isLate(call: Call): boolean;
}

export const TOO_LATE: GrpcProblem = { status: GRPC.deadlineExceeded, message: 'too late' };
const TOO_MANY: GrpcProblem = { status: GRPC.unavailable, message: 'too many messages are not whole' };
const NOT_WHOLE: GrpcProblem = { status: GRPC.invalidArgument, message: 'not a whole message' };

/** Bytes kept for calls that are not whole, of all connections. */
const MOST_HELD = 32 * 1024 * 1024;
/** What a call itself takes beside its message. */
const RECORD = 512;
const RECEIVE_MS = 10_000;
const UNREAD_MS = 10_000;
const TICK_MS = 100;
/** Node's timers go off so much early at most: both their time and the loop's lose what is less than a millisecond. */
const TIMER_GRAIN_MS = 2;
/** Of what a head says of a trace: longer is none (OpenTelemetry's own bound), and a head of 35 bytes can say 60 KiB of it. */
const MOST_TRACE = 512;

export class Call implements Receiver {
  readonly stream: Stream;
  // Of its head. Not the head itself: its other fields are as long as a client likes, and bytes that come again are not sent again (HPACK).
  readonly path: string;
  readonly traceparent: string;
  readonly tracestate: string;
  readonly started: number;
  /** Milliseconds that the client waits; null: not said. */
  readonly timeout: number | null;
  /** What was left of that when all of it had come; null: not said. */
  left: number | null;
  /** All of it came, or no more of it is read. */
  ended = false;
  /** Where it stands among the open ones; -1: it does not. */
  place = -1;
  /** When what is to come of the client must have come: the rest of its message, then that it takes its answer. Infinity: it waits for us. */
  due: number;
  /** null: nothing came yet that had to be kept. */
  message: Message | null = null;
  /** More came than a message may have; it is read to its end, for that is when it is answered. */
  passed = false;
  /** Bytes that are counted for it. */
  held = 0;
  readonly #keeper: Keeper;

  constructor(of: { stream: Stream; head: Head; started: number; timeout: number | null }, keeper: Keeper) {
    this.stream = of.stream;
    this.path = of.head.path;
    this.traceparent = traced(of.head.traceparent);
    this.tracestate = traced(of.head.tracestate);
    this.started = of.started;
    this.timeout = of.timeout;
    this.left = of.timeout;
    this.due = of.started + Math.min(of.timeout ?? RECEIVE_MS, RECEIVE_MS);
    this.#keeper = keeper;
  }

  data(part: Buffer, last: boolean): void {
    if (!this.ended) this.#keeper.data(this, part, last);
  }

  closed(): void {
    this.#keeper.closed(this);
  }
}

function traced(text: string | null): string {
  return text === null || text.length > MOST_TRACE ? '' : text;
}

/** What the calls have in common. */
interface Keeper {
  data(call: Call, part: Buffer, last: boolean): void;
  closed(call: Call): void;
}

export function createCalls({ clock, shed, whole, tooLong }: CallsSettings): Calls {
  const open: Call[] = [];
  let sweeping = false;
  let held = 0;

  const add = (call: Call): void => {
    call.place = open.length;
    open.push(call);
  };
  const remove = (call: Call): void => {
    const { place } = call;
    if (place < 0) return;
    call.place = -1;
    const last = open.pop();
    if (last === undefined || last === call) return;
    open[place] = last;
    last.place = place;
  };
  const hold = (call: Call, bytes: number): void => {
    held += bytes - call.held;
    call.held = bytes;
  };
  const waited = ({ started }: Call): number => clock.now() - started;
  // One reading for both: a clock is read twice for the time of a suspension (clock.ts), and a call has few turns.
  const answered = (call: Call): number => {
    const now = clock.now();
    call.due = now + UNREAD_MS;
    return now - call.started;
  };
  const end = (call: Call): void => {
    call.ended = true;
    call.message = null;
    hold(call, 0);
  };
  const refuse = (call: Call, problem: GrpcProblem): void => {
    end(call);
    answered(call);
    shed(problem === TOO_LATE ? 'timeout' : 'malformed');
    fail(call.stream, problem);
  };
  const deny = (call: Call, frame: Buffer): void => {
    end(call);
    answered(call);
    shed('malformed');
    reply(call.stream, frame);
  };
  const sweep = (): void => {
    // A copy: whoever is refused goes out of it meanwhile.
    const now = clock.now();
    for (const call of [...open]) {
      if (!call.ended && held > MOST_HELD) refuse(call, TOO_MANY);
      else if (now < call.due) continue;
      else if (call.ended) call.stream.owner.abandon(call.stream);
      else refuse(call, TOO_LATE);
    }
    sweeping = open.length > 0;
    if (sweeping) clock.after(TICK_MS, sweep);
  };
  /** What came in one part waits for nobody, and nothing of it is kept. */
  const complete = (call: Call, message: Buffer | null): void => {
    if (message === null) return refuse(call, NOT_WHOLE);
    if (call.timeout !== null) {
      call.left = call.timeout - waited(call);
      if (call.left <= 0) return refuse(call, TOO_LATE);
    }
    call.ended = true;
    call.due = Infinity;
    whole(call, message);
    if (call.held > 0) end(call);
  };
  const keeper: Keeper = {
    data(call, part, last) {
      if (last && call.message === null) {
        const message = wholeIn(part);
        if (message !== null) return complete(call, message);
      }
      if (!call.passed) {
        call.message ??= new Message();
        const problem = call.message.add(part);
        hold(call, RECORD + call.message.held);
        if (problem === TOO_LONG && tooLong(call) !== null) call.passed = true;
        else if (problem !== null) return refuse(call, problem);
        else if (held > MOST_HELD && !last) return refuse(call, TOO_MANY);
      }
      if (!last) return;
      const long = call.passed ? tooLong(call) : null;
      if (long !== null) deny(call, long);
      else complete(call, call.message?.whole() ?? null);
    },
    closed(call) {
      end(call);
      remove(call);
    },
  };

  return {
    answered,
    refuse,
    isLate: (call) => call.timeout !== null && waited(call) + TIMER_GRAIN_MS >= call.timeout,
    release: remove,
    receive(stream, head, timeout) {
      const call = new Call({ stream, head, started: clock.now(), timeout }, keeper);
      hold(call, RECORD);
      stream.receiver = call;
      add(call);
      if (!sweeping) sweep();
    },
  };
}
