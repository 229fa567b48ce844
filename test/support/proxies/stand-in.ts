// What does a proxy ask, to the byte, and what does it make of answers that our sidecar never gives? A server in the sidecar's place,
// on a socket and a port, that remembers every check and answers as it is told.

import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Upstreams } from './kit.ts';

export interface Check {
  readonly method: string;
  /** The door's, as it came. */
  readonly url: string;
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[];
  /** Every value of one header. */
  values(name: string): readonly string[];
}

export interface StandIn {
  readonly upstreams: Upstreams;
  /** Every check so far, in order. */
  readonly checks: Check[];
  /** What it answers; at first a permit of alice. */
  answer: RequestListener;
  close(): Promise<void>;
}

const IDENTITY = { 'X-Auth-User': 'alice', 'X-Auth-Tenant': 't1', 'X-Auth-Customer': '', 'X-Authz-Decision-Id': 'id-1' };

/** A permit, and what else is to stand in it. */
export function permit(headers: Readonly<Record<string, string>> = IDENTITY): RequestListener {
  return (_, res) => void res.writeHead(200, { 'Content-Length': 0, ...headers }).end();
}

export async function startStandIn(applicationPort: number): Promise<StandIn> {
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-stand-in-'));
  const socket = join(directory, 'doors.sock');
  const checks: Check[] = [];
  let answer = permit();
  const servers = [0, 1].map(() =>
    createServer({ keepAliveTimeout: 75_000 }, (req, res) => {
      const raw = req.rawHeaders;
      const values = (name: string): readonly string[] => raw.filter((_, i) => i % 2 === 1 && raw[i - 1]!.toLowerCase() === name.toLowerCase());
      checks.push({ method: req.method ?? '', url: req.url ?? '', rawHeaders: raw, values });
      answer(req, res);
    }),
  );
  const [onSocket, onPort] = servers as [(typeof servers)[0], (typeof servers)[0]];
  await chmod(directory, 0o711); // a proxy of another user passes through
  await new Promise<void>((resolve) => onSocket.listen(socket, resolve));
  await chmod(socket, 0o666);
  await new Promise<void>((resolve) => onPort.listen(0, '127.0.0.1', resolve));
  return {
    upstreams: { socket, port: (onPort.address() as AddressInfo).port, grpcSocket: '', grpcPort: 0, applicationPort },
    checks,
    get answer() {
      return answer;
    },
    set answer(next) {
      answer = next;
    },
    async close() {
      for (const server of servers) server.closeAllConnections();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
      await rm(directory, { recursive: true, force: true });
    },
  };
}
