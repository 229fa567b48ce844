// What does an answer of a door cost that nobody thinks about? The floors of door.mjs: bare node:http and node:http2, constant bytes.
//
//   node loadtest/stubs.mjs http SOCKET HEADERS     200 with these headers (a JSON list of names and values in turn), on SOCKET and on a port
//   node loadtest/stubs.mjs grpc SOCKET FRAME       this message (hex, framed) to every call that is whole, likewise
// It writes the port to stdout, and answers until it is told to end.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createServer2 } from 'node:http2';

const [, , kind, socket = '', given = ''] = process.argv;

function http() {
  /** @type {string[]} */
  const headers = JSON.parse(given);
  return createServer({ keepAliveTimeout: 75_000 }, (_, res) => {
    res.sendDate = false; // a door sends none
    res.writeHead(200, headers).end();
  });
}

function grpc() {
  const frame = Buffer.from(given, 'hex');
  const options = { waitForTrailers: true, sendDate: false };
  return createServer2().on('stream', (stream) => {
    stream.on('error', () => undefined);
    stream.resume().on('end', () => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, options);
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(frame);
    });
  });
}

const make = kind === 'grpc' ? grpc : http;
const [onPort, onSocket] = [make(), make()];
await once(onSocket.listen(socket), 'listening');
await once(onPort.listen(0, '127.0.0.1'), 'listening');
const address = onPort.address();
process.stdout.write(`port ${typeof address === 'object' && address !== null ? address.port : ''}\n`);
process.on('SIGTERM', () => process.exit(0));
