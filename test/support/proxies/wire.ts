// How does a test send bytes to a proxy that no HTTP client would send, and read whatever comes back?

import { connect } from 'node:net';
import type { Application } from '../application.ts';

export interface Heard {
  /** 0: the connection ended without a status line. */
  readonly status: number;
  /** In order, names in lower case. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Everything after the head, as it came. */
  readonly rest: string;
}

export interface TellOptions {
  /** Resolve at the end of the head: the request's body is still owed, or the connection goes on. Default: at the end of the answer. */
  readonly head?: boolean;
  readonly ms?: number;
}

/** One connection to a port of loopback, these bytes. A string's characters are UTF-8. */
export function tell(port: number, bytes: string | Buffer, { head: headOnly = false, ms = 20_000 }: TellOptions = {}): Promise<Heard> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    const finish = (): void => {
      clearTimeout(limit);
      socket.destroy();
      resolve(heard(text));
    };
    const limit = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no end of the answer within ${ms} ms: ${JSON.stringify(text.slice(0, 300))}`));
    }, ms);
    socket.setEncoding('latin1').on('data', (part: string) => {
      text += part;
      // Not at the end of the connection: Envoy leaves one that is to be closed open for a second.
      if (headOnly ? text.includes('\r\n\r\n') : isWhole(text)) finish();
    });
    socket.on('error', () => undefined); // a reset is an end, too: `close` follows
    socket.on('close', finish);
  });
}

/** A request of these header lines. Ends its connection, unless it says what else its connection is for. */
export function wireRequest(line: string, headers: readonly (readonly [name: string, value: string])[]): string {
  const all = [['Host', 'app.example'] as const, ...headers];
  if (!headers.some(([name]) => name.toLowerCase() === 'connection')) all.push(['Connection', 'close']);
  return `${line} HTTP/1.1\r\n${all.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
}

/** What the client got, and the target under which the application was reached. */
export interface Reached extends Heard {
  readonly reached: string | null;
}

/** One connection, these bytes, and whether the application behind it got anything. */
export async function tellThrough(
  { seen }: Application,
  port: number,
  { bytes, head = false }: { readonly bytes: string; readonly head?: boolean },
): Promise<Reached> {
  const before = seen.length;
  const answer = await tell(port, bytes, { head });
  return { ...answer, reached: seen.length > before ? seen.at(-1)!.url : null };
}

function isWhole(text: string): boolean {
  const { status, headers, rest } = heard(text);
  const value = (name: string): string | undefined => headers.find(([other]) => other === name)?.[1];
  if (!text.includes('\r\n\r\n') || status < 200) return false;
  const length = value('content-length');
  return length === undefined ? value('transfer-encoding') === 'chunked' && rest.endsWith('0\r\n\r\n') : rest.length >= Number(length);
}

function heard(text: string): Heard {
  const end = text.indexOf('\r\n\r\n');
  const [line = '', ...lines] = (end < 0 ? text : text.slice(0, end)).split('\r\n');
  return {
    status: Number(/^HTTP\/1\.[01] (\d{3})/.exec(line)?.[1] ?? 0),
    headers: lines.map((each) => {
      const colon = each.indexOf(':');
      return [each.slice(0, colon).toLowerCase(), each.slice(colon + 1).trim()] as const;
    }),
    rest: end < 0 ? '' : text.slice(end + 4),
  };
}
