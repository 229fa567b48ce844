// What does a client of HTTP/2 get that lets the door wait? An end, in time, and no more room than that.

import { describe, expect, onTestFinished, test } from 'vitest';
import { checkRequest } from '../support/check-requests.ts';
import { attacked, linesLess, settings } from '../support/grpc-attacked.ts';
import { encodeRequest, frame } from '../support/grpc.ts';
import { KIND, PREFACE, data, headers, http2Frame, uint32, type Frame, type HeadersOptions } from '../support/http2-raw.ts';
import { until } from '../support/until.ts';

const at = attacked();
const { raw, expectOthersAnswered, begin, good } = at;

describe('what waits for a client has an end', () => {
  test('more calls at once than it was told: each of the others is refused, and may be asked again', async () => {
    const connection = await raw();
    connection.send(...Array.from({ length: 1_010 }, (_, i) => headers(2 * i + 1)));
    await until(() => connection.came(KIND.reset).length === 10, 'ten refusals');
    expect(connection.outcome(2 * 1_009 + 1)).toBe('reset REFUSED_STREAM');
    connection.send(data(1, at.message));
    await until(() => connection.outcome(1) === 'answered', 'the answer of an open one');
    connection.send(good(3_001));
    await until(() => connection.outcome(3_001) === 'answered', 'the answer of the next');
  });

  test('a window that never opens: answers wait, each for its time, and the connection ends', async () => {
    const connection = await raw(Buffer.concat([PREFACE, settings([4, 0])]));
    connection.send(...Array.from({ length: 900 }, (_, i) => good(2 * i + 1)));
    await until(() => connection.came(KIND.headers).length === 900, 'the heads of the answers');
    expect(connection.came(KIND.data)).toHaveLength(0);
    at.haste = 100;
    await until(() => connection.came(KIND.reset).length === 900, 'the end of each');
    expect(connection.outcome(1)).toBe('reset CANCEL');
    at.haste = 1;
    connection.send(...Array.from({ length: 900 }, (_, i) => good(2 * i + 2_001)));
    await until(() => connection.came(KIND.headers).length === 1_800, 'the heads of the next');
    at.haste = 100;
    expect(await connection.ended()).toBe('goaway ENHANCE_YOUR_CALM');
    at.haste = 1;
    await expectOthersAnswered();
  });

  test('… and answers that are longer: no more than a megabyte of them', async () => {
    // As many spellings as one name of the identity's has: each is taken away of the client, by a field of the answer.
    const aliases = Array.from(
      { length: 64 },
      (_, i) => [['x', 'authz', 'decision', 'id'].reduce((all, part, j) => all + '_.~+'[(i >> (2 * (j - 1))) & 3] + part), 'x'] as const,
    );
    const long = frame(encodeRequest(checkRequest({ list: [['authorization', `Bearer ${await at.side.token('admin')}`], ...aliases] })));
    await at.door.close(0);
    let asked = 0;
    await begin({ authorize: (request) => (asked++, at.side.authorize(request)) });
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
    const WATCH: HeadersOptions = { fields: [[':path', '/grpc.health.v1.Health/Watch'], ...linesLess(':path')] };
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
      Buffer.concat([headers(id, { fields: [[':path', '/grpc.health.v1.Health/List'], ...linesLess(':path')] }), data(id, frame(Buffer.alloc(0)))]);
    let sent = 0;
    for (; connection.socket.writableLength < 2 ** 20 && !connection.socket.destroyed; sent += 1000) {
      connection.send(...Array.from({ length: 1000 }, (_, j) => asked(2 * (sent + j) + 1)));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(connection.socket.destroyed, 'it is not read, and not ended yet').toBe(false);
    const [served] = [...at.open];
    expect(served?.writableLength, 'bytes that the kernel does not take').toBeLessThan(200_000);
    await expectOthersAnswered();
    at.haste = 20;
    await until(() => at.open.size === 0, 'the end of his connection, long before it would end for being quiet', 10_000);
    console.log(`a client that reads nothing: ${sent} calls were sent, ${served?.bytesWritten} bytes answered`);
  });

  test.each<[what: string, bytes: () => Buffer]>([
    ['a frame', () => headers(1).subarray(0, 20)],
    ['the head of a frame', () => Buffer.of(0)],
    ['a message', () => Buffer.concat([headers(1), data(1, at.message).subarray(0, 30)])],
    ['a head in parts', () => headers(1, { flags: 0 })],
  ])('that begins and does not come: %s', async (_, bytes) => {
    at.haste = 40;
    const connection = await raw();
    connection.send(bytes());
    await expectOthersAnswered();
    expect(await connection.ended()).toBe('goaway ENHANCE_YOUR_CALM');
  });

  test('a head that comes frame by frame, a second each', async () => {
    at.haste = 40;
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
    at.haste = 40;
    const connection = await raw(PREFACE.subarray(0, 10));
    expect(await connection.ended()).toBe('closed');
    expect(at.door.shed.timeout).toBe(1);
  });
});
