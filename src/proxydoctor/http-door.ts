// What does a proxy ask over HTTP? Read as the real door reads it, and answered well or badly, as the doctor wants.

import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { DIALECTS, doorPath, entranceOf, targetOf } from '../doors/dialects.ts';
import type { Dialect, Entrance } from '../doors/dialects.ts';
import { OUTSIDE, readHeaders, readerOf } from '../doors/headers.ts';
import type { HeaderReader, Headers } from '../doors/headers.ts';
import type { Address } from '../listen.ts';
import { closed, decidedFor, identityOf, LIMITS, listenAs, pairs } from './listeners.ts';
import type { Behaviour, Door, Run, Subrequest } from './listeners.ts';
import type { Header } from './wire.ts';

interface Place {
  readonly dialect: Dialect;
  readonly reader: HeaderReader;
}

const FAILURES: Door['failures'] = [
  ...[503, 500, 502, 504, 302, 304, 404, 429].map((status) => [String(status), { status }] as const),
  ['a reset', 'reset'],
  ['an end without an answer', 'end'],
  ['an answer that is no HTTP', 'garbage'],
  ['no answer', 'hang'],
];
const BODY_MS = 400;

export async function openHttpDoor(run: Run, address: Address): Promise<Door> {
  const places = new Map<string, Place>(DIALECTS.map((dialect) => [doorPath(dialect), { dialect, reader: readerOf({ ...dialect, atLeast: null }) }]));
  const seen: Subrequest[] = [];
  const ended = new Set<Socket>();
  let server: Server | null = null;

  const handle = (req: IncomingMessage, res: ServerResponse): void => {
    let bytes = 0;
    const entrance = entranceOf(places, req.url ?? '');
    const read = readHeaders(entrance?.door.reader ?? OUTSIDE, req.rawHeaders);
    const checked = checkedBy(entrance, read, req.method ?? '');
    const ours = req.rawHeaders.some((value, i) => i % 2 === 1 && value.includes(run.credential));
    seen.push({
      where: req.url ?? '',
      kind: entrance?.door.dialect.name ?? null,
      missing: missingOf(entrance, read, { checked, ours }),
      checked,
      target: entrance === null || entrance.resource === null ? null : read.target,
      ours,
      headers: pairs(req.rawHeaders),
      bodyAnnounced: read.body,
      bodyBytes: () => bytes,
      connection: req.socket,
    });
    req.on('error', () => undefined);
    const refused = entrance === null || read.repeated || read.override || (entrance.resource !== null && read.target === '');
    const decide = (): void =>
      answer(res, refused ? 403 : decidedFor(run, { ...checked, credential: read.credential, credentials: read.credentials }), { last: read.body, run });
    const behaviour: Behaviour = ours ? door.behaviour : 'decide';
    if (typeof behaviour === 'object') return answer(res, behaviour.status, { last: read.body, run });
    switch (behaviour) {
      case 'decide':
        return decide();
      case 'undecided':
        return answer(res, 503, { last: read.body, run });
      case 'hang':
        return;
      case 'reset':
        return reset(req.socket);
      case 'end':
        return void req.socket.end();
      case 'garbage':
        return void req.socket.end('200 OK, let them in\r\n\r\n');
      case 'wait for a body': {
        const timer = setTimeout(decide, BODY_MS);
        req
          .on('data', (part: Buffer) => (bytes += part.length))
          .on('end', () => {
            clearTimeout(timer);
            decide();
          });
        return void req.on('close', () => clearTimeout(timer));
      }
      default:
        behaviour satisfies never;
    }
  };

  const door: Door = {
    grpc: false,
    failures: FAILURES,
    seen,
    ended,
    behaviour: 'decide',
    async close() {
      if (server !== null) await closed(server);
      server = null;
    },
    async open() {
      server = createServer(LIMITS, handle);
      server.on('checkContinue', handle);
      server.on('clientError', (_, socket) => void socket.destroy());
      server.on('connection', (socket) => void socket.on('end', () => ended.add(socket)));
      await listenAs('--door', server, address);
    },
  };
  await door.open();
  return door;
}

function checkedBy(entrance: Entrance<Place> | null, read: Headers, method: string): Subrequest['checked'] {
  const origin = entrance?.door.dialect.origin;
  if (origin?.kind === 'request-line') return { method, uri: entrance?.uri ?? '' };
  return { method: read.method, uri: origin?.url === true && read.uri !== '' ? targetOf(read.uri) : read.uri };
}

function missingOf(entrance: Entrance<Place> | null, read: Headers, { checked, ours }: Pick<Subrequest, 'checked' | 'ours'>): readonly string[] {
  if (entrance === null) return ['a door at that path'];
  const { origin, target } = entrance.door.dialect;
  return [
    ...(origin.kind === 'headers' && checked.method === '' ? [origin.method] : []),
    ...(origin.kind === 'headers' && checked.uri === '' ? [origin.uri] : []),
    ...(origin.kind === 'headers' && checked.uri === null ? [`a URL in ${origin.uri}`] : []),
    ...(entrance.resource !== null && target !== null && read.target === '' ? [target] : []),
    ...(ours ? [] : ['the credential']),
    ...(read.repeated ? ['one value for each of its headers'] : []),
  ];
}

function answer(res: ServerResponse, status: number, { last, run }: { readonly last: boolean; readonly run: Run }): void {
  const headers: Header[] = [
    ['Content-Length', '0'],
    ['Cache-Control', 'no-store'],
  ];
  if (status === 200) headers.push(...identityOf(run));
  if (status === 401) headers.push(['WWW-Authenticate', 'Bearer']);
  if (status === 302) headers.push(['Location', '/']);
  if (last) headers.push(['Connection', 'close']);
  res.sendDate = false;
  if (!res.destroyed) res.writeHead(status, headers.flat()).end();
}

/** A Unix socket knows no reset, and Node throws. */
function reset(socket: Socket): void {
  if (socket.remoteAddress === undefined) socket.destroy();
  else socket.resetAndDestroy();
}
