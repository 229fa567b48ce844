// For which of our reasons did jose refuse a token?

import { JOSEError, JWTClaimValidationFailed, JWTExpired } from 'jose/errors';
import { refused } from '../identity.ts';
import type { Proof } from '../identity.ts';

/** Anything else that jose throws is a fault of ours, not a refusal, and is thrown on. */
export function refusal(thrown: unknown): Proof {
  if (thrown instanceof JWTExpired) return refused('expired-token');
  if (thrown instanceof JWTClaimValidationFailed) {
    const mismatch = thrown.reason === 'check_failed';
    if (thrown.claim === 'nbf' && mismatch) return refused('early-token');
    if (thrown.claim === 'aud' && mismatch) return refused('wrong-audience');
    return refused(thrown.claim === 'iss' ? 'bad-token' : 'bad-claims');
  }
  if (thrown instanceof JOSEError) return refused('bad-token');
  throw thrown;
}
