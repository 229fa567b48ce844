// How do several processes answer behind one listener?
//
// This process, the supervisor, holds the listeners and answers nothing: each connection goes to the worker that has fewest of its
// listener, the api's too, so AuthZEN scales as the doors do. Only health and metrics are of the whole: a worker that is asked for
// them asks here. When no worker is up, the supervisor answers the api itself: alive, not ready, and why.
//
// Why the fewest: a proxy keeps few connections and keeps them long. 16 of them on two workers, ten times each (Node 20.20 and 24.21):
// accepted by whoever wakes first (cluster's SCHED_NONE) they fell 0/16 to 10/6 in bursts, by `reusePort` 5/11 to 9/7 (Node 22 on, no Unix
// sockets), in cluster's turns 11/5 to 8/8; by count always 8/8, and again so soon after a worker was replaced. A connection costs some
// 100 µs more once, a check on it nothing.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { InputError, PolicyError } from 'policy-cache';
import { apiServer, createApi } from './api/app.ts';
import { isReady, type Readiness } from './api/health.ts';
import { hostClock } from './clock.ts';
import { databaseOptions } from './database.ts';
import { addressesOf, listen } from './listen.ts';
import type { ServiceParts, Serving } from './service.ts';
import type { Begin } from './workers-messages.ts';
import { counted, createServiceMetrics, merged, type Metrics } from './workers-metrics.ts';
import { WorkerProcess, type End, type WorkerSettings } from './workers-process.ts';
import { serviceReadiness, type WorkerLook } from './workers-readiness.ts';
import { createWaiting } from './workers-waiting.ts';

/** Between two looks at each worker. */
const LOOK_MS = 1_000;
/** Looks in a row without an answer after which it is taken for stuck (an endless loop), and replaced. */
const STUCK_LOOKS = 10;
/** A worker that has not begun to answer may be loading its program on a busy machine. */
const STARTING_LOOKS = 60;
/** It has lasted: its end is no longer one of a row. */
const LASTING_MS = 60_000;
const FIRST_BACK_OFF_MS = 100;
const LONGEST_BACK_OFF_MS = 10_000;
/** A replacement starts in a second; the rest is for its first world. */
const REPLACED_WITHIN_MS = 10_000;
const ANSWER_MS = 800;
const TAKE_OVER_LIMIT_MS = 30_000;
const TAKE_OVER_LOOK_MS = 50;
const WAITING_LOOK_MS = 10;
/** Beyond what a worker may take for its HTTP checks, its gRPC calls and its lines, before it is killed. */
const STOP_GRACE_MS = 2_000;
/** How much later than a worker's this process may get its own. */
const OWN_SIGNAL_MS = 1_000;

/** One place for a worker, whoever has it at the moment. */
interface Place {
  readonly number: number;
  process: WorkerProcess | null;
  startedAt: number;
  /** When its last one ended; null: there was none, or the present one has been ready. */
  endedAt: number | null;
  /** Ends in a row. */
  ends: number;
  why: string;
  cancelRestart: () => void;
  /** What it counted, as last shown. */
  metrics: Metrics;
}

type Parts = Omit<ServiceParts, 'listen' | 'whole'> & Pick<WorkerSettings, 'program' | 'stdout'>;

/**
 * Starts the workers, then listens. The database may come later.
 * @throws InputError for settings, files and addresses that cannot be used; Error if a worker ends before it is up; nothing is left then
 */
export async function startWorkers(parts: Parts): Promise<Serving> {
  const { settings, log } = parts;
  const clock = hostClock();
  const begin = beginOf(parts);
  const listeners = [
    { name: 'api', address: settings.api },
    ...addressesOf(settings.doors, settings.doors.takeOver).map((address) => ({ name: 'doors', address }) as const),
    ...addressesOf(settings.grpc, settings.doors.takeOver).map((address) => ({ name: 'grpc', address }) as const),
  ] as const;
  const places = Array.from({ length: settings.workers }, (_, i): Place => ({
    ...{ number: i + 1, process: null, startedAt: clock.now(), endedAt: null, ends: 0, why: 'it is starting', cancelRestart: () => undefined, metrics: [] },
  }));
  const patience = REPLACED_WITHIN_MS + (settings.cache.hotSet === undefined ? 0 : settings.cache.warmUp);
  const ends = { exit: 0, signal: 0, stuck: 0 };
  let gone: Metrics = [];
  let hasBeen = false;
  let started = false;
  let draining = false;

  const pause = (ms: number): Promise<void> => new Promise((resolve) => void clock.after(ms, resolve));
  const hasLasted = ({ process, startedAt }: Place): boolean => process !== null && clock.now() - startedAt > LASTING_MS;

  /** Looked at in the watch, too: one may be not ready for a moment when the last one gets there. */
  const seeWhole = (): void => void (hasBeen ||= places.every(({ process }) => process?.isReady === true));

  const look = async (place: Place): Promise<WorkerLook> => {
    const readiness = (await place.process?.ask('readiness', ANSWER_MS).catch(() => null)) ?? null;
    const silence = place.process?.isUp === true && readiness === null ? 'it does not answer' : place.why;
    const { number, endedAt, ends: inARow } = place;
    return { number, readiness, silence, replacingMs: endedAt === null ? null : clock.now() - endedAt, ends: hasLasted(place) ? 0 : inARow };
  };
  const readiness = async (): Promise<Readiness> => {
    const looks = await Promise.all(places.map(look));
    return serviceReadiness(looks, { draining, hasBeen, patience });
  };

  const metrics = createServiceMetrics(parts.version, () => ({ ends, states: statesOf(places), shed: waiting.shed }));
  const exposition = async (): Promise<string> => {
    const asked = await Promise.all(
      places.map(async (place) => ({ place, process: place.process, found: await place.process?.ask('metrics', ANSWER_MS).catch(() => null) })),
    );
    // In one turn: what a worker counted is in `gone` when it has ended, and never in both.
    const shown = asked.map(({ place, process, found }) => {
      if (!found || place.process !== process) return place.metrics; // late, it has lost nothing
      place.metrics = counted(found);
      return found;
    });
    return metrics.exposition([gone, ...shown]);
  };

  const nobody = apiServer(createApi({ readiness, scrape: settings.api.metrics ? exposition : undefined, nobody: 'no worker is up' }));
  nobody.emit('listening'); // as in workers-handed.ts
  nobody.maxRequestsPerSocket = 1; // the next one is a worker's again
  const waiting = createWaiting({
    listeners: listeners.length,
    up: () => places.flatMap(({ process }) => (process?.isUp === true ? [process] : [])),
    nobody({ listener, socket }) {
      if (listener > 0) return void socket.destroy(); // as of one process that has ended: a proxy asks again, or says no
      nobody.emit('connection', socket);
      socket.resume();
    },
  });

  const run = (place: Place): WorkerProcess => {
    const process = new WorkerProcess({
      ...{ program: parts.program, clock, begin: { ...begin, number: place.number }, listeners: listeners.length, stdout: parts.stdout },
      ...{ answers: { readiness, exposition }, taken: () => waiting.next() },
    });
    place.process = process;
    place.startedAt = clock.now();
    void process.up.then((how) => {
      if (how === 'up' && draining) process.drain();
      waiting.next();
    });
    void process.ended.then((end) => over(place, end));
    void process.ready.then(() => {
      place.endedAt = null;
      seeWhole();
      waiting.next();
    });
    return process;
  };
  const over = (place: Place, { how, left }: End): void => {
    const lasted = hasLasted(place);
    const stuck = (place.process?.missed ?? 0) >= STUCK_LOOKS;
    gone = merged([gone, place.metrics]);
    place.metrics = [];
    place.process = null;
    waiting.giveBack(left);
    if (draining || !started) return;
    ends[stuck ? 'stuck' : how.startsWith('SIG') ? 'signal' : 'exit']++;
    place.ends = lasted ? 1 : place.ends + 1;
    place.endedAt = clock.now();
    const wait = Math.min(LONGEST_BACK_OFF_MS, FIRST_BACK_OFF_MS * 2 ** (place.ends - 1));
    place.why = `it ended (${stuck ? 'it did not answer, and was killed' : how})${place.ends > 1 ? `, ${place.ends} times in a row` : ''}`;
    log('error', 'worker', `worker ${place.number}: ${place.why}; another one starts in ${wait} ms`);
    place.cancelRestart = clock.after(wait, () => restart(place));
  };
  const restart = (place: Place): void => {
    try {
      void run(place).ready.then(() => log('info', 'worker', `worker ${place.number}: it is replaced, and ready`));
    } catch (error) {
      over(place, { how: error instanceof Error ? error.message : String(error), left: [] }); // no memory for another process, say
    }
  };

  // By looks and not by time: after a suspension of the machine the first look comes before the answers that wait to be read.
  const watch = (): void => {
    for (const { number, process } of places) {
      if (process === null) continue;
      process.look();
      if (process.missed < (process.isUp ? STUCK_LOOKS : STARTING_LOOKS)) continue;
      log('error', 'worker', `worker ${number}: it does not answer, and is killed`);
      process.kill();
    }
    seeWhole();
    waiting.next(); // others may be the ones to rely on now
    stopWatch = clock.after(LOOK_MS, watch);
  };
  let stopWatch = clock.after(LOOK_MS, watch);

  const servers: Server[] = [];
  const accept = async ({ name, address }: (typeof listeners)[number], listener: number): Promise<string> => {
    const server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
      socket.on('error', () => undefined);
      waiting.add({ listener, socket });
    });
    const where = await listen(server, address, name);
    servers.push(server);
    return where;
  };
  const within = (ms: number, work: Promise<unknown>): Promise<boolean> =>
    new Promise((resolve) => {
      const cancel = clock.after(ms, () => resolve(false));
      void work.then(() => {
        cancel();
        resolve(true);
      });
    });
  let idle = true;
  const end = async (ms: number): Promise<void> => {
    draining = true;
    stopWatch();
    for (const place of places) place.cancelRestart();
    const [api, ...doors] = servers.splice(0);
    const closed = [api, ...doors].flatMap((server) => (server === undefined ? [] : [once(server, 'close')]));
    for (const server of doors) server.close();
    const all = places.flatMap(({ process }) => process ?? []);
    const limit = clock.after(3 * ms + STOP_GRACE_MS, () => all.forEach((process) => process.kill()));
    for (const until = clock.now() + ms; waiting.length > 0 && clock.now() < until;) await pause(WAITING_LOOK_MS);
    waiting.end();
    for (const process of all) process.stop(ms);
    await Promise.all(all.map(({ ended }) => ended));
    limit();
    idle = await within(ms, Promise.all(all.map(({ written }) => written)));
    api?.close();
    nobody.closeAllConnections();
    await Promise.all(closed);
    nobody.close();
    await metrics.close();
  };

  const where = { api: '', doors: [] as string[], grpc: [] as string[] };
  try {
    where.api = await accept(listeners[0], 0);
    await allUp(places.map(run), { pause, cancelled: parts.cancelled });
    started = true;
    if (settings.doors.takeOver) await readyToTakeOver({ readiness, pause, now: () => clock.now(), cancelled: parts.cancelled });
    for (const [index, listener] of listeners.entries()) {
      if (listener.name !== 'api') where[listener.name].push(await accept(listener, index));
    }
  } catch (error) {
    await end(0);
    throw error;
  }
  let stopped: Promise<void> | null = null;
  return {
    ...where,
    get idle() {
      return idle;
    },
    stop() {
      stopped ??= (async () => {
        draining = true;
        for (const { process, cancelRestart } of places) {
          cancelRestart();
          process?.drain();
        }
        await pause(settings.shutdown.delay);
        await end(settings.shutdown.timeout);
      })();
      return stopped;
    },
  };
}

/**
 * Reads every file that the settings name: a worker that comes later decides by the same routes as the others, whatever is on the disk by
 * then. They are judged by the workers; to compile them here, too, would only make the start longer. @throws InputError
 */
function beginOf({ settings, version, hostname, traces = false, readFile }: Parts): Omit<Begin, 'number'> {
  const files = new Map<string, string>();
  const read = (path: string): string => {
    const text = readFile(path);
    files.set(path, text);
    return text;
  };
  for (const path of [settings.vocabulary.file, settings.routes.file]) {
    if (path === undefined) continue;
    try {
      read(path);
    } catch (error) {
      throw new InputError(path, `cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  databaseOptions(settings, read);
  return { settings, files, version, hostname, traces, secret: randomBytes(32).toString('base64url') };
}

/** @throws what the first one says that does not get there */
async function allUp(processes: readonly WorkerProcess[], { pause, cancelled }: Pick<TakeOver, 'pause' | 'cancelled'>): Promise<void> {
  await Promise.all(
    processes.map(async (process) => {
      const said = await process.up;
      if (said === 'up') return;
      if (process.refused !== null) throw refusal(process.refused);
      // A signal to the whole group ends a worker that is only loading its program, and this process may see that before its own signal.
      if (said.how === 'SIGTERM' || said.how === 'SIGINT') await pause(OWN_SIGNAL_MS);
      if (cancelled?.aborted === true) throw new PolicyError('starting', 'told to stop before its workers were up');
      throw new Error(`a worker ended before it was up: ${said.how}`);
    }),
  );
}

/** What InputError said in the worker: `field: what is wrong`. */
function refusal(words: string): InputError {
  const [field = '', ...rest] = words.split(': ');
  return new InputError(field, rest.join(': '));
}

interface TakeOver {
  readonly readiness: () => Promise<Readiness>;
  readonly pause: (ms: number) => Promise<void>;
  readonly now: () => number;
  readonly cancelled: AbortSignal | undefined;
}

/** @throws PolicyError `starting` if it takes too long, or is not wanted any more */
async function readyToTakeOver({ readiness, pause, now, cancelled }: TakeOver): Promise<void> {
  const limit = now() + TAKE_OVER_LIMIT_MS;
  for (;;) {
    if (cancelled?.aborted === true) throw new PolicyError('starting', 'told to stop before it could take over');
    const whole = await readiness();
    if (isReady(whole)) return;
    if (now() > limit) throw new PolicyError('starting', whole.missingKeys ?? whole.cache.cause ?? 'no world is loaded yet');
    await pause(TAKE_OVER_LOOK_MS);
  }
}

function statesOf(places: readonly Place[]): Readonly<Record<string, number>> {
  const states = { up: 0, starting: 0, stuck: 0, ended: 0 };
  for (const { process } of places) states[process === null ? 'ended' : !process.isUp ? 'starting' : process.missed > 1 ? 'stuck' : 'up']++;
  return states;
}
