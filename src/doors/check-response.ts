// Which bytes answer a check of Envoy's? The one place that writes a CheckResponse.
//
// Envoy lets a request pass on `status.code` 0, on no status and on an empty message, whatever else is said (measured): so every
// message begins with its one status and its code, 0 too, and a deny says 401 or 403 beside it. A deny is an answer, never an error of gRPC, which
// a filter that fails open would let pass. Headers: `value` alone, for `raw_value` arrives empty, and neither `append` nor
// `append_action`, for unset means "write over the client's". "Rule n" is of the contract's section 3.0.

import type { Outcome } from '../authorize.ts';
import { PREFIX, framed, putPrefix } from './grpc-call.ts';
import { FAILED_OPEN, IDENTITY, identityValues } from './identity-headers.ts';
import { Writer, field, lengthTag, number, varintSize } from './protobuf.ts';

// Field numbers.
const STATUS = 1; // of CheckResponse, with OK and DENIED
const DENIED = 2;
const OK = 3;
const CODE = 1; // of both kinds of status
const HTTP_STATUS = 1; // of DeniedHttpResponse
const HEADERS = 2; // of both kinds of response
const REMOVE = 5; // of OkHttpResponse
const HEADER = 1; // of HeaderValueOption
const KEY = 1; // of HeaderValue, with VALUE
const VALUE = 2;

/** google.rpc.Code */
const PERMISSION_DENIED = 7;
const UNAUTHENTICATED = 16;

const OK_TAG = lengthTag(OK);
const OPTION_TAG = lengthTag(HEADERS);
const HEADER_TAG = lengthTag(HEADER);
const VALUE_TAG = lengthTag(VALUE);
const PERMITTED = field(STATUS, number(CODE, 0));
const KEYS = IDENTITY.map((name) => field(KEY, name.toLowerCase()));
const REMOVED = field(REMOVE, FAILED_OPEN);

/** A deny, framed. */
export const FORBIDDEN = framed(Buffer.concat([field(STATUS, number(CODE, PERMISSION_DENIED)), field(DENIED, field(HTTP_STATUS, number(CODE, 403)))]));
// RFC 9110 11.6.1: a 401 names the scheme. Code 16 alone would be a 403 (measured).
const CHALLENGE = field(HEADERS, field(HEADER, Buffer.concat([field(KEY, 'www-authenticate'), field(VALUE, 'Bearer')])));
const UNAUTHORIZED = framed(
  Buffer.concat([field(STATUS, number(CODE, UNAUTHENTICATED)), field(DENIED, Buffer.concat([field(HTTP_STATUS, number(CODE, 401)), CHALLENGE]))]),
);

/**
 * The framed CheckResponse for an outcome; null: it is not decided, and no message may say so.
 * @param aliases the client's headers that an application may read as one of the identity: taken away on an allow
 */
export function checkResponse(outcome: Outcome, aliases: readonly string[]): Buffer | null {
  switch (outcome.verdict) {
    case 'permit':
      return permitted(outcome, aliases);
    case 'deny':
    case 'unmapped':
      return FORBIDDEN;
    case 'unauthenticated':
      return UNAUTHORIZED;
    case 'unavailable':
      return null;
    default:
      return outcome.verdict satisfies never;
  }
}

/** Rule 8: the whole set, once each, empty where there is none. Rule 7: no name is both set and removed. */
function permitted(outcome: Outcome, aliases: readonly string[]): Buffer {
  const values = identityValues(outcome);
  const removed = aliases.length === 0 ? REMOVED : Buffer.concat([REMOVED, ...[...new Set(aliases)].map((name) => field(REMOVE, name))]);
  let size = removed.length;
  for (let i = 0; i < values.length; i++) size += fieldSize(fieldSize(pairSize(i, values[i]!)));
  const message = PERMITTED.length + fieldSize(size);
  const made = new Writer(PREFIX + message);
  made.at = putPrefix(made.bytes, message);
  made.copy(PERMITTED);
  made.varint(OK_TAG);
  made.varint(size);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    const pair = pairSize(i, value);
    made.varint(OPTION_TAG);
    made.varint(fieldSize(pair));
    made.varint(HEADER_TAG);
    made.varint(pair);
    made.copy(KEYS[i]!);
    made.varint(VALUE_TAG);
    made.varint(value.length);
    made.latin1(value);
  }
  made.copy(removed);
  return made.bytes;
}

/** Of a HeaderValue. */
function pairSize(i: number, value: string): number {
  return KEYS[i]!.length + fieldSize(value.length);
}

/** With its tag, which is one byte here. */
function fieldSize(length: number): number {
  return 1 + varintSize(length) + length;
}
