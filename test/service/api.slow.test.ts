// Is a connection given back by whoever sends a body slowly, however he holds on to it?

import type { Server } from 'node:http';
import { Hono } from 'hono';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { apiServer } from '../../src/api/app.ts';
import { listen } from '../../src/listen.ts';
import { connectRaw, type RawConnection } from '../support/raw.ts';
import { until } from '../support/until.ts';

let server: Server;
let port: number;
beforeAll(async () => {
  const app = new Hono();
  app.onError(() => new Response(null, { status: 500 }));
  app.get('/never', () => new Promise<Response>(() => undefined));
  app.all('*', async (c) => c.text(await c.req.text()));
  server = apiServer(app, 200);
  port = Number((await listen(server, { host: '127.0.0.1', port: 0 }, 'api')).split(':')[1]);
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => void server.close(resolve));
});

const BODY = 'Host: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n';
/** By one who does not end his side when the other does. */
async function sent(bytes: string): Promise<RawConnection> {
  const connection = await connectRaw({ port, host: '127.0.0.1', allowHalfOpen: true });
  connection.send(bytes);
  return connection;
}
const open = (): Promise<number> => new Promise((resolve, reject) => server.getConnections((error, count) => (error ? reject(error) : resolve(count))));

test.each(['POST /v1/tenants', 'PUT /v1/import', 'PATCH /v1/import?x', 'POST /v1/imports'])('%s', async (request) => {
  const connection = await sent(`${request} HTTP/1.1\r\n${BODY}`);
  expect(await connection.closed()).toMatch(/^HTTP\/1\.1 408 /);
  await until(async () => (await open()) === 0, 'the connection is given back');
  connection.destroy();
});

test('behind a request that has no answer yet nothing is said, for it would be taken for that', async () => {
  const connection = await sent(`GET /never HTTP/1.1\r\nHost: x\r\n\r\nPOST /v1/tenants HTTP/1.1\r\n${BODY}`);
  expect(await connection.closed()).toBe('');
  await until(async () => (await open()) === 0, 'the connection is given back');
  connection.destroy();
});
