// What could an application make of the bytes that a proxy sends it? One that reads HTTP/1.1 by the letter, answers whatever is a whole
// request, and remembers what a laxer reader would take for something else.

import { createServer, type AddressInfo, type Socket } from 'node:net';

export interface RecordedRequest {
  readonly method: string;
  readonly url: string;
  /** Names as they came. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly trailer: RecordedRequest['headers'];
  readonly body: string;
}

export interface Recorder {
  readonly port: number;
  readonly requests: RecordedRequest[];
  /** What is no request, or more than one reader may disagree about. */
  readonly odd: string[];
  close(): Promise<void>;
}

type Read = { readonly request: RecordedRequest; readonly rest: string } | { readonly odd: string } | null;

const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** It takes up no upgrade: 426, and the connection goes on. */
export async function startRecorder(): Promise<Recorder> {
  const requests: RecordedRequest[] = [];
  const odd: string[] = [];
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    let text = '';
    open.add(socket);
    socket.setEncoding('latin1').on('close', () => open.delete(socket));
    socket.on('error', () => undefined);
    socket.on('data', (part: string) => {
      text += part;
      for (let read = readRequest(text); read !== null; read = readRequest(text)) {
        if ('odd' in read) {
          odd.push(read.odd);
          return void socket.destroy();
        }
        text = read.rest;
        requests.push(read.request);
        const status = read.request.headers.some(([name]) => name.toLowerCase() === 'upgrade') ? '426 Upgrade Required' : '200 OK';
        socket.write(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\n\r\n`);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    odd,
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** null: not all of it is there yet. */
function readRequest(text: string): Read {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const [line = '', ...lines] = text.slice(0, end).split('\r\n');
  const [, method = '', url = '', version] = /^([A-Z]+) (\S+) HTTP\/1\.([01])$/.exec(line) ?? [];
  const headers = readHeaders(lines);
  const values = (name: string): readonly string[] => (headers ?? []).filter(([other]) => other.toLowerCase() === name).map(([, value]) => value);
  const [length, coding] = [values('content-length'), values('transfer-encoding')];
  if (method === '' || headers === null) return { odd: `not a head: ${text}` };
  if (length.length + coding.length > 1 || values('host').length > 1) return { odd: `may be read in two ways: ${text}` };
  const after = text.slice(end + 4);
  if (coding.length === 1) {
    if (coding[0]!.toLowerCase() !== 'chunked' || version === '0') return { odd: `no coding: ${text}` };
    const chunked = readChunks(after);
    return chunked === null || 'odd' in chunked
      ? chunked
      : { request: { method, url, headers, trailer: chunked.trailer, body: chunked.body }, rest: chunked.rest };
  }
  if (!/^\d{1,15}$/.test(length[0] ?? '0')) return { odd: `no length: ${text}` };
  const size = Number(length[0] ?? 0);
  return after.length < size ? null : { request: { method, url, headers, trailer: [], body: after.slice(0, size) }, rest: after.slice(size) };
}

function readHeaders(lines: readonly string[]): RecordedRequest['headers'] | null {
  const headers = lines.map((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, Math.max(colon, 0)), line.slice(colon + 1).trim()] as const;
  });
  return headers.every(([name, value]) => NAME.test(name) && !/[\0\r\n]/.test(value)) ? headers : null;
}

function readChunks(text: string): { body: string; trailer: RecordedRequest['headers']; rest: string } | { odd: string } | null {
  let body = '';
  for (let at = 0; ;) {
    const end = text.indexOf('\r\n', at);
    if (end < 0) return null;
    const line = text.slice(at, end);
    if (!/^[0-9a-fA-F]{1,8}$/.test(line)) return { odd: `not a chunk: ${text}` };
    const size = parseInt(line, 16);
    if (size === 0) {
      const stop = text.startsWith('\r\n', end + 2) ? end + 2 : text.indexOf('\r\n\r\n', end + 2) + 2;
      if (stop < end + 2) return null;
      const trailer = stop === end + 2 ? [] : readHeaders(text.slice(end + 2, stop - 2).split('\r\n'));
      return trailer === null ? { odd: `not a trailer: ${text}` } : { body, trailer, rest: text.slice(stop + 2) };
    }
    const stop = end + 2 + size;
    if (text.length < stop + 2) return null;
    if (!text.startsWith('\r\n', stop)) return { odd: `a chunk that does not end: ${text}` };
    body += text.slice(end + 2, stop);
    at = stop + 2;
  }
}
