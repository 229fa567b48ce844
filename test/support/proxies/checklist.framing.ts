// 8, 9, 10: can one message be two to the application, or the tail of one be a request that nobody checked?
//
// What is sent is ambiguous, or forbidden, or both, and ends in a request of its own. The application reads by the letter and says
// what it could not: whatever the proxy makes of a message, what it passes on must be one request, checked, and read one way only.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectRaw } from '../raw.ts';
import { IDENTITY, type Subject } from './checklist.subject.ts';
import type { RunningProxy } from './kit.ts';
import { startRecorder, type RecordedRequest, type Recorder } from './recorder.ts';
import { until } from '../until.ts';
import { tell } from './wire.ts';

/** A POST that the route table lets clerk make. */
const PATH = '/api/events/DEVICE/device-b1';
const TAIL = 'GET /api/evil HTTP/1.1\r\nHost: evil\r\nX-Auth-User: mallory\r\n\r\n';
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
const EMPTY = `0\r\n\r\n${TAIL}`;

/** Header lines and all that follows them. */
type Row = readonly [what: string, lines: readonly string[], rest: string];

const CODINGS = ['xchunked', 'chunked, identity', 'identity, chunked', 'gzip, chunked', 'chunked, chunked', '"chunked"', 'chunked;q=1', 'identity', 'cow', '\x0bchunked', 'chunked\0', 'chunked,', ',chunked']; // prettier-ignore
const LENGTHS = ['+4', '4, 4', '4, 5', '0x4', '-1', '4_0', '4\x0b', '4;', '99999999999999999999999', ''];
const LINES = ['Transfer-Encoding : chunked', ' Transfer-Encoding: chunked', 'X: y\nTransfer-Encoding: chunked', 'X: y\rTransfer-Encoding: chunked', 'Transfer-Encoding:\r\n chunked', 'X: y\r\n Transfer-Encoding: chunked']; // prettier-ignore
const FOLDED = ['X-Foo: a\r\n X-Auth-User: mallory', 'X-Foo: a\r\n\tX-Auth-User: mallory', 'X-Auth-User : mallory', 'X-Auth-User\t: mallory', ' X-Auth-User: mallory', 'X-Foo: a\rX-Auth-User: mallory', 'X-Foo: a\nX-Auth-User: mallory', 'X-Auth-User\0: mallory', 'X-Foo: a\0b', 'X-Auth-User', ': mallory', 'X Auth User: mallory', '\x0bX-Auth-User: mallory', 'X-Auth-User;: mallory']; // prettier-ignore

const ROWS: readonly Row[] = [
  ['a length and a coding', [`Content-Length: ${EMPTY.length}`, 'Transfer-Encoding: chunked'], EMPTY],
  ['a coding and a length that is short', ['Transfer-Encoding: chunked', 'Content-Length: 4'], chunk(TAIL) + '0\r\n\r\n'],
  ...CODINGS.map((coding): Row => [
    `a length and the coding ${JSON.stringify(coding)}`,
    [`Transfer-Encoding: ${coding}`, `Content-Length: ${EMPTY.length}`],
    EMPTY,
  ]),
  ...CODINGS.map((coding): Row => [`the coding ${JSON.stringify(coding)}`, [`Transfer-Encoding: ${coding}`], EMPTY]),
  ['two lines of codings', ['Transfer-Encoding: chunked', 'Transfer-Encoding: cow'], EMPTY],
  ['two lines, the other way round', ['Transfer-Encoding: cow', 'Transfer-Encoding: chunked'], EMPTY],
  ...LINES.map((line): Row => [`a length and ${JSON.stringify(line)}`, [`Content-Length: ${EMPTY.length}`, line], EMPTY]),
  ['two lengths', ['Content-Length: 4', `Content-Length: ${4 + TAIL.length}`], `body${TAIL}`],
  ['one length twice', ['Content-Length: 4', 'Content-Length: 4'], `body${TAIL}`],
  ...LENGTHS.map((length): Row => [`the length ${JSON.stringify(length)}`, [`Content-Length: ${length}`], `body${TAIL}`]),
  ['an extension of a chunk that ends a line', ['Transfer-Encoding: chunked'], `2;\nxx\r\n${TAIL.length.toString(16)}\r\n0\r\n\r\n${TAIL}\r\n0\r\n\r\n`],
  ['a chunk of hexadecimal digits with 0x', ['Transfer-Encoding: chunked'], `0x4\r\nbody\r\n${EMPTY}`],
  ['lines of a chunk that end in a line feed', ['Transfer-Encoding: chunked'], `4\nbody\n0\n\n${TAIL}`],
  ['a chunk that is longer than a number', ['Transfer-Encoding: chunked'], `10000000000000004\r\nbody\r\n${EMPTY}`],
  ['a chunk that does not end', ['Transfer-Encoding: chunked'], `4\r\nbodyXX${EMPTY}`],
  ...FOLDED.map((line): Row => [JSON.stringify(line), [line], '']),
];

/** By the letter, with something in them that is not for the application. */
const SOUND: readonly Row[] = [
  ['a length that its own sender takes back', [`Content-Length: ${TAIL.length}`, 'Connection: keep-alive, Content-Length'], TAIL],
  ['a coding that its own sender takes back', ['Transfer-Encoding: chunked', 'Connection: keep-alive, Transfer-Encoding'], `${chunk(TAIL)}0\r\n\r\n`],
  [
    'identity in a trailer',
    ['Transfer-Encoding: chunked', 'Trailer: X-Auth-User', 'TE: trailers'],
    '4\r\nbody\r\n0\r\nX-Auth-User: mallory\r\nX-Authz-Decision-Id: mallory\r\n\r\n',
  ],
  ['a length in a trailer', ['Transfer-Encoding: chunked', 'Trailer: Content-Length'], '4\r\nbody\r\n0\r\nContent-Length: 0\r\nX-Auth-Tenant: mallory\r\n\r\n'],
];

export function framing({ kit, stack, token }: Subject): void {
  describe('framing', () => {
    let recorder: Recorder;
    let proxy: RunningProxy;
    beforeAll(async () => {
      recorder = await startRecorder();
      proxy = await kit.start({ ...stack().upstreams, applicationPort: recorder.port });
    });
    afterAll(async () => {
      await proxy?.stop();
      await recorder?.close();
    });
    const head = (line: string, lines: readonly string[]): string =>
      `${[line, 'Host: app.example', `Authorization: Bearer ${token('clerk')}`, ...lines].join('\r\n')}\r\n\r\n`;
    /** All at once, each on a connection of its own. */
    const sendAll = async (port: number, rows: readonly Row[]): Promise<void> => {
      const send = async ([, lines, rest]: Row): Promise<void> => {
        const bytes = Buffer.from(head(`POST ${PATH} HTTP/1.1`, lines) + rest, 'latin1');
        await tell(port, bytes, { head: true, ms: 2000 }).catch(() => null); // nothing is an answer, too
      };
      await Promise.all(rows.map(send));
    };
    const named = (request: RecordedRequest, name: string): readonly string[] =>
      request.headers.filter(([other]) => other.toLowerCase().replace(/[_.]/g, '-') === name.toLowerCase()).map(([, value]) => value);
    /** Those that nobody checked, or that are of another. */
    const forged = (requests: readonly RecordedRequest[]): readonly RecordedRequest[] =>
      requests.filter((each) => each.url !== PATH || named(each, 'X-Auth-User').join() !== 'clerk' || IDENTITY.some((name) => named(each, name).length !== 1));

    test(`${ROWS.length} messages that may be read in two ways: none is passed on as such`, { timeout: 60_000 }, async () => {
      /** A check may take longer than the proxy waits, on a machine that stands still: then nothing of it comes to the application. */
      const passes = async (bytes: string): Promise<void> =>
        until(
          async () => (await tell(proxy.port, head(`POST ${PATH} HTTP/1.1`, []).replace('\r\n\r\n', `\r\n${bytes}`), { head: true })).status === 200,
          'a 200',
        );
      await passes('Content-Length: 4\r\n\r\nbody');
      await sendAll(proxy.port, ROWS);
      // The application has read all that came before this one.
      await passes('Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n');
      console.log(
        `framing: ${kit.name}: of ${ROWS.length} ambiguous messages ${recorder.requests.length - 2} came to the application, each as one checked request`,
      );
      expect(recorder.odd).toEqual([]);
      expect(forged(recorder.requests)).toEqual([]);
      expect(recorder.requests.length).toBeLessThanOrEqual(ROWS.length + 2);
    });

    /** Does the application see something wrong, where nobody stands before it? */
    const alone = async (lines: readonly string[], rest: string): Promise<boolean> => {
      const application = await startRecorder();
      const checked = IDENTITY.map((name) => `${name}: clerk`);
      const bytes = Buffer.from(head(`POST ${PATH} HTTP/1.1`, [...checked, ...lines]) + rest, 'latin1');
      await tell(application.port, bytes, { head: true });
      await application.close();
      return application.odd.length + forged(application.requests).length > 0;
    };
    test('each of them would be something else to an application that it came to as it is', async () => {
      for (const [what, lines, rest] of ROWS) {
        expect(await alone(lines, rest), what).toBe(true);
      }
      expect(await alone(['Content-Length: 4'], 'body')).toBe(false);
    });

    test('by the letter, with a request or identity where it does not belong: one request, and whose it is stays', { timeout: 60_000 }, async () => {
      const before = recorder.requests.length;
      await sendAll(proxy.port, SOUND);
      const got = recorder.requests.slice(before);
      expect(recorder.odd).toEqual([]);
      expect(forged(got)).toEqual([]);
      const trailers = got.flatMap(({ trailer }) => trailer.filter(([, value]) => value === 'mallory'));
      if (kit.trailers) expect(trailers.length).toBeGreaterThan(0);
      else expect(trailers).toEqual([]);
    });

    test('what comes in one packet is asked about one by one', async () => {
      const before = recorder.requests.length;
      const anonymous = `GET ${PATH} HTTP/1.1\r\nHost: app.example\r\n`;
      const post = head(`POST ${PATH} HTTP/1.1`, ['Content-Length: 4']) + 'body';
      const denied = head('POST /api/events/DEVICE/d1 HTTP/1.1', ['Content-Length: 4']) + 'body';
      const text = await whole(proxy.port, `${post}${anonymous}\r\n${post}${denied}${post}${anonymous}Connection: close\r\n\r\n`);
      expect([...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => status)).toEqual(['200', '401', '200', '403', '200', '401']);
      expect(recorder.requests.slice(before).map(({ url, body }) => `${url} ${body}`)).toEqual(Array(3).fill(`${PATH} body`));
    });

    test('HTTP/1.0 is asked about like any other', async () => {
      const before = recorder.requests.length;
      const asked = [
        head(`POST ${PATH} HTTP/1.0`, ['Content-Length: 4']) + 'body',
        head('POST /api/events/DEVICE/d1 HTTP/1.0', []),
        `POST ${PATH} HTTP/1.0\r\n\r\n`,
      ];
      const got = [];
      for (const each of asked) got.push(/^HTTP\/1\.[01] (\d+)/.exec(await whole(proxy.port, each))?.[1]);
      const refused = got[0] === '426'; // by Envoy, whatever it is
      expect(got).toEqual(refused ? ['426', '426', '426'] : ['200', '403', '401']);
      expect(recorder.requests.length).toBe(before + (refused ? 0 : 1));
      // It knows no coding: to some applications the chunk would be the next request.
      await tell(proxy.port, `${head(`POST ${PATH} HTTP/1.0`, ['Transfer-Encoding: chunked', 'Connection: keep-alive'])}${chunk(TAIL)}0\r\n\r\n`, {
        head: true,
      });
      expect(recorder.odd).toEqual([]);
      expect(forged(recorder.requests.slice(before))).toEqual([]);
    });

    test('Expect: 100-continue: a body that is refused is not asked for by the application', async () => {
      const before = recorder.requests.length;
      const allowed = await whole(proxy.port, head(`POST ${PATH} HTTP/1.1`, ['Content-Length: 4', 'Expect: 100-continue', 'Connection: close']) + 'body');
      expect(allowed).toMatch(/^HTTP\/1\.1 (100 Continue\r\n\r\nHTTP\/1\.1 )?200 /);
      const refused = await tell(proxy.port, head('POST /api/events/DEVICE/d1 HTTP/1.1', ['Content-Length: 4', 'Expect: 100-continue']), { head: true });
      expect([100, 403]).toContain(refused.status);
      expect(recorder.requests.slice(before).map(({ body }) => body)).toEqual(['body']);
    });

    test('an upgrade that the application does not take up is no tunnel', async () => {
      const before = recorder.requests.length;
      const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version: 13'];
      const refusing = head('GET /api/device/device-b1 HTTP/1.1', upgrade);
      // At once, as a body, and after the refusal: a request that nobody checked.
      await tell(proxy.port, refusing + TAIL, { head: true });
      await tell(proxy.port, head('GET /api/device/device-b1 HTTP/1.1', [...upgrade, `Content-Length: ${TAIL.length}`]) + TAIL, { head: true, ms: 1000 }).catch(
        () => null,
      ); // Envoy keeps the body back until it is taken up
      const connection = await connectRaw({ host: '127.0.0.1', port: proxy.port });
      connection.send(refusing);
      expect((await connection.answer()).status).toBe(426);
      connection.send(TAIL.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
      expect(await connection.closed()).toMatch(/^(HTTP\/1\.1 40[013] |$)/);
      connection.destroy();
      expect(recorder.odd).toEqual([]);
      const got = recorder.requests.slice(before);
      expect(got.length).toBeGreaterThan(0);
      expect(got.filter((each) => each.url !== '/api/device/device-b1' || named(each, 'X-Auth-User').join() !== 'clerk')).toEqual([]);
    });
  });
}

/** All that comes back until the other side ends the connection. */
async function whole(port: number, bytes: string): Promise<string> {
  const connection = await connectRaw({ host: '127.0.0.1', port });
  try {
    connection.send(bytes);
    return await connection.closed();
  } finally {
    connection.destroy();
  }
}
