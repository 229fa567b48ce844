// Is every request target that two readers could read differently refused, and every other one read as it stands?
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonical, isMethod, MAX_TARGET_BYTES, METHODS, type RefusedTarget } from '../../src/target.ts';
import { NASTY_TARGETS } from '../corpus/targets.ts';

/** The strict reading, written the slow way and sharing nothing with the reader: the path, or null for "refused". */
function naive(raw: string): string | null {
  if (raw.length > 8192 || !/^\/[\x21-\x7e]*$/.test(raw) || raw.includes('#')) return null;
  const path = raw.split('?')[0]!;
  if (!/^[A-Za-z0-9\-._~!$&'()*+,=:@%/]*$/.test(path)) return null;
  if (/%(2f|5c|2e|23|25|3b|3f|[01].|7f)/i.test(path)) return null;
  const segments = path.slice(1).split('/');
  if (segments.slice(0, -1).includes('') || segments.includes('.') || segments.includes('..')) return null;
  try {
    return /[\u0080-\u009f]/.test(decodeURIComponent(path)) ? null : path;
  } catch {
    return null;
  }
}

function read(raw: string): string | null {
  const reading = canonical(raw);
  return reading.kind === 'path' ? reading.path : null;
}

/** Those that the two readings differ on. */
const misread = (targets: readonly string[]): readonly string[] => targets.filter((raw) => read(raw) !== naive(raw));

const hex = (byte: number): string => byte.toString(16).padStart(2, '0');

describe('what is read', () => {
  const accepted: readonly [raw: string, path: string, percent: boolean][] = [
    ['/', '/', false],
    ['/api/device/d1', '/api/device/d1', false],
    ['/api/device/', '/api/device/', false],
    ['/a?x=/../y//;%zz%00', '/a', false],
    ['/a??x', '/a', false],
    ["/A-z0.9_~!$&'()*+,=:@", "/A-z0.9_~!$&'()*+,=:@", false],
    ['/...', '/...', false],
    ['/a..b/.c/d.', '/a..b/.c/d.', false],
    ['/a%20b', '/a%20b', true],
    ['/%64evice', '/%64evice', true],
    ['/caf%C3%a9?x=%23', '/caf%C3%a9', true],
    ['/%f0%9f%98%80/%ed%9f%bf/%ee%80%80/%f4%8f%bf%bf/%c2%a0', '/%f0%9f%98%80/%ed%9f%bf/%ee%80%80/%f4%8f%bf%bf/%c2%a0', true],
  ];
  test.each(accepted)('%s', (raw, path, percent) => {
    expect(canonical(raw)).toEqual({ kind: 'path', path, percent });
  });
});

describe('what is refused, and why', () => {
  // prettier-ignore
  const refused: Readonly<Record<RefusedTarget, readonly string[]>> = {
    'target-missing': [''],
    'target-length': [`/${'a'.repeat(8192)}`, `/a?${'q'.repeat(8190)}`],
    'target-form': ['*', 'http://a/b', 'https://a/b', 'a:443', 'api/x', '?x', '#', '\\a', '%2fa', ' /a', '.', '@a'],
    'target-character': ['/a b', '/a\tb', '/a\r\nb', '/a\u0000', '/a\u007f', '/a\u0080', '/\u00e9', '/\u017f', '/\u{1f600}', '/"', '/<', '/>', '/[', '/]', '/^', '/`', '/{', '/|', '/}', '/a?b c', '/a?\u0000', '/a?\u00e9', '/a?\r\nX: y', '/a?\u007f'],
    fragment: ['/a#', '/a#b', '/a?b#c', '/a%23', '/a%23b'],
    'path-parameter': ['/a;', '/a;b=c', '/a/..;/b', '/;'],
    backslash: ['/a\\b', '/\\', '/a%5cb', '/a%5Cb'],
    'empty-segment': ['//', '//a', '/a//b', '/a//', '///'],
    'dot-segment': ['/.', '/..', '/a/.', '/a/..', '/./a', '/a/../b', '/a/..?x', '/%2e', '/%2E%2e/a', '/a/.%2e', '/a%2eb'],
    'encoded-slash': ['/a%2fb', '/a%2Fb', '/%2f'],
    'encoded-delimiter': ['/a%3bb', '/a%3B', '/a%3fb', '/a%3F'],
    'encoded-control': ['/%00', '/a%0d%0aX:%20y', '/%1f', '/%7F', '/%c2%80', '/%C2%9f'],
    'double-encoding': ['/%25', '/%252e', '/%25%32%66', '/%2525', '/a%25zz'],
    'bad-percent': ['/%', '/%2', '/%z', '/%zz', '/%2z', '/%z2', '/a%/b', '/%u0041', '/%+1', '/%-1', '/% 1'],
    'bad-utf8': ['/%80', '/%bf', '/%c0%af', '/%c0%ae', '/%c1%81', '/%c2', '/%c3%28', '/%c3/a', '/%e0%80%af', '/%e0%9f%bf', '/%e2%82', '/%ed%a0%80', '/%ed%bf%bf', '/%f0%80%80%af', '/%f0%8f%bf%bf', '/%f4%90%80%80', '/%f5%80%80%80', '/%ff', '/%c3a9', '/%e2%82a', '/%e2%82%zz'],
  };
  test.each(Object.entries(refused))('%s', (reason, targets) => {
    for (const raw of targets) expect([raw, canonical(raw)]).toEqual([raw, { kind: 'refused', reason }]);
  });

  test('one byte more than the limit, in the path or in the query', () => {
    expect(read(`/${'a'.repeat(MAX_TARGET_BYTES - 1)}`)).not.toBeNull();
    expect(read(`/${'a'.repeat(MAX_TARGET_BYTES)}`)).toBeNull();
    expect(read(`/?${'a'.repeat(MAX_TARGET_BYTES - 2)}`)).toBe('/');
    expect(read(`/?${'a'.repeat(MAX_TARGET_BYTES - 1)}`)).toBeNull();
  });
});

describe('against the strict reading written the slow way', () => {
  test(`${NASTY_TARGETS.length} nasty targets`, () => {
    expect(NASTY_TARGETS.length).toBeGreaterThanOrEqual(200);
    const counts = { refused: 0, read: 0 };
    for (const raw of NASTY_TARGETS) {
      expect([raw, read(raw)]).toEqual([raw, naive(raw)]);
      counts[read(raw) === null ? 'refused' : 'read']++;
    }
    console.log(`nasty targets: ${counts.refused} refused, ${counts.read} read as they stand`);
    expect(counts.refused).toBeGreaterThan(200);
  });

  test('every character, raw and encoded in both hex cases, in path and query', () => {
    for (let code = 0; code < 0x180; code++) {
      const character = String.fromCharCode(code);
      const spellings = code < 0x100 ? [character, `%${hex(code)}`, `%${hex(code).toUpperCase()}`] : [character];
      for (const spelling of spellings)
        for (const raw of [`/${spelling}`, `/a${spelling}b`, `/a/${spelling}/b`, `/a?${spelling}`]) expect([raw, read(raw)]).toEqual([raw, naive(raw)]);
    }
  });

  test('every two encoded bytes', () => {
    const bytes = Array.from({ length: 256 }, (_, byte) => hex(byte));
    expect(misread(bytes.flatMap((first) => bytes.map((second) => `/%${first}%${second}`)))).toEqual([]);
  });

  test('encoded bytes at the edges of UTF-8', () => {
    // prettier-ignore
    const edges = [0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff].map((byte) => `%${hex(byte)}`);
    const three = edges.flatMap((a) => edges.flatMap((b) => edges.map((c) => `/${a}${b}${c}`)));
    expect(misread(three)).toEqual([]);
    expect(misread(three.filter((raw) => raw.startsWith('/%f')).flatMap((raw) => edges.map((d) => raw + d)))).toEqual([]);
  });

  test('random targets of hostile pieces', () => {
    // prettier-ignore
    const piece = fc.constantFrom('/', '/', 'a', 'device', '.', '..', '%2e', '%2F', '%5c', '%25', '%', '%4', '%41', '%c3', '%a9', '%00', ';', '\\', '?', '#', '*', '~', ' ', '\u00e9', '\u0000', ':', '@', '{', '"');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const raw = `/${pieces.join('')}`;
        expect(read(raw)).toBe(naive(raw));
      }),
      { numRuns: 20_000 },
    );
  });
});

test('methods: the seven real ones, in capitals exactly', () => {
  expect(METHODS).toEqual(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);
  for (const method of METHODS) expect(isMethod(method)).toBe(true);
  for (const name of ['', 'get', 'Get', 'GET ', ' GET', 'GET,POST', 'TRACE', 'CONNECT', 'PROPFIND', 'FOO', '*', 'constructor', '0'])
    expect(isMethod(name)).toBe(false);
});
