// 1, 4, 11: what does the client get for each verdict, and is the application reached for a permit alone?

import { describe, expect, test } from 'vitest';
import { expectNoIdentity, IDENTITY, newRequestId, type Subject, type User } from './checklist.subject.ts';

type Row = readonly [what: string, user: User | null, path: string, decision: string, method?: string];

const TABLE: readonly Row[] = [
  ['a permit', 'admin', '/api/device/d1', 'allow generic'],
  ['a permit of a customer', 'clerk', '/api/device/device-b1?x=1', 'allow generic'],
  ['any of the resource', 'driver', '/api/devices?limit=10', 'allow generic'],
  ['a deny', 'clerk', '/api/device/d1', 'deny out-of-scope'],
  ['a deny of whoever may nothing', 'nobody', '/api/device/d1', 'deny no-grant'],
  ['a deny by the method', 'driver', '/api/device/d1', 'deny no-grant', 'DELETE'],
  ['an unknown device', 'admin', '/api/device/none', 'deny unknown-target'],
  ['no route', 'admin', '/api/nowhere', 'unmapped no-route'],
  ['the root', 'admin', '/', 'unmapped no-route'],
  ['no credential', null, '/api/device/d1', 'unauthenticated no-credential'],
  ['HEAD', 'admin', '/api/device/d1', 'allow generic', 'HEAD'],
];
const CONSTANTS: readonly Row[] = [
  ['parameters: a permit', 'driver', '/fleet/x?y=1', 'allow generic'],
  ['other parameters: a permit', 'porter', '/estate/x', 'allow generic'],
  ['parameters: a deny', 'porter', '/fleet/x', 'deny no-grant'],
  ['other parameters: a deny', 'driver', '/estate/x', 'deny no-grant'],
  ['parameters: no credential', null, '/fleet/x', 'unauthenticated no-credential'],
];
const COMPUTED: readonly Row[] = [
  ['a computed target: a permit', 'clerk', '/api/devices/device-b1', 'allow generic'],
  ['a computed target: a deny', 'clerk', '/api/devices/d1', 'deny out-of-scope'],
  ['no target is not any target', 'admin', '/api/devices/', 'unmapped missing-header'],
  ['nor is a star', 'admin', '/api/devices/*', 'unmapped missing-header'],
];

export function statuses({ kit, stack, token }: Subject): void {
  describe('verdicts', () => {
    const rows: readonly Row[] = [...TABLE, ...(kit.constants ? CONSTANTS : []), ...(kit.computed ? COMPUTED : [])];
    test.each(rows.map((row) => [row[0], row] as const))('%s', async (_, [, user, path, decision, method = 'GET']) => {
      const { client, application, sidecar } = stack();
      const before = application.seen.length;
      const requestId = newRequestId();
      const answer = await client.ask({ path, method, requestId, ...(user === null ? {} : { token: token(user) }) });
      const line = await sidecar.line(requestId);
      expect(`${line.decision} ${line.reason}`).toBe(decision);
      expect(line).toMatchObject({ protocol: kit.protocol, method });
      const [verdict] = decision.split(' ');
      expect(answer.status).toBe(verdict === 'allow' ? 200 : verdict === 'unauthenticated' ? kit.statuses.unauthenticated : kit.statuses.denied);
      expect(application.seen.length - before).toBe(verdict === 'allow' ? 1 : 0);
      expect(answer.headers['www-authenticate']).toBe(verdict === 'unauthenticated' ? 'Bearer' : undefined);
      expectNoIdentity(answer.headers);
      if (verdict === 'allow') expect(application.seen.at(-1)).toMatchObject({ method, url: path });
    });

    test('a public route asks nobody who they are, and names nobody', async () => {
      const { client, application } = stack();
      const answer = await client.ask({
        path: '/api/noauth/userPasswordPolicy',
        token: 'rubbish',
        headers: { 'X-Auth-User': 'mallory', 'X-Auth-Customer': 'mallory' },
      });
      expect(answer.status).toBe(200);
      for (const name of IDENTITY) expect(application.values(name).join(), name).toBe('');
      expectNoIdentity(answer.headers);
    });
  });
}
