// What must be true behind every proxy? One suite, run with each kit: test/proxies/<kit>.test.ts calls it and nothing more.
//
// The numbers are those of the reference's end-to-end checklist. What only one program does is in that program's own suite.

import { afterAll, beforeAll, beforeEach, describe, expect } from 'vitest';
import { startPostgres, type TestServer } from '../postgres.ts';
import { tokenFor } from '../sidecar.ts';
import { startProxied, type Proxied } from '../stack.ts';
import { connections } from './checklist.connections.ts';
import { identity } from './checklist.identity.ts';
import { matrix } from './checklist.matrix.ts';
import { messages } from './checklist.messages.ts';
import { outage } from './checklist.outage.ts';
import { paths } from './checklist.paths.ts';
import { statuses } from './checklist.statuses.ts';
import type { Kit } from './kit.ts';

/** admin may do everything, clerk all of c1, driver reads devices, porter reads assets, nobody may do nothing. */
export const CHECKLIST_WORLD = JSON.stringify({
  defaults: true,
  tenants: [{ id: 't1' }],
  customers: [{ id: 'c1', owner: 't1' }],
  groups: [
    { id: 'drivers', type: 'USER', owner: 't1', name: 'Drivers' },
    { id: 'porters', type: 'USER', owner: 't1', name: 'Porters' },
  ],
  users: [
    { id: 'admin', owner: 't1', groups: ['admins:t1'] },
    { id: 'clerk', owner: 'c1', groups: ['admins:c1'] },
    { id: 'driver', owner: 't1', groups: ['drivers'] },
    { id: 'porter', owner: 't1', groups: ['porters'] },
    { id: 'nobody', owner: 't1' },
  ],
  entities: [
    { id: 'd1', type: 'DEVICE', owner: 't1' },
    { id: 'device-b1', type: 'DEVICE', owner: 'c1' },
    { id: 'a1', type: 'ASSET', owner: 't1' },
  ],
  roles: [
    { id: 'drives', owner: 't1', type: 'GENERIC', permissions: { DEVICE: ['READ'] } },
    { id: 'keeps', owner: 't1', type: 'GENERIC', permissions: { ASSET: ['READ'] } },
  ],
  grants: [
    { id: 'drivers-drive', userGroup: 'drivers', role: 'drives' },
    { id: 'porters-keep', userGroup: 'porters', role: 'keeps' },
  ],
});

export const IDENTITY = ['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer', 'X-Authz-Decision-Id'] as const;
export type User = 'admin' | 'clerk' | 'driver' | 'porter' | 'nobody';

/** What the parts of the checklist work with. The stack is there once the tests run. */
export interface Subject {
  readonly kit: Kit;
  readonly server: () => TestServer;
  readonly stack: () => Proxied;
  /** A good token. */
  readonly token: (user: User) => string;
}

export function checklist(kit: Kit): void {
  describe(kit.name, () => {
    let server: TestServer;
    let stack: Proxied;
    let version = '';
    const tokens = new Map<User, string>();
    const subject: Subject = { kit, server: () => server, stack: () => stack, token: (user) => tokens.get(user)! };

    beforeAll(async () => {
      version = await kit.version();
      server = await startPostgres('embedded18');
      stack = await startProxied(kit, { server, world: CHECKLIST_WORLD, connections: 32 });
      for (const user of ['admin', 'clerk', 'driver', 'porter', 'nobody'] as const) tokens.set(user, await tokenFor(user));
      // In memory from here on, so that no answer below is one of a check that took too long.
      for (const token of tokens.values()) for (const id of ['d1', 'device-b1']) await stack.client.ask({ path: `/api/device/${id}`, token });
      for (const token of tokens.values())
        for (const area of kit.constants ? ['/fleet/warm', '/estate/warm'] : []) await stack.client.ask({ path: area, token });
    });
    afterAll(async () => {
      await stack?.close();
      await server?.close();
    });
    // The report counts by program: a proxy that ran no test is no line of its table.
    beforeEach(({ task }) => void Object.assign(task.meta, { proxy: kit.name, version }));

    statuses(subject);
    identity(subject);
    paths(subject);
    messages(subject);
    connections(subject);
    if (kit.matrix) matrix(subject, kit.matrix);
    outage(subject); // last: it ends the sidecar
  });
}

/** The id of a request that is found in the log by it. */
let asked = 0;
export function newRequestId(): string {
  return `checklist-${++asked}`;
}

/** Asks until the status is not that of "cannot decide", four times at most. */
export async function untilDecided({ statuses: { error } }: Kit, ask: () => Promise<number>): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const status = await ask();
    if (status !== error || attempt === 4) return status;
  }
}

/** Asserts that a client learns nothing of who it is to the application. */
export function expectNoIdentity(headers: Readonly<Record<string, unknown>>): void {
  for (const name of IDENTITY) expect(headers[name.toLowerCase()], `${name} in the client's answer`).toBeUndefined();
}
