// How are the parts put together, started and stopped?
//
// The only place that wires: settings → source → cache → decision point → doors, and beside them the api, telemetry and the log.

import { once } from 'node:events';
import type { Server } from 'node:http';
import { PolicyCache, PolicyError, type CacheState } from 'policy-cache';
import { barrier, postgresSource } from 'policy-cache/postgres';
import { createAdmission } from './admission.ts';
import { apiServer, createApi } from './api/app.ts';
import { isReady, type Readiness } from './api/health.ts';
import { createAuthorize, decisionIds } from './authorize.ts';
import { hostClock } from './clock.ts';
import type { Config } from './config.ts';
import { databaseOptions } from './database.ts';
import { createDecisionLog, type LineSink } from './decisionlog.ts';
import type { Asserts } from './doors/envoy.ts';
import { createGrpcDoor } from './doors/grpc.ts';
import { createHttpDoors } from './doors/http.ts';
import { createHotSet } from './hotset.ts';
import { createIdentity, missingKeys } from './authorities.ts';
import { addressesOf, listen } from './listen.ts';
import type { Log } from './log.ts';
import { mailSettings } from './mailserver.ts';
import { createOpaqueTokens, newApiKey } from './opaque.ts';
import { createPdp } from './pdp.ts';
import { loadPolicy } from './policy.ts';
import type { CheckReport } from './report.ts';
import { createTelemetry, type Telemetry } from './telemetry.ts';

type Settings = Config['settings'];

/** A lease is a second longer than the staleness; the rest is for the ways. */
const BARRIER_GRACE_MS = 3_000;
/** A person waits for it, and a change of many things asks about each of them. */
const ADMIN_DEADLINE_MS = 2_000;
/** To load the first world and the keys in, before another process loses its socket. */
const TAKE_OVER_LIMIT_MS = 30_000;
const TAKE_OVER_LOOK_MS = 50;

export interface ServiceParts {
  readonly settings: Settings;
  readonly version: string;
  readonly readFile: (path: string) => string;
  /** Where the decision log goes. */
  readonly stdout: LineSink;
  readonly log: Log;
  /** Milliseconds since 1970. */
  readonly wall: () => number;
  /** 0 ≤ random() < 1 */
  readonly random: () => number;
  readonly uuid: () => string;
  /** Of this machine: the default name of the sidecar. */
  readonly hostname: string;
  /** The environment asks for traces (traces-asked.ts). */
  readonly traces?: boolean;
  /** Aborted: nothing is taken over from another process any more. */
  readonly cancelled?: AbortSignal;
  /** Which one of several this process is, from 1. */
  readonly worker?: number;
  /** Random, and of all of those. Default: each process makes up what it needs. */
  readonly secret?: string;
  /** How a server comes to its connections. Default: it listens; in a worker, they are handed over (worker.ts). */
  readonly listen?: typeof listen;
  /** What health and metrics tell of. Default: this process. */
  readonly whole?: { readonly readiness: () => Promise<Readiness>; readonly scrape: () => Promise<string> };
}

/** What listens, and ends: one process, or a supervisor and its workers. */
export interface Serving {
  /** Where the doors listen, in words: `127.0.0.1:9191`, `unix:/run/authz/http.sock`. */
  readonly doors: readonly string[];
  /** Where the gRPC door listens, likewise. */
  readonly grpc: readonly string[];
  readonly api: string;
  /** Not ready → delay → doors closed → log written → api closed. Asked again, it is the same stop. */
  stop(): Promise<void>;
  /** False after a stop: something is still on its way to whoever does not take it, and would keep the process. */
  readonly idle: boolean;
}

export interface Service extends Serving {
  state(): CacheState;
  /** Resolves when the first world is current; rejects with PolicyError `starting` after `ms`. */
  ready(ms: number): Promise<void>;
  readiness(): Readiness;
  metrics: Telemetry['collect'];
  /** The first step of a stop: not ready from now on, and every answer ends its connection. */
  drain(): void;
}

/**
 * Starts to listen; the database may come later, until then every check is answered with 503.
 * @throws InputError for settings, files and addresses that cannot be used; nothing is left open then
 */
export async function startService(parts: ServiceParts): Promise<Service> {
  const { settings, log } = parts;
  const policy = loadPolicy({ vocabulary: settings.vocabulary.file, routes: settings.routes.file, readFile: parts.readFile });
  // Of the shipped table they are known; of somebody's own they are news.
  for (const warning of policy.warnings) log(settings.routes.file === undefined ? 'debug' : 'warn', 'routes', warning);
  const database = databaseOptions(settings, parts.readFile);
  const source = postgresSource({
    ...database,
    trim: { keepMs: settings.database.keepChanges, random: parts.random },
    observer: {
      trimmed: (versions) => log('debug', 'trimmed', `${versions} old versions taken out of the change log`),
      trimFailed: (cause) => log('warn', 'trim', `the change log was not trimmed: ${cause.message}`),
    },
  });
  const clock = hostClock();
  const { overload } = settings;
  const admitCheck = (waiting: number): void => admission.admit(waiting, overload.inFlight);
  const admitToken = (verifying: number): void => admission.admit(verifying, overload.verifications);
  const identity = createIdentity(settings, { clock, wall: parts.wall, random: parts.random, log, admit: admitToken });
  const { authenticator, keys } = identity;
  const telemetry = createTelemetry({
    vocabulary: policy.vocabulary,
    version: parts.version,
    policyVersion: policy.version,
    wall: parts.wall,
    log: ({ kind, detail }) => log(kind === 'attached' || detail === 'start' ? 'info' : 'warn', kind, detail),
  });
  const decisions = createDecisionLog({
    sink: parts.stdout,
    allowSample: settings.log.allowSample,
    buffer: settings.log.buffer,
    random: parts.random,
    wall: parts.wall,
  });
  const instance = replicaName(settings.replica.name ?? parts.hostname, parts.uuid());
  // A fifth of a second to load: nobody else has to wait for it.
  const traces =
    parts.traces === true
      ? (await import('./traces.ts')).startTraces({ version: parts.version, instance, vocabulary: policy.vocabulary, clock, wall: parts.wall, log })
      : null;
  const trace = traces?.check ?? null;
  const cache = new PolicyCache({
    vocabulary: policy.vocabulary,
    source,
    clock,
    random: parts.random,
    observer: traces === null ? telemetry.observer : { ...telemetry.observer, worked: (work) => traces.worked(work) },
    maxStaleness: settings.cache.maxStaleness,
    follower: instance,
    limits: settings.cache,
  });
  const { hotSet: path, warmUp: ms } = settings.cache;
  const hotSet = path === undefined ? null : createHotSet({ path, ms, cache, vocabulary: policy.vocabulary, clock, log, part: `worker-${parts.worker ?? 1}` });
  const { deadline } = settings.doors;
  const nextId = decisionIds(parts.uuid().slice(0, 8));
  const counts = settings.api.metrics;
  const writes = settings.log.decisions;
  const report = (check: CheckReport): void => {
    if (counts) telemetry.report(check);
    if (writes) decisions.report(check);
    check.span?.end(check);
  };
  const kinds = { key: settings.identity.apiKeys, session: settings.identity.local.enabled };
  const authorize = createAuthorize({
    table: policy.routes,
    authenticator,
    ...(identity.believe ? { believe: identity.believe } : {}),
    opaque: kinds.key || kinds.session ? createOpaqueTokens({ cache, wall: parts.wall, kinds, deadline, admit: admitToken }) : undefined,
    clock,
    deadline,
    pdp: createPdp(cache, { deadline, admit: admitCheck }),
    nextId,
    fault: (thrown) => log('error', 'fault', thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)),
  });
  const doors = createHttpDoors({
    authorize,
    clock,
    report,
    atLeast: settings.doors.atLeast,
    subjectHeader: settings.doors.subjectHeader ?? null,
    trace,
  });
  let draining = false;
  const readiness = (): Readiness => ({
    cache: cache.state(),
    draining,
    overloaded: admission.behindFor() > overload.notReadyAfter,
    warming: hotSet?.warming ?? false,
    missingKeys: missingKeys(keys),
  });
  const grpc = createGrpcDoor({
    authorize,
    clock,
    report,
    random: parts.random,
    ready: () => isReady(readiness()),
    atLeast: settings.doors.atLeast,
    asserts: assertsOf(settings.grpc),
    trace,
    connectionAge: settings.grpc.connectionAge,
  });
  const admission = createAdmission({ clock, delay: overload.delay }); // its timer runs from here on: behind whatever refuses settings
  telemetry.watch({ cache, tokens: authenticator, log: decisions, doors: [doors, grpc], keys, admission });

  const failed = (error: unknown): void => log('error', 'api', error instanceof Error ? (error.stack ?? error.message) : String(error));
  const { adminUrl } = settings.database;
  const { local } = settings.identity;
  const mail = mailSettings(local.mail);
  const addition =
    adminUrl === undefined || !local.enabled
      ? undefined
      : (await import('./api/local/start.ts')).createLocal({
          ...local,
          clock,
          failed,
          mailer: mail === null ? undefined : (await import('./api/local/mail.ts')).createMailer(mail),
        });
  // A fifth of the modules there are: loaded where there is something to administer.
  const administration =
    adminUrl === undefined
      ? undefined
      : (await import('./api/admin/start.ts')).startAdministration({
          database: { ...database, url: adminUrl },
          operator: settings.operator.secrets ?? [],
          authenticate: (token) => authenticator.authenticate(token),
          opaque: createOpaqueTokens({ cache, wall: parts.wall, kinds, deadline: ADMIN_DEADLINE_MS, admit: admitToken }),
          cache,
          pdp: createPdp(cache, { deadline: ADMIN_DEADLINE_MS }),
          vocabulary: policy.vocabulary,
          deadline: ADMIN_DEADLINE_MS,
          appliedWithin: settings.cache.maxStaleness,
          clock,
          decisions: { clock, nextId, report },
          importWorld: (await import('./worldimport.ts')).worldImporter({ ...database, url: adminUrl }, policy.vocabulary),
          newId: parts.uuid,
          newKey: newApiKey,
          version: parts.version,
          addition,
          ...(parts.secret === undefined ? {} : { secret: parts.secret }),
        });
  const api = apiServer(
    createApi({
      administration: administration?.routes,
      readiness: parts.whole?.readiness ?? readiness,
      scrape: settings.api.metrics ? (parts.whole?.scrape ?? (() => telemetry.scrape())) : undefined,
      callers: {
        keys: settings.api.keys ?? [],
        keyless: () => log('warn', 'api', 'somebody asks the api, and no key is set: every such question is refused. Set api.keys (GRANTGATE_API_KEYS)'),
      },
      authzen: { pdp: createPdp(cache, { deadline: settings.api.deadline, admit: admitCheck }), vocabulary: policy.vocabulary, clock, nextId, report, trace },
      barrier: (revision, wait) => barrier(database, revision, wait),
      barrierTimeout: settings.cache.maxStaleness + BARRIER_GRACE_MS,
      failed,
    }),
  );
  const pause = (ms: number): Promise<void> => new Promise((resolve) => void clock.after(ms, resolve));
  let idle = true;
  const end = async (): Promise<void> => {
    await Promise.all([doors.close(settings.shutdown.timeout), grpc.close(settings.shutdown.timeout)]);
    await hotSet?.close();
    cache.close();
    administration?.close();
    for (const source of keys) source.close();
    [idle] = await Promise.all([traces?.close(settings.shutdown.timeout) ?? true, decisions.flush(settings.shutdown.timeout)]);
    await closeServer(api);
    await telemetry.close();
    admission.close();
  };

  /** @throws PolicyError `starting` if it takes too long, or is not wanted any more */
  const readyToTakeOver = async (): Promise<void> => {
    const limit = clock.now() + TAKE_OVER_LIMIT_MS;
    for (;;) {
      // Told to stop, it would take the name from a process that answers, and then away with it.
      if (parts.cancelled?.aborted === true) throw new PolicyError('starting', 'told to stop before it could take over');
      const { fresh, cause } = cache.state();
      const missing = fresh ? missingKeys(keys) : (cause ?? 'no world is loaded yet');
      if (missing === null && hotSet?.warming !== true) return;
      if (clock.now() > limit) throw new PolicyError('starting', missing ?? 'the hot set is being read');
      await pause(TAKE_OVER_LOOK_MS);
    }
  };
  const addresses = { doors: [] as string[], grpc: [] as string[] };
  const open = parts.listen ?? listen;
  let apiAddress: string;
  try {
    cache.start();
    for (const source of keys) source.start();
    void hotSet?.start(); // never rejects
    // While the database answers. Later it would hold up checks: it is a fifth of the time to ready, and not in small turns.
    if (counts) await telemetry.load();
    apiAddress = await open(api, settings.api, 'api');
    const { takeOver } = settings.doors;
    // The other one goes on answering until this one can: a version that never gets ready never takes its place.
    if (takeOver) await readyToTakeOver();
    for (const address of addressesOf(settings.doors, takeOver)) addresses.doors.push(await open(doors.server(), address));
    for (const address of addressesOf(settings.grpc, takeOver)) addresses.grpc.push(await open(grpc.server(), address, 'grpc'));
  } catch (error) {
    await end();
    throw error;
  }

  const drain = (): void => {
    draining = true;
    // While proxies take notice, every answer already ends its connection: at the close nothing is under way on an idle one.
    doors.drain();
    grpc.drain();
  };
  let stopped: Promise<void> | null = null;
  return {
    ...addresses,
    api: apiAddress,
    state: () => cache.state(),
    ready: (ms) => cache.ready(ms),
    readiness,
    metrics: () => telemetry.collect(),
    drain,
    get idle() {
      return idle;
    },
    stop() {
      stopped ??= (async () => {
        drain();
        await pause(settings.shutdown.delay);
        await end();
      })();
      return stopped;
    },
  };
}

function assertsOf({ identity, subjectHeader }: Settings['grpc']): Asserts {
  switch (identity) {
    case 'token':
      return 'none';
    case 'principal':
      return 'principal';
    case 'header':
      // Without one config.ts lets nobody start; '' would be a header that no request has.
      return { header: subjectHeader?.toLowerCase() ?? '' };
    default:
      return identity satisfies never;
  }
}

/** Unique to this process: two with one name would overwrite each other's report. */
function replicaName(name: string, uuid: string): string {
  return `${name.replace(/[^!-~]/g, '-').slice(0, 200)}/${uuid.slice(0, 8)}`;
}

async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections(); // a scraper's idle connection must not hold up the exit
  await closed;
}
