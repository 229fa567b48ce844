// What does each proxy give with its shipped configuration, in front of a door and of the least that a door can be?
//
// For each way: the rate, times and processor time of a hot set, the rate and times where every check is read from the database, and the
// connections at the door, those that were there at the beginning and those that came since.

import { connect } from 'node:http2';
import { readdirSync, readlinkSync } from 'node:fs';
import { cpuNs, family } from '../processes.mjs';
import { h2load, wrk } from './drive.mjs';
import { startProxy, PROXIES } from './proxies.mjs';
import { checkRequest, request } from './wire.mjs';

const CLIENTS = 32;
/** Questions of the hot set. */
export const HOT = 400;
const ROUNDS = 3;

/** @typedef {import('./service.mjs').Door} Door */
/** @typedef {{ method: string, path: string, token: string }} Asked */
/** @typedef {{ floor: Door, hot: Door, cold: Door, application: number, directory: string, questions: readonly Asked[], seconds: number }} Scene */

/** @param {string} way @param {Scene} scene */
export async function reportOf(way, { floor, hot, cold, application, directory, questions, seconds }) {
  /** @param {Door} door @returns {Promise<At & { stop: () => Promise<void> }>} */
  const inFrontOf = async (door) => {
    const always = { door, way, directory, before: socketsOf(door.pid) };
    const proxy = PROXIES[way];
    if (!proxy) return { ...always, port: way === 'grpc' ? door.grpcPort : door.port, stop: async () => undefined };
    const { pid, ...running } = await startProxy(proxy, { door, application, below: directory });
    return { ...always, ...running, proxy: pid };
  };
  /** @template T @param {readonly Door[]} doors @param {(ways: readonly At[]) => Promise<T>} use @returns {Promise<T>} */
  const through = async (doors, use) => {
    const ways = [];
    try {
      for (const door of doors) ways.push(await inFrontOf(door));
      return await use(ways);
    } finally {
      for (const { stop } of ways) await stop();
    }
  };
  const few = questions.slice(0, HOT);
  if (way === 'grpc') await sayWho(hot.grpcPort, few[0]);
  // In turn, so that a machine that does other work slows both.
  const [least = [], best = []] = await through([floor, hot], async (ways) => {
    /** @type {Awaited<ReturnType<typeof drive>>[][]} */
    const rounds = ways.map(() => []);
    for (let round = 0; round < ROUNDS; round++) for (const [i, at] of ways.entries()) rounds[i]?.push(await drive(at, few, seconds));
    return rounds;
  });
  const [read] = await through([cold], (ways) => Promise.all(ways.map((at) => drive(at, questions, seconds))));
  const rates = best.map(({ rate }) => rate);
  return {
    least: middle(least),
    best: middle(best),
    read: middle(read ? [read] : []),
    spread: /** @type {const} */ ([Math.min(...rates), Math.max(...rates)]),
  };
}

/** The round whose rate is the median. @template {{ rate: number }} R @param {readonly R[]} rounds */
function middle(rounds) {
  const found = rounds.toSorted((a, b) => a.rate - b.rate)[rounds.length >> 1];
  if (!found) throw new Error('no round');
  return found;
}

/** @typedef {{ door: Door, way: string, port: number, directory: string, proxy?: number, before: ReadonlySet<string> }} At `before`: the door's sockets without a client */

/** @param {At} at @param {readonly Asked[]} questions @param {number} seconds */
async function drive({ door, way, port, directory, proxy, before }, questions, seconds) {
  const cpu = (/** @type {number | undefined} */ pid) => (pid === undefined ? 0 : family(pid).reduce((sum, one) => sum + cpuNs(one), 0));
  const processors = () => ({ door: cpu(door.pid), proxy: cpu(proxy) });
  const permits = async () => (way === 'grpc' && (await door.permits?.())) || 0;
  const permitted = await permits();
  const used = processors();
  const running = { port, seconds, clients: CLIENTS, directory };
  const driven =
    way === 'grpc'
      ? h2load({ ...running, body: checkRequest(questions[0] ?? { method: '', path: '', token: '' }) })
      : wrk({ ...running, requests: questions.map((question) => request({ ...question, direct: way === 'direct' })) });
  const early = await later(seconds * 300, () => socketsOf(door.pid));
  const late = await later(seconds * 600, () => socketsOf(door.pid));
  const found = await driven;
  const after = processors();
  // gRPC is 200 whatever it says. (Those under way at the end are permitted, too: so many that were not may be missed.)
  const refused = way === 'grpc' && door.permits ? Math.max(0, found.requests - (await permits()) + permitted) : found.refused;
  const us = (/** @type {number} */ ns) => ns / 1000 / found.requests;
  return {
    ...{ ...found, refused, doorUs: us(after.door - used.door), proxyUs: us(after.proxy - used.proxy) },
    ...{ connections: but(late, before), renewed: but(late, early) },
  };
}

/** @param {ReadonlySet<string>} all @param {ReadonlySet<string>} those */
const but = (all, those) => [...all].filter((one) => !those.has(one)).length;
/** @template T @param {number} ms @param {() => T} what @returns {Promise<T>} */
const later = (ms, what) => new Promise((resolve) => setTimeout(() => resolve(what()), ms));

/** The sockets that a service and its workers have, by the kernel's numbers, which are not used again. @param {number} service */
function socketsOf(service) {
  const links = family(service).flatMap((pid) => {
    const path = `/proc/${pid}/fd`;
    return readdirSync(path).map((fd) => {
      try {
        return readlinkSync(`${path}/${fd}`);
      } catch {
        return ''; // closed meanwhile
      }
    });
  });
  return new Set(links.filter((link) => link.startsWith('socket:')));
}

/** gRPC is 200 whatever it says, so the one question is asked beforehand. @param {number} port @param {Asked | undefined} question */
async function sayWho(port, question) {
  if (!question) throw new Error('no question');
  const session = connect(`http://127.0.0.1:${port}`);
  const stream = session.request({
    ':method': 'POST',
    ':path': '/envoy.service.auth.v3.Authorization/Check',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.end(checkRequest(question));
  /** @type {Buffer[]} */ const parts = [];
  for await (const part of stream) parts.push(/** @type {Buffer} */ (part));
  session.close();
  if (!Buffer.concat(parts).includes('x-auth-user')) throw new Error('the gRPC door does not permit what is right to permit');
}
