// What does a worker process do? It answers as `serve` does, on connections that its supervisor (workers.ts) hands over.
//
// The other edge of the process, beside main.ts. It is told what to do, and by nobody but the supervisor: a signal to the whole group
// (Ctrl-C, systemd) is the supervisor's to answer, and when that is gone this process ends in the same turn.

import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { InputError } from 'policy-cache';
import { isReady } from './api/health.ts';
import { hostClock } from './clock.ts';
import { readTrusted } from './files.ts';
import { createLog } from './log.ts';
import { startService, type Service, type ServiceParts } from './service.ts';
import { createHanded } from './workers-handed.ts';
import {
  answerTo,
  createQuestions,
  type Begin,
  type QuestionsToSupervisor,
  type QuestionsToWorker,
  type ToSupervisor,
  type ToWorker,
} from './workers-messages.ts';

/** The supervisor waits for its workers no longer than this. */
const WHOLE_LIMIT_MS = 2_000;
const READY_LOOK_MS = 20;
/** For what went wrong to be written. */
const LAST_WORDS_MS = 1_000;
const SHIPPED = fileURLToPath(new URL('../policy-cache/vocabulary/', import.meta.url));

process.on('uncaughtException', (error) => {
  setTimeout(() => process.exit(2), LAST_WORDS_MS); // whoever reads stderr may have stopped
  process.stderr.write(`grantgate: ${error.stack ?? String(error)}\n`, () => process.exit(2));
});
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
process.on('disconnect', () => process.exit(0));

const clock = hostClock();
const tell = (message: ToSupervisor): void => void process.send?.(message, undefined, undefined, () => undefined); // gone: `disconnect` follows
const supervisor = createQuestions<QuestionsToSupervisor>(clock, tell);
const handed = createHanded(clock, (listener) => tell({ kind: 'closed', listener }));
let service: Service | null = null;
const running = (): Service => {
  if (service === null) throw new Error('it is only starting');
  return service;
};

process.on('message', (message: ToWorker, socket?: Socket) => {
  switch (message.kind) {
    case 'begin':
      return void begin(message.begin);
    case 'connection':
      tell({ kind: 'taken', id: message.id });
      return handed.take(message.listener, socket);
    case 'drain':
      return service?.drain();
    case 'stop':
      return void stop(message.ms);
    case 'ask':
      return void answerTo<QuestionsToWorker>(message, { readiness: () => running().readiness(), metrics: () => running().metrics() }).then(tell);
    case 'answer':
      return supervisor.answered(message);
    default:
      return message satisfies never;
  }
});

async function begin(given: Begin): Promise<void> {
  try {
    service = await startService(partsOf(given));
    tell({ kind: 'up' });
    sayWhenReady(service);
  } catch (thrown) {
    if (!(thrown instanceof InputError)) throw thrown;
    process.send?.({ kind: 'refused', why: thrown.message } satisfies ToSupervisor, undefined, undefined, () => process.exit(2));
  }
}

function sayWhenReady(of: Service): void {
  if (isReady(of.readiness())) tell({ kind: 'ready' });
  else clock.after(READY_LOOK_MS, () => sayWhenReady(of));
}

function partsOf({ number, settings, files, version, hostname, traces, secret }: Begin): ServiceParts {
  const wall = (): number => Date.now();
  const write = createLog({ level: settings.log.level, write: (line) => void process.stderr.write(line), wall });
  return {
    // The supervisor has the listeners, so taking over is its matter, and so is how long proxies are given to notice.
    settings: { ...settings, doors: { ...settings.doors, takeOver: false }, shutdown: { ...settings.shutdown, delay: 0 } },
    version,
    hostname,
    traces,
    worker: number,
    secret,
    // What the supervisor has not read is no file of a setting: it came with the program.
    readFile: (path) => files.get(path) ?? readTrusted(path, [SHIPPED]),
    stdout: process.stdout,
    log: (level, event, detail) => write(level, event, `worker ${number}: ${detail}`),
    wall,
    random: () => Math.random(),
    uuid: () => randomUUID(),
    listen: handed.listen,
    whole: { readiness: () => supervisor.ask('readiness', WHOLE_LIMIT_MS), scrape: () => supervisor.ask('exposition', WHOLE_LIMIT_MS) },
  };
}

async function stop(ms: number): Promise<void> {
  service?.drain();
  await handed.end(ms);
  await service?.stop();
  process.exit(0);
}
