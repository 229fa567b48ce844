// How much may a client say that asks nothing? Whoever says more has no use for an answer.
//
// Counted, and given back with time and with calls, so that a busy proxy has as much as it needs: one that sends a ping and two window updates with
// each call never gets near. The figures for resets are those of nghttp2 (1000 at once, 33 a second).

import { ConnectionError } from './errors.ts';
import { CODE } from './frames.ts';

const RESETS = { most: 1000, second: 33 };
const FRAMES = { most: 10_000, second: 500, call: 10 };

export class Allowance {
  #resets = RESETS.most;
  #frames = FRAMES.most;

  /** A call that was given up, by the client or by its fault: its work may go on behind it (CVE-2023-44487, CVE-2025-8671). @throws ConnectionError */
  reset(): void {
    if (!this.spare()) throw new ConnectionError(CODE.enhanceYourCalm, 'too many calls that are given up');
  }

  /** Likewise; false: it was one too many. */
  spare(): boolean {
    return --this.#resets >= 0;
  }

  /** A frame that carries no call on. @throws ConnectionError */
  frame(cost = 1): void {
    this.#frames -= cost;
    if (this.#frames < 0) throw new ConnectionError(CODE.enhanceYourCalm, 'too many frames that say nothing');
  }

  call(): void {
    if (this.#frames < FRAMES.most) this.#frames += FRAMES.call;
  }

  second(): void {
    this.#resets = Math.min(RESETS.most, this.#resets + RESETS.second);
    this.#frames = Math.min(FRAMES.most, this.#frames + FRAMES.second);
  }
}
