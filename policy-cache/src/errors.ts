// What can go wrong, as a closed list of codes?
//
// A deny is a value (`Decision`), never an error. A `PolicyError` says "cannot decide" (semantics 6): every door answers it
// with 503 or UNAVAILABLE, never with a deny. An `InputError` says that somebody's input is bad and names the field.

/**
 * Why no decision could be made.
 * - `starting`: no world is current yet (first attach, or a RESET under way)
 * - `stale`: the lease ran out, the world may be older than `maxStaleness`
 * - `history`: the asked-for revision belongs to another history of the database
 * - `overload`: the queue of misses is full, or the entries changed faster than they could be read
 * - `deadline`: the check's own time limit passed
 * - `source`: the database answered with an error
 */
export type PolicyErrorCode = 'stale' | 'starting' | 'history' | 'overload' | 'deadline' | 'source';

/** "Cannot decide": fails closed, and is never folded into a deny. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';
  readonly code: PolicyErrorCode;
  constructor(code: PolicyErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** Bad input: names the field, what was found there, and how to mend it. */
export class InputError extends Error {
  override readonly name = 'InputError';
  readonly field: string;
  constructor(field: string, problem: string) {
    super(`${field}: ${problem}`);
    this.field = field;
  }
}
