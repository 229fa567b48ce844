// What does a client of HTTP/2 get that sends more of a thing than anybody needs? The end of its connection, within bounds.

import { describe, expect, test } from 'vitest';
import { attacked, settings } from '../support/grpc-attacked.ts';
import { KIND, LINES, data, fieldsOf, headers, http2Frame, uint32 } from '../support/http2-raw.ts';
import { until } from '../support/until.ts';

const at = attacked();
const { raw, expectOthersAnswered, begin, good } = at;

/** A byte for each field of the table's greatest: few bytes, and more than is read. */
function longHead(stream: number): Buffer {
  const payload = Buffer.concat([fieldsOf(LINES), Buffer.of(0x40), fieldsOf([['x', 'y'.repeat(2000)]]).subarray(1), Buffer.alloc(40, 0xbe)]);
  return http2Frame(KIND.headers, { stream, flags: 4, payload });
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
    await at.door.close(0);
    let decide = (): void => undefined;
    const gate = new Promise<void>((resolve) => (decide = resolve));
    await begin({ authorize: async (request) => gate.then(() => at.side.authorize(request)) });
    const connection = await raw();
    for (let i = 0; i < 40 && connection.end === null; i++) {
      const ids = Array.from({ length: 50 }, (_, j) => 2 * (50 * i + j) + 1);
      connection.send(...ids.flatMap((id) => [good(id), http2Frame(KIND.window, { stream: id, payload: uint32(0) })]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await connection.ended()).toBe('goaway ENHANCE_YOUR_CALM');
    expect(at.door.inFlight).toBeLessThan(1_100);
    decide();
    await until(() => at.door.inFlight === 0, 'the ends of all checks');
  });

  test('is not what a busy proxy says: pings, windows and thanks with every call', async () => {
    const connection = await raw();
    const calls = 2_000;
    for (let i = 0; i < calls; i += 50) {
      const ids = Array.from({ length: 50 }, (_, j) => 2 * (i + j) + 1);
      const around = Array.from({ length: 7 }, (_, j) =>
        j === 0 ? http2Frame(KIND.ping, { payload: Buffer.alloc(8) }) : http2Frame(KIND.window, { payload: uint32(60) }),
      );
      connection.send(...ids.flatMap((id) => [headers(id), http2Frame(KIND.window, { stream: id, payload: uint32(400) }), data(id, at.message), ...around]));
      await until(() => connection.outcome(ids.at(-1)!) !== null || connection.end !== null, 'the answers');
    }
    expect(connection.end).toBeNull();
    expect(connection.frames.filter(({ kind, flags }) => kind === KIND.headers && (flags & 1) !== 0)).toHaveLength(calls);
  });
});
