// How many connections does a proxy open to the sidecar? Listeners before the sidecar's own that pass bytes on and count.

import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type NetConnectOpts, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chmod } from 'node:fs/promises';
import type { Upstreams } from './kit.ts';

export interface Relay {
  readonly upstreams: Upstreams;
  /** Connections so far, of all listeners. */
  readonly accepted: number;
  close(): Promise<void>;
}

export async function startRelay(to: Upstreams): Promise<Relay> {
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-relay-'));
  await chmod(directory, 0o711); // the proxies' workers pass through
  let accepted = 0;
  const servers: Server[] = [];
  const before = async (target: NetConnectOpts, path?: string): Promise<number> => {
    const server = createServer((from) => {
      accepted++;
      const behind = connect(target);
      for (const [one, other] of [
        [from, behind],
        [behind, from],
      ] as const)
        one
          .on('error', () => undefined)
          .on('close', () => other.destroy())
          .pipe(other);
    });
    servers.push(server);
    await new Promise<void>((resolve) => (path === undefined ? server.listen(0, '127.0.0.1', resolve) : server.listen(path, resolve)));
    if (path !== undefined) await chmod(path, 0o666);
    return path === undefined ? (server.address() as AddressInfo).port : 0;
  };
  const socket = join(directory, 'doors.sock');
  const grpcSocket = join(directory, 'grpc.sock');
  await before({ path: to.socket }, socket);
  await before({ path: to.grpcSocket }, grpcSocket);
  const port = await before({ host: '127.0.0.1', port: to.port });
  const grpcPort = await before({ host: '127.0.0.1', port: to.grpcPort });
  return {
    upstreams: { socket, port, grpcSocket, grpcPort, applicationPort: to.applicationPort },
    get accepted() {
      return accepted;
    },
    async close() {
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
      await rm(directory, { recursive: true, force: true });
    },
  };
}
