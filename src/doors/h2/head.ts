// What does the head of a call say, and is it one? (RFC 9113, sections 8.2 and 8.3)

import type { Field } from './hpack.ts';

export interface Head {
  readonly method: string;
  readonly path: string;
  /** Of a field that comes more than once all values, joined by commas; null: it does not come. */
  readonly contentType: string | null;
  readonly timeout: string | null;
  readonly traceparent: string | null;
  readonly tracestate: string | null;
  /** Bytes that are to come; null: not said. */
  readonly contentLength: number | null;
}

/** Of a connection, and not of what is sent over it: with one, the head is malformed. */
const OF_CONNECTION = new Set(['connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'upgrade']);
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** What could end a field where it is written as HTTP/1.1. Blanks at the ends are let be: others are, and no caller is to fail by them. */
const BROKEN = /[\0\r\n]/;

class Draft implements Head {
  method = '';
  scheme = '';
  path = '';
  authority: string | null = null;
  contentType: string | null = null;
  timeout: string | null = null;
  traceparent: string | null = null;
  tracestate: string | null = null;
  contentLength: number | null = null;
}

/** null: it is malformed. */
export function readHead(fields: readonly Field[]): Head | null {
  const head = new Draft();
  let i = 0;
  for (; i < fields.length && fields[i]!.name.startsWith(':'); i++) if (!isPseudo(head, fields[i]!)) return null;
  for (; i < fields.length; i++) if (!isRegular(head, fields[i]!)) return null;
  return head.method === '' || head.scheme === '' || head.path === '' ? null : head;
}

/** Is it what may stand behind a message? */
export function areTrailers(fields: readonly Field[]): boolean {
  const none = new Draft();
  return fields.every((field) => isRegular(none, field));
}

function isPseudo(head: Draft, { name, value }: Field): boolean {
  if (BROKEN.test(value)) return false;
  switch (name) {
    case ':method':
      if (head.method !== '') return false;
      head.method = value;
      return value !== '';
    case ':scheme':
      if (head.scheme !== '') return false;
      head.scheme = value;
      return value !== '';
    case ':path':
      if (head.path !== '') return false;
      head.path = value;
      return value !== '';
    case ':authority':
      if (head.authority !== null) return false;
      head.authority = value;
      return true;
    default:
      return false;
  }
}

function isRegular(head: Draft, field: Field): boolean {
  const { name, value } = field;
  field.isSound ??= NAME.test(name) && !BROKEN.test(value) && !OF_CONNECTION.has(name);
  if (!field.isSound) return false;
  switch (name) {
    case 'content-type':
      head.contentType = joined(head.contentType, value);
      return true;
    case 'grpc-timeout':
      head.timeout = joined(head.timeout, value);
      return true;
    case 'traceparent':
      head.traceparent = joined(head.traceparent, value);
      return true;
    case 'tracestate':
      head.tracestate = joined(head.tracestate, value);
      return true;
    case 'te':
      return value === 'trailers';
    case 'content-length':
      if (head.contentLength !== null || !/^\d{1,15}$/.test(value)) return false;
      head.contentLength = Number(value);
      return true;
    default:
      return true;
  }
}

function joined(before: string | null, value: string): string {
  return before === null ? value : `${before}, ${value}`;
}
