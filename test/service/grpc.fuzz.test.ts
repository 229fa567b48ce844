// Does anything that a client can send reach beyond its own connection? Random frames, and good ones that were spoiled.

import type { Socket } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostClock } from '../../src/clock.ts';
import { createGrpcDoor, type GrpcDoor } from '../../src/doors/grpc.ts';
import { listen } from '../../src/listen.ts';
import { ALLOWED, checkRequest, verdictOf } from '../support/check-requests.ts';
import { sidecar, type Sidecar } from '../support/doors.ts';
import { call, connectHttp2, decodeResponse, encodeRequest, frame, messageOf } from '../support/grpc.ts';
import { KIND, LINES, PREFACE, connectRaw, data, fieldsOf, headers, http2Frame, uint32 } from '../support/http2-raw.ts';
import { until } from '../support/until.ts';

const runs = Number(process.env['GRANTGATE_FUZZ'] ?? 150);
const seed = Number(process.env['GRANTGATE_SEED'] ?? Date.now() & 0x7fffffff);
console.log(`fuzz of HTTP/2: GRANTGATE_SEED=${seed}, ${runs} runs`);

let side: Sidecar;
let door: GrpcDoor;
let port: number;
let good: Buffer;
let denied: Buffer;
const open = new Set<Socket>();
beforeAll(async () => {
  side = await sidecar();
  door = createGrpcDoor({ authorize: side.authorize, clock: hostClock(), random: Math.random, ready: () => true, report: () => undefined });
  const server = door.server();
  server.on('connection', (socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  port = Number((await listen(server, { host: '127.0.0.1', port: 0 }, 'grpc')).split(':')[1]);
  const authorization = `Bearer ${await side.token('admin')}`;
  good = frame(encodeRequest(checkRequest({ headers: { authorization } })));
  denied = frame(encodeRequest(checkRequest({ path: '/api/device/x1', headers: { authorization } })));
});
afterAll(async () => {
  await door.close(0);
  await side.close();
});

/** Of calls that were begun on this connection; and how a frame is made of it. */
type Say = (calls: { last: number }) => Buffer;
const payload = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(...[0, 1, 100, 65_535, 2 ** 31 - 1].map((value) => uint32(value))),
  fc.constant(fieldsOf(LINES)),
);
const WATCH: typeof LINES = [[':path', '/grpc.health.v1.Health/Watch'], ...LINES.filter(([name]) => name !== ':path')];
/** Nearly always one that there is. */
const old = fc.nat(6).map(
  (back) =>
    (last: number): number =>
      Math.max(1, last - 2 * back),
);
const begin = (calls: { last: number }): number => (calls.last += 2);
const says: fc.Arbitrary<Say> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom<Say>(
      (calls) => headers(begin(calls)),
      (calls) => headers(begin(calls), { flags: 5 }),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom<Say>(
      (calls) => headers(begin(calls), { fields: WATCH }),
      (calls) => headers(begin(calls), { more: [['A', 'b']] }),
    ),
  },
  { weight: 4, arbitrary: fc.constant<Say>((calls) => Buffer.concat([headers(begin(calls)), data(calls.last, denied)])) },
  {
    weight: 6,
    arbitrary: fc.tuple(old, fc.constantFrom(0, 1), fc.nat(3)).map(
      ([of, flags, cut]) =>
        ({ last }: { last: number }) =>
          data(of(last), denied.subarray(cut), flags),
    ),
  },
  {
    weight: 2,
    arbitrary: old.map(
      (of) =>
        ({ last }: { last: number }) =>
          headers(of(last), { fields: [['x', 'y']], flags: 5 }),
    ),
  },
  {
    weight: 3,
    arbitrary: old.map(
      (of) =>
        ({ last }: { last: number }) =>
          http2Frame(KIND.reset, { stream: of(last), payload: uint32(8) }),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(old, fc.constantFrom(0, 1, 1000, 2 ** 31 - 1)).map(
      ([of, by]) =>
        ({ last }: { last: number }) =>
          http2Frame(KIND.window, { stream: of(last), payload: uint32(by) }),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(0, 1, 20, 65_535).map((size) => () => http2Frame(KIND.settings, { payload: Buffer.concat([Buffer.of(0, 4), uint32(size)]) })),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Say>(
      () => http2Frame(KIND.settings, { flags: 1 }),
      () => http2Frame(KIND.goaway, { payload: Buffer.alloc(8) }),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.integer({ min: 0, max: 10 }), fc.nat(255), fc.nat(20), payload).map(
      ([kind, flags, stream, bytes]) =>
        () =>
          http2Frame(kind, { flags, stream, payload: bytes }),
    ),
  },
);
/** Where bytes are changed, and to what. */
const spoils = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 });
const cuts = fc.array(fc.nat(), { maxLength: 6 });

describe('any frames', () => {
  test('end their call, or their connection, or nothing; no allow comes of them, and nothing is left', { timeout: 60_000 }, async () => {
    const ends = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(fc.array(says, { maxLength: 40 }), spoils, cuts, async (sent, spoiled, cut) => {
        const calls = { last: -1 };
        const bytes = Buffer.concat([PREFACE, http2Frame(KIND.settings), ...sent.map((say) => say(calls))]);
        for (const [at, byte] of spoiled) if (at % 3 === 0) bytes[at % bytes.length] = byte;
        const connection = await connectRaw(port, Buffer.alloc(0));
        connection.socket.setNoDelay(true);
        let from = 0;
        for (const to of [...cut.map((at) => at % (bytes.length + 1)), bytes.length].toSorted((a, b) => a - b)) {
          if (connection.socket.writable) connection.socket.write(bytes.subarray(from, to));
          from = to;
          await new Promise((resolve) => setImmediate(resolve));
        }
        // All that is to come has come, once a ping is answered or the connection is over.
        if (connection.socket.writable) connection.send(http2Frame(KIND.ping, { payload: Buffer.from('the last') }));
        const over = (): boolean => connection.end !== null || connection.came(KIND.ping).some(({ payload }) => payload.equals(Buffer.from('the last')));
        if (!spoiled.some(([at]) => at % 3 === 0))
          await until(over, 'an end or an answer', 50).catch(() => undefined); // within a head, or a frame that was begun, there is none
        else await new Promise((resolve) => setImmediate(resolve));
        const end = connection.end ?? 'open';
        ends.set(end, (ends.get(end) ?? 0) + 1);
        expect(end).not.toBe('goaway INTERNAL_ERROR');
        for (const stream of new Set(connection.came(KIND.data).map((each) => each.stream))) {
          const body = Buffer.concat(connection.came(KIND.data, stream).map((each) => each.payload));
          const isWhole = body.length > 7 && body.readUInt32BE(1) === body.length - 5;
          if (isWhole) expect(decodeResponse(body.subarray(5)).ok_response).toBeUndefined(); // of health, a message is shorter
        }
        connection.socket.destroy();
      }),
      { numRuns: runs, seed },
    );
    console.log(`fuzz: ${[...ends].map(([end, count]) => `${end} ${count}`).join(', ')}`);
    expect(ends.size).toBeGreaterThan(3);
    await until(() => open.size === 0, 'the end of every connection');
    expect(door.inFlight).toBe(0);
    const session = await connectHttp2(port);
    expect(verdictOf(messageOf(await call(session, [good])))).toBe(ALLOWED);
    session.destroy();
  });
});

describe('any windows', () => {
  test('each call gets its own answer, whole, and no more than the client has room for at any moment', { timeout: 60_000 }, async () => {
    const CALLS = 24;
    const WIDE = 10_000;
    const word = fc.oneof(
      fc.tuple(fc.constant('settings' as const), fc.nat(60), fc.constant(0)),
      fc.tuple(fc.constant('stream' as const), fc.nat(CALLS - 1), fc.integer({ min: 1, max: 200 })),
      fc.tuple(fc.constant('connection' as const), fc.integer({ min: 1, max: 500 }), fc.constant(0)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.nat(60),
        fc.array(fc.boolean(), { minLength: CALLS, maxLength: CALLS }),
        fc.array(word, { maxLength: 60 }),
        async (first, kinds, words) => {
          const room = (size: number): Buffer => http2Frame(KIND.settings, { payload: Buffer.concat([Buffer.of(0, 4), uint32(size)]) });
          const connection = await connectRaw(port, Buffer.concat([PREFACE, room(first)]));
          // Behind a ping's answer all is there that there was room for.
          const quiet = async (): Promise<void> => {
            const before = connection.came(KIND.ping).length;
            connection.send(http2Frame(KIND.ping, { payload: Buffer.alloc(8) }));
            await until(() => connection.came(KIND.ping).length > before, 'the answer to a ping');
          };
          let [size, total] = [first, 65_535];
          const given = kinds.map(() => 0);
          const bodyOf = (i: number): Buffer => Buffer.concat(connection.came(KIND.data, 2 * i + 1).map(({ payload }) => payload));
          /** The server has said all that it may, and not more. */
          const check = (): void => {
            const sizes = kinds.map((_, i) => bodyOf(i).length);
            expect(sizes.reduce((sum, each) => sum + each, 0)).toBeLessThanOrEqual(total);
            for (const [i, sent] of sizes.entries())
              if (connection.outcome(2 * i + 1) === null) expect(sent, 'all that there is room for').toBeGreaterThanOrEqual(size + given[i]!);
          };
          connection.send(...kinds.map((isGood, i) => Buffer.concat([headers(2 * i + 1), data(2 * i + 1, isGood ? good : denied)])));
          await quiet();
          check();
          let most = first;
          for (const [kind, a, b] of words) {
            if (kind === 'settings') connection.send(room((size = a)));
            else if (kind === 'connection') connection.send(http2Frame(KIND.window, { payload: uint32(a) }));
            else connection.send(http2Frame(KIND.window, { stream: 2 * a + 1, payload: uint32(b) }));
            if (kind === 'connection') total += a;
            if (kind === 'stream') given[a]! += b;
            most = Math.max(most, size);
            await quiet();
            check();
            for (const i of kinds.keys()) expect(bodyOf(i).length, 'no more than there was room for').toBeLessThanOrEqual(most + given[i]!);
          }
          connection.send(room(WIDE));
          await until(() => kinds.every((_, i) => connection.outcome(2 * i + 1) === 'answered'), 'all answers');
          for (const [i, isGood] of kinds.entries())
            expect(verdictOf(messageOf({ status: 200, grpcStatus: 0, headers: {}, body: bodyOf(i) })) === ALLOWED).toBe(isGood);
          connection.socket.destroy();
        },
      ),
      { numRuns: Math.ceil(runs / 12), seed },
    );
    await until(() => open.size === 0, 'the end of every connection');
  });

  test('of the connection: what waits goes on where it stopped, the oldest first, with all that there is room for', async () => {
    const connection = await connectRaw(port, Buffer.concat([PREFACE, http2Frame(KIND.settings)]));
    const ids = Array.from({ length: 900 }, (_, i) => 2 * i + 1);
    connection.send(...ids.map((id) => Buffer.concat([headers(id), data(id, id % 4 === 1 ? good : denied)])));
    const sent = (): number => connection.came(KIND.data).reduce((sum, { payload }) => sum + payload.length, 0);
    let room = 65_535;
    for (const by of [1, 1, 7, 100, 3000]) {
      await until(() => sent() === room, 'all that there is room for');
      connection.send(http2Frame(KIND.window, { payload: uint32(by) }), http2Frame(KIND.ping, { payload: Buffer.alloc(8) }));
      room += by;
    }
    await until(() => sent() === room, 'all that there is room for');
    connection.send(http2Frame(KIND.window, { payload: uint32(2 ** 20) }));
    await until(() => connection.came(KIND.headers).length === 2 * ids.length, 'all answers');
    const ends = connection.came(KIND.headers).filter(({ flags }) => (flags & 1) !== 0);
    expect(ends.map(({ stream }) => stream)).toEqual(ids);
    for (const id of ids) {
      const body = Buffer.concat(connection.came(KIND.data, id).map(({ payload }) => payload));
      expect(verdictOf(messageOf({ status: 200, grpcStatus: 0, headers: {}, body })) === ALLOWED).toBe(id % 4 === 1);
    }
    connection.socket.destroy();
  });
});
