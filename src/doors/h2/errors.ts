// What ends a connection, and not only a call?

import { CODE } from './frames.ts';
import type { Code } from './frames.ts';

/** What came is no HTTP/2, or more of it than anybody needs. */
export class ConnectionError extends Error {
  readonly code: Code;
  constructor(code: Code, message: string) {
    super(message);
    this.code = code;
  }
}

export function protocolError(message: string): never {
  throw new ConnectionError(CODE.protocolError, message);
}

export function sizeError(): never {
  throw new ConnectionError(CODE.frameSizeError, 'a frame of another size');
}
