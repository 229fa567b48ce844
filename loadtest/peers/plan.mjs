// Which peers, in which settings, over which lanes?

import { ALL, ALONE, WIDE } from './lane.mjs';

/** @typedef {{ atOnce: boolean, rounds: number, everyMs: number, spreadMs: number, watchMs: number }} Watching */

/**
 * @typedef {object} Entry
 * @property {string} name in the figures
 * @property {string} variant of how it is asked
 * @property {readonly import('./lane.mjs').Lane[]} lanes
 * @property {Watching} [freshness]
 * @property {number} [settles] seconds until it sees what was given back before
 * @property {boolean} [slow] takes half a minute to be asked everything
 */
/** @typedef {{ readonly module: string, readonly peer: string, readonly start: string, readonly program: string | null, readonly postgres: boolean, readonly entries: readonly Entry[] }} Plan one server, and how it is asked */

/** Check upon check; five rounds over the same grants. @type {Watching} */
const FAST = { atOnce: false, rounds: 5, everyMs: 0, spreadMs: 8, watchMs: 15 };
/** Side by side: each takes seconds. @type {Watching} */
const SLOW = { atOnce: true, rounds: 1, everyMs: 20, spreadMs: 6_000, watchMs: 1_000 };

/** @type {readonly Plan[]} */
export const PLANS = [
  { module: 'floor.mjs', peer: 'floor', start: 'http', program: null, postgres: false, entries: [{ name: 'floor.http', variant: 'http', lanes: WIDE }] },
  { module: 'floor.mjs', peer: 'floor', start: 'http2', program: null, postgres: false, entries: [{ name: 'floor.http2', variant: 'http2', lanes: WIDE }] },
  {
    ...{ module: 'grantgate.mjs', peer: 'grantgate', start: '', program: null, postgres: true },
    entries: [
      { name: 'grantgate.http', variant: 'http', lanes: ALL, freshness: FAST },
      { name: 'grantgate.grpc', variant: 'grpc', lanes: ALL },
      { name: 'grantgate.authzen', variant: 'authzen', lanes: WIDE },
    ],
  },
  { module: 'opa.mjs', peer: 'opa', start: 'flat', program: 'opa', postgres: false, entries: [{ name: 'opa', variant: 'flat', lanes: ALL, freshness: FAST }] },
  { module: 'opa.mjs', peer: 'opa', start: 'gpe', program: 'opa', postgres: false, entries: [{ name: 'opa.naive', variant: 'gpe', lanes: WIDE }] },
  {
    ...{ module: 'cerbos.mjs', peer: 'cerbos', start: '', program: 'cerbos', postgres: false },
    entries: [
      { name: 'cerbos', variant: 'http', lanes: ALONE },
      { name: 'cerbos.grpc', variant: 'grpc', lanes: ALONE },
    ],
  },
  {
    ...{ module: 'openfga.mjs', peer: 'openfga', start: 'plain', program: 'openfga', postgres: true },
    entries: [{ name: 'openfga', variant: '', lanes: ALL, freshness: { ...FAST, rounds: 2 }, slow: true }],
  },
  {
    ...{ module: 'openfga.mjs', peer: 'openfga', start: 'caches', program: 'openfga', postgres: true },
    entries: [{ name: 'openfga.caches', variant: '', lanes: ALL, freshness: SLOW, slow: true }],
  },
  {
    ...{ module: 'spicedb.mjs', peer: 'spicedb', start: '', program: 'spicedb', postgres: true },
    entries: [
      { name: 'spicedb.full', variant: 'fully_consistent', lanes: ALL, freshness: { ...FAST, rounds: 2 }, slow: true },
      { name: 'spicedb.min', variant: 'minimize_latency', lanes: ALL, freshness: SLOW, slow: true, settles: 11 },
    ],
  },
];

/** In process: no door, no database. */
export const LIBRARIES = ['casbin', 'cedar'];
