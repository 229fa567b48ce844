// Does the decoder of header blocks read what others write: the RFC's own examples, and nghttp2, which Node's client compresses with?

import { once } from 'node:events';
import { connect } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CompressionError, HpackDecoder, encodeFields } from '../../src/doors/h2/hpack.ts';
import { KIND, http2Frame } from '../support/http2-raw.ts';
import { until } from '../support/until.ts';

const runs = Number(process.env['GRANTGATE_FUZZ'] ?? 300);
const seed = Number(process.env['GRANTGATE_SEED'] ?? Date.now() & 0x7fffffff);
console.log(`HPACK: GRANTGATE_SEED=${seed}, ${runs} runs`);
const MOST = 62 * 1024;

type Pairs = readonly (readonly [name: string, value: string])[];
function read(decoder: HpackDecoder, block: Buffer): Pairs | null {
  return decoder.decode(block, 0, block.length)?.map(({ name, value }) => [name, value] as const) ?? null;
}
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('RFC 7541, appendix C', () => {
  const literals: readonly (readonly [string, string, Pairs])[] = [
    ['C.2.1', '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572', [['custom-key', 'custom-header']]],
    ['C.2.2', '040c 2f73 616d 706c 652f 7061 7468', [[':path', '/sample/path']]],
    ['C.2.3', '1008 7061 7373 776f 7264 0673 6563 7265 74', [['password', 'secret']]],
    ['C.2.4', '82', [[':method', 'GET']]],
  ];
  test.each(literals)('%s', (_, block, fields) => {
    expect(read(new HpackDecoder(MOST), hex(block))).toEqual(fields);
  });
  const first: Pairs = [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
    [':authority', 'www.example.com'],
  ];
  const requests: readonly Pairs[] = [
    first,
    [...first, ['cache-control', 'no-cache']],
    [
      [':method', 'GET'],
      [':scheme', 'https'],
      [':path', '/index.html'],
      [':authority', 'www.example.com'],
      ['custom-key', 'custom-value'],
    ],
  ];
  test.each([
    [
      'C.3, without Huffman',
      [
        '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
        '8286 84be 5808 6e6f 2d63 6163 6865',
        '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
      ],
    ],
    [
      'C.4, with Huffman',
      ['8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff', '8286 84be 5886 a8eb 1064 9cbf', '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf'],
    ],
  ])('%s: three on one connection', (_, blocks) => {
    const decoder = new HpackDecoder(MOST);
    expect(blocks.map((block) => read(decoder, hex(block)))).toEqual(requests);
  });
  test('C.6, answers with Huffman, in a table of 256 bytes: fields are evicted', () => {
    const decoder = new HpackDecoder(MOST);
    const answer = (status: string, date: string): Pairs => [
      [':status', status],
      ['cache-control', 'private'],
      ['date', date],
      ['location', 'https://www.example.com'],
    ];
    read(decoder, hex('3fe1 01')); // the size of the table, of which the RFC says nothing on the wire
    const blocks = [
      '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
      '4883 640e ffc1 c0bf',
      '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
    ];
    expect(blocks.map((block) => read(decoder, hex(block)))).toEqual([
      answer('302', 'Mon, 21 Oct 2013 20:13:21 GMT'),
      answer('307', 'Mon, 21 Oct 2013 20:13:21 GMT'),
      [
        ...answer('200', 'Mon, 21 Oct 2013 20:13:22 GMT'),
        ['content-encoding', 'gzip'],
        ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
      ],
    ]);
  });
});

describe('nghttp2 writes, and this decoder reads', () => {
  const value = fc.string({ unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)), maxLength: 200 });
  const latin1 = fc.string({ unit: fc.constantFrom('é', 'ÿ', '\x80', 'a', '0', '~'), minLength: 1, maxLength: 40 });
  const name = fc.constantFrom('traceparent', 'grpc-timeout', 'x-request-id', 'user-agent', 'cookie', 'authorization', 'x-a', 'x-b', 'accept');
  const lists = fc.array(fc.array(fc.tuple(name, fc.oneof(value, fc.constantFrom('', 'once', 'twice'), latin1)), { maxLength: 12 }), {
    minLength: 1,
    maxLength: 12,
  });

  test('any lists of fields, one after the other on a connection', { timeout: 60_000 }, async () => {
    let blocks: Buffer[] = [];
    const server = createServer((socket: Socket) => {
      let got = Buffer.alloc(0);
      let block: Buffer[] = [];
      socket.on('error', () => undefined).write(http2Frame(KIND.settings));
      socket.on('data', (part: Buffer) => {
        got = Buffer.concat([got, part]);
        let at = 24; // behind the preface
        for (; at + 9 <= got.length; at += 9 + got.readUIntBE(at, 3)) {
          const end = at + 9 + got.readUIntBE(at, 3);
          if (end > got.length) break;
          const [kind, flags] = [got[at + 3] ?? 0, got[at + 4] ?? 0];
          if (kind !== KIND.headers && kind !== KIND.continuation) continue;
          const priority = kind === KIND.headers && (flags & 0x20) !== 0 ? 5 : 0;
          block.push(got.subarray(at + 9 + priority, end));
          if ((flags & 4) === 0) continue;
          blocks.push(Buffer.concat(block));
          block = [];
        }
        got = Buffer.concat([got.subarray(0, 24), got.subarray(at)]);
      });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    let fields = 0;
    let bytes = 0;
    try {
      await fc.assert(
        fc.asyncProperty(lists, async (sent) => {
          blocks = [];
          const session = connect(`http://127.0.0.1:${port}`).on('error', () => undefined);
          try {
            await once(session, 'remoteSettings');
            for (const list of sent) session.request(Object.fromEntries([[':path', '/x'], ...list])).on('error', () => undefined);
            await until(() => blocks.length === sent.length, 'the blocks');
          } finally {
            session.destroy();
          }
          const decoder = new HpackDecoder(MOST);
          for (const [i, list] of sent.entries()) {
            const got = read(decoder, blocks[i]!)!;
            const wanted = [...new Map(list)];
            expect(new Map(got.filter(([name]) => !name.startsWith(':')))).toEqual(new Map(wanted));
            expect(got).toContainEqual([':path', '/x']);
            fields += wanted.length;
            bytes += blocks[i]!.length;
          }
        }),
        { numRuns: Math.ceil(runs / 3), seed },
      );
    } finally {
      server.close();
    }
    console.log(`HPACK: ${fields} fields of nghttp2, in ${bytes} bytes`);
  });
});

describe('what is no block, or too much of one', () => {
  test.each([
    ['an index of nothing', '80'],
    ['an index beyond the table', 'be'],
    ['a number without an end', 'ffff ffff ffff'],
    ['a number that is cut off', 'ff'],
    ['a name that is cut off', '4005 6162'],
    ['a value that is missing', '4001 61'],
    ['a table larger than it may be', '3fe2 1f'],
    ['the size of the table behind a field', '8220'],
    ['padding of Huffman that is no ones', '0001 6181 00'],
    ['more padding than fills a byte', '0001 6182 f8ff ff'.replace(' ff', '')],
    ['the end of string within one', '0001 6184 ffff ffff'],
  ])('%s', (_, block) => {
    expect(() => read(new HpackDecoder(MOST), hex(block))).toThrow(CompressionError);
  });
  test('a byte that stands for 4 KB, ten thousand times: nothing of it is kept, and the table is in order', () => {
    const decoder = new HpackDecoder(MOST);
    const large = Buffer.concat([hex('4001 61'), hex('7fd9 1e'), Buffer.alloc(0x7f + 0x59 + 30 * 128, 'x')]); // 4056 letters
    expect(read(decoder, large)).toHaveLength(1);
    expect(read(decoder, Buffer.alloc(15, 0xbe))).toHaveLength(15);
    expect(read(decoder, Buffer.alloc(10_000, 0xbe))).toBeNull();
    expect(read(decoder, Buffer.of(0xbe))).toHaveLength(1);
  });
  test('any bytes: read, or its own error', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 5 }), (blocks) => {
        const decoder = new HpackDecoder(MOST);
        try {
          for (const block of blocks) read(decoder, Buffer.from(block));
        } catch (thrown) {
          if (!(thrown instanceof CompressionError)) throw thrown;
        }
      }),
      { numRuns: runs * 5, seed },
    );
  });
  test('what we write ourselves', () => {
    const fields: Pairs = [
      [':status', '200'],
      ['content-type', 'application/grpc'],
      ['grpc-message', 'x'.repeat(126)],
    ];
    expect(read(new HpackDecoder(MOST), encodeFields(fields))).toEqual(fields);
    expect(() => encodeFields([['grpc-message', 'x'.repeat(127)]])).toThrow(RangeError);
  });
});
