// What of a subrequest does Node itself look at? Whether it expects a 100; and for that it makes an object of all headers.
//
// A door reads `rawHeaders` (headers.ts), where every header stands as it came. That object, with each name in lower case and each
// repeated one joined or dropped, is made for this one question of node:http's: 1.5 to 2 µs of the 19 that a bare server takes for a
// request (`npm run bench:door`). So the class that node:http is told to use answers it from the raw names, and nothing else is in its object.

import { IncomingMessage } from 'node:http';

interface Expectation {
  readonly expect: string | undefined;
}

const NONE: Expectation = Object.freeze({ expect: undefined });
const NAME = 'expect';

export class IncomingCheck extends IncomingMessage {}

// No accessor in the class: the type of its parent has a property there.
Object.defineProperty(IncomingCheck.prototype, 'headers', {
  get(this: IncomingCheck): Expectation {
    const raw = this.rawHeaders;
    for (let i = 0; i + 1 < raw.length; i += 2) {
      const name = raw[i]!;
      if (name.length === NAME.length && name.toLowerCase() === NAME) return { expect: raw[i + 1] };
    }
    return NONE;
  },
});
