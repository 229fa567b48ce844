// 2, 4: are connections to the sidecar kept, and does nothing of one request come out at another when many go through them?

import { expect, test } from 'vitest';
import { startClient, type Ask } from '../ask.ts';
import type { Subject, User } from './checklist.subject.ts';
import { startRelay } from './relay.ts';

const CLIENTS = 32;
const REQUESTS = 2000;

export function connections({ kit, stack, token }: Subject): void {
  test(`${REQUESTS} checks by ${CLIENTS} clients: pooled, and each with its own answer and identity`, { timeout: 120_000 }, async () => {
    const { upstreams, application } = stack();
    const relay = await startRelay(upstreams);
    const proxy = await kit.start(relay.upstreams);
    const client = startClient(proxy.port, CLIENTS);
    const as = (user: User | null, path: string, status: number): Ask & { readonly status: number } => ({
      path,
      status,
      ...(user === null ? {} : { token: token(user), headers: { 'X-Auth-User': 'mallory', 'X-Sent-By': user } }),
    });
    const kinds = [
      as('admin', '/api/device/d1', 200),
      as('clerk', '/api/device/d1', 403),
      as('clerk', '/api/device/device-b1', 200),
      as(null, '/api/device/d1', 401),
      ...(kit.constants ? [as('driver', '/fleet/x', 200), as('porter', '/estate/x', 200), as('driver', '/estate/x', 403), as('porter', '/fleet/x', 403)] : []),
      ...(kit.computed ? [as('clerk', '/api/devices/device-b1', 200), as('clerk', '/api/devices/d1', 403)] : []),
    ];
    const before = application.seen.length;
    const wrong: string[] = [];
    let next = 0;
    const started = performance.now();
    try {
      await Promise.all(
        Array.from({ length: CLIENTS }, async () => {
          while (next < REQUESTS) {
            const kind = kinds[next++ % kinds.length]!;
            const { status } = await client.ask(kind);
            if (status !== kind.status) wrong.push(`${kind.path}: expected ${kind.status}, got ${status}`);
          }
        }),
      );
      const perSecond = Math.round((REQUESTS / (performance.now() - started)) * 1000);
      console.log(
        `connections: ${kit.name}: ${REQUESTS} checks by ${CLIENTS} clients used ${relay.accepted} connections (${perSecond} checks/s through a relay)`,
      );
      // A machine that stood still for longer than the proxy waits makes an error of a check or two: never an allow of a deny.
      const errors = [kit.statuses.error, kit.hangs, kit.resets].map((status) => `got ${status}`);
      const late = wrong.filter((each) => errors.some((error) => each.endsWith(error)));
      expect(wrong.filter((each) => !late.includes(each))).toEqual([]);
      expect(late.length).toBeLessThan(REQUESTS / 5);
      for (const { rawHeaders } of application.seen.slice(before)) {
        const value = (name: string): string => rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1]!.toLowerCase() === name).join('|');
        expect(value('x-auth-user')).toBe(value('x-sent-by'));
      }
      expect(relay.accepted).toBeGreaterThan(0);
      // A connection per client; a check that the proxy gave up may cost one more.
      if (kit.pools) expect(relay.accepted).toBeLessThanOrEqual(2 * CLIENTS + 4 * late.length);
    } finally {
      client.close();
      await proxy.stop();
      await relay.close();
    }
  });
}
