// What does Envoy's CheckRequest say, of all that is in it?
//
// Read: the client's method, path and headers, the route's own words (`context_extensions`), the name in the peer's certificate.
// The value of a header that no rule names is passed over, never made a string. Field numbers: envoy.service.auth.v3 of Envoy 1.40.

import type { HeaderReader } from './headers.ts';
import { isIdentityAlias, mayBeIdentity } from './identity-headers.ts';
import { Reader, lengthTag } from './protobuf.ts';

export interface CheckRequest {
  readonly method: string;
  /** With its query, as the client sent it. */
  readonly path: string;
  /** Names and values in turn, as in `rawHeaders`; of those alone that have a role. */
  readonly headers: readonly string[];
  /** Names of the client's headers that an application may read as one of the identity. */
  readonly aliases: readonly string[];
  /** Of `context_extensions`; null: not there. */
  readonly resource: string | null;
  readonly operation: string | null;
  readonly target: string | null;
  /** `source.principal`: what the client's certificate names; '' where it is no text. */
  readonly principal: string;
  /** What may be said once is said twice: in both encodings of the headers, in both of one value, or in one key of the context. */
  readonly twice: boolean;
}

const ATTRIBUTES = lengthTag(1);
const SOURCE = lengthTag(1);
const PRINCIPAL = lengthTag(4);
const REQUEST = lengthTag(4);
const HTTP = lengthTag(2);
const METHOD = lengthTag(2);
const HEADERS = lengthTag(3);
const PATH = lengthTag(4);
const HEADER_MAP = lengthTag(13);
const HEADER_LIST = lengthTag(1);
const CONTEXT = lengthTag(10);
const KEY = lengthTag(1);
const VALUE = lengthTag(2);
const RAW_VALUE = lengthTag(3);

class Draft implements CheckRequest {
  method = '';
  path = '';
  readonly headers: string[] = [];
  readonly aliases: string[] = [];
  resource: string | null = null;
  operation: string | null = null;
  target: string | null = null;
  principal = '';
  twice = false;
  /** Which of the two encodings of headers was seen. */
  encoding: 'headers' | 'header_map' | null = null;
  readonly roles: HeaderReader;
  constructor(roles: HeaderReader) {
    this.roles = roles;
  }
}

/**
 * A message that comes in parts is put together, and the last of two values counts, as protobuf has it.
 * @throws ProtobufError if it is no message
 */
export function readCheckRequest(bytes: Buffer, roles: HeaderReader): CheckRequest {
  const reader = new Reader(bytes);
  const draft = new Draft(roles);
  const end = bytes.length;
  while (reader.at < end) {
    const tag = reader.tag(end);
    if (tag === ATTRIBUTES) readAttributes(reader, reader.enter(end), draft);
    else reader.skip(tag, end);
  }
  return draft;
}

function readAttributes(reader: Reader, end: number, draft: Draft): void {
  while (reader.at < end) {
    const tag = reader.tag(end);
    if (tag === REQUEST) readRequest(reader, reader.enter(end), draft);
    else if (tag === CONTEXT) readContext(reader, reader.enter(end), draft);
    else if (tag === SOURCE) readSource(reader, reader.enter(end), draft);
    else reader.skip(tag, end);
  }
}

function readSource(reader: Reader, end: number, draft: Draft): void {
  while (reader.at < end) {
    const tag = reader.tag(end);
    if (tag !== PRINCIPAL) reader.skip(tag, end);
    else {
      const name = reader.utf8(end);
      // Bytes that are no character become this one, so two names would be one. Not an error of the message: a client chose its certificate.
      draft.principal = name.includes('\ufffd') ? '' : name;
    }
  }
}

function readRequest(reader: Reader, end: number, draft: Draft): void {
  while (reader.at < end) {
    const tag = reader.tag(end);
    if (tag === HTTP) readHttp(reader, reader.enter(end), draft);
    else reader.skip(tag, end);
  }
}

function readHttp(reader: Reader, end: number, draft: Draft): void {
  while (reader.at < end) {
    const tag = reader.tag(end);
    if (tag === HEADERS) {
      encoded(draft, 'headers');
      readHeader(reader, reader.enter(end), draft);
    } else if (tag === HEADER_MAP) {
      encoded(draft, 'header_map');
      readHeaderMap(reader, reader.enter(end), draft);
    } else if (tag === METHOD) draft.method = reader.latin1(end);
    else if (tag === PATH) draft.path = reader.latin1(end);
    else reader.skip(tag, end);
  }
}

function encoded(draft: Draft, encoding: 'headers' | 'header_map'): void {
  draft.encoding ??= encoding;
  if (draft.encoding !== encoding) draft.twice = true;
}

function readHeaderMap(reader: Reader, end: number, draft: Draft): void {
  while (reader.at < end) {
    const tag = reader.tag(end);
    if (tag === HEADER_LIST) readHeader(reader, reader.enter(end), draft);
    else reader.skip(tag, end);
  }
}

/** An entry of the map and a HeaderValue differ in `raw_value` alone. */
function readHeader(reader: Reader, end: number, draft: Draft): void {
  let name = '';
  let value = '';
  let read = true;
  let hasRole = false;
  while (reader.at < end) {
    const tag = reader.tag(end);
    if (tag === KEY) {
      // Most of what a browser sends has no role. To make strings of their names took a third of the time of a message.
      name = reader.latin1If(end, draft.roles.mayMatter);
      hasRole = name !== '' && draft.roles.role(name, draft.headers.length >> 1) !== 'none';
      read = hasRole;
    } else if (!read || (tag !== VALUE && tag !== RAW_VALUE)) reader.skip(tag, end);
    else {
      const text = reader.latin1(end);
      if (value !== '' && text !== '') draft.twice = true;
      if (text !== '') value = text;
    }
  }
  if (name === '') return;
  if (mayBeIdentity(name.length, name.charCodeAt(0)) && isIdentityAlias(name)) draft.aliases.push(name);
  if (hasRole) draft.headers.push(name, value);
}

function readContext(reader: Reader, end: number, draft: Draft): void {
  let name = '';
  let value = '';
  while (reader.at < end) {
    const tag = reader.tag(end);
    if (tag === KEY) name = reader.latin1(end);
    else if (tag === VALUE) value = reader.latin1(end);
    else reader.skip(tag, end);
  }
  if (name !== 'resource' && name !== 'operation' && name !== 'target') return;
  if (draft[name] !== null) draft.twice = true;
  draft[name] = value;
}
