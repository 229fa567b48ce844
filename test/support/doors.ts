// A whole sidecar without a database: real cache over the memory source, real tokens, real routes, real doors.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { PolicyCache, compileVocabulary, parseWorldFile } from 'policy-cache';
import type { Clock } from 'policy-cache';
import { MemorySource } from 'policy-cache/memory';
import type { Held } from 'policy-cache/memory';
import { parse } from 'yaml';
import type { Believe } from '../../src/asserted.ts';
import { createAuthorize, decisionIds } from '../../src/authorize.ts';
import type { Authorize } from '../../src/authorize.ts';
import { hostClock } from '../../src/clock.ts';
import { createGrpcDoor } from '../../src/doors/grpc.ts';
import type { GrpcDoor, GrpcDoorSettings } from '../../src/doors/grpc.ts';
import { createHttpDoors } from '../../src/doors/http.ts';
import type { HttpDoors, HttpDoorsSettings } from '../../src/doors/http.ts';
import { createAuthenticator } from '../../src/identity.ts';
import type { Authenticator, Issuer } from '../../src/identity.ts';
import { createThingsBoardIssuer, signToken } from '../../src/issuers/thingsboard.ts';
import type { TokenClaims } from '../../src/issuers/thingsboard.ts';
import { listen } from '../../src/listen.ts';
import { createOpaqueTokens } from '../../src/opaque.ts';
import { createPdp } from '../../src/pdp.ts';
import type { CheckReport } from '../../src/report.ts';
import { compileRoutes } from '../../src/routes.ts';

export const vocabulary = compileVocabulary(parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));

export const KEY = Buffer.alloc(64, 7).toString('base64');
/** Seconds since 1970 of the wall clock, until somebody sets it. */
export const NOW = 1_800_000_000;

const SLOWER = 20;

/** Two tenants, a customer, users who may and may not, devices of each owner. */
export const WORLD = {
  defaults: true,
  tenants: [{ id: 't1' }, { id: 't2' }],
  customers: [
    { id: 'c1', owner: 't1' },
    { id: 'Büro %1', owner: 't1' },
  ],
  users: [
    { id: 'admin', owner: 't1', groups: ['admins:t1'] },
    { id: 'reader', owner: 't1', groups: ['users:t1'] },
    { id: 'clerk', owner: 'c1', groups: ['users:c1'] },
    { id: 'Zoë 100%', owner: 'Büro %1', groups: ['admins:Büro %1'] },
    { id: 'nobody', owner: 't1', groups: [] },
    { id: 'off', owner: 't1', enabled: false, groups: ['admins:t1'] },
    { id: 'stranger', owner: 't2', groups: ['admins:t2'] },
  ],
  entities: [
    { id: 'd1', type: 'DEVICE', owner: 't1' },
    { id: 'd2', type: 'DEVICE', owner: 'c1' },
    { id: 'd3', type: 'DEVICE', owner: 'Büro %1' },
    { id: 'x1', type: 'DEVICE', owner: 't2' },
  ],
};

export const ROUTES = {
  routes: [
    { method: 'GET', path: '/api/device/{id}', resource: 'DEVICE', operation: 'READ', target: '{id}' },
    { method: 'DELETE', path: '/api/device/{id}', resource: 'DEVICE', operation: 'DELETE', target: '{id}' },
    { method: 'GET', path: '/api/devices', resource: 'DEVICE', operation: 'READ', target: '*' },
    {
      method: 'POST',
      path: '/api/device/{id}/rpc/{device}',
      checks: [
        { resource: 'DEVICE', operation: 'READ', target: '{id}' },
        { resource: 'DEVICE', operation: 'WRITE', target: '{device}' },
      ],
    },
    { method: 'POST', path: '/api/device', resource: 'DEVICE', operation: 'WRITE', in: 'body' },
    { method: 'GET', path: '/api/closed/{id}', resource: 'DEVICE', operation: 'READ', target: '{id}', closed: 'not yet' },
    { method: 'GET', path: '/api/me', authenticated: true },
    { method: 'GET', path: '/public/{rest...}', public: true },
    { method: 'OPTIONS', path: '/api/device/{id}', public: true },
  ],
};

export interface Sidecar {
  readonly source: MemorySource;
  readonly cache: PolicyCache;
  readonly authenticator: Authenticator;
  readonly authorize: Authorize;
  readonly doors: HttpDoors;
  readonly grpc: GrpcDoor;
  /** Every report so far. */
  readonly reports: CheckReport[];
  readonly faults: unknown[];
  /** Sets the wall clock, in seconds since 1970. */
  set(seconds: number): void;
  token(userId: string, more?: Partial<TokenClaims>): Promise<string>;
  /** A listening door: what to connect to. */
  listen(): Promise<{ host: string; port: number }>;
  /** A listening gRPC door: its port on loopback. */
  listenGrpc(): Promise<number>;
  close(): Promise<void>;
}

export interface SidecarSettings {
  readonly tenants?: readonly string[] | '*';
  readonly deadline?: number;
  readonly hold?: (what: Held) => Promise<void> | undefined;
  readonly doors?: Partial<HttpDoorsSettings>;
  readonly grpc?: Partial<GrpcDoorSettings>;
  readonly issuer?: Issuer;
  /** Asked before a token is verified, and before a check waits. */
  readonly admit?: { readonly token: (verifying: number) => void; readonly check: (waiting: number) => void };
  /** A route file as an object. */
  readonly routes?: unknown;
  readonly believe?: Believe;
  /** API keys are believed. */
  readonly apiKeys?: boolean;
  /** Tokens of sessions are. */
  readonly sessions?: boolean;
}

export async function sidecar(settings: SidecarSettings = {}): Promise<Sidecar> {
  let wall = NOW * 1000;
  const clock = hostClock();
  // The cache gives a check 100 ms; on a busy machine a test would meet that by chance, so its time runs slower here.
  const slower: Clock = { now: () => clock.now() / SLOWER, after: (ms, f) => clock.after(ms * SLOWER, f) };
  const { world, problems } = parseWorldFile(WORLD);
  if (problems.length > 0) throw new Error(JSON.stringify(problems));
  const source = new MemorySource({ newId: randomUUID, world, ...(settings.hold ? { hold: settings.hold } : {}) });
  const cache = new PolicyCache({ vocabulary, source, clock: slower, random: Math.random });
  cache.start();
  await cache.ready(5000);
  const issuer = settings.issuer ?? createThingsBoardIssuer({ name: 'thingsboard', tenants: settings.tenants ?? '*', signingKeys: [KEY] });
  const authenticator = createAuthenticator({ issuers: [issuer], wall: () => wall, tokens: 1000, ...(settings.admit ? { admit: settings.admit.token } : {}) });
  const faults: unknown[] = [];
  const reports: CheckReport[] = [];
  const { table } = compileRoutes(vocabulary, settings.routes ?? ROUTES);
  const authorize = createAuthorize({
    table,
    authenticator,
    ...(settings.believe ? { believe: settings.believe } : {}),
    opaque: createOpaqueTokens({
      cache,
      wall: () => wall,
      kinds: { key: settings.apiKeys ?? false, session: settings.sessions ?? false },
      ...(settings.admit ? { admit: settings.admit.token } : {}),
    }),
    pdp: createPdp(cache, settings.admit ? { admit: settings.admit.check } : {}),
    nextId: decisionIds('test'),
    clock,
    fault: (thrown) => void faults.push(thrown),
    deadline: settings.deadline ?? 10_000,
  });
  const report = (check: CheckReport): void => void reports.push(check);
  const doors = createHttpDoors({ authorize, clock, report, ...settings.doors });
  const grpc = createGrpcDoor({ authorize, clock, report, random: Math.random, ready: () => cache.state().fresh, ...settings.grpc });
  return {
    source,
    cache,
    authenticator,
    authorize,
    doors,
    grpc,
    reports,
    faults,
    set: (seconds) => void (wall = seconds * 1000),
    token: (userId, more) => signToken(KEY, { userId, scope: 'TENANT_ADMIN', issuedAt: NOW, lifetime: 3600, ...more }),
    async listen() {
      const [host = '', port = ''] = (await listen(doors.server(), { host: '127.0.0.1', port: 0 })).split(':');
      return { host, port: Number(port) };
    },
    listenGrpc: async () => Number((await listen(grpc.server(), { host: '127.0.0.1', port: 0 }, 'grpc')).split(':')[1]),
    async close() {
      await Promise.all([doors.close(0), grpc.close(0)]);
      cache.close();
    },
  };
}
