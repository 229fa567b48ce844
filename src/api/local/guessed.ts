// Is this password one of those that are guessed first (NIST SP 800-63B, 3.1.1.2)? A list of 49,000 that were found among stolen ones, what people make of
// them (digits behind, `0` for `o`, twice the same), rows of keys, and what has to do with the user and this product.
//
// The estimate takes more than linear time, and takes it from the doors [measured: 256 characters 1.8 s, by `p4$$w0rd` again and again]. So it sees a piece at
// either end, and four of the ways to read a digit as a letter [measured: 5 ms for both, the dearest that a search of a minute has found, and 9.5 by 16 ways;
// loaded in 80 ms of processor, 30 of which in one piece; 7 MB].

import { ZxcvbnFactory } from '@zxcvbn-ts/core';
import { adjacencyGraphs, dictionary } from '@zxcvbn-ts/language-common';

/** Tries, as a power of ten: so many take one processor eleven days, of whoever has the hash. */
const LEAST_TRIES = 8;
const PIECE = 32;
const MOST_WORDS = 32;
const PRODUCT = 'grantgate';
const NO_WORD = /[^\p{L}\p{N}]+/gu;

const estimator = new ZxcvbnFactory({ dictionary, graphs: adjacencyGraphs, maxLength: PIECE, l33tMaxSubstitutions: 4 });

export function isGuessedFirst(password: string, email: string): boolean {
  const expected = wordsOf(email);
  return [...new Set([password.slice(0, PIECE), password.slice(-PIECE)])].every((piece) => estimator.check(piece, expected).guessesLog10 < LEAST_TRIES);
}

/** The e-mail, its two parts, those with nothing between their words, and each of these. */
function wordsOf(email: string): string[] {
  const parts = [email, ...email.split('@')];
  const words = email.split(NO_WORD);
  return [PRODUCT, ...parts, ...parts.map((part) => part.replaceAll(NO_WORD, '')), ...words].filter((word) => word.length > 2).slice(0, MOST_WORDS);
}
