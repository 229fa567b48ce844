// What do the headers of a subrequest say, when every one of them may have been sent twice or under another spelling?
//
// Read from `rawHeaders`: Node's own object joins some repeated headers and keeps the first of others. `X_Original_URI` and
// `X.Original.URI` are `X-Original-URI` to some server between a client and an application (proxies 3.1), so a contract header in
// such a spelling counts as one time more, and never as its value.

import type { Dialect } from './dialects.ts';
import { mayBeIdentity } from './identity-headers.ts';

export interface Headers {
  readonly method: string;
  readonly uri: string;
  readonly target: string;
  readonly atLeast: string;
  /** A contract header came more than once. */
  readonly repeated: boolean;
  readonly credential: string;
  readonly credentials: number;
  readonly requestId: string;
  /** '' unless the door is traced; of several, nothing that is well-formed. */
  readonly traceparent: string;
  readonly tracestate: string;
  /** All of `Cookie`, joined as one. */
  readonly cookies: string;
  /** Of the header in which the proxy names the subject, where there is one. */
  readonly asserted: string;
  readonly origin: string;
  readonly preflight: boolean;
  /** A header that replaces the method in some applications. */
  readonly override: boolean;
  /** A body is announced. */
  readonly body: boolean;
}

type Role =
  | 'method'
  | 'uri'
  | 'target'
  | 'at-least'
  | 'asserted'
  | 'credential'
  | 'alias'
  | 'credential-alias'
  | 'request-id'
  | 'traceparent'
  | 'tracestate'
  | 'cookie'
  | 'origin'
  | 'preflight-method'
  | 'length'
  | 'transfer'
  | 'override'
  | 'none';

/** The roles of a dialect's header names, remembered by spelling. */
export interface HeaderReader {
  /** `at`: which of a message's headers it is. */
  role(name: string, at: number): Role;
  /** May a name of this length with this first byte have a role, or be taken for one of the identity? For a door that has bytes, and would have to make a name of them. */
  readonly mayMatter: (length: number, first: number) => boolean;
}

const COMMON: readonly (readonly [string, Role])[] = [
  ['authorization', 'credential'],
  ['x-authorization', 'credential'],
  ['x-request-id', 'request-id'],
  ['cookie', 'cookie'],
  ['origin', 'origin'],
  ['access-control-request-method', 'preflight-method'],
  ['content-length', 'length'],
  ['transfer-encoding', 'transfer'],
  ['x-http-method-override', 'override'],
  ['x-http-method', 'override'],
  ['x-method-override', 'override'],
];

/** Spellings remembered; nginx sends about ten, a client who invents more only costs itself the look-up. */
const REMEMBERED = 256;
/** Places of a message remembered likewise, with names of so many characters at most. */
const PLACES = 64;
const LONGEST = 64;

/**
 * @param asserts the header, in lower case, in which the proxy names the subject; null: it names none
 * @param traced whether it matters which trace a request is of
 */
export function readerOf(dialect: Pick<Dialect, 'origin' | 'target' | 'atLeast'> | null, asserts: string | null = null, traced = false): HeaderReader {
  const roles = new Map<string, Role>(COMMON);
  if (traced) roles.set('traceparent', 'traceparent').set('tracestate', 'tracestate');
  if (asserts !== null) roles.set(asserts, 'asserted');
  if (dialect !== null) {
    if (dialect.origin.kind === 'headers') roles.set(dialect.origin.method, 'method').set(dialect.origin.uri, 'uri');
    if (dialect.target !== null) roles.set(dialect.target, 'target');
    if (dialect.atLeast !== null) roles.set(dialect.atLeast, 'at-least');
  }
  const judge = (name: string): Role => {
    const lower = name.toLowerCase();
    const plain = lower.replace(/[_.]/g, '-');
    const role = roles.get(plain) ?? 'none';
    if (plain === lower) return role;
    if (role === 'method' || role === 'uri' || role === 'target' || role === 'at-least' || role === 'asserted') return 'alias';
    return role === 'credential' ? 'credential-alias' : role === 'override' || role === 'length' || role === 'transfer' ? role : 'none';
  };
  const remembered = new Map<string, Role>();
  const remember = (name: string): Role => {
    let role = remembered.get(name);
    if (role === undefined) {
      role = judge(name);
      if (remembered.size < REMEMBERED) remembered.set(name, role);
    }
    return role;
  };
  // A proxy sends the same names in the same order, each of them a new string: compared with the last one at its place, it
  // need not be hashed for a look-up. Hashes (of names and tokens) were a tenth of the pipeline.
  const names: string[] = [];
  const rolesAt: Role[] = [];
  const may = shapesOf([...roles.keys()]);
  return {
    mayMatter: (length, first) => (length < may.length && ((may[length]! >>> (first & 31)) & 1) === 1) || mayBeIdentity(length, first),
    role(name, at) {
      if (names[at] === name) return rolesAt[at]!;
      const role = remember(name);
      if (at <= names.length && at < PLACES && name.length <= LONGEST) {
        names[at] = name;
        rolesAt[at] = role;
      }
      return role;
    },
  };
}

/** By length: a bit for each letter that a name of it begins with, whichever case that is in. (Of a Set of both: 0.3 µs for a browser's headers.) */
function shapesOf(names: readonly string[]): Uint32Array {
  const shapes = new Uint32Array(Math.max(0, ...names.map((name) => name.length + 1)));
  for (const name of names) shapes[name.length]! |= 1 << (name.charCodeAt(0) & 31);
  return shapes;
}

/** For a request that came to no door: all that matters then is whether a body follows. */
export const OUTSIDE: HeaderReader = readerOf(null);

/** Reads names and values in turn, as in `rawHeaders`. */
export function readHeaders(reader: HeaderReader, raw: readonly string[]): Headers {
  let method = '',
    uri = '',
    target = '',
    atLeast = '',
    credential = '',
    asserted = '',
    requestId = '',
    cookies = '',
    origin = '',
    traceparent = '',
    tracestate = '';
  let methods = 0,
    uris = 0,
    targets = 0,
    atLeasts = 0,
    asserteds = 0,
    credentials = 0,
    requestIds = 0,
    aliases = 0;
  let preflightMethod = false,
    override = false,
    body = false;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const value = raw[i + 1]!;
    const role = reader.role(raw[i]!, i >> 1);
    switch (role) {
      case 'none':
        break;
      case 'method':
        method = value;
        methods++;
        break;
      case 'uri':
        uri = value;
        uris++;
        break;
      case 'target':
        target = value;
        targets++;
        break;
      case 'at-least':
        atLeast = value;
        atLeasts++;
        break;
      case 'asserted':
        asserted = value;
        asserteds++;
        break;
      case 'alias':
        aliases++;
        break;
      case 'credential':
        credential = value;
        credentials++;
        break;
      case 'credential-alias':
        credentials += 2;
        break;
      case 'request-id':
        requestId = value;
        requestIds++;
        break;
      case 'traceparent':
        traceparent = traceparent === '' ? value : `${traceparent}, ${value}`; // two are none
        break;
      case 'tracestate':
        tracestate = tracestate === '' ? value : `${tracestate},${value}`;
        break;
      case 'cookie':
        cookies = cookies === '' ? value : `${cookies}; ${value}`;
        break;
      case 'origin':
        origin = origin === '' ? value : `${origin}, ${value}`; // two are none that anybody expects
        break;
      case 'preflight-method':
        preflightMethod = value !== '';
        break;
      case 'override':
        override = true;
        break;
      case 'length':
        body ||= value !== '0';
        break;
      case 'transfer':
        body = true;
        break;
      default:
        role satisfies never;
    }
  }
  return {
    method,
    uri,
    target,
    atLeast,
    credential,
    credentials,
    override,
    body,
    repeated: aliases > 0 || methods > 1 || uris > 1 || targets > 1 || atLeasts > 1 || asserteds > 1,
    cookies,
    asserted,
    origin,
    traceparent,
    tracestate,
    preflight: origin !== '' && preflightMethod,
    requestId: requestIds === 1 && /^[!-~]{1,128}$/.test(requestId) ? requestId : '',
  };
}
