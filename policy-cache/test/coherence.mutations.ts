// Which rules has the protocol, and how is each of them taken away?
//
// One row per rule: the patch that takes it out of the code, or the fault of the database that breaks it; a small world in which that
// shows; and the promise it breaks. A row that breaks none says why the rule is there all the same.

import { QUIET, THREE, patch } from './coherence.mutation.ts';
import type { Mutation } from './coherence.mutation.ts';
import { entries, turns } from './coherence.mutations.entries.ts';
import { KEEPS_ANSWERS, pulls, resets } from './coherence.mutations.follower.ts';
import { keys } from './coherence.mutations.keys.ts';
import type { Configuration } from './coherence.steps.ts';

const TOKENS: Configuration = { kinds: ['x'], commits: 2, failOver: 'both', tokens: true, without: ['tick', 'look'] };
const LATEST: Configuration = { kinds: ['x', '*'], commits: 2, latest: true, without: ['close', 'loss'] };

const tokens: readonly Mutation[] = [
  {
    rule: 'a token whose row is gone is of another history',
    patches: [patch('world', 'idOf(world, version) === id;', "(idOf(world, version) === id || idOf(world, version) === '');")],
    in: TOKENS,
    breaks: 'I5',
  },
  {
    rule: 'the proof of a token dies with its world',
    patches: KEEPS_ANSWERS,
    in: TOKENS,
    breaks: 'I5',
  },
  {
    rule: "'latest' waits for a pull that is sent after it",
    patches: [patch('cache', 'mark: this.#driver.state.pulls,', 'mark: this.#driver.state.pulls - (this.#driver.state.inFlight === null ? 0 : 1),')],
    in: LATEST,
    breaks: 'I5',
  },
  {
    rule: "'latest' waits for a pull that is applied",
    patches: [
      patch('follower', 'else if (reply.over || everything) this.#resetFrom', 'else if (reply.over || everything) world.pulled = number, this.#resetFrom'),
    ],
    in: LATEST,
    breaks: 'I5',
  },
];

/** Ticks of 500 ms, so that a pull may come after its report and before the next is due. */
const FLEET: Configuration = { kinds: ['n'], commits: 1, tick: 500, lease: 2, barriers: true, without: ['look', 'loss'] };
const FLEET_RESET: Configuration = { ...FLEET, kinds: ['*'], without: ['look', 'loss', 'close'] };
const FLEET_LOSES: Configuration = { ...FLEET, commits: 2, tick: 1_000, lease: 1, failOver: 'loses' };
const fleet: readonly Mutation[] = [
  {
    rule: 'a report promises the lease and the time to the next report',
    patches: [patch('follower', 'leaseMs: Math.ceil(maxStaleness) + REPORT_EVERY', 'leaseMs: Math.ceil(maxStaleness)')],
    in: FLEET,
    breaks: 'I7',
  },
  {
    rule: 'a report is due every so often',
    patches: [patch('follower', 'this.#now - reported.sent < every', 'this.#now - reported.sent < 2 * REPORT_EVERY')],
    in: FLEET,
    breaks: 'I7',
  },
  { rule: 'a report is kept before its pull runs', faults: { lateReports: true }, in: { ...FLEET, start: 'cold' }, breaks: 'I7' },
  {
    rule: 'a report names the head of the world that answers',
    patches: [patch('follower', 'head: current?.head ?? null', 'head: (this.#state.reset?.world ?? current)?.head ?? null')],
    in: FLEET_RESET,
    breaks: 'I7',
  },
  {
    rule: 'a report counts only if its revision is in the log',
    faults: { blindReports: true },
    in: FLEET_LOSES,
    breaks: {
      none: 'a history is lost by a promotion alone, after which a barrier waits for the longest lease; by then the world of the lost history is stale',
    },
  },
  { rule: 'after a crash or a promotion a barrier waits for the longest lease', faults: { noMarker: true }, in: FLEET, breaks: 'I7' },
  {
    rule: 'a new session reports with its first pull',
    patches: [patch('follower', 'state.reported = null; // the next server may not know of it', '')],
    in: { ...FLEET, tick: 1_000, lease: 1, failOver: 'keeps' },
    breaks: {
      none: 'a server that does not list the follower was promoted or has crashed, and waits for the longest lease. The rule is speed: it is listed at once',
    },
  },
];

const database: readonly Mutation[] = [
  { rule: 'a fill is one snapshot (value first, then the stamp)', faults: { fillStamp: 'after' }, in: QUIET, breaks: 'I1' },
  { rule: 'a fill is one snapshot (stamp first, then the value)', faults: { fillStamp: 'before' }, in: QUIET, breaks: 'I1' },
  {
    rule: 'the old primary is fenced: it answers no pull after the promotion',
    faults: { unfenced: true },
    in: { kinds: ['x'], commits: 1, failOver: 'keeps', without: ['loss'] },
    breaks: 'I3',
  },
  {
    rule: 'fills and loads go where the session is attached',
    faults: { stuckFills: true },
    in: { kinds: ['x'], commits: 1, failOver: 'both', without: ['loss', 'tick'] },
    breaks: 'I6',
  },
  { rule: 'trimming takes the oldest rows', faults: { holes: true }, in: THREE, breaks: 'I1' },
  { rule: 'versions follow the order of the commits (the latch)', faults: { unordered: true }, in: THREE, breaks: 'I1' },
];

export const MUTATIONS: readonly Mutation[] = [...entries, ...turns, ...keys, ...pulls, ...resets, ...tokens, ...fleet, ...database];
