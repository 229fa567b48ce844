// 13: what does a client get when the sidecar is killed? Nothing of the application's, for as long as it is away.

import { describe, expect, test } from 'vitest';
import type { Subject } from './checklist.subject.ts';

export function outage({ kit, stack, token }: Subject): void {
  describe('a sidecar that is gone', () => {
    test('fails closed', { timeout: 60_000 }, async () => {
      const { client, application, sidecar } = stack();
      expect((await client.ask({ path: '/api/device/d1', token: token('admin') })).status).toBe(200);
      await sidecar.stop('SIGKILL');
      const before = application.seen.length;
      const started = performance.now();
      const paths = ['/api/device/d1', '/api/noauth/userPasswordPolicy', ...(kit.constants ? ['/fleet/x'] : [])];
      const statuses = await Promise.all(paths.map(async (path) => (await client.ask({ path, token: token('admin') })).status));
      console.log(`outage: ${kit.name}: killed: ${statuses.join(', ')} after ${Math.round(performance.now() - started)} ms at the most`);
      expect(application.seen.length).toBe(before);
      for (const status of statuses) expect(status).toBe(kit.refuses ?? kit.statuses.error);
    });
  });
}
