// What may be known of a key: each rule of it, taken away.

import { patch } from './coherence.mutation.ts';
import type { Mutation } from './coherence.mutation.ts';
import { keeps } from './coherence.mutations.follower.ts';
import type { Configuration } from './coherence.steps.ts';

const ENDS: Configuration = { kinds: ['k', 'k gone'], commits: 2, without: ['tick', 'close'] };
/** Whose a key is changes. */
const HANDS: Configuration = { ...ENDS, kinds: ['k other', 'k actor'] };
const BULK: Configuration = { kinds: ['k', 'k gone', 'every k'], commits: 2, without: ['tick', 'close', 'loss'] };
const WITH_TIME: Configuration = { kinds: ['k gone'], commits: 1, start: 'all', without: ['close', 'loss'] };
const RESET: Configuration = { kinds: ['k gone', '*'], commits: 2, failOver: 'keeps', without: ['tick', 'loss'] };

export const keys: readonly Mutation[] = [
  {
    rule: 'a key is served only if it is proved',
    patches: [patch('keys', 'if (entry === undefined || !provedKey(world, hash, entry)) return null;', 'if (entry === undefined) return null;')],
    in: ENDS,
    breaks: 'I1',
  },
  {
    rule: 'a fill of a key is admitted only if nothing touched it since its stamp (else kept at its stamp)',
    patches: [patch('keys', 'if (!provedKey(world, hash, draft)) return false;', '')],
    in: ENDS,
    breaks: { none: 'the read asks the same question of the same `at`. The rule lets a waiter go only with something that can be served' },
  },
  {
    rule: 'a fill of a key is admitted only if nothing touched it since its stamp (else kept at the head)',
    patches: [patch('keys', 'if (!provedKey(world, hash, draft)) return false;', 'draft.at = world.head.version;')],
    in: ENDS,
    breaks: 'I1',
  },
  {
    rule: "a fill's stamp is the version of its key",
    patches: [patch('keys', 'const draft = { at: stamp.version };', 'const draft = { at: world.head.version };')],
    in: ENDS,
    breaks: 'I1',
  },
  {
    rule: 'the first compare of a key (`last`)',
    patches: [patch('keys', 'if (entry.at >= world.last.k) return true;', '')],
    in: ENDS,
    breaks: { none: 'it is the second compare made cheap: an entry as young as the newest touch was touched by none after it' },
  },
  {
    rule: 'a touched key is proved no more',
    patches: [patch('keys', ' || (world.touched.k.get(hash) ?? 0) > entry.at', '')],
    in: ENDS,
    breaks: 'I1',
  },
  {
    rule: 'a key below the floor is proved no more',
    patches: [patch('keys', 'entry.at < world.floor.k || ', '')],
    in: BULK,
    breaks: 'I1',
  },
  {
    rule: 'the tag of keys is heard',
    patches: [patch('world', " && tag !== 'k') continue;", ') continue;')],
    in: ENDS,
    breaks: 'I1',
  },
  {
    rule: 'what is absent is not there any more, and what is there is not absent',
    patches: [patch('keys', 'other.delete(hash);', '')],
    in: ENDS,
    breaks: 'I6',
  },
  {
    rule: 'a key that is not there is known to be absent',
    patches: [patch('keys', 'row === null ? [world.absentKeys, world.keys] :', 'row === null ? [new Map(), world.keys] :')],
    in: ENDS,
    breaks: 'I6',
  },
  {
    rule: 'a key is known no longer than the lease',
    patches: [patch('cache', 'this.#meets(world, options, undefined)) {\n      const entry', 'world.head) {\n      const entry')],
    in: WITH_TIME,
    breaks: 'I3',
  },
  {
    rule: 'the row of a key is the one with its hash',
    patches: [patch('flights', 'rows.get(want.hash)', 'rows.get(want.asker)')],
    in: ENDS,
    breaks: 'I2',
  },
  {
    rule: 'the user of a key is that of the fill',
    patches: [patch('keys', "user: row?.user ?? ''", "user: into.get(hash)?.user ?? row?.user ?? ''")],
    in: HANDS,
    breaks: 'I2',
  },
  {
    rule: 'whoever acts by a session is that of the fill',
    patches: [patch('keys', "actor: row?.actor ?? ''", "actor: into.get(hash)?.actor ?? row?.actor ?? ''")],
    in: HANDS,
    breaks: 'I2',
  },
  {
    rule: 'the end of a key is that of the fill',
    patches: [patch('keys', 'expires: row?.expires ?? 0', 'expires: into.get(hash)?.expires ?? row?.expires ?? 0')],
    in: ENDS,
    breaks: 'I1',
  },
  { rule: 'the end of a user is logged for its keys, too', faults: { silentKeys: true }, in: { ...ENDS, kinds: ['k, u gone'], commits: 1 }, breaks: 'I1' },
  {
    rule: 'a RESET drops the keys',
    patches: keeps('for (const [hash, entry] of kept.keys) made.keys.set(hash, { ...entry });', '{ keys: [...state.current.keys] }'),
    in: { kinds: ['k'], commits: 1, failOver: 'loses', start: 'all', without: ['tick', 'loss'] },
    breaks: 'I1',
  },
  {
    rule: 'the light first pull sets the marks of keys',
    patches: [
      patch('world', "for (const tag of ['o', 'g', 'r', 'k'] as const) world.last[tag] =", "for (const tag of ['o', 'g', 'r'] as const) world.last[tag] ="),
    ],
    in: RESET,
    breaks: 'I1',
  },
];
