// What stands between a client and an application in the suites of proxies? The real parts: a proxy with its shipped
// configuration, `grantgate serve` as a process of its own, Postgres with a world in it.

import { readFileSync } from 'node:fs';
import { compileVocabulary } from 'policy-cache';
import { formatImportProblem, openPool } from 'policy-cache/postgres';
import { parse } from 'yaml';
import { importWorlds } from '../../src/worldimport.ts';
import { OPERATOR } from './admin.ts';
import { startApplication, type Application } from './application.ts';
import { startClient, type Client } from './ask.ts';
import { startNginx } from './proxies/nginx.ts';
import type { Started } from './proxies/start.ts';
import type { TestDatabase, TestServer } from './postgres.ts';
import type { Kit, KitOptions, RunningProxy, Upstreams } from './proxies/kit.ts';
import { startSidecar, type ServedSidecar, type SidecarOptions } from './sidecar.ts';

const vocabularyFile: unknown = parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8'));
export const vocabulary = compileVocabulary(vocabularyFile);

/** All but the proxy. */
export interface Behind {
  readonly database: TestDatabase;
  /** The superuser's client, five connections. */
  readonly sql: ReturnType<typeof openPool>;
  readonly sidecar: ServedSidecar;
  readonly application: Application;
  /** Where a proxy finds them. */
  readonly upstreams: Upstreams;
  close(): Promise<void>;
}

/** Behind the shipped configuration of Debian's nginx. */
export interface Stack extends Behind {
  readonly nginx: Started;
  readonly client: Client;
}

/** Behind any proxy that there is a kit for. */
export interface Proxied extends Behind {
  readonly proxy: RunningProxy;
  readonly client: Client;
}

export interface BehindOptions extends Pick<SidecarOptions, 'routes' | 'set' | 'env'> {
  readonly server: TestServer;
  /** A world as text (YAML, JSON). */
  readonly world: string;
  /** The administration is there too, and OPERATOR its operator. */
  readonly administered?: boolean;
}

export interface StackOptions extends BehindOptions, KitOptions {
  readonly connections?: number;
}

/**
 * A check may take longer here than in service: on a machine that does other work a first check would be 503 by chance. Below the
 * 500 ms that nginx waits.
 */
const DEADLINE = '450ms';

export async function startBehind({ server, world, routes, set, env = {}, administered = false }: BehindOptions): Promise<Behind> {
  const database = await server.database();
  const sql = openPool({ url: database.url, max: 5 });
  const closing: (() => Promise<void> | void)[] = [() => sql.end({ timeout: 5 }), () => database.drop()];
  const close = async (): Promise<void> => {
    for (const part of closing.splice(0)) await part();
  };
  try {
    await load(sql, world);
    const secrets = administered ? { ADMIN_DATABASE_URL: await database.urlAs('grantgate_writer'), GRANTGATE_OPERATOR_SECRETS: OPERATOR } : {};
    const sidecar = await startSidecar({
      databaseUrl: await database.urlAs('grantgate_reader'),
      routes,
      env: { ...env, ...secrets },
      set: { 'doors.deadline': DEADLINE, ...set },
    });
    closing.unshift(() => sidecar.stop());
    const application = await startApplication();
    closing.unshift(() => application.close());
    const upstreams = {
      socket: sidecar.doors,
      port: sidecar.doorsPort,
      grpcSocket: sidecar.grpcSocket,
      grpcPort: sidecar.grpcPort,
      applicationPort: application.port,
    };
    return { database, sql, sidecar, application, upstreams, close };
  } catch (error) {
    await close();
    throw error;
  }
}

export async function startStack({ spoil, connections, ...options }: StackOptions): Promise<Stack> {
  const behind = await startBehind(options);
  try {
    const nginx = await startNginx({ doors: behind.sidecar.doors, applicationPort: behind.application.port, ...(spoil ? { spoil } : {}) });
    const client = startClient(nginx.port, connections);
    return {
      ...behind,
      nginx,
      client,
      close: inTurn(
        () => client.close(),
        () => nginx.stop(),
        () => behind.close(),
      ),
    };
  } catch (error) {
    await behind.close();
    throw error;
  }
}

export async function startProxied(kit: Kit, { spoil, connections, ...options }: StackOptions): Promise<Proxied> {
  const behind = await startBehind(options);
  try {
    const proxy = await kit.start(behind.upstreams, spoil ? { spoil } : {});
    const client = startClient(proxy.port, connections);
    return {
      ...behind,
      proxy,
      client,
      close: inTurn(
        () => client.close(),
        () => proxy.stop(),
        () => behind.close(),
      ),
    };
  } catch (error) {
    await behind.close();
    throw error;
  }
}

function inTurn(...parts: readonly (() => Promise<void> | void)[]): () => Promise<void> {
  return async () => {
    for (const part of parts) await part();
  };
}

async function load(sql: Stack['sql'], text: string): Promise<void> {
  const result = await importWorlds(sql, [{ file: 'world', text }], vocabulary);
  if (!result.ok) throw new Error(result.problems.map(formatImportProblem).join('\n'));
}

/** Route rows by which every check can be asked: `/check/{resource}/READ/{target}`, and without a target for `*`. */
export function checkRoutes(): { routes: object[] } {
  const rows = vocabulary.operations.flatMap((operation) => [
    { method: 'GET', path: `/check/{resource}/${operation}/{target}`, resource: '{resource}', operation, target: '{target}', encoded: true },
    { method: 'GET', path: `/check/{resource}/${operation}`, resource: '{resource}', operation, target: '*' },
  ]);
  return { routes: rows };
}

export function checkPath({ resource, operation, target }: { readonly resource: string; readonly operation: string; readonly target: string }): string {
  return `/check/${resource}/${operation}${target === '*' ? '' : `/${encodeURIComponent(target)}`}`;
}
