// `grantgate serve`: listen, until a signal says stop. A second one does not wait.

import { fileURLToPath } from 'node:url';
import { PolicyError } from 'policy-cache';
import { createLog } from '../log.ts';
import { asksForTraces } from '../traces-asked.ts';
import { VERSION } from '../version.ts';
import type { Context, ExitCode } from './host.ts';

/** From here, for a worker is a program: where this file is one of those that the build puts together, it lies as far from the two programs. */
const WORKER = fileURLToPath(new URL('../worker.js', import.meta.url));

export async function serveCommand(context: Context): Promise<ExitCode> {
  const { host } = context;
  const { settings } = context.config();
  const log = createLog({ level: settings.log.level, write: (line) => host.stderr.write(line), wall: host.wall });
  const cancel = new AbortController();
  const signalled = firstSignal(host, log).then((signal) => {
    cancel.abort();
    return signal;
  });
  const parts = {
    settings,
    log,
    version: VERSION,
    readFile: host.readFile,
    stdout: host.stdout,
    wall: host.wall,
    random: host.random,
    uuid: host.uuid,
    hostname: host.hostname(),
    traces: asksForTraces(host.env),
    cancelled: cancel.signal,
  };
  // Whichever it is, the other's program is not loaded: a supervisor answers nothing.
  const starting =
    settings.workers > 1
      ? import('../workers.ts').then(({ startWorkers }) => startWorkers({ ...parts, program: WORKER }))
      : import('../service.ts').then(({ startService }) => startService(parts));
  const service = await starting.catch((thrown: unknown) => {
    if (!cancel.signal.aborted || !(thrown instanceof PolicyError)) throw thrown;
    log('info', 'stopped', thrown.message);
    return null;
  });
  if (service === null) return 0;
  log(
    'info',
    'listening',
    `doors on ${service.doors.join(' and ')}, ${service.grpc.length === 0 ? 'no gRPC' : `gRPC on ${service.grpc.join(' and ')}`}, api on ${service.api}${settings.workers > 1 ? `; ${settings.workers} workers` : ''}`,
  );
  const signal = await signalled;
  log('info', 'stopping', `${signal}: not ready from now on, doors close in ${settings.shutdown.delay} ms`);
  await service.stop();
  log('info', 'stopped', 'every check is answered, every line is written');
  return service.idle ? 0 : host.exit(0);
}

const SAME_SIGNAL_MS = 500;

/** Resolves with the first signal's name; from then on another one ends the process at once. */
export function firstSignal(host: Context['host'], log: (level: 'warn', event: string, detail: string) => void): Promise<string> {
  return new Promise((resolve) => {
    let first: number | null = null;
    host.onSignal((signal) => {
      // Ctrl-C under npm comes twice: from the terminal, and passed on by npm. That is one wish to stop.
      if (first !== null && host.wall() - first < SAME_SIGNAL_MS) return;
      if (first !== null) {
        log('warn', 'stopped', `${signal} again: not waiting for anything`);
        host.exit(1);
      }
      first = host.wall();
      resolve(signal);
    });
  });
}
