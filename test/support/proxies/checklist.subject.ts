// What do the parts of the checklist work with? A world, its users, and the stack that one kit is in.

import { expect } from 'vitest';
import type { TestServer } from '../postgres.ts';
import type { Proxied } from '../stack.ts';
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
