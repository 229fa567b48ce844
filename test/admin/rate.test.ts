// How often may one address ask where nobody has said yet who it is, and what is one address?

import { Hono } from 'hono';
import { describe, expect, test } from 'vitest';
import { Throttled } from '../../src/api/admin/refusals.ts';
import { createRate, placeOf } from '../../src/api/local/rate.ts';

/** Asks as from an address; how many seconds it is told to wait. */
function asking(settings: { readonly perMinute: number; readonly header?: string; readonly most?: number }) {
  let now = 0;
  const clock = {
    now: () => now,
    after: (ms: number, f: () => void) => {
      waits.push(ms);
      f();
      return () => undefined;
    },
  };
  const waits: number[] = [];
  const admit = createRate({ ...settings, clock });
  const app = new Hono();
  app.get('/', async (c) => {
    await admit(c);
    return c.text('0');
  });
  app.onError((error, c) => c.text(error instanceof Throttled && error.reason === 'rate' ? String(error.seconds) : String(error)));
  const from = async (remoteAddress: string, headers: Readonly<Record<string, string>> = {}): Promise<string> =>
    (await app.request('/', { headers }, { incoming: { socket: { remoteAddress } } })).text();
  return { from, waits, pass: (ms: number) => void (now += ms) };
}

describe('a bucket for each address', () => {
  test('is empty after so many at once, and fills again by and by', async () => {
    const { from, pass, waits } = asking({ perMinute: 6 });
    for (let i = 0; i < 6; i++) expect(await from('192.0.2.1')).toBe('0');
    expect(waits).toEqual([]);
    expect(await from('192.0.2.1')).toBe('10');
    expect(waits).toEqual([1_000]); // told so after a while: whoever asks again at once does not ask often
    expect(await from('192.0.2.2')).toBe('0');
    pass(9_000);
    expect(await from('192.0.2.1')).toBe('1');
    pass(1_000);
    expect(await from('192.0.2.1')).toBe('0');
    expect(await from('192.0.2.1')).toBe('10');
    pass(3_600_000);
    for (let i = 0; i < 6; i++) expect(await from('192.0.2.1')).toBe('0');
    expect(await from('192.0.2.1')).toBe('10');
  });

  test('as a proxy says it is, in the header that is named, and in no other', async () => {
    const { from } = asking({ perMinute: 1, header: 'X-Real-IP' });
    expect(await from('127.0.0.1', { 'x-real-ip': '192.0.2.1' })).toBe('0');
    expect(await from('127.0.0.1', { 'x-real-ip': '192.0.2.2' })).toBe('0');
    // What the proxy has added stands last.
    expect(await from('127.0.0.1', { 'x-real-ip': '198.51.100.7, 192.0.2.2' })).toBe('60');
    expect(await from('127.0.0.1', { 'x-real-ip': 'unknown' })).toBe('0');
    expect(await from('127.0.0.1', { 'x-forwarded-for': '192.0.2.9' })).toBe('60');
  });

  test('without end of them, some are forgotten', async () => {
    const { from } = asking({ perMinute: 1, most: 100 });
    for (let i = 0; i < 101; i++) expect(await from(`192.0.2.${i}`)).toBe('0');
    expect(await from('192.0.2.100')).toBe('60');
    expect(await from('192.0.2.0')).toBe('0');
  });
});

test('of IPv6 a network is one address, and IPv4 in its clothes is IPv4', () => {
  expect(placeOf('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2');
  expect(placeOf('2001:db8:1:2::1')).toBe('2001:db8:1:2');
  expect(placeOf('2001:DB8:0001:2:ffff::')).toBe('2001:db8:1:2');
  expect(placeOf('2001:db8::1')).toBe('2001:db8:0:0');
  expect(placeOf('::1')).toBe('0:0:0:0');
  expect(placeOf('fe80::1%eth0')).toBe('fe80:0:0:0');
  for (const mapped of ['::ffff:192.0.2.1', '::FFFF:c000:201', '0:0:0:0:0:ffff:c000:0201']) expect(placeOf(mapped)).toBe('192.0.2.1');
  for (const none of ['', 'unknown', '192.0.2', '192.0.2.1:', '192.0.2.1:80:80', '[192.0.2.1', '[::1]80', '2001:db8::1]:80']) expect(placeOf(none)).toBe(null);
  // As some proxies name who is connected.
  for (const [named, place] of [['192.0.2.1:80', '192.0.2.1'], ['[2001:db8::1]:80', '2001:db8:0:0'], ['[::1]', '0:0:0:0'], ['[::ffff:192.0.2.1]:80', '192.0.2.1']] as const) expect(placeOf(named)).toBe(place); // prettier-ignore
});
