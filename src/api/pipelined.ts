// How many requests of one connection may wait for their answers at once? So many, then no more of it is read until one is answered.
//
// node:http stops to read where answers are not taken, not where they are not there yet: [measured] of 100,000 requests that a client wrote at
// once, each of which took 4 s to answer, all were begun, 10 kB each. And what it reads at once, 64 KiB, it hands over to the last request,
// 2,000 of the shortest. So its parser is fed in small pieces here, the rest is kept, and the client has to wait.

import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';

/** Who sends several before the first is answered is a test tool or means no good: there is no more for anybody to win. */
const MOST_WAITING = 32;
/** 75 of the shortest requests: so many more may wait. */
const PIECE_BYTES = 2048;

interface Connection {
  begun(incoming: IncomingMessage): void;
  answered(): void;
}

export function boundWaiting(server: Server): void {
  const connections = new WeakMap<Socket, Connection>();
  server.on('connection', (socket: Socket) => connections.set(socket, fedInPieces(socket)));
  server.prependListener('request', (incoming, outgoing) => {
    const connection = connections.get(incoming.socket);
    connection?.begun(incoming);
    outgoing.once('close', () => connection?.answered());
  });
}

/** Takes the place of what feeds node:http's parser, the listener that it has for what comes. */
function fedInPieces(socket: Socket): Connection {
  const feeds = socket.listeners('data');
  const [pause, resume] = [socket.pause.bind(socket), socket.resume.bind(socket)];
  let held: Buffer = EMPTY;
  let waiting = 0;
  let last: IncomingMessage | null = null;
  /** Of its body, at the most: that is fed at once ([measured] 4 MiB took 1.8 times the processor time in small pieces, 1.3 so). */
  let owed = 0;
  let feeding = false;
  /** Asked for by whoever does not read a body as fast as it comes: what has come is fed all the same, as node:http does it. */
  let full = false;
  /** Asked for by node:http, because answers are not taken: to be fed meanwhile is an error that ends the process. */
  let stopped = false;

  const run = (): void => {
    if (feeding) return;
    feeding = true;
    while (held.length > 0 && waiting < MOST_WAITING && !stopped && !socket.destroyed) {
      const under = last;
      const piece = held.subarray(0, under?.complete === false ? Math.max(PIECE_BYTES, owed) : PIECE_BYTES);
      held = held.subarray(piece.length);
      for (const feed of feeds) feed.call(socket, piece);
      if (last === under) owed -= piece.length;
    }
    feeding = false;
    if (held.length > 0 || waiting >= MOST_WAITING || stopped || full) pause();
    else resume();
  };

  socket.removeAllListeners('data');
  socket.on('data', (bytes: Buffer) => {
    held = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
    run();
  });
  socket.pause = () => {
    if (last?.complete === false) full = true;
    else stopped = true;
    return pause();
  };
  // Whoever reads a body, or has answered, says that more may come: not while there is something here.
  socket.resume = () => {
    full = stopped = false;
    run();
    return socket;
  };
  return {
    begun(incoming) {
      last = incoming;
      owed = Number(incoming.headers['content-length'] ?? 0);
      waiting++;
    },
    answered() {
      waiting--;
      run();
    },
  };
}

const EMPTY = Buffer.alloc(0);
