// May new work be begun, or has this process more than it can do in time?
//
// Only work that a check would have to wait for is turned away: the verification of a token, a fill. What is in memory is always
// answered, because a refusal costs as much. Measured at the door over HTTP (Node 20, CPU of this process for each check, median of
// six rounds): from memory 18.7 µs, refused before anything was looked at 17.6 µs; a forged token 53 µs, its refusal here 24 µs.
//
// The loop's delay counts when it is standing (as in CoDel, RFC 8289): the least one of a whole window, so that a single long turn, a
// collection or a first world, is not taken for overload. One turn that is in time again ends it.

import { PolicyError } from 'policy-cache';
import type { Clock } from 'policy-cache';

const CAUSES = ['delay', 'inflight'] as const;
export type ShedCause = (typeof CAUSES)[number];

export interface Admission {
  /**
   * Asked in the turn in which work would be begun, and not for a check from memory. `waiting`: how much of its kind is under way, and
   * `most` of it may be.
   * @throws PolicyError `overload`, counted by its cause
   */
  admit(waiting: number, most: number): void;
  /** Work that was turned away. */
  readonly shed: Readonly<Record<ShedCause, number>>;
  /** For how long the loop has been behind without a break, ms; 0: it is not. */
  behindFor(): number;
  close(): void;
}

export interface AdmissionSettings {
  readonly clock: Clock;
  /** Standing delay of the loop from which on no work is begun, ms. */
  readonly delay: number;
}

const TICK_MS = 20;
/** Twice the deadline of a check is too long to notice, two ticks are too few to call it standing. */
const WINDOW_MS = 100;

export function createAdmission({ clock, delay }: AdmissionSettings): Admission {
  const shed: Record<ShedCause, number> = { delay: 0, inflight: 0 };
  let behindSince: number | null = null;
  let least = Infinity;
  let windowFrom = clock.now();
  let due = windowFrom + TICK_MS;
  let cancel: () => void;

  const restart = (now: number): void => {
    least = Infinity;
    windowFrom = now;
  };
  const tick = (): void => {
    const now = clock.now();
    const late = now - due;
    least = Math.min(least, late);
    if (late < delay / 2) {
      behindSince = null;
      restart(now);
    } else if (now - windowFrom >= WINDOW_MS) {
      if (least > delay) behindSince ??= now;
      restart(now);
    }
    due = now + TICK_MS;
    cancel = clock.after(TICK_MS, tick);
  };
  cancel = clock.after(TICK_MS, tick);

  const refuse = (cause: ShedCause, why: string): never => {
    shed[cause]++;
    throw new PolicyError('overload', why);
  };
  return {
    admit(waiting, most) {
      if (waiting >= most) refuse('inflight', `${waiting} are waited for already`);
      if (behindSince !== null) refuse('delay', `the event loop is more than ${delay} ms behind`);
    },
    shed,
    behindFor: () => (behindSince === null ? 0 : clock.now() - behindSince),
    close: () => cancel(),
  };
}
