// How does a frame of HTTP/2 look on the wire? (RFC 9113, sections 4 and 6)

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const FLAG = { endStream: 0x1, ack: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;

/** Section 7. */
export const CODE = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  enhanceYourCalm: 11,
} as const;
export type Code = (typeof CODE)[keyof typeof CODE];

export const SETTING = { headerTableSize: 1, enablePush: 2, maxConcurrentStreams: 3, initialWindowSize: 4, maxFrameSize: 5, maxHeaderListSize: 6 } as const;

export const HEAD = 9;
/** Of a payload: the default of both sides, and nothing here needs more. */
export const MOST_PAYLOAD = 16_384;
export const MOST_WINDOW = 2 ** 31 - 1;
/** What a window is before anybody has said so. */
export const FIRST_WINDOW = 65_535;
export const LAST_STREAM = 2 ** 31 - 1;
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export interface Frame {
  readonly type: (typeof FRAME)[keyof typeof FRAME];
  readonly flags?: number;
  readonly stream?: number;
  readonly length: number;
}

/** Writes what stands before a payload; where that begins. */
export function putHead(bytes: Buffer, at: number, { type, flags = 0, stream = 0, length }: Frame): number {
  bytes[at] = length >> 16;
  bytes[at + 1] = (length >> 8) & 0xff;
  bytes[at + 2] = length & 0xff;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  return bytes.writeUInt32BE(stream, at + 5);
}

/** A frame of these bytes. */
export function frameOf(frame: Omit<Frame, 'length'>, payload: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD + payload.length);
  payload.copy(bytes, putHead(bytes, 0, { ...frame, length: payload.length }));
  return bytes;
}

/** A frame of numbers, four bytes each. */
export function wordsFrame(frame: Omit<Frame, 'length'>, ...words: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD + 4 * words.length);
  let at = putHead(bytes, 0, { ...frame, length: 4 * words.length });
  for (const word of words) at = bytes.writeUInt32BE(word, at);
  return bytes;
}

export function settingsFrame(settings: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = Buffer.alloc(6 * settings.length);
  for (const [i, [id, value]] of settings.entries()) payload.writeUInt32BE(value, payload.writeUInt16BE(id, 6 * i));
  return frameOf({ type: FRAME.settings }, payload);
}

/** For what is kept. Not of the pool of small buffers, nor a part of what was read: a byte would keep all of it. */
export function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}
