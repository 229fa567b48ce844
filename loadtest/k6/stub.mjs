// What is the least that a door can be? Answers every check with the same bytes: an allow with the headers of a real one.
//
//   node stub.mjs SOCKET GRPC_SOCKET       and any free port for each

import { chmodSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { createServer as createHttp2 } from 'node:http2';
import { ALLOWED, ANSWER } from './wire.mjs';

const [socket = '', grpcSocket = ''] = process.argv.slice(2);
const headers = { ...ALLOWED, 'Content-Length': 0 };

const http = () =>
  // As long as the door: a proxy is to be the one that closes.
  createHttp({ keepAliveTimeout: 75_000 }, (_request, response) => {
    response.writeHead(200, headers);
    response.end();
  });
const grpc = () =>
  createHttp2().on('stream', (stream) => {
    stream.on('error', () => undefined); // its proxy has gone
    stream.resume().on('end', () => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(ANSWER);
    });
  });

/** @param {import('node:net').Server} server @param {string | number} at @returns {Promise<number>} */
const listening = (server, at) =>
  new Promise((resolve) => {
    const told = () => {
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : 0);
    };
    if (typeof at === 'number') server.listen(at, '127.0.0.1', told);
    else server.listen(at, told);
  });

const [, , port, grpcPort] = await Promise.all([listening(http(), socket), listening(grpc(), grpcSocket), listening(http(), 0), listening(grpc(), 0)]);
chmodSync(socket, 0o666); // nginx's workers are of another user
chmodSync(grpcSocket, 0o666);
process.stdout.write(`ports ${port} ${grpcPort}\n`);
