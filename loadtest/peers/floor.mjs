// What would a check cost that decides nothing? Bare node:http and bare node:http2, asked as much by the same client: nothing in Node can be below.

import { fileURLToPath } from 'node:url';
import { start, until } from '../processes.mjs';
import { grpcFrame } from './client-grpc.mjs';
import { httpRequest } from './client-http.mjs';

const PROGRAM = fileURLToPath(new URL('floor-server.mjs', import.meta.url));

/** As long as what grantgate is asked. */
const TOKEN = `Bearer ${'x'.repeat(330)}`;
const MESSAGE = grpcFrame(Buffer.alloc(620));

/** @type {import('./peer.mjs').Peer} */
export const floor = {
  async start({ core }, variant) {
    const begun = performance.now();
    const server = start(process.execPath, [PROGRAM, variant], { core });
    const port = () => Number(/port (\d+)/.exec(server.said())?.[1] ?? 0);
    await until(() => port() > 0, { what: 'the floor listens', of: server });
    return {
      at: { port: port() },
      pid: server.pid,
      loadSeconds: (performance.now() - begun) / 1000,
      version: process.version,
      said: server.said,
      stop: server.stop,
    };
  },
  asking({ port }, _, variant) {
    const request = httpRequest('GET', '/', { 'x-original-method': 'GET', 'x-original-uri': '/devices/d1000/READ', authorization: TOKEN });
    if (variant === 'http') return { door: 'http', port: Number(port), request: () => request, allowed: ({ status }) => status === 200 };
    return { door: 'grpc', port: Number(port), path: '/envoy.service.auth.v3.Authorization/Check', request: () => MESSAGE, allowed: () => true };
  },
};
