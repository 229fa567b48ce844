// How long is something good, in words of the command line?

import { InputError } from 'policy-cache';

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** In seconds. @throws InputError */
export function lifetimeOf(text: string): number {
  const ttl = /^(\d{1,9})([smhd])$/.exec(text);
  const lifetime = ttl ? Number(ttl[1]) * UNITS[ttl[2]!]! : 0;
  if (lifetime === 0) throw new InputError('--ttl', `must be a time as 90s, 15m, 2h or 7d, got ${JSON.stringify(text)}`);
  return lifetime;
}
