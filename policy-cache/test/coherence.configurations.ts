// Which small worlds are searched?
//
// Few kinds of commits each, so that the search comes to its end: what they touch together is what could go wrong together. Wider worlds
// are searched as far as the run has time for, and the walks, which have everything at once, are sampled.

import type { Kind } from './coherence.database.ts';
import type { Configuration } from './coherence.steps.ts';

const EVERY_KIND: readonly Kind[] = [
  ...(['u', 'u off', 'x', 'x gone', 'A', 'B', 'R', 'n', 'm', 'x, n'] as const),
  ...(['every o', 'every g', 'every r', 'every n', '*'] as const),
];
const KEYS: readonly Kind[] = ['k', 'k gone', 'k other', 'k, u gone', 'every k'];
const QUIET = ['tick', 'close'] as const;
const HALF_SECONDS: Pick<Configuration, 'barriers' | 'tick' | 'lease'> = { barriers: true, tick: 500, lease: 2 };

/** Searched to the end. */
export const WHOLE: Readonly<Record<string, Configuration>> = {
  'target, three commits': { kinds: ['x'], commits: 3 },
  'target, fail-over': { kinds: ['x'], commits: 1, failOver: 'both' },
  'target, two commits, fail-over that loses one': { kinds: ['x'], commits: 2, failOver: 'loses', without: ['loss'] },
  'target, two commits, fail-over, no time': { kinds: ['x'], commits: 2, failOver: 'both', without: ['loss', 'tick'] },
  'target, late answers': { kinds: ['x'], commits: 1, late: true },
  'target, a lease of two ticks': { kinds: ['x'], commits: 2, lease: 2 },
  'target that goes and comes, subject that is switched off': { kinds: ['x', 'x gone', 'u off'], commits: 2, without: QUIET },
  'target and subject, three commits': { kinds: ['u', 'x'], commits: 3, without: [...QUIET, 'loss'] },
  'target and subject, bulk': { kinds: ['x', 'u', 'every o'], commits: 2, without: QUIET },
  'class: groups, role, three commits': { kinds: ['A', 'B', 'R'], commits: 3, without: QUIET },
  'class: groups, role, bulk': { kinds: ['A', 'B', 'R', 'every g', 'every r'], commits: 2, without: QUIET },
  'class, evictions': { kinds: ['A', 'R'], commits: 1, evicts: true, without: QUIET },
  'tree of two nodes': { kinds: ['x', 'n', 'm', 'x, n'], commits: 2, without: [...QUIET, 'loss'] },
  'tree and target, fail-over': { kinds: ['x, n'], commits: 1, failOver: 'both', without: ['loss'] },
  'every kind of commit, one': { kinds: EVERY_KIND, commits: 1, without: [...QUIET, 'loss'] },
  'RESET, fail-over': { kinds: ['*'], commits: 1, failOver: 'both', without: ['loss'] },
  'RESET, tree, fail-over, no time': { kinds: ['every n', 'n'], commits: 2, failOver: 'keeps', without: ['loss', 'tick'] },
  'RESET, cold, slow and late loads': { kinds: ['n'], commits: 1, failOver: 'loses', start: 'cold', slowLoads: true, late: true, without: ['loss', 'tick'] },
  "'latest', RESET, fail-over, no time": { kinds: ['*'], commits: 1, failOver: 'keeps', latest: true, without: ['loss', 'tick'] },
  'tokens, fail-over': { kinds: ['x'], commits: 2, failOver: 'both', tokens: true, without: ['look', 'loss'] },
  'tokens, trimming': { kinds: ['x'], commits: 2, failOver: 'loses', tokens: true, trims: true, without: ['look', 'loss', 'tick'] },
  'both primaries take commits, the old one answers fills': { kinds: ['x'], commits: 2, failOver: 'both', splitBrain: true, without: ['loss', 'tick'] },
  'the old primary answers pulls, too': { kinds: ['x'], commits: 1, failOver: 'both', unfenced: true, unasked: ['I3'], without: ['loss'] },
  'key that ends and is made again': { kinds: ['k', 'k gone'], commits: 2 },
  'key that ends and is made again, three commits': { kinds: ['k', 'k gone'], commits: 3, without: QUIET },
  'key, bulk': { kinds: ['k', 'k gone', 'every k'], commits: 2, without: ['tick'] },
  'key and its user': { kinds: ['k other', 'k, u gone', 'u off'], commits: 2, without: [...QUIET, 'loss'] },
  'key, fail-over': { kinds: ['k gone'], commits: 1, failOver: 'both' },
  'key, RESET, fail-over, no time': { kinds: ['k, u gone', '*'], commits: 1, failOver: 'both', without: ['loss', 'tick'] },
  'reports, barriers, crashes': { kinds: ['n'], commits: 1, ...HALF_SECONDS, without: ['look', 'loss'] },
  'reports, barriers, fail-over': { kinds: ['n'], commits: 1, failOver: 'both', ...HALF_SECONDS, without: ['look', 'loss'] },
  'reports, barriers, RESET': { kinds: ['*'], commits: 1, ...HALF_SECONDS, without: ['look', 'loss'] },
};

/** Searched as far as GRANTGATE_MODEL_STATES says. */
export const WIDE: Readonly<Record<string, Configuration>> = {
  'every kind of commit, two': { kinds: [...EVERY_KIND, ...KEYS], commits: 2 },
  'target, fail-over, three commits': { kinds: ['x'], commits: 3, failOver: 'both' },
  'target, subject, bulk, four commits, two keys remembered': { kinds: ['u', 'u off', 'x', 'every o'], commits: 4, touched: 2 },
  'class: groups, role, bulk, fail-over': { kinds: ['A', 'B', 'R', 'every g', 'every r'], commits: 2, failOver: 'both' },
  'subject that changes its class, evictions': { kinds: ['u', 'A', 'R'], commits: 2, evicts: true },
  'key and its user, bulk, RESET, fail-over, evictions': { kinds: ['k', 'k gone', 'u off', 'every k', '*'], commits: 3, failOver: 'both', evicts: true },
  'tree of two nodes, fail-over': { kinds: ['x', 'n', 'm', 'x, n'], commits: 2, failOver: 'both' },
  'RESET, trimming, fail-over': { kinds: ['x', 'n', '*'], commits: 3, failOver: 'both', trims: true },
  'RESET, cold, slow and late loads, fail-over': { kinds: ['n', '*'], commits: 2, failOver: 'both', start: 'cold', slowLoads: true, late: true },
  "'latest', RESET, fail-over": { kinds: ['x', '*'], commits: 2, failOver: 'both', latest: true },
  'tokens, trimming, fail-over': { kinds: ['x'], commits: 3, failOver: 'both', tokens: true, trims: true, splitBrain: true },
  'the old primary answers pulls, too, two commits': { kinds: ['x', 'n'], commits: 2, failOver: 'both', unfenced: true, unasked: ['I3'] },
  'reports, barriers, RESET, fail-over': { kinds: ['n', '*'], commits: 2, failOver: 'both', ...HALF_SECONDS, without: ['look', 'loss'] },
};

const EVERYTHING: Configuration = {
  kinds: [...EVERY_KIND, ...KEYS],
  commits: 5,
  failOver: 'both',
  trims: true,
  late: true,
  slowLoads: true,
  evicts: true,
  latest: true,
  tokens: true,
};
export const WALKS: Readonly<Record<string, Configuration>> = {
  'everything at once': EVERYTHING,
  'everything, both primaries take commits': { ...EVERYTHING, splitBrain: true, touched: 2 },
  'everything, reports and barriers': { ...EVERYTHING, ...HALF_SECONDS },
};
