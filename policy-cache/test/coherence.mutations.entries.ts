// What may be cached, admitted and served: each rule of it, taken away.

import { NO_TIME, QUIET, THREE, WITH_TIME, patch } from './coherence.mutation.ts';
import type { Mutation } from './coherence.mutation.ts';
import type { Configuration } from './coherence.steps.ts';

const BULK: Configuration = { kinds: ['x', 'every o'], commits: 2, without: ['tick', 'close'] };
const BULK_THREE: Configuration = { kinds: ['x', 'u', 'every o'], commits: 3, start: 'all', without: ['tick', 'close', 'loss'] };
const CLASS: Configuration = { kinds: ['A', 'B', 'R'], commits: 2, without: ['tick', 'close'] };

export const entries: readonly Mutation[] = [
  {
    rule: 'an entry is served only if it is proved',
    patches: [
      patch('world', 'entry !== undefined && provedObject(world, id, entry) ? entry : null', 'entry ?? null'),
      patch('cache', 'if (cell === null || !provedClass(world, cell)) return null;', 'if (cell === null || cell.effective === null) return null;'),
    ],
    in: QUIET,
    breaks: 'I1',
  },
  {
    rule: 'a fill is admitted only if nothing touched it since its stamp (else kept at its stamp)',
    patches: [patch('world', 'if (!provedObject(world, id, draft)) return false;', ''), patch('world', 'if (!provedClass(world, draft)) return false;', '')],
    in: NO_TIME,
    breaks: { none: 'the read asks the same question of the same `at`. The rule lets a waiter go only with something that can be served' },
  },
  {
    rule: 'a fill is admitted only if nothing touched it since its stamp (else kept at the head)',
    patches: [patch('world', 'if (!provedObject(world, id, draft)) return false;', 'draft.at = world.head.version;')],
    in: QUIET,
    breaks: 'I1',
  },
  {
    rule: 'a fill waits for the cursor to reach its stamp',
    patches: [patch('flights', 'if (answer.stamp.version > world.head.version) {', 'if (answer.stamp.version < 0) {')],
    in: NO_TIME,
    breaks: { none: 'the world knows no id above its head, so the id check refuses it. The rule spares every fill that is ahead a second statement' },
  },
  {
    rule: 'a fill waits for the cursor, and its stamp is of this history',
    patches: [
      patch('flights', 'if (answer.stamp.version > world.head.version) {', 'if (answer.stamp.version < 0) {'),
      patch('flights', 'if (knows(world, answer.stamp) && admit(', 'if (admit('),
    ],
    in: QUIET,
    breaks: 'I1',
  },
  {
    rule: "a fill's stamp is of this history",
    patches: [patch('flights', 'if (knows(world, answer.stamp) && admit(', 'if (admit(')],
    in: NO_TIME,
    breaks: 'I1',
  },
  {
    rule: 'the first compare (`last`)',
    patches: [
      patch('world', 'if (entry.at >= world.last.o) return true;', ''),
      patch('world', 'if (cell.at >= world.last.g && cell.at >= world.last.r) return true;', ''),
    ],
    in: NO_TIME,
    breaks: { none: 'it is the second compare made cheap: an entry as young as the newest touch was touched by none after it' },
  },
  {
    rule: 'the first compare asks for every kind of tag of the entry',
    patches: [patch('world', 'cell.at >= world.last.g && cell.at >= world.last.r', 'cell.at >= world.last.g || cell.at >= world.last.r')],
    in: CLASS,
    breaks: 'I1',
  },
  {
    rule: 'a key that falls out of `touched` raises the floor',
    patches: [patch('world', 'world.floor[at.tag] = Math.max(world.floor[at.tag], version);', 'void version;')],
    in: THREE,
    breaks: 'I1',
  },
  {
    rule: 'the floor never falls',
    patches: [patch('world', 'Math.max(world.floor[at.tag], version)', 'version')],
    in: BULK_THREE,
    breaks: 'I1',
  },
  {
    rule: 'a bulk touch raises the floor',
    patches: [patch('world', 'if (keys.length === 0) world.floor[tag] = version;', 'if (keys.length === 0) continue;')],
    in: BULK,
    breaks: 'I1',
  },
  {
    rule: 'a bulk touch raises `last`, too',
    patches: [patch('world', '    world.last[tag] = version;\n', '    if (keys.length > 0) world.last[tag] = version;\n')],
    in: BULK,
    breaks: 'I1',
  },
  {
    rule: 'a class has the tags of its groups that have no grant',
    patches: [patch('world', 'groups: [...key.groups, formatAllGroup', "groups: [...key.groups.filter((id) => id !== 'B'), formatAllGroup")],
    in: CLASS,
    breaks: 'I1',
  },
  {
    rule: 'a class has the tags of the roles it met',
    patches: [patch('world', 'const roles = [...new Set(grants.map((grant) => grant.role))];', 'const roles = [];')],
    in: CLASS,
    breaks: 'I1',
  },
  {
    rule: 'grants that sleep are a matter of the decision, not of the class',
    faults: { deadGrants: true },
    in: { kinds: ['n', 'A'], commits: 2, without: ['tick', 'close'] },
    breaks: 'I2',
  },
  {
    rule: 'a class fill goes into the cell that asked',
    patches: [
      patch('world', 'const { cell, grants } = fill;', 'const { grants } = fill;\n  const cell = world.classes.get(fill.cell.name) ?? { ...fill.cell };'),
    ],
    in: { kinds: ['A'], commits: 1, evicts: true, without: ['tick', 'close'] },
    breaks: 'I6',
  },
  {
    rule: 'one flight per key',
    patches: [patch('flights', '  if (known) {\n    known.until', '  if (known && known.until === null) {\n    known.until')],
    in: { kinds: ['x'], commits: 3, without: ['tick', 'close'] },
    breaks: { none: 'a rule of load: of two flights of a name only the newer is heard, and an answer is admitted only if it is still true' },
  },
  {
    rule: 'a flight has an end',
    patches: [patch('follower', 'turn.settle(giveUp(state.flights, event.batch, event.names), true);', '')],
    in: QUIET,
    breaks: 'I6',
  },
];

const KEEP =
  'const kept = { ...this.#driver.state.kept };\n    const keep = (name, value) => ((kept[name] ??= value), (this.#driver.state.kept = kept), kept[name]);\n';
export const turns: readonly Mutation[] = [
  {
    rule: 'one turn decides, with what it finds',
    patches: [
      patch('cache', '    const any = isAny(request.target);\n', `    const any = isAny(request.target);\n    ${KEEP}`),
      patch('cache', 'const asker = placementIn(subject);', "const asker = keep('subject', placementIn(subject));"),
      patch('cache', 'terms.effective = cell.effective!;', "terms.effective = keep('effective', cell.effective);"),
      patch('cache', 'request, subject, target);', "request, subject, keep('target', target));"),
    ],
    in: { kinds: ['x', 'A'], commits: 2, without: ['tick', 'close'] },
    breaks: 'I1',
  },
  {
    rule: 'the lease is read in the turn that decides',
    patches: [
      patch(
        'cache',
        'if (!(age <= this.#maxStaleness)) return false;',
        'const kept = this.#driver.state.kept ?? {};\n    if (options?.deadline !== undefined && age <= this.#maxStaleness) this.#driver.state.kept = { fresh: true };\n    if (!(kept.fresh || age <= this.#maxStaleness)) return false;',
      ),
    ],
    in: WITH_TIME,
    breaks: 'I3',
  },
  {
    rule: 'there is a lease',
    patches: [patch('cache', 'if (!(age <= this.#maxStaleness)) return false;', '')],
    in: WITH_TIME,
    breaks: 'I3',
  },
  {
    rule: "a check's own, smaller bound",
    patches: [patch('cache', 'if (maxStaleness !== undefined && !(age <= maxStaleness)) return false;', '')],
    in: WITH_TIME,
    breaks: 'I3',
  },
  {
    rule: 'the lease runs from the sending of the pull',
    patches: [patch('follower', 'world.freshAsOf = sent;', 'world.freshAsOf = this.#now;')],
    in: WITH_TIME,
    breaks: 'I3',
  },
];
