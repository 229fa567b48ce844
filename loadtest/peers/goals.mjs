// Is grantgate ahead of its peers? The goals, as ratios of one run. One of which something was not measured is told, too, as neither met nor not.

import { percentile } from '../figures.mjs';

/** What each door is held against: those that are asked in the same way. */
const DOORS = {
  'grantgate.http': { over: 'HTTP', peers: ['opa', 'cerbos'], suffix: '' },
  'grantgate.grpc': { over: 'gRPC', peers: ['cerbos.grpc', 'openfga', 'openfga.caches', 'spicedb.full', 'spicedb.min'], suffix: '.grpc' },
};
const CONSISTENT = 'spicedb.full';
// Measured inside the server, in a run that was quiet but for a few of its 240 revokes. Two round trips are 0.94 of 1.29 ms; a bare select would take half of
// that. The tail is no step's own: whichever of the seven turns (three of Postgres, three of the server, the client's) comes while another process has the
// processor waits 2.5 to 5 ms, a slice of it; and one revoke in a hundred meets a young collection of the server or the client, 1 to 2 ms. (Sent with a ring's
// pull, the follower's report was met by one in seventy: it goes with a beat's.)
const FRESHNESS =
  'Median by step: acknowledged to heard 0.04 ms, the pull 0.52, until the next check 0.09, the fill of its class 0.42, the answer 0.16. The tail is a turn of one of the processes that waits for a processor, as the floor shows. Less would need a pull that brings the new grants with it: one round trip and three turns fewer';
/** Of five a second: with fewer, checks beside writes are no such thing. */
const LEAST_WRITES = 4.5;

/**
 * @typedef {object} Seen
 * @property {ReadonlyMap<string, import('./client.mjs').Measured>} lanes by peer and lane
 * @property {ReadonlyMap<string, import('./freshness.mjs').Found>} fresh
 * @property {ReadonlyMap<string, readonly number[]>} floors of freshness, where there is one
 * @property {ReadonlyMap<string, number>} written writes a second that were acknowledged
 */
/** @typedef {ReturnType<typeof import('../figures.mjs').benchmark>['figure']} Tell */
/** @typedef {{ mine?: number | undefined, theirs?: number | undefined }} Pair */

/** @param {Tell} figure @param {Seen} seen */
export function judge(figure, { lanes, fresh, floors, written }) {
  const pair = { mine: lanes.get('grantgate.http wide.16')?.cpu, theirs: lanes.get('opa wide.16')?.cpu };
  against(figure, 'peers.cpu.opa', pair, { unit: 'µs', most: 0.333, note: 'server CPU a check at the HTTP door; floor: OPA' });
  for (const [door, { over, peers, suffix }] of Object.entries(DOORS)) {
    const slow = [door, CONSISTENT].filter((name) => (written.get(name) ?? Infinity) < LEAST_WRITES);
    for (const ring of ['hot', 'wide']) {
      const [mine, theirs] = [door, CONSISTENT].map((name) => lanes.get(`${name} ${ring}.16.writes`)?.rate);
      const note = `${door}, ${ring} ring, beside five writes a second; floor: SpiceDB, fully consistent`;
      const why = slow.length > 0 ? `${note}; ${slow.join(' and ')} acknowledged fewer than ${LEAST_WRITES} writes a second` : note;
      const name = `peers.writes.spicedb${ring === 'hot' ? '' : '.wide'}${suffix}`;
      against(figure, name, slow.length > 0 ? {} : { mine, theirs }, { unit: '1/s', least: 20, note: why });
    }
    const { note, ...worst } = tail(lanes, door, peers);
    const all = `over ${over}, beside ${peers.join(', ')}; the worse of the lanes wide.16 and hot.16`;
    against(figure, `peers.p99${suffix}`, worst, { unit: 'ms', most: 1, note: note === undefined ? all : `${all}: ${note}`, ...undecided(lanes, door) });
  }
  const ours = fresh.get('grantgate.http');
  const commit = 'from the acknowledgement of the commit by the database';
  const of = ours ? `of ${ours.late.length} revokes` : 'revokes';
  const floor = floors.get('grantgate.http');
  figure('peers.freshness.p99', ours ? percentile(ours.late, 0.99) : Number.NaN, {
    unit: 'ms',
    most: 2,
    of: 'value',
    costs: FRESHNESS,
    ...(floor === undefined ? { note: commit } : { floor: percentile(floor, 0.99), note: `${commit}; floor: a bare listener and its one select` }),
  });
  figure('peers.cameback', ours?.cameBack ?? Number.NaN, { unit: of, most: 0, note: 'an allow after the first refusal' });
  figure('peers.firsttimers', ours?.letIn ?? Number.NaN, {
    unit: ours ? `of ${ours.first}` : 'users',
    most: 0,
    note: `let in by their first check, ${commit}`,
  });
}

/** @param {Tell} figure @param {string} name @param {Pair} pair @param {{ unit: string, note: string, most?: number, least?: number, fails?: string }} goal */
function against(figure, name, { mine, theirs }, goal) {
  if (mine !== undefined && theirs !== undefined) figure(name, mine, { ...goal, floor: theirs });
  else figure(name, Number.NaN, { ...goal, of: 'ratio', note: `${goal.note}; not all of it was measured` });
}

/** Ours beside the best peer's where that is worst for us; nothing if any of them is missing in a lane. @param {Seen['lanes']} lanes @param {string} door @param {readonly string[]} peers @returns {Pair & { note?: string }} */
function tail(lanes, door, peers) {
  const found = ['wide.16', 'hot.16'].map((at) => {
    const p99 = (/** @type {string} */ name) => lanes.get(`${name} ${at}`)?.p99 ?? Number.NaN;
    const theirs = Math.min(...peers.map(p99)); // NaN where one is
    const best = peers.find((peer) => p99(peer) === theirs);
    return { mine: p99(door), theirs, note: `${at}; floor: ${best}` };
  });
  if (found.some(({ mine, theirs }) => Number.isNaN(mine / theirs))) return {};
  return found.toSorted((a, b) => b.mine / b.theirs - a.mine / a.theirs)[0] ?? {};
}

/** Who does not decide is quick. @param {Seen['lanes']} lanes @param {string} door @returns {{ fails?: string }} */
function undecided(lanes, door) {
  const [first] = ['wide.16', 'hot.16'].flatMap((at) => lanes.get(`${door} ${at}`) ?? []).filter((lane) => lane.undecided > 0);
  return first === undefined ? {} : { fails: `${first.undecided} of ${first.checks} checks were not decided` };
}
