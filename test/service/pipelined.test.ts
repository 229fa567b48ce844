// What becomes of a client of the api listener that asks and asks before anything is answered? It waits, and nothing of it is lost.

import { connect, type Socket } from 'node:net';
import type { Server } from 'node:http';
import { Hono } from 'hono';
import { afterEach, expect, test } from 'vitest';
import { apiServer } from '../../src/api/app.ts';
import { listen } from '../../src/listen.ts';
import { until } from '../support/until.ts';

/** 32, and the rest of a piece of 2 KiB. */
const MOST = 32 + 75;

const open: (Server | Socket)[] = [];
afterEach(() => {
  for (const each of open.splice(0)) {
    if ('listening' in each) {
      each.closeAllConnections();
      each.close();
    } else each.destroy();
  }
});

async function serve(app: Hono): Promise<number> {
  const server = apiServer(app);
  open.push(server);
  return Number((await listen(server, { host: '127.0.0.1', port: 0 }, 'api')).split(':')[1]);
}

/** Reads nothing until it is told to; `text` grows then. */
function client(port: number): { readonly socket: Socket; text(): string; read(): void } {
  const socket = connect(port, '127.0.0.1').pause();
  open.push(socket);
  const pieces: string[] = [];
  return {
    socket,
    text: () => pieces.join(''),
    read: () =>
      void socket
        .setEncoding('latin1')
        .on('data', (piece: string) => pieces.push(piece))
        .resume(),
  };
}
const bodies = (text: string): readonly string[] => [...text.matchAll(/<([^<>]*)>/g)].map(([, body]) => body!);
const numbers = (count: number): readonly string[] => Array.from({ length: count }, (_, i) => String(i));

test('of 8,000 requests no more are begun than may wait, and when those are answered the others are, in order', { timeout: 60_000 }, async () => {
  const COUNT = 8_000;
  let begun = 0;
  let answer: () => void = () => undefined;
  const answers = new Promise<void>((resolve) => (answer = resolve));
  const app = new Hono().all('/:id', async (c) => {
    await c.req.text();
    begun++;
    await answers;
    return c.text(`<${c.req.param('id')}>`);
  });
  const { socket, text, read } = client(await serve(app));
  socket.write(
    numbers(COUNT)
      .map((id) => `GET /${id} HTTP/1.1\r\nHost: x\r\n\r\n`)
      .join(''),
  );
  await until(() => begun >= 32, 'as many as may wait');
  // What is written is taken by the kernel in part: it is not read any more, however long one waits.
  let looks = 0;
  await until(() => ++looks > 50, 'a while');
  expect(begun).toBeLessThanOrEqual(MOST);
  read();
  answer();
  await until(() => begun === COUNT && text().includes(`<${COUNT - 1}>`), 'the last answer', 50_000);
  expect(bodies(text())).toEqual(numbers(COUNT));
});

test('bodies come whole, whatever pieces they came in', async () => {
  const app = new Hono().post('/', async (c) => {
    const body = await c.req.text();
    return c.text(`<${body.length} ${body.slice(-8).trim()}>`);
  });
  const { socket, text, read } = client(await serve(app));
  read();
  const asked = numbers(100).map((id) => ' '.repeat(Number(id) * 401) + id.padStart(8));
  for (const body of asked) socket.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  await until(() => bodies(text()).length === asked.length, 'every answer');
  expect(bodies(text())).toEqual(asked.map((body) => `${body.length} ${body.slice(-8).trim()}`));
});

test('who takes no answers is not read from; when it takes them, it has every one', { timeout: 60_000 }, async () => {
  const COUNT = 2_000;
  let begun = 0;
  const app = new Hono().get('/:id', (c) => {
    begun++;
    return c.text(`<${c.req.param('id')}>${'x'.repeat(10_000)}`);
  });
  const { socket, text, read } = client(await serve(app));
  socket.write(
    numbers(COUNT)
      .map((id) => `GET /${id} HTTP/1.1\r\nHost: x\r\n\r\n`)
      .join(''),
  );
  let before = -1;
  await until(() => (begun > 0 && begun === before) || ((before = begun), false), 'nothing more is begun');
  expect(begun).toBeLessThan(COUNT);
  read();
  await until(() => text().includes(`<${COUNT - 1}>`), 'the last answer', 50_000);
  expect(bodies(text())).toEqual(numbers(COUNT));
});

test('each connection has its own', async () => {
  let answer: () => void = () => undefined;
  const answers = new Promise<void>((resolve) => (answer = resolve));
  const app = new Hono()
    .get('/slow', async (c) => {
      await answers;
      return c.text('<slow>');
    })
    .get('/quick', (c) => c.text('<quick>'));
  const port = await serve(app);
  const greedy = client(port);
  greedy.socket.write('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1_000));
  const other = client(port);
  other.read();
  other.socket.write('GET /quick HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(() => bodies(other.text()).length === 1, 'the answer of the other one');
  answer();
});
