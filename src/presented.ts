// Which token does a request bring in the place that its route names?
//
// Exactly as in a header there is one or none (rule 5), and nothing is decoded: what is spelled otherwise is another name.

import type { CredentialProblem } from './problem.ts';
import type { TokenPlace } from './token-place.ts';

export interface Presented {
  /** How many there are; beside one in a header none may be. */
  readonly count: number;
  readonly value: string;
  /** Why it is not to be looked at. */
  readonly problem: CredentialProblem | null;
}

interface Carrier {
  readonly method: string;
  readonly uri: string;
  readonly cookies: string;
  readonly origin: string;
}

const NONE: Presented = Object.freeze({ count: 0, value: '', problem: null });

export function presented({ method, uri, cookies, origin }: Carrier, place: TokenPlace): Presented {
  switch (place.kind) {
    case 'cookie': {
      const found = named(cookies.split(';'), place.name, (part) => part.trim());
      // A browser tells the origin of whatever could change something; without one, only what cannot passes.
      const ours = origin === '' ? method === 'GET' || method === 'HEAD' : place.origins.has(origin);
      return found.count === 0 || ours ? found : { ...found, problem: 'foreign-origin' };
    }
    case 'query': {
      const query = uri.indexOf('?');
      return query < 0 ? NONE : named(uri.slice(query + 1).split('&'), place.name, (part) => part);
    }
    default:
      return place satisfies never;
  }
}

/** `name=value` among the parts. A name that is this one only when it is decoded or trimmed counts as one too many: the application might take that one. */
function named(parts: readonly string[], name: string, read: (part: string) => string): Presented {
  let count = 0;
  let value = '';
  for (const part of parts) {
    const text = read(part);
    const equals = text.indexOf('=');
    const key = equals < 0 ? text : text.slice(0, equals);
    if (key === name) {
      count++;
      value = equals < 0 ? '' : text.slice(equals + 1);
    } else if (key.trim() === name || (key.includes('%') && decoded(key) === name)) count += 2;
  }
  return count === 0 ? NONE : { count, value, problem: null };
}

function decoded(key: string): string | null {
  try {
    return decodeURIComponent(key);
  } catch {
    return null;
  }
}
