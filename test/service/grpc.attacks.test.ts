// What does a hostile client of HTTP/2 get? Its call ended, or its connection, within bounds; and others are answered meanwhile.

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { Clock } from 'policy-cache';
import { hostClock } from '../../src/clock.ts';
import { createGrpcDoor, type GrpcDoor, type GrpcDoorSettings } from '../../src/doors/grpc.ts';
import { listen } from '../../src/listen.ts';
import { ALLOWED, checkRequest, verdictOf } from '../support/check-requests.ts';
import { sidecar, type Sidecar } from '../support/doors.ts';
import { call, connectHttp2, encodeRequest, frame, messageOf } from '../support/grpc.ts';
import {
  KIND,
  LINES,
  PREFACE,
  connectRaw,
  data,
  fieldsOf,
  headers,
  http2Frame,
  uint32,
  type Frame,
  type HeadersOptions,
  type RawConnection,
} from '../support/http2-raw.ts';
import { until } from '../support/until.ts';

let side: Sidecar;
let message: Buffer;
let door: GrpcDoor;
let port: number;
/** Milliseconds of the door's clock in one of the machine's. */
let haste: number;
const open = new Set<Socket>();
beforeAll(async () => {
  side = await sidecar();
  message = frame(encodeRequest(checkRequest({ headers: { authorization: `Bearer ${await side.token('admin')}` } })));
});
afterAll(() => side.close());
beforeEach(() => begin());
afterEach(async () => {
  await door.close(0);
  expect([open.size, door.inFlight], 'connections and checks that are left').toEqual([0, 0]);
});

async function begin(settings: Partial<GrpcDoorSettings> = {}): Promise<void> {
  haste = 1;
  const machine = hostClock();
  const clock: Clock = { now: () => machine.now() * haste, after: (ms, f) => machine.after(ms / haste, f) };
  door = createGrpcDoor({ authorize: side.authorize, clock, random: () => 0.5, report: () => undefined, ready: () => true, ...settings });
  const server = door.server();
  server.on('connection', (socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  port = Number((await listen(server, { host: '127.0.0.1', port: 0 }, 'grpc')).split(':')[1]);
}
async function raw(first?: Buffer): Promise<RawConnection> {
  const connection = await connectRaw(port, first);
  onTestFinished(() => void connection.socket.destroy());
  return connection;
}
async function expectOthersAnswered(): Promise<void> {
  const session = await connectHttp2(port);
  expect(verdictOf(messageOf(await call(session, [message])))).toBe(ALLOWED);
  session.destroy();
}
const good = (stream: number): Buffer => Buffer.concat([headers(stream), data(stream, message)]);
const settings = (...pairs: readonly (readonly [id: number, value: number])[]): Buffer =>
  http2Frame(KIND.settings, { payload: Buffer.concat(pairs.map(([id, value]) => Buffer.concat([Buffer.of(0, id), uint32(value)]))) });
const block = (bytes: number, more: number): Buffer => Buffer.concat([fieldsOf(LINES), fieldsOf(Array.from({ length: more }, () => ['x', 'y'.repeat(bytes)]))]);
const of = (...without: readonly string[]): (readonly [string, string])[] => LINES.filter(([name]) => !without.includes(name));

describe('a connection ends by', () => {
  test.each<[what: string, bytes: () => Buffer[], code: string]>([
    ['another first frame than settings', () => [], 'closed'],
    ['a stream of the server’s', () => [headers(2)], 'PROTOCOL_ERROR'],
    ['stream 0', () => [headers(0)], 'PROTOCOL_ERROR'],
    ['an id that was passed by', () => [good(5), headers(3)], 'PROTOCOL_ERROR'],
    ['the head of a call that is over', () => [good(1), headers(1)], 'STREAM_CLOSED'],
    ['a message before its head', () => [data(1, message)], 'PROTOCOL_ERROR'],
    ['the reset of what was never opened', () => [http2Frame(KIND.reset, { stream: 1, payload: uint32(8) })], 'PROTOCOL_ERROR'],
    ['a window of what was never opened', () => [http2Frame(KIND.window, { stream: 1, payload: uint32(8) })], 'PROTOCOL_ERROR'],
    ['a window wider by nothing', () => [http2Frame(KIND.window, { payload: uint32(0) })], 'PROTOCOL_ERROR'],
    ['a window beyond its bound', () => [http2Frame(KIND.window, { payload: uint32(2 ** 31 - 1) })], 'FLOW_CONTROL_ERROR'],
    ['a window of all streams beyond its bound', () => [settings([4, 2 ** 31])], 'FLOW_CONTROL_ERROR'],
    [
      '… beyond that of one',
      () => [headers(1), http2Frame(KIND.window, { stream: 1, payload: uint32(2 ** 30) }), settings([4, 2 ** 30])],
      'FLOW_CONTROL_ERROR',
    ],
    ['settings cut off', () => [http2Frame(KIND.settings, { payload: Buffer.alloc(5) })], 'FRAME_SIZE_ERROR'],
    ['settings of a stream', () => [http2Frame(KIND.settings, { stream: 1 })], 'PROTOCOL_ERROR'],
    ['thanks for settings, with more', () => [http2Frame(KIND.settings, { flags: 1, payload: Buffer.alloc(6) })], 'FRAME_SIZE_ERROR'],
    ['pushes, half allowed', () => [settings([2, 2])], 'PROTOCOL_ERROR'],
    ['frames of no size', () => [settings([5, 100])], 'PROTOCOL_ERROR'],
    ['a push', () => [http2Frame(KIND.push, { stream: 1, payload: uint32(2) })], 'PROTOCOL_ERROR'],
    ['a ping of another length', () => [http2Frame(KIND.ping, { payload: Buffer.alloc(7) })], 'FRAME_SIZE_ERROR'],
    ['a ping of a stream', () => [http2Frame(KIND.ping, { stream: 1, payload: Buffer.alloc(8) })], 'PROTOCOL_ERROR'],
    ['an end of nothing', () => [http2Frame(KIND.goaway, { payload: Buffer.alloc(4) })], 'FRAME_SIZE_ERROR'],
    ['the end of a stream, as if of it all', () => [http2Frame(KIND.goaway, { stream: 1, payload: Buffer.alloc(8) })], 'PROTOCOL_ERROR'],
    ['the rest of no head', () => [http2Frame(KIND.continuation, { stream: 1, flags: 4 })], 'PROTOCOL_ERROR'],
    ['a frame within a head', () => [headers(1, { flags: 0 }), http2Frame(KIND.ping, { payload: Buffer.alloc(8) })], 'PROTOCOL_ERROR'],
    ['the head of another within a head', () => [headers(1, { flags: 0 }), http2Frame(KIND.continuation, { stream: 3 })], 'PROTOCOL_ERROR'],
    ['a frame longer than frames are', () => [data(1, Buffer.alloc(16_385))], 'FRAME_SIZE_ERROR'],
    ['more padding than there is', () => [headers(1), http2Frame(KIND.data, { stream: 1, flags: 8, payload: Buffer.of(1) })], 'PROTOCOL_ERROR'],
    ['padding without its length', () => [headers(1), http2Frame(KIND.data, { stream: 1, flags: 8 })], 'FRAME_SIZE_ERROR'],
    ['a head too short for its priority', () => [http2Frame(KIND.headers, { stream: 1, flags: 0x24, payload: Buffer.alloc(4) })], 'FRAME_SIZE_ERROR'],
    ['the priority of no stream', () => [http2Frame(KIND.priority, { payload: Buffer.alloc(5) })], 'PROTOCOL_ERROR'],
    ['a head that cannot be read', () => [http2Frame(KIND.headers, { stream: 1, flags: 5, payload: Buffer.of(0xff, 0xff, 0xff, 0xff) })], 'COMPRESSION_ERROR'],
    [
      'a head in parts without an end',
      () => [headers(1, { flags: 0 }), ...Array.from({ length: 40 }, () => http2Frame(KIND.continuation, { stream: 1 }))],
      'ENHANCE_YOUR_CALM',
    ],
    [
      'a head without an end',
      () => [headers(1, { flags: 0 }), ...Array.from({ length: 7 }, () => http2Frame(KIND.continuation, { stream: 1, payload: Buffer.alloc(16_384, 0x82) }))],
      'ENHANCE_YOUR_CALM',
    ],
  ])('%s', async (_, bytes, code) => {
    const frames = bytes();
    const connection = await raw(frames.length === 0 ? Buffer.concat([PREFACE, good(1)]) : undefined);
    connection.send(...frames);
    expect(await connection.ended()).toBe(code === 'closed' ? code : `goaway ${code}`);
    expect(door.shed.malformed).toBe(1);
    await expectOthersAnswered();
  });
});

describe('a call ends, and its connection goes on, by', () => {
  test.each<[what: string, bytes: () => Buffer[], outcome: string]>([
    ['a name in capitals', () => [headers(1, { more: [['X-A', 'b']] })], 'PROTOCOL_ERROR'],
    ['a name that is none', () => [headers(1, { more: [['x a', 'b']] })], 'PROTOCOL_ERROR'],
    ['an empty name', () => [headers(1, { more: [['', 'b']] })], 'PROTOCOL_ERROR'],
    ['a line break in a value', () => [headers(1, { more: [['x', 'a\r\nb: c']] })], 'PROTOCOL_ERROR'],
    ['a zero in a value', () => [headers(1, { more: [['x', 'a\0b']] })], 'PROTOCOL_ERROR'],
    ['a line break in the path', () => [headers(1, { fields: [...of(':path'), [':path', '/a\nb']] })], 'PROTOCOL_ERROR'],
    ...['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'].map<[string, () => Buffer[], string]>((name) => [
      `a word of HTTP/1.1: ${name}`,
      () => [headers(1, { more: [[name, 'x']] })],
      'PROTOCOL_ERROR',
    ]),
    ['other trailers than trailers', () => [headers(1, { fields: [...of('te'), ['te', 'gzip']] })], 'PROTOCOL_ERROR'],
    ...[':method', ':scheme', ':path'].map<[string, () => Buffer[], string]>((name) => [
      `no ${name}`,
      () => [headers(1, { fields: of(name) })],
      'PROTOCOL_ERROR',
    ]),
    ...[':method', ':scheme', ':path', ':authority'].map<[string, () => Buffer[], string]>((name) => [
      `${name} twice`,
      () => [headers(1, { fields: [[name, 'x'], ...LINES] })],
      'PROTOCOL_ERROR',
    ]),
    ['an empty path', () => [headers(1, { fields: [[':path', ''], ...of(':path')] })], 'PROTOCOL_ERROR'],
    ['an empty path before another', () => [headers(1, { fields: [[':path', ''], ...LINES] })], 'PROTOCOL_ERROR'],
    ['a status', () => [headers(1, { fields: [[':status', '200'], ...LINES] })], 'PROTOCOL_ERROR'],
    ['a line behind the others', () => [headers(1, { fields: [['x', 'y'], ...LINES] })], 'PROTOCOL_ERROR'],
    ['a length that is none', () => [headers(1, { more: [['content-length', '-1']] })], 'PROTOCOL_ERROR'],
    [
      'two lengths',
      () => [
        headers(1, {
          more: [
            ['content-length', '5'],
            ['content-length', '5'],
          ],
        }),
      ],
      'PROTOCOL_ERROR',
    ],
    ['more than its length', () => [headers(1, { more: [['content-length', '5']] }), data(1, message)], 'PROTOCOL_ERROR'],
    ['less than its length', () => [headers(1, { more: [['content-length', '5000']] }), data(1, message)], 'PROTOCOL_ERROR'],
    ['nothing of its length', () => [headers(1, { more: [['content-length', '5']], flags: 5 })], 'PROTOCOL_ERROR'],
    ['… and trailers', () => [headers(1, { more: [['content-length', '5']] }), headers(1, { fields: [['x', 'y']], flags: 5 })], 'PROTOCOL_ERROR'],
    ['a second head', () => [headers(1), headers(1)], 'PROTOCOL_ERROR'],
    ['trailers with a line', () => [headers(1), headers(1, { fields: [[':path', '/']], flags: 5 })], 'PROTOCOL_ERROR'],
    ['trailers with a line break', () => [headers(1), headers(1, { fields: [['x', '\n']], flags: 5 })], 'PROTOCOL_ERROR'],
    ['a window wider by nothing', () => [headers(1), http2Frame(KIND.window, { stream: 1, payload: uint32(0) })], 'PROTOCOL_ERROR'],
    ['a window beyond its bound', () => [headers(1), http2Frame(KIND.window, { stream: 1, payload: uint32(2 ** 31 - 1) })], 'FLOW_CONTROL_ERROR'],
    [
      'a priority above itself',
      () => [headers(1), http2Frame(KIND.priority, { stream: 1, payload: Buffer.concat([uint32(1), Buffer.of(1)]) })],
      'PROTOCOL_ERROR',
    ],
    ['a priority cut off', () => [headers(1), http2Frame(KIND.priority, { stream: 1, payload: uint32(3) })], 'FRAME_SIZE_ERROR'],
    [
      'a head above itself',
      () => [http2Frame(KIND.headers, { stream: 1, flags: 0x24, payload: Buffer.concat([uint32(1), Buffer.of(1), fieldsOf(LINES)]) })],
      'PROTOCOL_ERROR',
    ],
    ['more fields than are read', () => [...inParts(1, block(8_000, 8))], 'ENHANCE_YOUR_CALM'],
    [
      'bytes that stand for more fields than are read',
      () => [
        http2Frame(KIND.headers, {
          stream: 1,
          flags: 4,
          payload: Buffer.concat([fieldsOf(LINES), Buffer.of(0x40), fieldsOf([['x', 'y'.repeat(4000)]]).subarray(1), Buffer.alloc(10_000, 0xbe)]),
        }),
      ],
      'ENHANCE_YOUR_CALM',
    ],
    ['a message for a call that is over', () => [good(1), data(1, message)], 'STREAM_CLOSED'],
  ])('%s', async (what, bytes, code) => {
    const connection = await raw();
    connection.send(...bytes());
    await until(() => connection.came(KIND.reset, 1).length > 0, 'the reset');
    if (what !== 'a message for a call that is over') expect(connection.outcome(1)).toBe(`reset ${code}`);
    // What was on its way is passed over, and the next call is answered: with fields that have their place in the table, too.
    connection.send(...(what.startsWith('a message for') ? [] : [data(1, message)]), good(3));
    await until(() => connection.outcome(3) === 'answered', 'the next answer');
    expect(connection.came(KIND.reset)).toHaveLength(1);
    expect(connection.end).toBeNull();
  });
});

/** A byte for each field of the table's greatest: few bytes, and more than is read. */
function longHead(stream: number): Buffer {
  const payload = Buffer.concat([fieldsOf(LINES), Buffer.of(0x40), fieldsOf([['x', 'y'.repeat(2000)]]).subarray(1), Buffer.alloc(40, 0xbe)]);
  return http2Frame(KIND.headers, { stream, flags: 4, payload });
}

/** A head in as many frames as it takes. */
function inParts(stream: number, whole: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = 0; at < whole.length; at += 16_384) parts.push(whole.subarray(at, at + 16_384));
  return parts.map((payload, i) => http2Frame(i === 0 ? KIND.headers : KIND.continuation, { stream, flags: i === parts.length - 1 ? 4 : 0, payload }));
}

describe('a flood', () => {
  test.each<[what: string, first: () => Buffer[], frame: (i: number) => Buffer, most: number]>([
    ['of pings', () => [], () => http2Frame(KIND.ping, { payload: Buffer.alloc(8) }), 12_000],
    ['of answers to pings', () => [], () => http2Frame(KIND.ping, { flags: 1, payload: Buffer.alloc(8) }), 12_000],
    ['of settings', () => [], () => http2Frame(KIND.settings), 1_000],
    ['of settings that are long', () => [], () => settings(...Array.from({ length: 100 }, () => [4, 1000] as const)), 100],
    ['of thanks for settings', () => [], () => http2Frame(KIND.settings, { flags: 1 }), 12_000],
    ['of priorities', () => [], () => http2Frame(KIND.priority, { stream: 1, payload: Buffer.alloc(5) }), 12_000],
    ['of empty messages', () => [headers(1)], () => data(1, Buffer.alloc(0), 0), 12_000],
    ['of padding', () => [headers(1)], () => http2Frame(KIND.data, { stream: 1, flags: 8, payload: Buffer.of(1, 0) }), 12_000],
    ['of windows', () => [], () => http2Frame(KIND.window, { payload: uint32(1) }), 12_000],
    ['of windows of one call', () => [headers(1)], () => http2Frame(KIND.window, { stream: 1, payload: uint32(1) }), 12_000],
    ['of frames that nobody knows', () => [], () => http2Frame(0xee, { payload: Buffer.alloc(10) }), 12_000],
    ['of resets of what is over', () => [good(1)], () => http2Frame(KIND.reset, { stream: 1, payload: uint32(8) }), 1_500],
    ['of messages for what is over', () => [good(1)], () => data(1, Buffer.of(1), 0), 12_000],
    ['of heads that are none', () => [], (i) => headers(2 * i + 1, { fields: [['A', 'b']] }), 1_500],
    ['of heads that are too long', () => [], (i) => longHead(2 * i + 1), 1_500],
    ['of calls that are reset', () => [], (i) => Buffer.concat([headers(2 * i + 1), http2Frame(KIND.reset, { stream: 2 * i + 1, payload: uint32(8) })]), 1_500],
    ['of calls that the server is made to reset', () => [], (i) => Buffer.concat([headers(2 * i + 1), headers(2 * i + 1)]), 1_500],
    ['… by a window', () => [], (i) => Buffer.concat([headers(2 * i + 1), http2Frame(KIND.window, { stream: 2 * i + 1, payload: uint32(0) })]), 1_500],
  ])('%s', async (_, first, frameOf, most) => {
    const connection = await raw();
    connection.send(...first());
    let sent = 0;
    while (connection.end === null && sent < 2 * most) {
      connection.send(...Array.from({ length: 50 }, (_, i) => frameOf(sent + i)));
      sent += 50;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await connection.ended()).toBe('goaway ENHANCE_YOUR_CALM');
    expect(sent).toBeLessThan(2 * most);
    await expectOthersAnswered();
  });

  test('of calls that are reset while each is decided: no more of them are at work than that', async () => {
    await door.close(0);
    let decide = (): void => undefined;
    const gate = new Promise<void>((resolve) => (decide = resolve));
    await begin({ authorize: async (request) => gate.then(() => side.authorize(request)) });
    const connection = await raw();
    for (let i = 0; i < 40 && connection.end === null; i++) {
      const ids = Array.from({ length: 50 }, (_, j) => 2 * (50 * i + j) + 1);
      connection.send(...ids.flatMap((id) => [good(id), http2Frame(KIND.window, { stream: id, payload: uint32(0) })]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await connection.ended()).toBe('goaway ENHANCE_YOUR_CALM');
    expect(door.inFlight).toBeLessThan(1_100);
    decide();
    await until(() => door.inFlight === 0, 'the ends of all checks');
  });

  test('is not what a busy proxy says: pings, windows and thanks with every call', async () => {
    const connection = await raw();
    const calls = 2_000;
    for (let i = 0; i < calls; i += 50) {
      const ids = Array.from({ length: 50 }, (_, j) => 2 * (i + j) + 1);
      const around = Array.from({ length: 7 }, (_, j) =>
        j === 0 ? http2Frame(KIND.ping, { payload: Buffer.alloc(8) }) : http2Frame(KIND.window, { payload: uint32(60) }),
      );
      connection.send(...ids.flatMap((id) => [headers(id), http2Frame(KIND.window, { stream: id, payload: uint32(400) }), data(id, message), ...around]));
      await until(() => connection.outcome(ids.at(-1)!) !== null || connection.end !== null, 'the answers');
    }
    expect(connection.end).toBeNull();
    expect(connection.frames.filter(({ kind, flags }) => kind === KIND.headers && (flags & 1) !== 0)).toHaveLength(calls);
  });
});

describe('what waits for a client has an end', () => {
  test('more calls at once than it was told: each of the others is refused, and may be asked again', async () => {
    const connection = await raw();
    connection.send(...Array.from({ length: 1_010 }, (_, i) => headers(2 * i + 1)));
    await until(() => connection.came(KIND.reset).length === 10, 'ten refusals');
    expect(connection.outcome(2 * 1_009 + 1)).toBe('reset REFUSED_STREAM');
    connection.send(data(1, message));
    await until(() => connection.outcome(1) === 'answered', 'the answer of an open one');
    connection.send(good(3_001));
    await until(() => connection.outcome(3_001) === 'answered', 'the answer of the next');
  });

  test('a window that never opens: answers wait, each for its time, and the connection ends', async () => {
    const connection = await raw(Buffer.concat([PREFACE, settings([4, 0])]));
    connection.send(...Array.from({ length: 900 }, (_, i) => good(2 * i + 1)));
    await until(() => connection.came(KIND.headers).length === 900, 'the heads of the answers');
    expect(connection.came(KIND.data)).toHaveLength(0);
    haste = 100;
    await until(() => connection.came(KIND.reset).length === 900, 'the end of each');
    expect(connection.outcome(1)).toBe('reset CANCEL');
    haste = 1;
    connection.send(...Array.from({ length: 900 }, (_, i) => good(2 * i + 2_001)));
    await until(() => connection.came(KIND.headers).length === 1_800, 'the heads of the next');
    haste = 100;
    expect(await connection.ended()).toBe('goaway ENHANCE_YOUR_CALM');
    haste = 1;
    await expectOthersAnswered();
  });

  test('… and answers that are longer: no more than a megabyte of them', async () => {
    // As many spellings as one name of the identity's has: each is taken away of the client, by a field of the answer.
    const aliases = Array.from(
      { length: 64 },
      (_, i) => [['x', 'authz', 'decision', 'id'].reduce((all, part, j) => all + '_.~+'[(i >> (2 * (j - 1))) & 3] + part), 'x'] as const,
    );
    const long = frame(encodeRequest(checkRequest({ list: [['authorization', `Bearer ${await side.token('admin')}`], ...aliases] })));
    await door.close(0);
    let asked = 0;
    await begin({ authorize: (request) => (asked++, side.authorize(request)) });
    const connection = await raw(Buffer.concat([PREFACE, settings([4, 0])]));
    connection.send(...Array.from({ length: 950 }, (_, i) => Buffer.concat([headers(2 * i + 1), data(2 * i + 1, long)])));
    expect(await connection.ended()).toBe('goaway ENHANCE_YOUR_CALM');
    expect(asked, 'nothing is asked behind the end').toBe(connection.came(KIND.headers).length);
    expect(connection.came(KIND.headers).length, 'answers that were begun').toBeGreaterThan(500);
    await expectOthersAnswered();
  });

  test('calls without a message: so many of all clients, and no more', async () => {
    const heads = Buffer.concat(Array.from({ length: 1_000 }, (_, i) => headers(2 * i + 1)));
    const connections = await Promise.all(Array.from({ length: 70 }, () => raw()));
    for (const connection of connections) connection.send(heads);
    const refusals = (): readonly Frame[] => connections.flatMap((connection) => connection.came(KIND.headers));
    await until(() => refusals().length > 0, 'a refusal');
    expect(refusals()[0]?.payload.toString('latin1')).toContain('too many messages are not whole');
    await expectOthersAnswered();
  });

  test('calls without an end: so many of all clients watch, and no more', async () => {
    const WATCH: HeadersOptions = { fields: [[':path', '/grpc.health.v1.Health/Watch'], ...of(':path')] };
    const connections = await Promise.all(Array.from({ length: 11 }, () => raw()));
    for (const connection of connections) {
      connection.send(...Array.from({ length: 1_000 }, (_, i) => Buffer.concat([headers(2 * i + 1, WATCH), data(2 * i + 1, frame(Buffer.alloc(0)))])));
      await until(() => connection.came(KIND.headers).length === 1_000, 'a first word for each');
    }
    const refused = connections.map((connection) => connection.came(KIND.headers).filter(({ flags }) => (flags & 1) !== 0).length);
    expect(refused).toEqual([...Array.from({ length: 10 }, () => 0), 1_000]);
    await expectOthersAnswered();
  });

  test('a client that asks and never reads: no more is read of him, and in time he is ended', async () => {
    const connection = await raw(Buffer.concat([PREFACE, settings([4, 2 ** 30]), http2Frame(KIND.window, { payload: uint32(2 ** 30) })]));
    connection.socket.pause();
    // Of the health service: the shortest way to many bytes.
    const asked = (id: number): Buffer =>
      Buffer.concat([headers(id, { fields: [[':path', '/grpc.health.v1.Health/List'], ...of(':path')] }), data(id, frame(Buffer.alloc(0)))]);
    let sent = 0;
    for (; connection.socket.writableLength < 2 ** 20 && !connection.socket.destroyed; sent += 1000) {
      connection.send(...Array.from({ length: 1000 }, (_, j) => asked(2 * (sent + j) + 1)));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(connection.socket.destroyed, 'it is not read, and not ended yet').toBe(false);
    const [served] = [...open];
    expect(served?.writableLength, 'bytes that the kernel does not take').toBeLessThan(200_000);
    await expectOthersAnswered();
    haste = 100;
    await until(() => open.size === 0, 'the end of his connection, long before it would end for being quiet', 2_000);
    console.log(`a client that reads nothing: ${sent} calls were sent, ${served?.bytesWritten} bytes answered`);
  });

  test.each<[what: string, bytes: () => Buffer]>([
    ['a frame', () => headers(1).subarray(0, 20)],
    ['the head of a frame', () => Buffer.of(0)],
    ['a message', () => Buffer.concat([headers(1), data(1, message).subarray(0, 30)])],
    ['a head in parts', () => headers(1, { flags: 0 })],
  ])('that begins and does not come: %s', async (_, bytes) => {
    haste = 40;
    const connection = await raw();
    connection.send(bytes());
    await expectOthersAnswered();
    expect(await connection.ended()).toBe('goaway ENHANCE_YOUR_CALM');
  });

  test('a head that comes frame by frame, a second each', async () => {
    haste = 40;
    const connection = await raw();
    connection.send(headers(1, { flags: 0 }));
    await expectOthersAnswered();
    let sent = 0;
    const drip = setInterval(() => {
      sent++;
      connection.send(http2Frame(KIND.continuation, { stream: 1 }));
    }, 25);
    onTestFinished(() => clearInterval(drip));
    expect(await connection.ended()).toBe('goaway ENHANCE_YOUR_CALM');
    expect(sent, 'fewer than there may be parts').toBeLessThan(30);
    expect(connection.came(KIND.goaway)).toHaveLength(1);
  });

  test('half of the preface, and no more', async () => {
    haste = 40;
    const connection = await raw(PREFACE.subarray(0, 10));
    expect(await connection.ended()).toBe('closed');
    expect(door.shed.timeout).toBe(1);
  });
});

describe('what is allowed, and seldom', () => {
  test('padding, priorities, heads in parts, frames that nobody knows, bytes one by one', async () => {
    const connection = await raw();
    const whole = fieldsOf(LINES);
    const padded = Buffer.concat([Buffer.of(3), uint32(0x8000_0000), Buffer.of(9), whole, Buffer.alloc(3)]);
    connection.send(http2Frame(KIND.headers, { stream: 1, flags: 0x2c, payload: padded }));
    connection.send(http2Frame(KIND.data, { stream: 1, flags: 9, payload: Buffer.concat([Buffer.of(5), message, Buffer.alloc(5)]) }));
    connection.send(http2Frame(KIND.priority, { stream: 99, payload: Buffer.alloc(5) }), http2Frame(0xab, { stream: 3, flags: 0xff, payload: message }));
    const parts = [whole.subarray(0, 1), whole.subarray(1, 30), whole.subarray(30)];
    connection.send(...parts.map((payload, i) => http2Frame(i === 0 ? KIND.headers : KIND.continuation, { stream: 3, flags: i === 2 ? 4 : 0, payload })));
    connection.send(data(3, message.subarray(0, 10), 0), headers(5), data(3, message.subarray(10), 0), data(5, message));
    connection.send(headers(3, { fields: [['x-trailer', 'y']], flags: 5 }));
    for (const stream of [1, 3, 5]) await until(() => connection.outcome(stream) === 'answered', `the answer of ${stream}`);
    for (const byte of good(7)) {
      connection.socket.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => connection.outcome(7) === 'answered', 'the answer to single bytes');
    expect(connection.came(KIND.reset)).toHaveLength(0);
  });

  test('a client with little room gets its answers piece by piece, and one without a table for fields gets its word', async () => {
    const connection = await raw(Buffer.concat([PREFACE, settings([4, 10], [1, 0])]));
    connection.send(good(1), good(3));
    await until(() => connection.came(KIND.data).length === 2, 'the first pieces');
    expect(connection.came(KIND.headers)[0]?.payload[0], 'the size of our table').toBe(0x20);
    while (connection.outcome(1) === null || connection.outcome(3) === null) {
      const before = connection.frames.length;
      connection.send(
        ...[1, 3].map((stream) => http2Frame(KIND.window, { stream, payload: uint32(100) })),
        http2Frame(KIND.ping, { payload: Buffer.alloc(8) }),
      );
      await until(() => connection.frames.length > before, 'more of it');
    }
    const bodies = [1, 3].map((stream) => Buffer.concat(connection.came(KIND.data, stream).map(({ payload }) => payload)));
    for (const body of bodies) expect(verdictOf(messageOf({ status: 200, grpcStatus: 0, headers: {}, body }))).toBe(ALLOWED);
  });

  test('a client that says no more by closing its half: what it asked is answered, what it began is dropped', async () => {
    await door.close(0);
    let decide = (): void => undefined;
    const gate = new Promise<void>((resolve) => (decide = resolve));
    await begin({ authorize: async (request) => gate.then(() => side.authorize(request)) });
    const connection = await raw();
    connection.send(good(1), headers(3), good(5));
    await until(() => door.inFlight === 2, 'the checks');
    connection.socket.end();
    await until(() => connection.came(KIND.goaway).length === 1, 'the last word');
    expect(connection.came(KIND.goaway)[0]?.payload.readUInt32BE(0), 'the last call that is taken').toBe(5);
    decide();
    await once(connection.socket, 'close');
    expect([1, 3, 5].map((stream) => connection.outcome(stream))).toEqual(['answered', null, 'answered']);
  });

  test('a call behind the last word is not taken, and its fields are read all the same', async () => {
    const connection = await raw();
    connection.send(headers(1));
    await until(() => connection.came(KIND.settings).length > 0, 'the settings');
    door.drain();
    await until(() => connection.came(KIND.ping).length === 1, 'the ping behind the notice');
    connection.send(http2Frame(KIND.ping, { flags: 1, payload: connection.came(KIND.ping)[0]!.payload }));
    await until(() => connection.came(KIND.goaway).length === 2, 'the last word');
    expect(connection.came(KIND.goaway).map(({ payload }) => payload.readUInt32BE(0))).toEqual([2 ** 31 - 1, 1]);
    connection.send(good(3), data(1, message));
    await once(connection.socket, 'close');
    expect([1, 3].map((stream) => connection.outcome(stream))).toEqual(['answered', null]);
  });
});
