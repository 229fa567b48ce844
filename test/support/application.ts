// What does the application behind a proxy get? An HTTP server that remembers every request, byte for byte. One for a WebSocket it
// accepts (RFC 6455 4.2.2), and sends back whatever bytes come then.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Seen {
  readonly method: string;
  /** The request target as it came. */
  readonly url: string;
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

export interface Application {
  readonly port: number;
  /** Every request so far, in order. */
  readonly seen: Seen[];
  /** Every value of every spelling of a header in the newest request: `-`, `_` and `.` are the same here. */
  values(name: string): readonly string[];
  close(): Promise<void>;
}

export const APPLICATION_ANSWER = 'the application';

export async function startApplication(): Promise<Application> {
  const seen: Seen[] = [];
  const server = createServer({ maxHeaderSize: 128 * 1024, keepAliveTimeout: 75_000 }, (req, res) => {
    const parts: Buffer[] = [];
    req.on('data', (part: Buffer) => parts.push(part));
    req.on('end', () => {
      seen.push({ method: req.method ?? '', url: req.url ?? '', rawHeaders: req.rawHeaders, body: Buffer.concat(parts) });
      res.writeHead(200, { 'content-length': APPLICATION_ANSWER.length, 'content-type': 'text/plain' });
      res.end(req.method === 'HEAD' ? undefined : APPLICATION_ANSWER);
    });
  });
  server.on('upgrade', (req, socket, head) => {
    seen.push({ method: req.method ?? '', url: req.url ?? '', rawHeaders: req.rawHeaders, body: Buffer.alloc(0) });
    const accept = createHash('sha1').update(`${req.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    socket.on('error', () => undefined);
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    socket.write(head);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    values(name) {
      const raw = seen.at(-1)?.rawHeaders ?? [];
      return raw.filter((_, i) => i % 2 === 1 && plain(raw[i - 1]!) === plain(name));
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

function plain(name: string): string {
  return name.toLowerCase().replace(/[_.]/g, '-');
}
