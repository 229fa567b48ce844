// What do k6, wrk and h2load find?

import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { percentile } from '../figures.mjs';
import { start } from '../processes.mjs';
import { requireProgram } from './programs.mjs';

/** @param {string} name */
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const CROSSED = 99; // k6's exit code where a threshold was

/**
 * A script from start to end.
 * @param {string} script @param {Readonly<Record<string, string | number>>} env @param {string} directory
 */
export async function k6(script, env, directory) {
  const summary = join(directory, 'summary.json');
  const given = Object.entries({ ...env, SUMMARY: summary }).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
  // Without --no-usage-report it asks the network for a host; without --address it listens.
  const child = start(requireProgram('k6'), ['run', '--no-usage-report', '--quiet', '--address', '', ...given, here(script)]);
  await once(child.child, 'close');
  const { exitCode } = child.child;
  if (exitCode !== 0 && exitCode !== CROSSED) throw new Error(`k6 ${script}: exit ${exitCode}\n${child.said()}`);
  /** @type {{ metrics: Readonly<Record<string, { values: Readonly<Record<string, number>> }>> }} */
  const { metrics } = JSON.parse(readFileSync(summary, 'utf8'));
  return {
    /** Of a metric that nothing was added to: nought. @param {string} metric */
    value: (metric, of = 'count') => metrics[metric]?.values[of] ?? 0,
    said: child.said(),
  };
}

/** @typedef {{ rate: number, p50: number, p99: number, p999: number, refused: number, broken: number, requests: number }} Driven milliseconds */

/** @param {{ port: number, requests: readonly string[], seconds: number, clients: number, directory: string }} what @returns {Promise<Driven>} */
export async function wrk({ port, requests, seconds, clients, directory }) {
  const ring = join(directory, 'ring');
  writeFileSync(ring, requests.join('\0'));
  const args = ['-t1', `-c${clients}`, `-d${seconds}s`, '-s', here('ring.lua'), `http://127.0.0.1:${port}/`, ring];
  const { us, requests: done, ...rest } = JSON.parse((await output('wrk', args)).trim().split('\n').at(-1) ?? '');
  return { rate: done / (us / 1e6), requests: done, ...rest };
}

/** gRPC's own client. @param {{ port: number, body: Buffer, seconds: number, clients: number, directory: string }} what @returns {Promise<Driven>} */
export async function h2load({ port, body, seconds, clients, directory }) {
  const [file, log] = [join(directory, 'body'), join(directory, 'h2load.log')];
  writeFileSync(file, body);
  writeFileSync(log, '');
  const headers = ['-H', 'content-type: application/grpc', '-H', 'te: trailers'];
  const streams = ['-t1', '-c4', '-m', `${Math.ceil(clients / 4)}`, '-D', `${seconds}`, `--log-file=${log}`];
  const said = await output('h2load', [...streams, '-d', file, ...headers, `http://127.0.0.1:${port}/envoy.service.auth.v3.Authorization/Check`]);
  const [, done = 0, failed = 0] = (/(\d+) succeeded, (\d+) failed/.exec(said) ?? []).map(Number);
  // start (µs), status, time (µs)
  const times = readFileSync(log, 'utf8').split('\n').slice(0, -1).map((line) => Number(line.split('\t')[2]) / 1000); // prettier-ignore
  const [p50, p99, p999] = [0.5, 0.99, 0.999].map((share) => percentile(times, share));
  return { rate: done / seconds, requests: done, refused: 0, broken: failed, p50: p50 ?? NaN, p99: p99 ?? NaN, p999: p999 ?? NaN };
}

/** @param {string} program @param {readonly string[]} args */
async function output(program, args) {
  const child = start(requireProgram(program), args);
  await once(child.child, 'close');
  if (child.child.exitCode !== 0) throw new Error(`${program} ${args.join(' ')}: exit ${child.child.exitCode}\n${child.said()}`);
  return child.said();
}
