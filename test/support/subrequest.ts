// A door to be asked as nginx asks, and what must be true of every answer.

import { afterAll, beforeAll, beforeEach, expect } from 'vitest';
import type { CheckReport } from '../../src/report.ts';
import { sidecar } from './doors.ts';
import type { Sidecar } from './doors.ts';
import { exchange, requestBytes } from './raw.ts';
import type { RawAnswer } from './raw.ts';

export type Header = readonly [name: string, value: string];
/** Values by name: a list repeats the header, null leaves it out. */
export type Replacement = Readonly<Record<string, string | readonly string[] | null>>;

export const HOST: Header = ['Host', 'authz'];
export const DOOR = 'GET /auth/nginx HTTP/1.1';
export const FORM = 'GET /auth/nginx/DEVICE/READ HTTP/1.1';
export const IDENTITY = ['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer', 'X-Authz-Decision-Id'];

/** The sidecar of this test file, where it listens, and a credential of the user `admin`. */
export let side: Sidecar;
export let at: { readonly host: string; readonly port: number };
let bearerOfAdmin: string;
export const bearer = (): string => bearerOfAdmin;

/** Starts them before the first test of the file that calls it, and ends them after the last. */
export function useDoor(): void {
  beforeAll(async () => {
    side = await sidecar();
    at = await side.listen();
    bearerOfAdmin = `Bearer ${await side.token('admin')}`;
  });
  afterAll(() => side.close());
  beforeEach(() => void (side.reports.length = 0));
}

/** The headers of nginx's subrequest for a GET of d1 by `admin`, who may. */
export function subrequest(replace: Replacement = {}): Header[] {
  const headers: Replacement = {
    Host: 'authz',
    Authorization: bearerOfAdmin,
    'X-Original-Method': 'GET',
    'X-Original-URI': '/api/device/d1',
    'X-Request-Id': 'r1',
    ...replace,
  };
  return Object.entries(headers).flatMap(([name, value]) =>
    value === null ? [] : typeof value === 'string' ? [[name, value] as const] : value.map((each) => [name, each] as const),
  );
}

export function ask(headers: readonly Header[], line = DOOR): Promise<RawAnswer> {
  return exchange(at, requestBytes(line, headers));
}

/** The one report since the last look. */
export function reported(): CheckReport {
  const [report, ...more] = side.reports.splice(0);
  expect(more).toEqual([]);
  return report!;
}

/** What every answer is, whatever it says (contract 5, rule 8). */
export function expectBare(answer: RawAnswer): void {
  expect(answer.header('content-length')).toBe('0');
  expect(answer.header('cache-control')).toBe('no-store');
  for (const name of ['transfer-encoding', 'server', 'x-powered-by', 'location', 'date']) expect(answer.header(name)).toBeUndefined();
  expect(answer.header('www-authenticate')).toBe(answer.status === 401 ? 'Bearer' : undefined);
  for (const name of IDENTITY) expect(answer.header(name) === undefined, `${name} on ${answer.status}`).toBe(answer.status !== 200);
}
