// Does the health service say what is true, tell whoever watches, and does a connection end without losing a call?

import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import type { Clock } from 'policy-cache';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { hostClock } from '../../src/clock.ts';
import { createGrpcDoor, type GrpcDoor, type GrpcDoorSettings } from '../../src/doors/grpc.ts';
import { listen } from '../../src/listen.ts';
import { ALLOWED, checkRequest, verdictOf } from '../support/check-requests.ts';
import { sidecar, type Sidecar } from '../support/doors.ts';
import { CHECK, call, connectHttp2, encodeRequest, frame, messageOf, startGrpcClient, type GrpcClient } from '../support/grpc.ts';
import { until } from '../support/until.ts';

const OURS = 'envoy.service.auth.v3.Authorization';
const [NOT_FOUND, UNAVAILABLE] = [5, 14];

let side: Sidecar;
let ready: boolean;
let door: GrpcDoor;
let port: number;
let client: GrpcClient;
/** Milliseconds of the door's clock in one of the machine's. */
let haste: number;

/** Time runs as fast as the test wants. */
function hasty(): Clock {
  const clock = hostClock();
  return { now: () => clock.now() * haste, after: (ms, f) => clock.after(ms / haste, f) };
}
async function begin(more: Partial<GrpcDoorSettings> = {}): Promise<void> {
  door = createGrpcDoor({ authorize: side.authorize, clock: hasty(), random: () => 0.5, report: () => undefined, ready: () => ready, ...more });
  port = Number((await listen(door.server(), { host: '127.0.0.1', port: 0 }, 'grpc')).split(':')[1]);
  client = startGrpcClient(`127.0.0.1:${port}`);
}
beforeEach(async () => {
  [ready, haste] = [true, 1];
  side = await sidecar();
  await begin();
});
afterEach(async () => {
  client.close();
  await door.close(0);
  await side.close();
});

async function message(): Promise<Buffer> {
  return frame(encodeRequest(checkRequest({ headers: { authorization: `Bearer ${await side.token('admin')}` } })));
}

function http2Frame(kind: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(kind, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function http2Frames(bytes: Buffer): { kind: number; stream: number }[] {
  const frames = [];
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3))
    frames.push({ kind: bytes.readUInt8(at + 3), stream: bytes.readUInt32BE(at + 5) });
  return frames;
}

describe('health', () => {
  test('Check: the server and the one service, by readiness; any other is NOT_FOUND', async () => {
    for (const status of ['SERVING', 'NOT_SERVING']) {
      ready = status === 'SERVING';
      for (const service of ['', OURS]) expect(await client.health(service)).toEqual({ answer: { status }, error: null });
      expect((await client.list()).answer).toEqual({ statuses: { '': { status }, [OURS]: { status } } });
    }
    for (const service of ['envoy', `${OURS}/Check`, 'grpc.health.v1.Health']) expect((await client.health(service)).error).toBe(NOT_FOUND);
  });

  test('Watch: told at once, and whenever it changes; a service that there is none of stays open', async () => {
    haste = 50;
    const told: Record<string, (string | number)[]> = { [OURS]: [], other: [] };
    const watches = Object.keys(told).map((service) => client.watch(service, (what) => told[service]?.push(what)));
    await until(() => told[OURS]?.length === 1 && told['other']?.length === 1, 'the first word');
    ready = false;
    await until(() => told[OURS]?.length === 2, 'the change');
    ready = true;
    await until(() => told[OURS]?.length === 3, 'the change back');
    expect(told).toEqual({ [OURS]: ['SERVING', 'NOT_SERVING', 'SERVING'], other: ['SERVICE_UNKNOWN'] });
    watches.forEach((watch) => watch.cancel());
    expect((await client.health()).answer).toEqual({ status: 'SERVING' });
  });

  test('a drain is told before anything else: not serving, then the end of the connection; checks that come are answered', async () => {
    const told: (string | number)[] = [];
    client.watch('', (what) => told.push(what));
    await until(() => told.length === 1, 'the first word');
    const session = await connectHttp2(port);
    onTestFinished(() => session.destroy());
    const goaways: { code: number; last: number }[] = [];
    session.on('goaway', (code: number, last: number) => goaways.push({ code, last }));
    door.drain();
    await until(() => told.length >= 2, 'the change');
    expect(told.slice(0, 2)).toEqual(['SERVING', 'NOT_SERVING']);
    // grpc-js goes by the first GOAWAY and opens a connection of its own; bare HTTP/2 may still ask on this one.
    expect((await client.health()).answer).toEqual({ status: 'NOT_SERVING' });
    await until(() => goaways.length > 0, 'the first GOAWAY');
    expect(goaways[0]).toEqual({ code: 0, last: 2 ** 31 - 1 });
    expect(verdictOf((await client.check(checkRequest({ headers: { authorization: `Bearer ${await side.token('admin')}` } }))).answer ?? {})).toBe(ALLOWED);
    await until(() => told.length === 3, 'the end of the watch');
    expect(told[2]).toBe(UNAVAILABLE);
    await until(() => session.destroyed, 'the end of the connection');
    expect(goaways.at(-1)).toMatchObject({ code: 0 });
  });
});

describe('a connection', () => {
  test('that is closed while checks are under way: each is answered first', async () => {
    let decide = (): void => undefined;
    const gate = new Promise<void>((resolve) => (decide = resolve));
    await door.close(0);
    await begin({ authorize: async (request) => gate.then(() => side.authorize(request)) });
    const session = await connectHttp2(port);
    onTestFinished(() => session.destroy());
    const bytes = await message();
    const replies = Array.from({ length: 20 }, () => call(session, [bytes]));
    await until(() => door.inFlight === 20, 'the checks');
    const closed = door.close(20_000);
    await once(session, 'goaway');
    decide();
    expect((await Promise.all(replies)).map((reply) => verdictOf(messageOf(reply)))).toEqual(replies.map(() => ALLOWED));
    await closed;
    await expect(connectHttp2(port)).rejects.toThrow(/ECONNREFUSED/);
  });

  test('asked on while its end is on the way, with no call under way: answered, for nobody there has heard of the end yet', async () => {
    const socket = connectTcp(port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    let received = Buffer.alloc(0);
    socket.on('data', (part: Buffer) => (received = Buffer.concat([received, part])));
    const came = (kind: number, stream = 0): boolean => http2Frames(received).some((each) => each.kind === kind && each.stream === stream);
    socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), http2Frame(4, 0, 0)]));
    await until(() => came(4), 'the settings');
    door.drain();
    await until(() => came(7), 'the first GOAWAY');
    const lines = { ':method': 'POST', ':scheme': 'http', ':authority': 'door', ':path': CHECK, 'content-type': 'application/grpc', te: 'trailers' };
    const head = Object.entries(lines).flatMap(([name, value]) => [0, name.length, ...Buffer.from(name), value.length, ...Buffer.from(value)]);
    socket.write(Buffer.concat([http2Frame(1, 4, 1, Buffer.from(head)), http2Frame(0, 1, 1, await message())]));
    await until(() => came(0, 1), 'the answer');
  });

  test('is renewed by age, a tenth more or less: two GOAWAYs, and no call lost', async () => {
    const AGE_MS = 400;
    const asked = checkRequest({ headers: { authorization: `Bearer ${await side.token('admin')}` } });
    const age = async (random: number): Promise<{ lived: number; answered: number }> => {
      const young = createGrpcDoor({
        authorize: side.authorize,
        clock: hostClock(),
        random: () => random,
        report: () => undefined,
        ready: () => true,
        connectionAge: AGE_MS,
      });
      onTestFinished(() => young.close(0));
      const server = young.server();
      const begun: number[] = [];
      let ended = 0;
      server.on('connection', (socket) => {
        begun.push(performance.now());
        socket.once('close', () => ended++);
      });
      const own = startGrpcClient(await listen(server, { host: '127.0.0.1', port: 0 }, 'grpc'));
      onTestFinished(() => own.close());
      let answered = 0;
      for (; ended === 0; answered++) expect(verdictOf((await own.check(asked)).answer ?? {})).toBe(ALLOWED);
      return { lived: (begun[1] ?? 0) - (begun[0] ?? 0), answered };
    };
    const [least, most] = await Promise.all([age(0), age(0.999)]);
    console.log(
      `connections of ${AGE_MS} ms: renewed after ${least.lived.toFixed()} and ${most.lived.toFixed()} ms, ${least.answered + most.answered} checks answered, none lost`,
    );
    expect(least.lived).toBeGreaterThanOrEqual(0.9 * AGE_MS - 5);
    expect(most.lived).toBeGreaterThanOrEqual(1.0998 * AGE_MS - 5);
  });

  test('on which nothing was said for long is asked to end, like one of age', async () => {
    const session = await connectHttp2(port);
    expect(verdictOf(messageOf(await call(session, [await message()])))).toBe(ALLOWED);
    haste = 1000;
    const [code, last] = (await once(session, 'goaway')) as [number, number];
    expect([code, last]).toEqual([0, 2 ** 31 - 1]);
    await until(() => session.destroyed, 'its end');
  });

  test('age 0: never', async () => {
    await begin({ connectionAge: 0 });
    const session = await connectHttp2(port);
    onTestFinished(() => session.destroy());
    let over = false;
    session.once('goaway', () => (over = true));
    const bytes = await message();
    for (let i = 0; i < 50; i++) await call(session, [bytes]);
    expect(over).toBe(false);
  });

  test('without a word of HTTP/2, and one whose call does not end: both are ended, and others are served meanwhile', async () => {
    haste = 10;
    const silent = connectTcp(port, '127.0.0.1')
      .on('error', () => undefined)
      .resume();
    onTestFinished(() => void silent.destroy());
    const session = await connectHttp2(port);
    onTestFinished(() => session.destroy());
    await expect(call(session, [(await message()).subarray(0, 9)], { end: false, headers: { 'grpc-timeout': '200m' } })).resolves.toMatchObject({
      grpcStatus: 4,
    });
    expect(verdictOf(messageOf(await call(session, [await message()])))).toBe(ALLOWED);
    await until(() => silent.destroyed, 'the end of the silent one');
    expect(door.shed.timeout).toBe(2);
  });

  test('whose client reads no answer: each call is given up', async () => {
    const session = await connectHttp2(port, { initialWindowSize: 0 });
    onTestFinished(() => session.destroy());
    const answered = call(session, [await message()]);
    haste = 100; // of the call, not of the connection, whose first time to say something runs already
    const reply = await answered;
    expect([reply.status, reply.grpcStatus, reply.body.length]).toEqual([200, null, 0]); // the headers, and then the end
    haste = 1; // the others have the time that they have in service
    expect(verdictOf((await client.check(checkRequest({ headers: { authorization: `Bearer ${await side.token('admin')}` } }))).answer ?? {})).toBe(ALLOWED);
  });

  test('beyond the most that there may be is dropped, and counted', async () => {
    await begin({ maxConnections: 1 });
    const first = await connectHttp2(port);
    onTestFinished(() => first.destroy());
    const second = connectTcp(port, '127.0.0.1').on('error', () => undefined);
    await once(second, 'close');
    expect(door.shed.connections).toBe(1);
    expect(verdictOf(messageOf(await call(first, [await message()])))).toBe(ALLOWED);
  });
});
