// Which raw request targets may be read at all, and what is their path?
//
// A proxy routes on one form of a path and the application may serve another (`//`, `/x/../`, `%2F`, `;`). So anything that two
// readers could read differently is refused here, never repaired (proxies 3.2). What passes has exactly one reading: its bytes.
// One pass over the char codes and no URL parser: this runs on every check, before any table is looked at.

/** Bytes of a whole request target, query included. nginx's default line buffer is as long. */
export const MAX_TARGET_BYTES = 8192;

/** Why a target has no single reading. Stable: the decision log and the metrics carry these. */
export type RefusedTarget =
  | 'target-missing'
  | 'target-length'
  | 'target-form'
  | 'target-character'
  | 'fragment'
  | 'path-parameter'
  | 'backslash'
  | 'empty-segment'
  | 'dot-segment'
  | 'encoded-slash'
  | 'encoded-delimiter'
  | 'encoded-control'
  | 'double-encoding'
  | 'bad-percent'
  | 'bad-utf8';

export interface Refusal {
  readonly kind: 'refused';
  readonly reason: RefusedTarget;
}

/** The path of a target without its query, byte for byte as the client sent it. */
export interface CanonicalPath {
  readonly kind: 'path';
  readonly path: string;
  /** True if a percent-encoded byte is in the path; each is then well-formed and none of the refused ones. */
  readonly percent: boolean;
}

/** The methods that a check can be about. Anything else, TRACE, CONNECT and other spellings included, is unmapped. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;
export type Method = (typeof METHODS)[number];

const refusals = new Map<RefusedTarget, Refusal>();
function refuse(reason: RefusedTarget): Refusal {
  let refusal = refusals.get(reason);
  if (!refusal) refusals.set(reason, (refusal = Object.freeze({ kind: 'refused', reason })));
  return refusal;
}

const PLAIN = 1,
  SLASH = 2,
  PERCENT = 3,
  QUERY = 4,
  FRAGMENT = 5,
  SEMICOLON = 6,
  BACKSLASH = 7;

// What each ASCII character means in a path. 0 is refused: RFC 3986 has no place for it there.
const MEANING = new Uint8Array(128);
for (const character of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,=:@") MEANING[character.charCodeAt(0)] = PLAIN;
for (const [character, meaning] of [
  ['/', SLASH],
  ['%', PERCENT],
  ['?', QUERY],
  ['#', FRAGMENT],
  [';', SEMICOLON],
  ['\\', BACKSLASH],
] as const)
  MEANING[character.charCodeAt(0)] = meaning;

// What each ASCII byte is refused for when it stands there percent-encoded. A `%25` is refused whatever follows: decoded twice
// by somebody, it is another path. `%2E` likewise, so that no decoder ever finds a dot segment.
const ENCODED: readonly (RefusedTarget | undefined)[] = Array.from({ length: 128 }, (_, byte) => {
  if (byte < 0x20 || byte === 0x7f) return 'encoded-control';
  switch (String.fromCharCode(byte)) {
    case '/':
      return 'encoded-slash';
    case '\\':
      return 'backslash';
    case '.':
      return 'dot-segment';
    case '#':
      return 'fragment';
    case '%':
      return 'double-encoding';
    case ';':
    case '?':
      return 'encoded-delimiter';
    default:
      return undefined;
  }
});

const DOT = 0x2e;

/**
 * Reads the raw target of a request: origin-form only. The query is split off at the first `?` and never read again; of it only
 * the bytes that could end a header or start a fragment are refused (`%23` is refused in the path, where it could hide one).
 */
export function canonical(raw: string): CanonicalPath | Refusal {
  const length = raw.length;
  if (length === 0) return refuse('target-missing');
  if (length > MAX_TARGET_BYTES) return refuse('target-length');
  if (raw.charCodeAt(0) !== 0x2f) return refuse('target-form');
  let percent = false;
  let start = 1;
  let at = 1;
  scan: for (; at < length; at++) {
    const code = raw.charCodeAt(at);
    switch (code < 128 ? MEANING[code] : 0) {
      case PLAIN:
        continue;
      case SLASH:
        if (at === start) return refuse('empty-segment');
        if (isDots(raw, start, at)) return refuse('dot-segment');
        start = at + 1;
        continue;
      case PERCENT: {
        const last = encoded(raw, at);
        if (typeof last !== 'number') return last;
        percent = true;
        at = last;
        continue;
      }
      case QUERY:
        break scan;
      case FRAGMENT:
        return refuse('fragment');
      case SEMICOLON:
        return refuse('path-parameter');
      case BACKSLASH:
        return refuse('backslash');
      default:
        return refuse('target-character');
    }
  }
  if (isDots(raw, start, at)) return refuse('dot-segment');
  for (let i = at + 1; i < length; i++) {
    const code = raw.charCodeAt(i);
    if (code < 0x21 || code > 0x7e) return refuse('target-character');
    if (code === 0x23) return refuse('fragment');
  }
  return { kind: 'path', path: at === length ? raw : raw.slice(0, at), percent };
}

/** Does this name, exactly as sent, stand for a method that a check can be about? */
export function isMethod(name: string): name is Method {
  return (METHODS as readonly string[]).includes(name);
}

function isDots(raw: string, start: number, end: number): boolean {
  const length = end - start;
  return (length === 1 || length === 2) && raw.charCodeAt(start) === DOT && raw.charCodeAt(end - 1) === DOT;
}

/** Checks the character encoded at `at` (one byte, or a whole UTF-8 sequence); the index of its last hex digit, or the refusal. */
function encoded(raw: string, at: number): number | Refusal {
  const lead = byteAt(raw, at);
  if (lead < 0) return refuse('bad-percent');
  if (lead < 0x80) {
    const reason = ENCODED[lead];
    return reason === undefined ? at + 2 : refuse(reason);
  }
  // The well-formed sequences of Unicode's table 3-7: the first continuation byte has the narrow bounds (overlong forms,
  // surrogates, beyond U+10FFFF).
  const more = lead < 0xc2 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : lead < 0xf5 ? 3 : 0;
  if (more === 0) return refuse('bad-utf8');
  let low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  let high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  let last = at;
  for (let i = 0; i < more; i++) {
    last += 3;
    const byte = raw.charCodeAt(last) === 0x25 ? byteAt(raw, last) : -1;
    if (byte < low || byte > high) return refuse('bad-utf8');
    // U+0080 to U+009F are control characters too (semantics 1.1).
    if (lead === 0xc2 && byte < 0xa0) return refuse('encoded-control');
    low = 0x80;
    high = 0xbf;
  }
  return last + 2;
}

/** The byte that the two hex digits after `at` stand for; -1 if they are not two hex digits. */
function byteAt(raw: string, at: number): number {
  const high = hexDigit(raw.charCodeAt(at + 1));
  const low = hexDigit(raw.charCodeAt(at + 2));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// charCodeAt past the end is NaN, which fails every comparison and so is no digit.
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}
