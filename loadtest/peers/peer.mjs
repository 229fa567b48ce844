// What does a lane need to know of a peer? Three functions, one file for each peer: how it is started with the world in it, how it is asked, and how it is
// written to. They meet in `at`, which is JSON: the client is another process.

import { once } from 'node:events';
import { createServer } from 'node:net';

/** @typedef {import('./world.mjs').World} World */
/** @typedef {import('./queries.mjs').Question} Question */
/** @typedef {import('./queries.mjs').Revoke} Revoke */
/** @typedef {ReturnType<typeof import('./reference.mjs').reference>} Judge */
/** @typedef {{ readonly world: World, readonly judge: Judge }} Subject what every process makes anew from the seed */
/** @typedef {Readonly<Record<string, string | number | boolean>>} At where a server listens, and what else its client must know */

/**
 * Questions are turned into bytes before the clock starts. Null is no decision: the server says that it cannot decide now.
 * @typedef {{ readonly door: 'http', readonly port: number, request(question: Question): Buffer, allowed(reply: import('./client-http.mjs').HttpReply): boolean | null }} AskingHttp
 * @typedef {{ readonly door: 'grpc', readonly port: number, readonly path: string, readonly headers?: Readonly<Record<string, string>>,
 *   request(question: Question): Buffer, allowed(reply: Buffer): boolean | null }} AskingGrpc
 * @typedef {AskingHttp | AskingGrpc} Asking
 */

/**
 * Each settles when the server has acknowledged it.
 * @typedef {object} Writing
 * @property {() => Promise<void>} join the idle user joins the group
 * @property {() => Promise<void>} leave
 * @property {(revoke: Revoke) => Promise<void>} revoke takes the grant away
 * @property {(revoke: Revoke) => Promise<void>} restore
 * @property {(revoke: Revoke) => Promise<void>} [proof] revokes, and settles when the server itself says that the revoke is in force
 * @property {() => void | Promise<void>} close
 */

/** @typedef {{ readonly subject: Subject, readonly directory: string, readonly core: number, readonly bin: (name: string) => string, database(name: string): Promise<string> }} Place */
/** @typedef {{ readonly at: At, readonly pid: number, readonly loadSeconds: number, readonly version: string, said(): string, stop(): Promise<void> }} Server */

/**
 * @typedef {object} Peer
 * @property {(place: Place, variant: string) => Promise<Server>} start
 * @property {(at: At, subject: Subject, variant: string) => Asking} asking
 * @property {((at: At, subject: Subject) => Promise<Writing>)} [writing]
 * @property {(at: At) => string} [follows] the database whose notifications it hears: a bare listener there is the floor of its freshness
 */

/** Free just now. @returns {Promise<number>} */
export async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (typeof address !== 'object' || address === null) throw new Error('no free port');
  return address.port;
}

/** Is it there? @param {string} url */
export async function answers(url) {
  try {
    const reply = await fetch(url);
    await reply.arrayBuffer();
    return reply.ok;
  } catch {
    return false;
  }
}

/** JSON there and back. @throws if it is refused @param {string} url @param {{ method: 'POST' | 'PATCH', headers?: Readonly<Record<string, string>>, body: unknown }} call */
export async function sendJson(url, { method, headers = {}, body }) {
  const call = { method, headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) };
  const reply = await fetch(url, call);
  const text = await reply.text();
  if (!reply.ok) throw new Error(`${method} ${url}: ${reply.status} ${text.slice(0, 500)}`);
  return text === '' ? null : /** @type {unknown} */ (JSON.parse(text));
}
