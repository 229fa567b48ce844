// Who asks, where a listener believes its proxy and not a token?
//
// A profile of a listener, taken by its settings and exclusive: the proxy has proved who the client is (mutual TLS, its own login)
// and names it in one header or as the peer's principal. What is not exactly one name of the agreed form is nobody.

import { InputError, parseId } from 'policy-cache';
import { refused } from './identity.ts';
import type { Authentication, Authority } from './identity.ts';

/** Judges the text that a listener vouches for; '' is none. */
export type Believe = (asserted: string) => Authentication;

/** Printable ASCII, without a blank and a comma: with one of them it may be two names that somebody joined. */
const ONE_NAME = /^[!-+\--~]+$/;

/** @param prefix what every name must begin with; cut off, the user id is left */
export function createBelief(authority: Authority, prefix: string): Believe {
  return (asserted) => {
    if (asserted === '') return refused('no-credential');
    if (!ONE_NAME.test(asserted) || !asserted.startsWith(prefix)) return refused('bad-subject');
    try {
      return { kind: 'user', subject: parseId(asserted.slice(prefix.length)), authority, expires: Infinity };
    } catch (thrown) {
      if (thrown instanceof InputError) return refused('bad-subject');
      throw thrown;
    }
  };
}
