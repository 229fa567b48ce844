// How often may one address ask, before anybody knows who asks? A bucket that fills again, in the memory of this process.

import { isIPv4, isIPv6 } from 'node:net';
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import { LRUCache } from 'lru-cache';
import type { Clock } from 'policy-cache';
import { Throttled } from '../admin/refusals.ts';

const MOST_ADDRESSES = 10_000;
const MINUTE_MS = 60_000;
const HELD_MS = 1_000;

/** Before a refusal that costs nothing: asked again as fast as it is answered, it would take the processor from the doors. */
export async function held(clock: Pick<Clock, 'after'>): Promise<void> {
  await new Promise<void>((resolve) => void clock.after(HELD_MS, resolve));
}

export interface RateSettings {
  readonly clock: Clock;
  readonly perMinute: number;
  /** Addresses that are remembered; default 10,000. */
  readonly most?: number;
  /** Which header has the address of the client; absent: whoever is connected is the client. */
  readonly header?: string | undefined;
}

/**
 * The network that a request comes from.
 * @param header has the address of the client; undefined: whoever is connected is the client
 * @returns null: nobody knows
 */
export function networkOf(c: Context, header: string | undefined): string | null {
  const { incoming } = (c.env ?? {}) as Partial<HttpBindings>; // not there where no socket is
  const named = header === undefined ? undefined : c.req.header(header)?.split(',').at(-1)?.trim();
  return placeOf(named ?? '') ?? placeOf(incoming?.socket.remoteAddress ?? '');
}

/** @returns what rejects with `Throttled` for a request that is one too many */
export function createRate({ clock, perMinute, header, most = MOST_ADDRESSES }: RateSettings): (c: Context) => Promise<void> {
  const buckets = new LRUCache<string, { left: number; at: number }>({ max: most });
  const each = MINUTE_MS / perMinute;
  return async (c) => {
    const address = networkOf(c, header) ?? '';
    const now = clock.now();
    const bucket = buckets.get(address) ?? { left: perMinute, at: now };
    bucket.left = Math.min(perMinute, bucket.left + (now - bucket.at) / each);
    bucket.at = now;
    buckets.set(address, bucket);
    if (bucket.left >= 1) {
      bucket.left--;
      return;
    }
    const seconds = Math.max(1, Math.ceil(((1 - bucket.left) * each) / 1_000));
    await held(clock);
    throw new Throttled('rate', seconds, 'too many requests from one address');
  };
}

/** Of IPv6 the network, for whoever has one address has 2^64 of them; null: no address. */
export function placeOf(address: string): string | null {
  // Some proxies name the port, too, IPv6 in brackets then.
  const plain = address.replace(/^\[(.*)\](:\d+)?$|^([\d.]+):\d+$/, '$1$3').replace(/%.*$/, '');
  if (isIPv4(plain)) return plain;
  if (!isIPv6(plain)) return null;
  const { hostname } = new URL(`http://[${plain}]`);
  // IPv4 in its clothes, however it is written.
  const [, ...mapped] = /^\[::ffff:([0-9a-f]+):([0-9a-f]+)\]$/.exec(hostname) ?? [];
  if (mapped.length > 0) return mapped.flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 255]).join('.');
  const [head = '', tail] = hostname.slice(1, -1).split('::');
  const groups = (part: string): readonly string[] => (part === '' ? [] : part.split(':'));
  const filled =
    tail === undefined ? groups(head) : [...groups(head), ...Array<string>(8 - groups(head).length - groups(tail).length).fill('0'), ...groups(tail)];
  return filled.slice(0, 4).join(':');
}
