// How often may one address ask, before anybody knows who asks? A bucket that fills again, in the memory of this process.

import { isIPv4, isIPv6 } from 'node:net';
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import { LRUCache } from 'lru-cache';
import type { Clock } from 'policy-cache';
import { Throttled } from '../admin/refusals.ts';

const MOST_ADDRESSES = 10_000;
const MINUTE_MS = 60_000;

export interface RateSettings {
  readonly clock: Pick<Clock, 'now'>;
  readonly perMinute: number;
  /** Which header has the address of the client; absent: whoever is connected is the client. */
  readonly header?: string | undefined;
}

/** @returns what throws `Throttled` for a request that is one too many */
export function createRate({ clock, perMinute, header }: RateSettings): (c: Context) => void {
  const buckets = new LRUCache<string, { left: number; at: number }>({ max: MOST_ADDRESSES });
  const each = MINUTE_MS / perMinute;
  return (c) => {
    const { incoming } = (c.env ?? {}) as Partial<HttpBindings>; // not there where no socket is
    const named = header === undefined ? undefined : c.req.header(header)?.split(',').at(-1)?.trim();
    const address = placeOf(named ?? '') ?? placeOf(incoming?.socket.remoteAddress ?? '') ?? '';
    const now = clock.now();
    const bucket = buckets.get(address) ?? { left: perMinute, at: now };
    bucket.left = Math.min(perMinute, bucket.left + (now - bucket.at) / each);
    bucket.at = now;
    buckets.set(address, bucket);
    if (bucket.left < 1) throw new Throttled('rate', Math.max(1, Math.ceil(((1 - bucket.left) * each) / 1_000)), 'too many requests from one address');
    bucket.left--;
  };
}

/** Of IPv6 the network, for whoever has one address has 2^64 of them; null: no address. */
export function placeOf(address: string): string | null {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
  if (isIPv4(plain)) return plain;
  if (!isIPv6(plain)) return null;
  const [head = '', tail] = new URL(`http://[${plain}]`).hostname.slice(1, -1).split('::');
  const groups = (part: string): readonly string[] => (part === '' ? [] : part.split(':'));
  const filled =
    tail === undefined ? groups(head) : [...groups(head), ...Array<string>(8 - groups(head).length - groups(tail).length).fill('0'), ...groups(tail)];
  return filled.slice(0, 4).join(':');
}
