// What does each side of a connection say that it takes? (RFC 9113, section 6.5)

import { ConnectionError, protocolError } from './errors.ts';
import { CODE, FIRST_WINDOW, FRAME, MOST_PAYLOAD, MOST_WINDOW, SETTING, settingsFrame, wordsFrame } from './frames.ts';
import type { FrameReader } from './reader.ts';
import type { Sending } from './sending.ts';
import type { StreamTable } from './stream.ts';

/** Streams of a client at once. */
export const MOST_STREAMS = 1000;
/** As SETTINGS_MAX_HEADER_LIST_SIZE counts. Envoy takes 60 KiB of headers of a client, and hands its `tracestate` on: a call that is reset would be an error. */
export const MOST_FIELDS = 62 * 1024;
/** As long as a message may be, and as many of them; what comes is taken at once, so that a window says how much is on its way. */
export const STREAM_WINDOW = 256 * 1024;
export const WINDOW = 1024 * 1024;

/** Ours: the first words of a connection. */
export const SETTINGS = Buffer.concat([
  settingsFrame([
    [SETTING.maxConcurrentStreams, MOST_STREAMS],
    [SETTING.initialWindowSize, STREAM_WINDOW],
    [SETTING.maxHeaderListSize, MOST_FIELDS],
  ]),
  wordsFrame({ type: FRAME.windowUpdate }, WINDOW - FIRST_WINDOW),
]);

/** The client's, of a frame that holds nothing else. @throws ConnectionError */
export function applySettings({ bytes, from, to }: FrameReader, sending: Sending, streams: StreamTable): void {
  for (let at = from; at < to; at += 6) {
    const id = bytes.readUInt16BE(at);
    const value = bytes.readUInt32BE(at + 2);
    if (id === SETTING.headerTableSize) sending.setTable(value);
    else if (id === SETTING.enablePush && value > 1) protocolError('pushes, more or less');
    else if (id === SETTING.maxFrameSize && (value < MOST_PAYLOAD || value > 0xff_ffff)) protocolError('frames of no such size');
    else if (id === SETTING.initialWindowSize) {
      if (value > MOST_WINDOW) throw new ConnectionError(CODE.flowControlError, 'a window beyond its bound');
      sending.setStreamWindow(value, streams.all());
    }
  }
}
