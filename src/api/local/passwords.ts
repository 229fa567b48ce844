// Which passwords are good ones, and how are they kept? As argon2id, one hash at a time: the doors answer from the same processors.
//
// The parameters are OWASP's (19 MiB, two passes, one lane) [measured: 9.5 ms]. The library is written in Rust; `argon2`, of which all binaries come
// in one package, took 24 ms for the same, and its newest release (0.45.1) ends Node 20 with a segmentation fault.

import { randomBytes } from 'node:crypto';
import { hash, parseOptions, verify } from '@node-rs/argon2';
import { PolicyError, type Clock } from 'policy-cache';
import type { isGuessedFirst } from './guessed.ts';
import { held } from './rate.ts';

/** Its default algorithm is argon2id. */
const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1, outputLen: 32 } as const;
/** Whoever comes beyond would wait for longer than a second. */
const MOST_INSIDE = 64;
export const MOST_CHARACTERS = 256;
const COMMON = 'is one of those that are guessed first, or made of the e-mail: choose another one, as four words that have nothing to do with each other';

export interface Passwords {
  /** A place in the queue, for as long as the work takes. Rejects with PolicyError `overload` where there is none. */
  within<T>(work: () => Promise<T>): Promise<T>;
  /** `stored` null: nobody's; it takes as long. */
  isRight(stored: string | null, password: string): Promise<boolean>;
  /** Made by other parameters than one would be now. */
  isOutdated(stored: string): boolean;
  hash(password: string): Promise<string>;
}

export interface PasswordSettings {
  readonly clock: Pick<Clock, 'after'>;
  /** Told of each hash that is computed. */
  readonly computed?: (() => void) | undefined;
}

export function createPasswords({ clock, computed = () => undefined }: PasswordSettings): Passwords {
  let inside = 0;
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
    const before = last;
    const mine = before.then(() => {
      computed();
      return work();
    });
    last = mine.catch(() => undefined); // whoever asked for it hears of it
    return mine;
  };
  /** Of a password that nobody knows. */
  const nobodys = hash(randomBytes(32), PARAMETERS);
  nobodys.catch(() => undefined); // told to the first who logs in
  return {
    async within(work) {
      if (inside >= MOST_INSIDE) {
        await held(clock);
        throw new PolicyError('overload', `${MOST_INSIDE} log-ins wait for their turn`);
      }
      inside++;
      try {
        return await work();
      } finally {
        inside--;
      }
    },
    async isRight(stored, password) {
      const against = stored ?? (await nobodys);
      const right = await inTurn(async () => verify(against, normalized(password)));
      return right && stored !== null;
    },
    isOutdated(stored) {
      const { memoryCost, timeCost, parallelism, outputLen } = parseOptions(stored);
      const { memoryCost: m, timeCost: t, parallelism: p, outputLen: l } = PARAMETERS;
      return memoryCost !== m || timeCost !== t || parallelism !== p || outputLen !== l;
    },
    hash: async (password) => inTurn(async () => hash(normalized(password), PARAMETERS)),
  };
}

/** The same letters, by whatever keyboard (RFC 8265: OpaqueString). */
function normalized(password: string): string {
  return password.normalize('NFC');
}

let guessed: Promise<{ readonly isGuessedFirst: typeof isGuessedFirst }> | null = null;

/** What is wrong with a password that somebody chooses, or null. Never trimmed: a space is a character. */
export async function passwordProblem(password: string, { least, email }: { readonly least: number; readonly email: string }): Promise<string | null> {
  const text = normalized(password);
  const length = Array.from(text).length;
  if (length < least) return `must have ${least} characters at least`;
  if (length > MOST_CHARACTERS) return `must have ${MOST_CHARACTERS} characters at most`;
  if (/\p{Cc}|\p{Surrogate}/u.test(text)) return 'must have no control characters';
  if (text.toLowerCase() === email.normalize('NFC').toLowerCase()) return 'must not be the e-mail';
  // Its dictionary is loaded when the first one is chosen: most processes never need it.
  const { isGuessedFirst: isCommon } = await (guessed ??= import('./guessed.ts'));
  return isCommon(text, email) ? COMMON : null;
}
