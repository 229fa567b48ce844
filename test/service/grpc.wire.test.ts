// What does the gRPC door do with bytes that no client library would send, and with clients that begin a call and never end it?

import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { createGrpcDoor, type GrpcDoorSettings } from '../../src/doors/grpc.ts';
import { hostClock } from '../../src/clock.ts';
import { listen } from '../../src/listen.ts';
import { ALLOWED, DENIED, checkRequest, verdictOf, type Asked } from '../support/check-requests.ts';
import { sidecar, type Sidecar } from '../support/doors.ts';
import { call, connectHttp2, encodeRequest, frame, messageOf, type RawReply } from '../support/grpc.ts';
import { until } from '../support/until.ts';

const [INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE] = [3, 4, 8, 12, 13, 14];
type Session = Awaited<ReturnType<typeof connectHttp2>>;

let side: Sidecar;
let session: Session;
let authorization: string;
beforeAll(async () => {
  side = await sidecar();
  session = await connectHttp2(await side.listenGrpc());
  authorization = `Bearer ${await side.token('admin')}`;
});
afterAll(async () => {
  session.destroy();
  await side.close();
});
beforeEach(() => void (side.reports.length = 0));

/** A check that is allowed, as a message. */
const message = (asked: Asked = {}): Buffer => encodeRequest(checkRequest({ headers: { authorization }, ...asked }));
/** Its length in two bytes, even where one would do. */
const field = (number: number, bytes: Buffer): Buffer =>
  Buffer.concat([Buffer.from([(number << 3) | 2, 0x80 | (bytes.length & 0x7f), bytes.length >> 7]), bytes]);
const ask = (parts: readonly Buffer[], options?: Parameters<typeof call>[2]): Promise<RawReply> => call(session, parts, options);

/** No answer at all of Authorization: headers alone, in which the status is. */
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void; // V8's own
/** Bytes of buffers that somebody still holds: what nobody does is there until it happens to be collected, 60 to 110 MiB in one run or another. */
function held(): number {
  collect();
  return process.memoryUsage().arrayBuffers;
}

function expectError(reply: RawReply, status: number): void {
  expect({ status: reply.grpcStatus, http: reply.status, bytes: reply.body.length }).toEqual({ status, http: 200, bytes: 0 });
  expect(reply.headers['content-type']).toBe('application/grpc');
}

describe('a message', () => {
  test('in one part, byte by byte, and cut anywhere', async () => {
    const bytes = frame(message());
    for (const parts of [[bytes], [...bytes].map((byte) => Buffer.from([byte])), [bytes.subarray(0, 3), bytes.subarray(3, 7), bytes.subarray(7)]]) {
      const reply = await ask(parts);
      expect([reply.status, reply.grpcStatus, verdictOf(messageOf(reply))]).toEqual([200, 0, ALLOWED]);
      expect(reply.headers['content-type']).toBe('application/grpc');
    }
  });
  test.each<[string, () => Buffer[], number]>([
    ['none', () => [], INVALID_ARGUMENT],
    ['a prefix that is cut off', () => [frame(message()).subarray(0, 4)], INVALID_ARGUMENT],
    ['cut off', () => [frame(message()).subarray(0, -1)], INVALID_ARGUMENT],
    ['a byte too many', () => [frame(message()), Buffer.from([0])], INVALID_ARGUMENT],
    ['two', () => [frame(message()), frame(message())], INVALID_ARGUMENT],
    ['two in one part', () => [Buffer.concat([frame(message()), frame(message())])], INVALID_ARGUMENT],
    ['compressed', () => [frame(message(), { flag: 1 })], UNIMPLEMENTED],
    ['a flag that is none', () => [frame(message(), { flag: 0x80 })], UNIMPLEMENTED],
    ['garbage', () => [frame(Buffer.from('GET / HTTP/1.1'))], INVALID_ARGUMENT],
    ['a length beyond the message', () => [frame(Buffer.from([0x0a, 0x7f, 0x00]))], INVALID_ARGUMENT],
    ['a number without an end', () => [frame(Buffer.alloc(20, 0xff))], INVALID_ARGUMENT],
    ['field number 0', () => [frame(Buffer.from([0x02, 0x00]))], INVALID_ARGUMENT],
    ['a kind of field that there is none of', () => [frame(Buffer.from([0x0e]))], INVALID_ARGUMENT],
    ['the end of a group that did not begin', () => [frame(Buffer.from([0x7c]))], INVALID_ARGUMENT],
    ['groups in groups, without an end', () => [frame(Buffer.alloc(200_000, 0x7b))], INVALID_ARGUMENT],
  ])('%s', async (_, parts, status) => {
    expectError(await ask(parts()), status);
    expect(side.reports).toEqual([]); // nobody was asked
  });
  test.each<[string, () => Buffer[]]>([
    ['too long', () => [frame(message({ more: { body: 'x'.repeat(256 * 1024) } }))]],
    ['of a length that is a lie', () => [frame(message(), { length: 0xffff_ffff })]],
  ])('%s: a deny, for its length is the client’s to say, and an error passes where Envoy fails open', async (_, parts) => {
    const reply = await ask(parts());
    expect([reply.status, reply.grpcStatus, verdictOf(messageOf(reply))]).toEqual([200, 0, DENIED]);
    expect(side.reports).toEqual([]); // nobody was asked
    expectError(await ask(parts(), { headers: { ':path': '/grpc.health.v1.Health/Check' } }), RESOURCE_EXHAUSTED);
  });
  test.each<[string, number, number]>([
    ['is announced and does not come', 1, 10],
    ['comes but for its end', 60 * 1024, 100],
  ])('that %s, a thousand times: little is kept for them, and others are served', async (_, sent, most) => {
    const port = await side.listenGrpc();
    const sessions = await Promise.all(Array.from({ length: 20 }, () => connectHttp2(port)));
    onTestFinished(() => sessions.forEach((each) => each.destroy()));
    const part = frame(Buffer.alloc(sent), { length: 256 * 1024 }); // one for all, or what the clients have not sent yet is counted, too
    const before = held();
    const refused: (number | null)[] = [];
    for (const each of sessions) {
      const replies = Array.from({ length: 50 }, () => call(each, [part], { end: false }));
      for (const reply of replies) reply.then(({ grpcStatus }) => void refused.push(grpcStatus)).catch(() => undefined);
      // Behind them on the same connection: they were read.
      expect(verdictOf(messageOf(await call(each, [frame(message())])))).toBe(ALLOWED);
    }
    if (sent > 1) await until(() => refused.length >= 400, 'refusals');
    const kept = (held() - before) / 2 ** 20;
    console.log(`grpc: 1000 messages of 256 KiB, of each ${sent} bytes came: ${refused.length} refused, ${kept.toFixed()} MiB kept`);
    expect(new Set(refused)).toEqual(new Set(sent > 1 ? [UNAVAILABLE] : []));
    expect(kept).toBeLessThan(most);
    expect(verdictOf(messageOf(await ask([frame(message())])))).toBe(ALLOWED);
  });
  test('without a field: a check of nothing, which is denied', async () => {
    expect(verdictOf(messageOf(await ask([frame(Buffer.alloc(0))])))).toBe(DENIED);
    expect(verdictOf(messageOf(await ask([frame(Buffer.from([0x0a, 0x00]))])))).toBe(DENIED);
  });
  test('of the greatest length', async () => {
    const filler = message({ more: { body: 'x'.repeat(255 * 1024) } });
    const most = Buffer.concat([filler, field(15, Buffer.alloc(100))]);
    expect(verdictOf(messageOf(await ask([frame(most)])))).toBe(ALLOWED);
  });
  test('fields that nobody knows, of every kind, in every place', async () => {
    const unknown = Buffer.concat([
      Buffer.from([0x78, 0x96, 0x01]), // a number
      Buffer.from([0x79, 1, 2, 3, 4, 5, 6, 7, 8]), // eight bytes
      field(15, Buffer.from('more')),
      Buffer.from([0x7b, 0x08, 0x01, 0x7b, 0x7c, 0x7c]), // a group, and one in it
      Buffer.from([0x7d, 1, 2, 3, 4]), // four bytes
      Buffer.from([0xf8, 0xff, 0xff, 0xff, 0x0f, 0x00]), // the greatest field number
      Buffer.from([0x08, 0x01]), // a number where a message was
    ]);
    const header = (name: string, value: string): Buffer => Buffer.concat([unknown, field(1, Buffer.from(name)), unknown, field(2, Buffer.from(value))]);
    const http = Buffer.concat([
      unknown,
      field(2, Buffer.from('GET')),
      field(3, header('authorization', authorization)),
      field(4, Buffer.from('/api/device/d1')),
      unknown,
    ]);
    const inside = Buffer.concat([unknown, field(4, Buffer.concat([unknown, field(2, http)])), unknown]);
    expect(verdictOf(messageOf(await ask([frame(Buffer.concat([unknown, field(1, inside), unknown]))])))).toBe(ALLOWED);
  });
  test('in parts that are put together: the last of two words counts, as every reader of protobuf has it', async () => {
    const path = (to: string): Buffer => encodeRequest({ attributes: { request: { http: { path: to } } } });
    expect(verdictOf(messageOf(await ask([frame(Buffer.concat([message(), path('/api/device/x1')]))])))).toBe(DENIED);
    expect(verdictOf(messageOf(await ask([frame(Buffer.concat([path('/api/device/x1'), message()]))])))).toBe(ALLOWED);
    // But not of what a client or a route says: two credentials, two words of the context.
    expect(messageOf(await ask([frame(Buffer.concat([message(), message()]))])).status?.code).toBe(16);
    const context = message({ context: { resource: 'DEVICE', operation: 'READ', target: 'd1' } });
    const again = encodeRequest({ attributes: { context_extensions: { target: 'd1' } } });
    expect(verdictOf(messageOf(await ask([frame(Buffer.concat([context, again]))])))).toBe(DENIED);
  });
});

describe('a call', () => {
  const good = (): Buffer[] => [frame(message())];
  test.each<[string, Record<string, string>, number]>([
    ['another method', { ':path': '/envoy.service.auth.v3.Authorization/check' }, UNIMPLEMENTED],
    ['another version', { ':path': '/envoy.service.auth.v2.Authorization/Check' }, UNIMPLEMENTED],
    ['a query', { ':path': '/envoy.service.auth.v3.Authorization/Check?' }, UNIMPLEMENTED],
    ['a door of HTTP', { ':path': '/auth/envoy' }, UNIMPLEMENTED],
    ['a timeout without a unit', { 'grpc-timeout': '100' }, INTERNAL],
    ['a timeout of nine digits', { 'grpc-timeout': '123456789m' }, INTERNAL],
    ['a timeout with a sign', { 'grpc-timeout': '-1S' }, INTERNAL],
    ['an empty timeout', { 'grpc-timeout': '' }, INTERNAL],
    ['no time', { 'grpc-timeout': '0m' }, DEADLINE_EXCEEDED],
    ['less time than it takes', { 'grpc-timeout': '1n' }, DEADLINE_EXCEEDED],
  ])('%s', async (_, headers, status) => {
    const reply = await ask(good(), { headers });
    expectError(reply, status);
    if (status === UNIMPLEMENTED) expect(reply.headers['grpc-accept-encoding']).toBe('identity');
    expect(side.reports).toEqual([]);
  });
  test.each(['1H', '1M', '99999999m', '9S', '99999999u'])('a timeout: %s', async (timeout) => {
    expect(verdictOf(messageOf(await ask(good(), { headers: { 'grpc-timeout': timeout } })))).toBe(ALLOWED);
  });
  test.each(['application/grpc+proto', 'application/grpc;x=y'])('content type: %s', async (type) => {
    expect(verdictOf(messageOf(await ask(good(), { headers: { 'content-type': type } })))).toBe(ALLOWED);
  });
  test.each([
    [{ 'content-type': 'application/json' }, 415],
    [{ 'content-type': 'application/grpc+json' }, 415],
    [{ 'content-type': 'application/grpc-web' }, 415],
    [{ ':method': 'GET' }, 405],
    [{ ':method': 'OPTIONS' }, 405],
  ])('that is none of gRPC: %j', async (headers, status) => {
    const reply = await ask(good(), { headers });
    expect([reply.status, reply.grpcStatus, reply.body.length]).toEqual([status, null, 0]);
  });
  test('a message that is not ended: nothing is answered before its end, and in time it is given up', async () => {
    const reply = await ask(good(), { headers: { 'grpc-timeout': '300m' }, end: false });
    expectError(reply, DEADLINE_EXCEEDED);
    expect(side.grpc.shed.timeout).toBeGreaterThan(0);
    expect(side.reports).toEqual([]);
  });
  test('reset in the middle: nobody is asked, and the connection goes on', async () => {
    const stream = session.request({ ':method': 'POST', ':path': '/envoy.service.auth.v3.Authorization/Check', 'content-type': 'application/grpc' });
    stream.on('error', () => undefined);
    await new Promise((resolve) => stream.write(frame(message()).subarray(0, 40), resolve));
    stream.close(8);
    await once(stream, 'close');
    expect(verdictOf(messageOf(await ask(good())))).toBe(ALLOWED);
    expect(side.reports).toHaveLength(1);
    expect(side.grpc.inFlight).toBe(0);
  });
});

/** A door around a pipeline of the test's own. */
async function doorOf(
  settings: Pick<GrpcDoorSettings, 'authorize'> & Partial<GrpcDoorSettings>,
): Promise<{ session: Session; door: ReturnType<typeof createGrpcDoor>; port: number }> {
  const door = createGrpcDoor({ clock: hostClock(), random: Math.random, ready: () => true, report: () => undefined, ...settings });
  onTestFinished(() => door.close(0));
  const port = Number((await listen(door.server(), { host: '127.0.0.1', port: 0 }, 'grpc')).split(':')[1]);
  const own = await connectHttp2(port);
  onTestFinished(() => own.destroy());
  return { session: own, door, port };
}

describe('a pipeline that misbehaves is an error, never an allow', () => {
  const outcome = {
    decisionId: 'd',
    requestId: '',
    verdict: 'permit',
    reason: 'generic',
    rule: '6a',
    revision: null,
    protocol: 'envoy_grpc',
    method: 'GET',
    route: '',
    resource: '',
    operation: '',
    target: '',
    subject: 'u',
    tenant: 't',
    customer: '',
    cache: 'none',
    durationMs: 0,
  } as const;
  test.each<[string, GrpcDoorSettings['authorize']]>([
    [
      'it throws',
      () => {
        throw new Error('a fault');
      },
    ],
    ['it cannot decide', () => ({ ...outcome, verdict: 'unavailable', reason: 'starting' })],
    ['it cannot decide, later', () => Promise.resolve({ ...outcome, verdict: 'unavailable', reason: 'deadline' })],
    ['an id that cannot be written', () => ({ ...outcome, decisionId: 'a\r\nx: y' })],
  ])('%s', async (_, authorize) => {
    const { session: own, door } = await doorOf({ authorize });
    expectError(await call(own, [frame(message())]), UNAVAILABLE);
    expect(door.inFlight).toBe(0);
  });
  test('a report that throws does not take the answer away', async () => {
    const { session: own } = await doorOf({
      authorize: () => ({ ...outcome }),
      report: () => {
        throw new Error('full');
      },
    });
    expect(verdictOf(messageOf(await call(own, [frame(message())])))).toBe(ALLOWED);
  });
  test('a check that takes longer than its client waits: DEADLINE_EXCEEDED, and the pipeline knew how long that was', async () => {
    const waits: (number | null)[] = [];
    const { session: own } = await doorOf({
      authorize: ({ timeout }) => {
        waits.push(timeout);
        return new Promise((resolve) => void setTimeout(() => resolve({ ...outcome, verdict: 'unavailable', reason: 'deadline' }), timeout ?? 0));
      },
    });
    expectError(await call(own, [frame(message())], { headers: { 'grpc-timeout': '80m' } }), DEADLINE_EXCEEDED);
    expect(waits).toEqual([expect.closeTo(80, -2)]);
    expect(waits[0]).toBeLessThanOrEqual(80);
  });
  test('a client that goes away while it is decided: nothing is written, everything is counted', async () => {
    let decide = (): void => undefined;
    const reports: string[] = [];
    const { session: own, door } = await doorOf({
      report: ({ verdict }) => void reports.push(verdict),
      authorize: () => new Promise((resolve) => (decide = () => resolve({ ...outcome }))),
    });
    const reply = call(own, [frame(message())]);
    await until(() => door.inFlight === 1, 'the check');
    own.destroy();
    await expect(reply).rejects.toThrow();
    decide();
    await until(() => door.inFlight === 0, 'its end');
    expect(reports).toEqual(['permit']);
  });
});

describe('a connection', () => {
  /** The kinds of frames that come for these bytes, up to a GOAWAY (7) or the end; the door's port, where it goes on. */
  const framesFor = async (bytes: string): Promise<{ port: number; kinds: readonly number[] }> => {
    const port = await side.listenGrpc();
    const socket = connectTcp(port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    let over = false;
    let got = Buffer.alloc(0);
    const kinds: number[] = [];
    socket.on('error', () => undefined).once('close', () => (over = true));
    socket.on('data', (part: Buffer) => {
      got = Buffer.concat([got, part]);
      for (let length = 0; got.length >= 9 && got.length >= (length = 9 + got.readUIntBE(0, 3)); got = got.subarray(length)) kinds.push(got[3]!);
    });
    socket.write(bytes, 'latin1');
    await until(() => over || kinds.includes(7), 'a GOAWAY, or the end');
    return { port, kinds };
  };
  const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0'; // and empty SETTINGS
  test.each<[string, string]>([
    ['HTTP/1.1', 'GET /auth/envoy HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['zeros', '\0'.repeat(64)],
    ['no frames', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all, for sure'],
    ['headers that do not decompress', `${PREFACE}\0\0\x04\x01\x05\0\0\0\x01\xff\xff\xff\xff`],
    ['a window beyond its bound', `${PREFACE}\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff`],
    ['a message for a stream that was never opened', `${PREFACE}\0\0\x01\0\x01\0\0\0\x07x`],
    ['a frame longer than frames are', `${PREFACE}\xff\xff\xff\0\x01\0\0\0\x01x`],
  ])('that says what is no HTTP/2 is ended: %s', async (_, bytes) => {
    const { port, kinds } = await framesFor(bytes);
    expect(kinds.filter((kind) => kind < 2)).toEqual([]); // neither HEADERS nor DATA
    const next = await connectHttp2(port);
    onTestFinished(() => next.destroy());
    expect(verdictOf(messageOf(await call(next, [frame(message())])))).toBe(ALLOWED);
  });
  test('says how much it takes: more streams wait, a call with more headers is reset', async () => {
    const next = await connectHttp2(await side.listenGrpc());
    onTestFinished(() => next.destroy());
    expect(verdictOf(messageOf(await call(next, [frame(message())])))).toBe(ALLOWED);
    expect(next.remoteSettings).toMatchObject({ maxConcurrentStreams: 1000, maxHeaderListSize: 63_488 });
    // What Envoy hands on of a client's own (its `tracestate`) is no reason for an error, which fails open where Envoy is told to.
    expect(verdictOf(messageOf(await call(next, [frame(message())], { headers: { tracestate: 'x'.repeat(60_000) } })))).toBe(ALLOWED);
    await expect(call(next, [frame(message())], { headers: { one: '0'.repeat(32_000), two: '0'.repeat(32_000) } })).rejects.toThrow(/ENHANCE_YOUR_CALM/);
    const replies = await Promise.all(Array.from({ length: 1500 }, () => call(next, [frame(message())])));
    expect(new Set(replies.map((reply) => verdictOf(messageOf(reply))))).toEqual(new Set([ALLOWED]));
  });
  test('that resets what it opens, as fast as it can: it is ended, and others are served', async () => {
    const port = await side.listenGrpc();
    const [hasty, other] = [await connectHttp2(port), await connectHttp2(port)];
    onTestFinished(() => [hasty, other].forEach((each) => each.destroy()));
    let opened = 0;
    while (!hasty.closed && !hasty.destroyed && opened < 20_000) {
      for (let i = 0; i < 100 && !hasty.closed && !hasty.destroyed; i++, opened++) {
        const stream = hasty.request({ ':method': 'POST', ':path': '/envoy.service.auth.v3.Authorization/Check', 'content-type': 'application/grpc' });
        stream.on('error', () => undefined);
        stream.close(8);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    console.log(`rapid reset: the connection was ended after ${opened} streams`);
    expect(opened).toBeLessThan(20_000);
    expect(verdictOf(messageOf(await call(other, [frame(message())])))).toBe(ALLOWED);
    expect(side.grpc.inFlight).toBe(0);
  });
});
