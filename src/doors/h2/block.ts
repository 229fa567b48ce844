// What is the header block that comes in several frames?
//
// Nothing else may come on the connection before its end, and nothing says how long it is: so its parts are counted as well as its bytes (CVE-2024-27316).

import { ConnectionError } from './errors.ts';
import { CODE, copyOf } from './frames.ts';

/** More than any list of fields that is read, and not so much that many connections could fill the memory with it. */
const MOST_BYTES = 96 * 1024;
/** A frame has up to 16 KiB. */
const MOST_PARTS = 32;

export class HeaderBlock {
  readonly stream: number;
  readonly endStream: boolean;
  readonly dependsOnItself: boolean;
  readonly #parts: Buffer[] = [];
  #length = 0;

  constructor(of: { readonly stream: number; readonly endStream: boolean; readonly dependsOnItself: boolean }) {
    this.stream = of.stream;
    this.endStream = of.endStream;
    this.dependsOnItself = of.dependsOnItself;
  }

  /** @throws ConnectionError if it is too much */
  add(part: Buffer): void {
    this.#length += part.length;
    this.#parts.push(copyOf(part));
    if (this.#length > MOST_BYTES || this.#parts.length > MOST_PARTS) throw new ConnectionError(CODE.enhanceYourCalm, 'a header block that does not end');
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts, this.#length);
  }
}
