// The least that Node can answer: `http`, 200 without a body; `http2`, an empty message.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createHttp2 } from 'node:http2';
import { grpcFrame } from './client-grpc.mjs';

const server = process.argv[2] === 'http' ? http() : http2();
await once(server.listen(0, '127.0.0.1'), 'listening');
const address = server.address();
process.stdout.write(`port ${typeof address === 'object' ? address?.port : 0}\n`);
process.on('SIGTERM', () => process.exit(0));

function http() {
  return createServer((_, res) => {
    res.writeHead(200, ['Content-Length', '0']).end();
  });
}

function http2() {
  const empty = grpcFrame(Buffer.alloc(0));
  const server = createHttp2();
  server.on('stream', (stream) => {
    stream.on('error', () => undefined);
    stream.resume().on('end', () => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(empty);
    });
  });
  return server;
}
