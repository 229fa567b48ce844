// What does a hostile client of HTTP/2 get? Its call ended, or its connection; others are answered meanwhile, and so is what is only seldom.

import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { ALLOWED, verdictOf } from '../support/check-requests.ts';
import { attacked, linesLess, settings } from '../support/grpc-attacked.ts';
import { messageOf } from '../support/grpc.ts';
import { KIND, LINES, PREFACE, data, fieldsOf, headers, http2Frame, uint32 } from '../support/http2-raw.ts';
import { until } from '../support/until.ts';

const at = attacked();
const { raw, expectOthersAnswered, begin, good } = at;
const block = (bytes: number, more: number): Buffer => Buffer.concat([fieldsOf(LINES), fieldsOf(Array.from({ length: more }, () => ['x', 'y'.repeat(bytes)]))]);

describe('a connection ends by', () => {
  test.each<[what: string, bytes: () => Buffer[], code: string]>([
    ['another first frame than settings', () => [], 'closed'],
    ['a stream of the server’s', () => [headers(2)], 'PROTOCOL_ERROR'],
    ['stream 0', () => [headers(0)], 'PROTOCOL_ERROR'],
    ['an id that was passed by', () => [good(5), headers(3)], 'PROTOCOL_ERROR'],
    ['the head of a call that is over', () => [good(1), headers(1)], 'STREAM_CLOSED'],
    ['a message before its head', () => [data(1, at.message)], 'PROTOCOL_ERROR'],
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
    expect(at.door.shed.malformed).toBe(1);
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
    ['a line break in the path', () => [headers(1, { fields: [...linesLess(':path'), [':path', '/a\nb']] })], 'PROTOCOL_ERROR'],
    ...['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'].map<[string, () => Buffer[], string]>((name) => [
      `a word of HTTP/1.1: ${name}`,
      () => [headers(1, { more: [[name, 'x']] })],
      'PROTOCOL_ERROR',
    ]),
    ['other trailers than trailers', () => [headers(1, { fields: [...linesLess('te'), ['te', 'gzip']] })], 'PROTOCOL_ERROR'],
    ...[':method', ':scheme', ':path'].map<[string, () => Buffer[], string]>((name) => [
      `no ${name}`,
      () => [headers(1, { fields: linesLess(name) })],
      'PROTOCOL_ERROR',
    ]),
    ...[':method', ':scheme', ':path', ':authority'].map<[string, () => Buffer[], string]>((name) => [
      `${name} twice`,
      () => [headers(1, { fields: [[name, 'x'], ...LINES] })],
      'PROTOCOL_ERROR',
    ]),
    ['an empty path', () => [headers(1, { fields: [[':path', ''], ...linesLess(':path')] })], 'PROTOCOL_ERROR'],
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
    ['more than its length', () => [headers(1, { more: [['content-length', '5']] }), data(1, at.message)], 'PROTOCOL_ERROR'],
    ['less than its length', () => [headers(1, { more: [['content-length', '5000']] }), data(1, at.message)], 'PROTOCOL_ERROR'],
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
    ['a message for a call that is over', () => [good(1), data(1, at.message)], 'STREAM_CLOSED'],
  ])('%s', async (what, bytes, code) => {
    const connection = await raw();
    connection.send(...bytes());
    await until(() => connection.came(KIND.reset, 1).length > 0, 'the reset');
    if (what !== 'a message for a call that is over') expect(connection.outcome(1)).toBe(`reset ${code}`);
    // What was on its way is passed over, and the next call is answered: with fields that have their place in the table, too.
    connection.send(...(what.startsWith('a message for') ? [] : [data(1, at.message)]), good(3));
    await until(() => connection.outcome(3) === 'answered', 'the next answer');
    expect(connection.came(KIND.reset)).toHaveLength(1);
    expect(connection.end).toBeNull();
  });
});

/** A head in as many frames as it takes. */
function inParts(stream: number, whole: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = 0; at < whole.length; at += 16_384) parts.push(whole.subarray(at, at + 16_384));
  return parts.map((payload, i) => http2Frame(i === 0 ? KIND.headers : KIND.continuation, { stream, flags: i === parts.length - 1 ? 4 : 0, payload }));
}

describe('what is allowed, and seldom', () => {
  test('padding, priorities, heads in parts, frames that nobody knows, bytes one by one', async () => {
    const connection = await raw();
    const whole = fieldsOf(LINES);
    const padded = Buffer.concat([Buffer.of(3), uint32(0x8000_0000), Buffer.of(9), whole, Buffer.alloc(3)]);
    connection.send(http2Frame(KIND.headers, { stream: 1, flags: 0x2c, payload: padded }));
    connection.send(http2Frame(KIND.data, { stream: 1, flags: 9, payload: Buffer.concat([Buffer.of(5), at.message, Buffer.alloc(5)]) }));
    connection.send(http2Frame(KIND.priority, { stream: 99, payload: Buffer.alloc(5) }), http2Frame(0xab, { stream: 3, flags: 0xff, payload: at.message }));
    const parts = [whole.subarray(0, 1), whole.subarray(1, 30), whole.subarray(30)];
    connection.send(...parts.map((payload, i) => http2Frame(i === 0 ? KIND.headers : KIND.continuation, { stream: 3, flags: i === 2 ? 4 : 0, payload })));
    connection.send(data(3, at.message.subarray(0, 10), 0), headers(5), data(3, at.message.subarray(10), 0), data(5, at.message));
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
    await at.door.close(0);
    let decide = (): void => undefined;
    const gate = new Promise<void>((resolve) => (decide = resolve));
    await begin({ authorize: async (request) => gate.then(() => at.side.authorize(request)) });
    const connection = await raw();
    connection.send(good(1), headers(3), good(5));
    await until(() => at.door.inFlight === 2, 'the checks');
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
    at.door.drain();
    await until(() => connection.came(KIND.ping).length === 1, 'the ping behind the notice');
    connection.send(http2Frame(KIND.ping, { flags: 1, payload: connection.came(KIND.ping)[0]!.payload }));
    await until(() => connection.came(KIND.goaway).length === 2, 'the last word');
    expect(connection.came(KIND.goaway).map(({ payload }) => payload.readUInt32BE(0))).toEqual([2 ** 31 - 1, 1]);
    connection.send(good(3), data(1, at.message));
    await once(connection.socket, 'close');
    expect([1, 3].map((stream) => connection.outcome(stream))).toEqual(['answered', null]);
  });
});
