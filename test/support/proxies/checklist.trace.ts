// Is the check a part of the trace that its request is of?

import { describe, expect, test } from 'vitest';
import { startClient } from '../ask.ts';
import type { Collector } from '../otlp.ts';
import { untilDecided, type Subject } from './checklist.subject.ts';

export function trace({ kit, stack, token }: Subject, collector: () => Collector): void {
  describe('traces', () => {
    test('the check is below the span that the client names, and the application is told the same', async () => {
      const [id, span] = ['7'.repeat(32), '5'.repeat(16)];
      const client = startClient(stack().proxy.port);
      const traceparent = `00-${id}-${span}-01`;
      const status = await untilDecided(
        kit,
        async () => (await client.ask({ path: '/api/device/d1', token: token('admin'), headers: { traceparent, tracestate: 'vendor=1' } })).status,
      );
      client.close();
      expect(status).toBe(200);
      const check = await collector().first(({ trace: of, name }) => of === id && name === 'grantgate check', 'the check');
      expect(check).toMatchObject({ parent: span, state: 'vendor=1', attributes: { 'grantgate.protocol': kit.protocol } });
      expect(stack().application.values('traceparent')).toEqual([traceparent]);
      expect(stack().application.values('tracestate')).toEqual(['vendor=1']);
    });
  });
}
