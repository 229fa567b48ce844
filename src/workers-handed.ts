// How does a server answer on connections that another process accepted?
//
// It is never bound. A connection that is put into it is answered like any other; what Node does only for those that it accepted itself,
// a limit for their number and waiting for them at the end, is done here.

import { Server as HttpServer } from 'node:http';
import type { Server, Socket } from 'node:net';
import type { Clock } from 'policy-cache';
import type { listen } from './listen.ts';

export interface Handed {
  /** In the place of `listen`: servers get their connections by the order of these calls, from 0. */
  readonly listen: typeof listen;
  /** A connection for a server; undefined: its client has gone meanwhile. */
  take(index: number, socket: Socket | undefined): void;
  /** Ends idle connections of the HTTP doors, and waits for those with a check under way, for so long at most. */
  end(ms: number): Promise<void>;
}

interface Taking {
  readonly server: Server;
  readonly isDoor: boolean;
  readonly open: Set<Socket>;
}

export function createHanded(clock: Clock, closed: (index: number) => void): Handed {
  const servers: Taking[] = [];
  let emptied: (() => void) | null = null;
  const doors = (): readonly (Taking & { readonly server: HttpServer })[] =>
    servers.flatMap(({ server, isDoor, open }) => (isDoor && server instanceof HttpServer ? [{ server, isDoor, open }] : []));
  const isEmpty = (): boolean => doors().every(({ open }) => open.size === 0);

  return {
    listen(server, address, settings = 'doors') {
      servers.push({ server, isDoor: settings === 'doors', open: new Set() });
      // Measured (Node 20.20, 24.21): without it nobody looks after slow clients, and whoever never ends his headers stays for ever.
      server.emit('listening');
      return Promise.resolve('path' in address ? `unix:${address.path}` : `${address.host}:${address.port}`);
    },
    take(index, socket) {
      const taking = servers[index];
      if (socket === undefined || taking === undefined) return closed(index);
      const { server, open } = taking;
      open.add(socket);
      socket.once('close', () => {
        open.delete(socket);
        closed(index);
        if (emptied !== null && isEmpty()) emptied();
      });
      socket.on('error', () => undefined); // `close` follows
      if (open.size > server.maxConnections) {
        server.emit('drop');
        socket.destroy();
      } else {
        socket.allowHalfOpen = true; // as the doors' own servers have them
        server.emit('connection', socket);
      }
    },
    async end(ms) {
      for (const { server } of doors()) server.closeIdleConnections();
      if (isEmpty()) return;
      await new Promise<void>((resolve) => {
        const cancel = clock.after(ms, resolve);
        emptied = () => {
          cancel();
          resolve();
        };
      });
      for (const { open } of doors()) for (const socket of open) socket.destroy();
    },
  };
}
