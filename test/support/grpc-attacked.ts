// A gRPC door of its own for each test, and the raw bytes that hostile clients of HTTP/2 send to it.

import type { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished } from 'vitest';
import type { Clock } from 'policy-cache';
import { hostClock } from '../../src/clock.ts';
import { createGrpcDoor, type GrpcDoor, type GrpcDoorSettings } from '../../src/doors/grpc.ts';
import { listen } from '../../src/listen.ts';
import { ALLOWED, checkRequest, verdictOf } from './check-requests.ts';
import { sidecar, type Sidecar } from './doors.ts';
import { call, connectHttp2, encodeRequest, frame, messageOf } from './grpc.ts';
import { KIND, LINES, connectRaw, data, headers, http2Frame, uint32, type RawConnection } from './http2-raw.ts';

/** What there is while a test of the file runs. */
class Attacked {
  side!: Sidecar;
  /** A check that is allowed. */
  message!: Buffer;
  door!: GrpcDoor;
  port = 0;
  /** Milliseconds of the door's clock in one of the machine's. */
  haste = 1;
  /** The door's ends of connections. */
  readonly open = new Set<Socket>();

  readonly begin = async (settings: Partial<GrpcDoorSettings> = {}): Promise<void> => {
    this.haste = 1;
    const machine = hostClock();
    const clock: Clock = { now: () => machine.now() * this.haste, after: (ms, f) => machine.after(ms / this.haste, f) };
    this.door = createGrpcDoor({ authorize: this.side.authorize, clock, random: () => 0.5, report: () => undefined, ready: () => true, ...settings });
    const server = this.door.server();
    server.on('connection', (socket) => {
      this.open.add(socket);
      socket.once('close', () => this.open.delete(socket));
    });
    this.port = Number((await listen(server, { host: '127.0.0.1', port: 0 }, 'grpc')).split(':')[1]);
  };

  readonly raw = async (first?: Buffer): Promise<RawConnection> => {
    const connection = await connectRaw(this.port, first);
    onTestFinished(() => void connection.socket.destroy());
    return connection;
  };

  readonly expectOthersAnswered = async (): Promise<void> => {
    const session = await connectHttp2(this.port);
    expect(verdictOf(messageOf(await call(session, [this.message])))).toBe(ALLOWED);
    session.destroy();
  };

  /** A whole call. */
  readonly good = (stream: number): Buffer => Buffer.concat([headers(stream), data(stream, this.message)]);
}

/** Of the file that calls it: begun before each test, and nothing of it is left behind it. */
export function attacked(): Attacked {
  const at = new Attacked();
  beforeAll(async () => {
    at.side = await sidecar();
    at.message = frame(encodeRequest(checkRequest({ headers: { authorization: `Bearer ${await at.side.token('admin')}` } })));
  });
  afterAll(() => at.side.close());
  beforeEach(() => at.begin());
  afterEach(async () => {
    await at.door.close(0);
    expect([at.open.size, at.door.inFlight], 'connections and checks that are left').toEqual([0, 0]);
  });
  return at;
}

export const settings = (...pairs: readonly (readonly [id: number, value: number])[]): Buffer =>
  http2Frame(KIND.settings, { payload: Buffer.concat(pairs.map(([id, value]) => Buffer.concat([Buffer.of(0, id), uint32(value)]))) });
/** The lines of a head, less some. */
export const linesLess = (...without: readonly string[]): (readonly [string, string])[] => LINES.filter(([name]) => !without.includes(name));
