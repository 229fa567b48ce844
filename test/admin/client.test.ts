// What does a command say when the service gives no answer? Whether the change may have been made, above all.

import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { createAdminClient } from '../../src/adminclient.ts';

async function serving(answer: Parameters<typeof createServer>[1]): Promise<string> {
  const server = createServer(answer as never).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => closed(server));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
}

const clientOf = (server: string, limit: number) => createAdminClient({ server, token: 'token', insecureHttp: false, limit });
const SOON = 200;
/** Longer than whatever a busy machine takes to see the end of a connection. */
const LATE = 10_000;
const DOUBT = 'the change may have been made';

test('that it took too long, and that the change may have been made', async () => {
  const server = await serving(() => undefined);
  const client = clientOf(server, SOON);
  await expect(client.call('POST', '/v1/users', { body: {} })).rejects.toThrow(`${server} has not answered POST /v1/users within 0.2 s; ${DOUBT}`);
  const read = client.call('GET', '/v1/users');
  await expect(read).rejects.toThrow('has not answered GET /v1/users within 0.2 s');
  await expect(read).rejects.not.toThrow(DOUBT);
});

test('an answer that begins and does not end is none', async () => {
  const server = await serving((_, response) => void response.writeHead(200, { 'content-length': '100' }).write('{'));
  await expect(clientOf(server, SOON).call('DELETE', '/v1/users/x')).rejects.toThrow(`within 0.2 s; ${DOUBT}`);
});

test('a connection that is cut off may have brought it, one that was never made has not', async () => {
  const cut = await serving((request) => void request.socket.destroy());
  await expect(clientOf(cut, LATE).call('DELETE', '/v1/users/x')).rejects.toThrow(new RegExp(`cannot be reached: .*; ${DOUBT}`));
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await closed(server);
  const never = clientOf(`http://127.0.0.1:${port}`, LATE).call('DELETE', '/v1/users/x');
  await expect(never).rejects.toThrow('ECONNREFUSED');
  await expect(never).rejects.not.toThrow(DOUBT);
});
