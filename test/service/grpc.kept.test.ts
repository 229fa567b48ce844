// What does the gRPC door keep for a client that asks and does not take, and for how long? Little, whatever few bytes stand for, and not for ever.

import { connect, type Server, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { Clock } from 'policy-cache';
import { hostClock } from '../../src/clock.ts';
import { createGrpcDoor, type GrpcDoor } from '../../src/doors/grpc.ts';
import { readHead } from '../../src/doors/h2/head.ts';
import { HpackDecoder } from '../../src/doors/h2/hpack.ts';
import { listen } from '../../src/listen.ts';
import { checkRequest } from '../support/check-requests.ts';
import { sidecar, type Sidecar } from '../support/doors.ts';
import { call, connectHttp2, encodeRequest, frame } from '../support/grpc.ts';
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
  type HeadersOptions,
  type RawConnection,
} from '../support/http2-raw.ts';
import { until } from '../support/until.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

let side: Sidecar;
let message: Buffer;
let door: GrpcDoor;
let server: Server;
let port: number;
let ready: boolean;
/** How often it was asked for. */
let asked: number;
/** Checks. */
let answered: number;
/** Looks at the connections. */
let seconds: number;
/** Milliseconds of the door's clock in one of the machine's. */
let haste: number;
beforeAll(async () => {
  side = await sidecar();
  message = frame(encodeRequest(checkRequest({ headers: { authorization: `Bearer ${await side.token('admin')}` } })));
});
afterAll(() => side.close());
beforeEach(async () => {
  [ready, asked, answered, seconds, haste] = [true, 0, 0, 0, 1];
  const machine = hostClock();
  const clock: Clock = {
    now: () => machine.now() * haste,
    after(ms, f) {
      if (ms === 1000) seconds++;
      return machine.after(ms / haste, f);
    },
  };
  door = createGrpcDoor({ authorize: side.authorize, clock, random: () => 0.5, report: () => void answered++, ready: () => (asked++, ready) });
  server = door.server();
  port = Number((await listen(server, { host: '127.0.0.1', port: 0 }, 'grpc')).split(':')[1]);
});
afterEach(() => door.close(0));

async function raw(first?: Buffer): Promise<RawConnection> {
  const connection = await connectRaw(port, first);
  onTestFinished(() => void connection.socket.destroy());
  return connection;
}
/** All that was sent is read, once a ping behind it is answered. */
async function read(connection: RawConnection): Promise<void> {
  const before = connection.came(KIND.ping).length;
  connection.send(http2Frame(KIND.ping, { payload: Buffer.alloc(8) }));
  await until(() => connection.came(KIND.ping).length > before, 'the answer to a ping');
}
const ROOM = (size: number): Buffer => http2Frame(KIND.settings, { payload: Buffer.concat([Buffer.of(0, 4), uint32(size)]) });
const of = (path: string): HeadersOptions => ({ fields: [[':path', path], ...LINES.filter(([name]) => name !== ':path')] });
const health = (stream: number, method: string): Buffer =>
  Buffer.concat([headers(stream, of(`/grpc.health.v1.Health/${method}`)), data(stream, frame(Buffer.alloc(0)))]);

describe('a head of few bytes that stands for 60 KiB', () => {
  /** A field of the table's greatest, and then a byte for each time that it comes. */
  const calls = (name: string, value: string): { first: Buffer; next: (stream: number) => Buffer } => {
    const lines = fieldsOf(LINES.filter(([other]) => other !== name));
    const more = name === 'content-type' ? Buffer.alloc(0) : fieldsOf([['content-type', 'application/grpc']]);
    const long = fieldsOf([[name, value.padEnd(4096 - 32 - name.length, 'x')]]).subarray(1);
    return {
      first: http2Frame(KIND.headers, { stream: 1, flags: 4, payload: Buffer.concat([lines, more, Buffer.of(0x40), long]) }),
      next: (stream) => http2Frame(KIND.headers, { stream, flags: 4, payload: Buffer.concat([lines, more, Buffer.alloc(15, 0xbe)]) }),
    };
  };
  test.each([
    ['content-type', 'application/grpc;'],
    ['x-any', ''],
  ])('in %s: a call that waits for its message keeps none of it', async (name, value) => {
    const connection = await raw();
    const { first, next } = calls(name, value);
    connection.send(first);
    await read(connection);
    collect();
    const before = process.memoryUsage().heapUsed;
    connection.send(...Array.from({ length: 900 }, (_, i) => next(2 * i + 3)));
    await read(connection);
    collect();
    const kept = (process.memoryUsage().heapUsed - before) / 900;
    console.log(`grpc: a call whose ${name} is 60 KiB keeps ${kept.toFixed()} bytes`);
    expect(kept).toBeLessThan(4096);
    connection.send(data(3, message));
    await until(() => connection.outcome(3) === 'answered', 'the answer');
  });

  test('takes little more time than another', () => {
    const hpack = new HpackDecoder(62 * 1024);
    const { first, next } = calls('x-any', '');
    const read = (head: Buffer): unknown => readHead(hpack.decode(head, 9, head.length) ?? []);
    expect(read(first)).not.toBeNull();
    const [few, many] = [headers(1), next(1)];
    expect(read(many)).not.toBeNull();
    const take = (head: Buffer): number => {
      const began = performance.now();
      for (let i = 0; i < 500; i++) read(head);
      return performance.now() - began;
    };
    const rounds = Array.from({ length: 20 }, () => [take(few), take(many)] as const);
    const [least, most] = [Math.min(...rounds.map(([ms]) => ms)), Math.min(...rounds.map(([, ms]) => ms))];
    console.log(`grpc: a head that stands for 60 KiB takes ${(most / least).toFixed(1)} times what another takes, ${(2 * most).toFixed(1)} µs`);
    expect(most / least).toBeLessThan(8);
  });
});

describe('a client whose window is closed', () => {
  test.each(['Check', 'List'])('an answer of the health service waits for him as long as any other: %s', async (method) => {
    const connection = await raw(Buffer.concat([PREFACE, ROOM(0)]));
    connection.send(...Array.from({ length: 100 }, (_, i) => health(2 * i + 1, method)));
    await until(() => connection.came(KIND.headers).length === 100, 'the heads of the answers');
    haste = 100;
    await until(() => connection.came(KIND.reset).length === 100, 'the end of each');
    expect(connection.outcome(1)).toBe('reset CANCEL');
  });

  test('what is watched stays open, and its end comes, though something happened behind it', async () => {
    haste = 10;
    const connection = await raw(Buffer.concat([PREFACE, ROOM(0)]));
    connection.send(health(1, 'Watch'));
    await until(() => connection.came(KIND.headers).length === 1, 'the head of the answer');
    connection.send(http2Frame(KIND.goaway, { payload: Buffer.alloc(8) }));
    await until(() => connection.came(KIND.goaway).length === 1, 'the last word');
    ready = false;
    const before = asked;
    await until(() => asked > before, 'a look at it');
    connection.send(ROOM(1000));
    await until(() => connection.outcome(1) === 'answered', 'the end of what is watched');
  });

  test('a word that makes no room for what waits costs no more than where nothing waits', async () => {
    const words = Array.from({ length: 4_000 }, () => http2Frame(KIND.window, { payload: uint32(1) }));
    const take = async (waiting: number): Promise<number> => {
      const connection = await raw(Buffer.concat([PREFACE, ROOM(0)]));
      connection.send(...Array.from({ length: waiting }, (_, i) => health(2 * i + 1, 'Check')));
      await until(() => connection.came(KIND.headers).length === waiting, 'the heads of the answers');
      const began = performance.now();
      connection.send(...words);
      await read(connection);
      const took = performance.now() - began;
      connection.send(http2Frame(KIND.settings, { payload: Buffer.concat([Buffer.of(0, 4), uint32(1000)]) }));
      await until(() => connection.came(KIND.data).length === waiting, 'the answers');
      connection.socket.destroy();
      return took;
    };
    const rounds: (readonly [number, number])[] = [];
    for (let i = 0; i < 3; i++) rounds.push([await take(0), await take(950)]);
    const [none, many] = [Math.min(...rounds.map(([ms]) => ms)), Math.min(...rounds.map(([, ms]) => ms))];
    console.log(`grpc: 4,000 window updates: ${none.toFixed(1)} ms where nothing waits, ${many.toFixed(1)} ms behind 950 answers`);
    expect(many / none).toBeLessThan(4);
  });

  test('an answer that waits keeps its own bytes alone, whoever else is answered meanwhile', async () => {
    // Not by `connectRaw`, which keeps what comes.
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    onTestFinished(() => void socket.destroy());
    socket.resume().write(Buffer.concat([PREFACE, ROOM(0)]));
    const other = await connectHttp2(port);
    onTestFinished(() => other.destroy());
    await call(other, [message]);
    const held = (): number => {
      collect();
      return process.memoryUsage().arrayBuffers;
    };
    const before = held();
    const COUNT = 200;
    for (let i = 0; i < COUNT; i++) {
      socket.write(Buffer.concat([headers(2 * i + 1), data(2 * i + 1, message)]));
      await Promise.all(Array.from({ length: 30 }, () => call(other, [message])));
    }
    await until(() => answered === 1 + COUNT * 31, 'all answers');
    const kept = (): number => (held() - before) / COUNT;
    await until(() => kept() < 2000, 'less than two thousand bytes for each', 5_000); // what is given up is counted for a while
    console.log(`grpc: an answer that waits keeps ${kept().toFixed()} bytes`);
  });
});

test('a client that reads late has all answers up to the last call that he is told of', async () => {
  // In no haste: he is late after two seconds, and given up after ten.
  let served: Socket | null = null;
  server.once('connection', (socket) => (served = socket));
  const connection = await raw(Buffer.concat([PREFACE, ROOM(2 ** 30), http2Frame(KIND.window, { payload: uint32(2 ** 30) })]));
  connection.socket.pause();
  let sent = 0;
  for (; connection.socket.writableLength < 2 ** 18; sent += 500) {
    connection.send(...Array.from({ length: 500 }, (_, i) => health(2 * (sent + i) + 1, 'List')));
    await new Promise((resolve) => setImmediate(resolve));
  }
  door.drain();
  await until(() => served?.writableEnded === true, 'the last word');
  const before = seconds;
  await until(() => seconds > before + 3 || served?.destroyed === true, 'a while in which nothing is read');
  connection.socket.resume();
  await until(() => connection.end !== null, 'the end');
  const last = connection.came(KIND.goaway).at(-1)?.payload.readUInt32BE(0) ?? 0;
  const answered = connection.came(KIND.headers).filter(({ flags }) => (flags & 1) !== 0).length;
  console.log(`grpc: ${sent} calls of a client that reads late: ${(last + 1) / 2} are taken, ${answered} answered`);
  expect(last).toBeLessThan(2 * sent);
  expect(answered).toBe((last + 1) / 2);
});
