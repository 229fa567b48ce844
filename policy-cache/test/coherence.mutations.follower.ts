// How the follower follows: each rule of the pull and of the RESET, taken away.

import { LOSES, NO_TIME, QUIET, TREE, patch } from './coherence.mutation.ts';
import type { Mutation } from './coherence.mutation.ts';
import type { Patch } from './coherence.code.ts';
import type { Configuration } from './coherence.steps.ts';

const RESET: Configuration = { kinds: ['x', '*'], commits: 2, failOver: 'keeps', without: ['tick', 'loss'] };
const RESET_LOSES: Configuration = { ...RESET, failOver: 'loses' };
const COLD_TREE: Configuration = { kinds: ['n'], commits: 1, failOver: 'loses', start: 'cold', without: ['tick', 'loss'] };

const BEAT = "      state.bucket.waits = false;\n      turn.pull('beat');";
export const pulls: readonly Mutation[] = [
  {
    rule: 'a pull that leads to a RESET does not renew the lease',
    patches: [
      patch('follower', 'else if (reply.over || everything) this.#resetFrom', 'else if (reply.over || everything) world.freshAsOf = sent, this.#resetFrom'),
    ],
    in: { kinds: ['*'], commits: 1, without: ['close', 'loss', 'look'] },
    breaks: 'I3',
  },
  {
    rule: 'the log has the id of the cursor (log matching)',
    patches: [patch('follower', "if (reply.cursorId !== world.head.id) this.#resetFrom('history');\n    else if", 'if')],
    in: LOSES,
    breaks: 'I1',
  },
  {
    rule: 'after a mismatch the old world never answers again',
    patches: [patch('follower', "if (cause === 'history') {", 'if (cause === null) {')],
    in: LOSES,
    breaks: { none: 'under fencing its lease alone keeps G1 to G3. The rule is caution: the world is known to be of another history' },
  },
  {
    rule: 'cursor and `touched` move in one turn',
    patches: [
      patch(
        'follower',
        'else applyPull(world, reply, this.#settings.touchedLimit);',
        "else {\n        applyPull(world, { ...reply, changes: reply.changes.map(([version, id, , keys]) => [version, id, 'later', keys]) }, this.#settings.touchedLimit);\n        this.#state.kept = { later: reply };\n      }",
      ),
      patch(
        'follower',
        BEAT,
        `      if (state.kept && state.current) applyPull(state.current, { ...state.kept.later, tree: [] }, settings.touchedLimit);\n      state.kept = undefined;\n${BEAT}`,
      ),
    ],
    in: QUIET,
    breaks: 'I1',
  },
  {
    rule: 'cursor and owner tree move in one turn',
    patches: [
      patch(
        'follower',
        'else applyPull(world, reply, this.#settings.touchedLimit);',
        'else {\n        applyPull(world, { ...reply, tree: [] }, this.#settings.touchedLimit);\n        this.#state.kept = { tree: reply.tree };\n      }',
      ),
      patch('follower', BEAT, `      if (state.kept && state.current) state.current.tree.apply(state.kept.tree);\n      state.kept = undefined;\n${BEAT}`),
    ],
    in: TREE,
    breaks: 'I1',
  },
  {
    rule: 'a reply is heard by the session that waits for it alone',
    patches: [
      patch(
        'follower',
        'if (event.session === state.session && event.pull === state.inFlight?.number) turn.pulled',
        'if (state.inFlight !== null) turn.pulled',
      ),
    ],
    // Not I4, as in the model of the rules: the code matches a reply against the head of the moment, so a late one cannot take it back.
    in: { kinds: ['x'], commits: 1, late: true, without: ['loss', 'look'] },
    breaks: 'I3',
  },
  {
    rule: 'a lower timeline closes the session',
    patches: [patch('follower', 'reply.timeline < state.timeline)', 'false)')],
    in: { kinds: ['x'], commits: 2, failOver: 'both', unfenced: true, unasked: ['I3'], without: ['look', 'loss'] },
    breaks: 'I4',
  },
];

const NEW_WORLD = 'world: newWorld(reply.stamp, reply.tree, this.#settings.newStores()) };';
/** Notes something of the world that a RESET begins from, and hands it to the next one. */
export const keeps = (what: string, note: string): readonly Patch[] => [
  patch(
    'follower',
    "    const state = this.#state;\n    if (cause === 'history') {",
    `    const state = this.#state;\n    if (state.current) state.kept = ${note};\n    if (cause === 'history') {`,
  ),
  patch(
    'follower',
    NEW_WORLD,
    `world: newWorld(reply.stamp, reply.tree, this.#settings.newStores()) };\n      const kept = state.kept;\n      const made = state.reset.world;\n      if (kept) { ${what} }`,
  ),
];
const NO_MARKS: readonly Patch[] = [
  patch('world', 'floor: { ...mark },', 'floor: { o: 0, g: 0, r: 0 },'),
  patch('world', 'world.last[tag] = world.floor[tag] = reply.head.version;', 'world.last[tag] = reply.head.version;'),
];
export const KEEPS_ANSWERS = keeps('for (const [version, id] of kept.answers) made.answers.set(version, id);', '{ answers: [...state.current.answers] }');
const KEEPS_IDS = keeps('for (const [version, id] of kept.ids) made.ids.set(version, id);', '{ ids: [...state.current.ids] }');

export const resets: readonly Mutation[] = [
  {
    rule: 'a RESET drops the entries',
    patches: keeps(
      `const cells = new Map(kept.classes.map(([, cell]) => [cell, { ...cell }]));
      for (const [name, cell] of kept.classes) made.classes.set(name, cells.get(cell));
      for (const [id, entry] of kept.subjects) made.subjects.set(id, { ...entry, cell: entry.cell && (cells.get(entry.cell) ?? { ...entry.cell }) });
      for (const [id, entry] of kept.targets) made.targets.set(id, { ...entry });`,
      '{ classes: [...state.current.classes], subjects: [...state.current.subjects], targets: [...state.current.targets] }',
    ),
    in: { kinds: ['x'], commits: 1, failOver: 'loses', start: 'all', without: ['tick', 'loss'] },
    breaks: 'I1',
  },
  {
    rule: 'a RESET drops the ids',
    patches: KEEPS_IDS,
    in: { kinds: ['u off', 'n'], commits: 2, failOver: 'loses', start: 'empty', without: ['tick', 'loss'] },
    breaks: 'I1',
  },
  {
    rule: 'a RESET drops `last`, `floor` and `touched`',
    patches: [
      ...keeps(
        'for (const tag of ["o", "g", "r"]) { made.last[tag] = kept.last[tag]; made.floor[tag] = kept.floor[tag]; for (const [key, version] of kept.touched[tag]) made.touched[tag].set(key, version); }',
        '{ last: { ...state.current.last }, floor: { ...state.current.floor }, touched: { o: [...state.current.touched.o], g: [...state.current.touched.g], r: [...state.current.touched.r] } }',
      ),
      patch('world', "  for (const tag of ['o', 'g', 'r', 'k'] as const) world.last[tag] = world.floor[tag] = reply.head.version;\n", ''),
    ],
    in: NO_TIME,
    breaks: 'I6',
  },
  {
    rule: 'a RESET drops the tree',
    patches: keeps('made.tree = kept.tree;', '{ tree: state.current.tree }'),
    in: { kinds: ['*'], commits: 1, without: ['tick', 'close', 'loss'] },
    breaks: 'I2',
  },
  {
    rule: 'a RESET sets the floor',
    patches: [NO_MARKS[0]!],
    in: RESET,
    breaks: { none: 'its first pull sets it again before anything is cached, and the world knows no id below its stamp' },
  },
  { rule: 'a RESET sets the floor, and drops the ids', patches: [...NO_MARKS, ...KEEPS_IDS], in: RESET_LOSES, breaks: 'I2' },
  {
    rule: 'the light first pull sets `last` and `floor`',
    patches: [patch('world', "  for (const tag of ['o', 'g', 'r', 'k'] as const) world.last[tag] = world.floor[tag] = reply.head.version;\n", '')],
    in: RESET,
    breaks: 'I1',
  },
  {
    rule: 'a new world answers only after its first pull',
    patches: [patch('follower', NEW_WORLD, `${NEW_WORLD}\n      state.reset.world.freshAsOf = this.#now;\n      this.#becomeCurrent(state.reset.world);`)],
    in: { ...RESET, without: ['loss'] },
    breaks: 'I3',
  },
  { rule: 'a RESET loads stamp and rows in one snapshot (rows first)', faults: { loadStamp: 'after' }, in: COLD_TREE, breaks: 'I1' },
  { rule: 'a RESET loads stamp and rows in one snapshot (stamp first)', faults: { loadStamp: 'before' }, in: COLD_TREE, breaks: 'I1' },
  {
    rule: 'the answer of a load that was given up is thrown away',
    patches: [
      patch('follower', 'if (event.load === state.reset?.load && state.reset.world === null) turn.loaded', 'if (state.reset !== null) turn.loaded'),
      patch('follower', NEW_WORLD, 'world: Object.assign(state.reset.world ?? {}, newWorld(reply.stamp, reply.tree, this.#settings.newStores())) };'),
    ],
    in: { kinds: ['n'], commits: 1, start: 'cold', slowLoads: true, late: true, without: ['tick', 'loss'] },
    breaks: { none: 'a pull is matched against the head of the moment, so the one under way does not fit a world swapped beneath it' },
  },
  {
    rule: 'flights end with their world (their answers judged by the next)',
    patches: [patch('follower', 'state.reset = null;\n    state.flights = newFlights();', 'state.reset = null;')],
    // Safe in the model of the rules, where values hold nothing of their world. In the code names are numbered by world, so that a class of
    // the old one takes the place of another class in the new one.
    in: { kinds: ['u', '*'], commits: 2, start: 'empty', without: ['tick', 'close', 'loss'] },
    breaks: 'I2',
  },
  {
    rule: 'flights end with their world (their answers judged by the one they began in)',
    patches: [
      patch(
        'follower',
        'const state = this.#state;\n    state.current = world;',
        'const state = this.#state;\n    const old = state.current;\n    for (const { want, answer } of state.flights.out.values())\n      if (old && answer && want.as === "target" && admitAll(old, { ...state.flights, out: new Map([["t", { want, answer }]]) }, { vocabulary: this.#settings.vocabulary, refused: () => {} }).settled.length > 0)\n        world.targets.set(want.id, { ...old.targets.get(want.id) });\n    state.current = world;',
      ),
    ],
    in: RESET,
    breaks: { none: 'the next world has its marks at its own head, so an older entry is not proved there' },
  },
  {
    rule: 'a world knows its RESET stamp and its heads',
    patches: [
      patch('world', 'ids: new Map([[stamp.version, stamp.id]]),', 'ids: new Map(),'),
      patch('world', 'remember(world.ids, reply.head.version, reply.head.id, IDS_KEPT);', ''),
    ],
    in: { kinds: ['x'], commits: 1, start: 'empty', without: ['tick', 'close'] },
    breaks: 'I6',
  },
];
