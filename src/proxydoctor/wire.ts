// What bytes go to a proxy, and what comes back? A client that sends what no well-behaved one would.
//
// On node:net and node:tls: `fetch` and node:http normalise a path, join repeated headers and refuse others, and those are what a
// probe is made of. A connection for each request: what one leaves behind must not be the answer to the next.

import { connect as connectTcp, isIP } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export type Header = readonly [name: string, value: string];

export interface Proxy {
  readonly tls: boolean;
  readonly host: string;
  readonly port: number;
  /** What stands in Host, and is the name that its certificate must be of. */
  readonly name: string;
  /** Authorities (PEM) instead of Node's own; null: those. */
  readonly ca: string | null;
  readonly insecureTls: boolean;
}

export interface Ask {
  readonly method?: string;
  readonly target: string;
  readonly headers?: readonly Header[];
  /** Headers that `Connection` lists beside `close`. */
  readonly hop?: readonly string[];
  /** It is not said that the connection ends, for what is asked is that it goes on. */
  readonly stays?: boolean;
  readonly body?: string;
  readonly chunked?: boolean;
}

export interface Answer {
  /** 0: there was none. */
  readonly status: number;
  readonly headers: readonly Header[];
  /** Bytes of its body, as far as they were read. */
  readonly bodyBytes: number;
  /** Why there was none. */
  readonly cause: string;
}

export interface Wire {
  send(ask: Ask, ms: number): Promise<Answer>;
}

const MOST_BYTES = 64 * 1024;
/** Cause of an answer that did not come in time. */
export const SILENT = 'no answer';

export function valuesOf(headers: readonly Header[], name: string): readonly string[] {
  return headers.filter(([other]) => other.toLowerCase() === name).map(([, value]) => value);
}

export function openWire(proxy: Proxy, userAgent: string): Wire {
  const usual = (proxy.tls && proxy.port === 443) || (!proxy.tls && proxy.port === 80);
  const host = `${proxy.name.includes(':') ? `[${proxy.name}]` : proxy.name}${usual ? '' : `:${proxy.port}`}`;
  return {
    send: (ask, ms) =>
      exchange(
        dial(proxy),
        bytesOf(ask, [
          ['Host', host],
          ['User-Agent', userAgent],
        ]),
        { ms, head: ask.method === 'HEAD', tls: proxy.tls },
      ),
  };
}

function dial({ tls, host, port, name, ca, insecureTls }: Proxy): Socket {
  if (!tls) return connectTcp({ host, port, noDelay: true });
  // A literal address is no server name (RFC 6066); the certificate is checked against it all the same.
  return connectTls({
    host,
    port,
    ...(isIP(name) === 0 ? { servername: name } : {}),
    ...(ca === null ? {} : { ca }),
    rejectUnauthorized: !insecureTls,
    ALPNProtocols: ['http/1.1'],
  });
}

function bytesOf({ method = 'GET', target, headers = [], hop = [], stays = false, body, chunked = false }: Ask, first: readonly Header[]): string {
  const given = new Set(headers.map(([name]) => name.toLowerCase()));
  const framing: readonly Header[] =
    body === undefined ? [] : chunked ? [['Transfer-Encoding', 'chunked']] : [['Content-Length', String(Buffer.byteLength(body, 'latin1'))]];
  const all = [
    ...first.filter(([name]) => !given.has(name.toLowerCase())),
    ...headers,
    ...framing,
    ['Connection', [...(stays ? [] : ['close']), ...hop].join(', ')] as const,
  ];
  const sent = body === undefined ? '' : chunked ? `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n` : body;
  return `${method} ${target} HTTP/1.1\r\n${all.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${sent}`;
}

interface Reading {
  readonly ms: number;
  readonly head: boolean;
  readonly tls: boolean;
}

/** Never rejects: that nothing came is an answer too. */
function exchange(socket: Socket, bytes: string, { ms, head, tls }: Reading): Promise<Answer> {
  return new Promise((resolve) => {
    let received = '';
    const timer = setTimeout(() => done(SILENT), ms);
    const done = (cause: string): void => {
      clearTimeout(timer);
      socket
        .removeAllListeners()
        .on('error', () => undefined)
        .destroy();
      const answer = parse(received);
      resolve(answer === null ? { status: 0, headers: [], bodyBytes: 0, cause } : { ...answer, cause: '' });
    };
    socket.setEncoding('latin1');
    socket.on(tls ? 'secureConnect' : 'connect', () => void socket.write(bytes, 'latin1'));
    socket.on('data', (text: string) => {
      received += text;
      if (received.length > MOST_BYTES || complete(received, head)) done(`no whole head in ${MOST_BYTES} bytes`);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => done(error.code === 'ECONNRESET' ? 'the connection was reset' : error.message));
    socket.on('end', () => done('the connection was closed'));
    socket.on('close', () => done('the connection was closed'));
  });
}

/** The last head in what was received: interim answers stand before it. */
function parse(received: string): Omit<Answer, 'cause'> | null {
  let [start, end, status] = [0, 0, 0];
  // No recursion: there may be thousands of interim answers.
  do {
    start = end === 0 ? 0 : end + 4;
    end = received.indexOf('\r\n\r\n', start);
    if (end < 0) return null;
    status = Number(/^HTTP\/1\.[01] (\d{3})(?: |\r|$)/.exec(received.slice(start, Math.min(end, start + 16)))?.[1] ?? 0);
  } while (status > 0 && status < 200 && status !== 101);
  const lines = received.slice(start, end).split('\r\n').slice(1);
  const headers = lines.map((each): Header => {
    const colon = each.indexOf(':');
    return colon < 0 ? [each, ''] : [each.slice(0, colon), each.slice(colon + 1).trim()];
  });
  return status === 0 ? null : { status, headers, bodyBytes: received.length - end - 4 };
}

function complete(received: string, head: boolean): boolean {
  const answer = parse(received);
  if (answer === null) return false;
  if (head || answer.status === 101 || answer.status === 204 || answer.status === 304) return true;
  const length = valuesOf(answer.headers, 'content-length')[0];
  return length === undefined ? valuesOf(answer.headers, 'transfer-encoding').length > 0 && received.endsWith('0\r\n\r\n') : answer.bodyBytes >= Number(length);
}
