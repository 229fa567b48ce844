// An HTTP client that sends any bytes and reads answers strictly: for what no well-behaved client would send.

import { connect } from 'node:net';
import type { NetConnectOpts } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  /** As sent, in order. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** The one value of a header; throws if there are two. */
  header(name: string): string | undefined;
  readonly body: string;
}

export interface RawConnection {
  /** Writes bytes; a string's characters are bytes (latin1). */
  send(bytes: string | Buffer): void;
  /** The next answer. Rejects if the connection ends before it is whole, if it has no Content-Length, or after `ms`. */
  answer(ms?: number): Promise<RawAnswer>;
  /** Resolves when the other side has ended the connection, to the bytes that nobody read. */
  closed(ms?: number): Promise<string>;
  /** Has the other side ended it? */
  readonly over: boolean;
  destroy(): void;
}

/** As `until`: for what never comes. */
const DEADLINE_MS = 20_000;

export function connectRaw(to: NetConnectOpts): Promise<RawConnection> {
  return new Promise((resolve, reject) => {
    let received = '';
    let over = false;
    let wake: () => void = () => undefined;
    const socket = connect(to);
    socket.setEncoding('latin1');
    const ended = (): void => {
      over = true;
      wake();
    };
    socket
      .on('data', (text: string) => {
        received += text;
        wake();
      })
      .on('close', ended)
      .on('end', ended);
    socket.once('error', reject);

    /** Waits until `look` gives something. */
    const until = async <T>(look: () => T | null, what: string, ms: number): Promise<T> => {
      const stop = performance.now() + ms;
      for (;;) {
        const found = look();
        if (found !== null) return found;
        const left = stop - performance.now();
        if (left <= 0) throw new Error(`no ${what} within ${ms} ms; received ${JSON.stringify(received.slice(0, 500))}`);
        await new Promise<void>((next) => {
          const timer = setTimeout(next, left);
          wake = () => {
            clearTimeout(timer);
            next();
          };
        });
      }
    };

    const connection: RawConnection = {
      send: (bytes) => void socket.write(bytes, 'latin1'),
      answer: (ms = DEADLINE_MS) =>
        until(
          () => {
            const head = received.indexOf('\r\n\r\n');
            if (head < 0) {
              if (over) throw new Error(`the connection ended before an answer; received ${JSON.stringify(received.slice(0, 500))}`);
              return null;
            }
            const answer = parseHead(received.slice(0, head));
            const length = answer.header('content-length');
            if (length === undefined) throw new Error(`an answer without Content-Length: ${received.slice(0, head)}`);
            if (received.length < head + 4 + Number(length)) return null;
            const body = received.slice(head + 4, head + 4 + Number(length));
            received = received.slice(head + 4 + Number(length));
            return { ...answer, body };
          },
          'answer',
          ms,
        ),
      closed: (ms = DEADLINE_MS) => until(() => (over ? received : null), 'end of the connection', ms),
      get over() {
        return over;
      },
      destroy: () => void socket.destroy(),
    };
    socket.once('connect', () => {
      socket.off('error', reject).on('error', ended);
      resolve(connection);
    });
  });
}

/** One connection, these bytes, one answer. */
export async function exchange(to: NetConnectOpts, bytes: string | Buffer): Promise<RawAnswer> {
  const connection = await connectRaw(to);
  try {
    connection.send(bytes);
    return await connection.answer();
  } finally {
    connection.destroy();
  }
}

/** The bytes of a request; a header may be given any number of times, with any bytes in it. */
export function requestBytes(line: string, headers: readonly (readonly [name: string, value: string])[]): string {
  return `${line}\r\n${headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
}

function parseHead(text: string): Omit<RawAnswer, 'body'> {
  const [statusLine = '', ...lines] = text.split('\r\n');
  const status = /^HTTP\/1\.1 (\d{3}) [ -~]*$/.exec(statusLine)?.[1];
  if (status === undefined) throw new Error(`not a status line: ${JSON.stringify(statusLine)}`);
  const headers = lines.map((line) => {
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?(.*)$/.exec(line);
    if (!match) throw new Error(`not a header: ${JSON.stringify(line)}`);
    return [match[1]!, match[2]!] as const;
  });
  return {
    status: Number(status),
    headers,
    header(name) {
      const values = headers.filter(([other]) => other.toLowerCase() === name.toLowerCase());
      if (values.length > 1) throw new Error(`${name} stands there ${values.length} times`);
      return values[0]?.[1];
    },
  };
}
