// How long is a client waited for, that has begun to say something or has something to read?
//
// By one look a second for all connections, and not by a timer for each: nothing of it is on the way of a call.

/** For the rest of a frame or header block that has begun, and for what is written to be read. */
const STUCK_SECONDS = 10;
/** For the other side to close after the last words. */
const LAST_SECONDS = 2;

export interface Look {
  /** Frames so far. */
  readonly frames: number;
  /** One has begun. */
  readonly isPartial: boolean;
  readonly inBlock: boolean;
  /** Bytes that are written and not taken, and those that were. */
  readonly unread: number;
  readonly read: number;
}

export class Patience {
  /** Seconds in which no frame came. */
  quiet = 0;
  #frames = -1;
  #unfinished = 0;
  #read = -1;
  #unread = 0;
  #afterTheEnd = 0;

  /** What was waited for too long. */
  second({ frames, isPartial, inBlock, unread, read }: Look): 'unfinished' | 'unread' | null {
    const isSame = frames === this.#frames;
    this.#frames = frames;
    this.quiet = isSame ? this.quiet + 1 : 0;
    // Within a header block a frame is no progress: they are few, and could come one by one for minutes.
    // And who does not read is not read.
    this.#unfinished = unread === 0 && (inBlock || (isPartial && isSame)) ? this.#unfinished + 1 : 0;
    this.#unread = unread > 0 && read === this.#read ? this.#unread + 1 : 0;
    this.#read = read;
    if (this.#unfinished > STUCK_SECONDS) return 'unfinished';
    return this.#unread > STUCK_SECONDS ? 'unread' : null;
  }

  /** false: it has had its time. What is still to be read are the last answers. */
  afterTheEnd(unread: number): boolean {
    return unread > 0 ? ++this.#unread <= STUCK_SECONDS : ++this.#afterTheEnd <= LAST_SECONDS;
  }
}
