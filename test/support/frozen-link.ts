// What does a middlebox do that keeps both sockets open and forwards nothing? A TCP proxy on loopback that can freeze.

import { connect, createServer, type Socket } from 'node:net';

export interface FreezableProxy {
  readonly port: number;
  /** Connections accepted so far, open ones among them. */
  readonly connections: readonly ProxiedConnection[];
  /** The URL with this proxy's port in it. */
  through(url: string): string;
  /** Every connection, and those to come: nothing passes in either direction, nothing is closed. */
  freeze(): void;
  thaw(): void;
  close(): Promise<void>;
}

export interface ProxiedConnection {
  /** Of its end at the server: `client_port` in pg_stat_activity. */
  readonly clientPort: () => number | undefined;
  freeze(): void;
  thaw(): void;
  /** Ends it, on both sides. */
  cut(): void;
}

/** What happens to the bytes of one connection on their way; `pass` sends them on. */
export interface Carrier {
  toServer(bytes: Buffer, pass: (bytes: Buffer) => void): void;
  toClient(bytes: Buffer, pass: (bytes: Buffer) => void): void;
}

const AT_ONCE: Carrier = { toServer: (bytes, pass) => pass(bytes), toClient: (bytes, pass) => pass(bytes) };

/**
 * Whoever changes `target.port` leads the connections that come from then on elsewhere. `carrier` is asked for once per connection; without
 * it everything is passed on at once.
 */
export async function startProxy(target: { readonly port: number; readonly carrier?: () => Carrier }): Promise<FreezableProxy> {
  const connections: ProxiedConnection[] = [];
  const sockets = new Set<Socket>();
  let frozen = false;
  const server = createServer((client) => {
    const upstream = connect(target.port, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(); // as Postgres and its clients do, or every answer would wait 40 ms for an acknowledgement
      socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    }
    // Paused sockets read nothing, not even the end of the other side.
    const pair = [client, upstream] as const;
    const carrier = target.carrier?.() ?? AT_ONCE;
    const passTo = (socket: Socket) => (bytes: Buffer) => void (socket.writable && socket.write(bytes));
    const [toClient, toServer] = [passTo(client), passTo(upstream)];
    client.on('data', (bytes: Buffer) => carrier.toServer(bytes, toServer)).on('close', () => upstream.destroy());
    upstream.on('data', (bytes: Buffer) => carrier.toClient(bytes, toClient)).on('close', () => client.destroy());
    const connection = {
      clientPort: () => upstream.localPort,
      freeze: () => pair.forEach((socket) => socket.pause()),
      thaw: () => pair.forEach((socket) => socket.resume()),
      cut: () => pair.forEach((socket) => socket.destroy()),
    };
    connections.push(connection);
    if (frozen) connection.freeze();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (typeof address !== 'object' || !address) throw new Error('the proxy has no port');
  const { port } = address;
  return {
    port,
    connections,
    through(url) {
      const changed = new URL(url);
      changed.port = String(port);
      return changed.href;
    },
    freeze() {
      frozen = true;
      for (const connection of connections) connection.freeze();
    },
    thaw() {
      frozen = false;
      for (const connection of connections) connection.thaw();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
