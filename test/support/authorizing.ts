// One request through the pipeline of a sidecar, without a door.

import { onTestFinished } from 'vitest';
import { createAuthorize, decisionIds, type Authorize, type DoorRequest, type Outcome } from '../../src/authorize.ts';
import { hostClock } from '../../src/clock.ts';
import type { Authentication, Authenticator } from '../../src/identity.ts';
import type { Pdp } from '../../src/pdp.ts';
import { compileRoutes } from '../../src/routes.ts';
import { ROUTES, sidecar, vocabulary, type Sidecar, type SidecarSettings } from './doors.ts';

export function request(method: string, uri: string, more: Partial<DoorRequest> = {}): DoorRequest {
  return {
    protocol: 'nginx',
    method,
    uri,
    parameters: null,
    preflight: false,
    credential: '',
    credentials: 0,
    cookies: '',
    origin: '',
    asserted: null,
    timeout: null,
    atLeast: null,
    problem: null,
    requestId: 'r1',
    ...more,
  };
}

export async function running(settings?: SidecarSettings): Promise<Sidecar> {
  const made = await sidecar(settings);
  onTestFinished(() => made.close());
  return made;
}

/** Asks as a user; `more` wins. */
export async function ask(side: Sidecar, user: string, [method, uri, more = {}]: [string, string, Partial<DoorRequest>?]): Promise<Outcome> {
  const credential = `Bearer ${await side.token(user)}`;
  return side.authorize(request(method, uri, { credential, credentials: 1, ...more }));
}

export function words({ verdict, reason, rule }: Outcome): string {
  return [verdict, reason, rule].join(' ').trim();
}

/** Of parts that a test makes up. */
export function made(pdp: Pdp, authenticate: () => Authentication | Promise<Authentication>, told: { push(thrown: unknown): unknown } = []): Authorize {
  const authenticator: Authenticator = { authenticate, hits: 0, misses: 0, size: 0 };
  const { table } = compileRoutes(vocabulary, ROUTES);
  return createAuthorize({ table, authenticator, pdp, nextId: decisionIds('x'), clock: hostClock(), deadline: 20, fault: (thrown) => void told.push(thrown) });
}
