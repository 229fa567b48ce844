// Which states can the protocol's code reach, and what is asked in each of them?
//
// Breadth first over every state that the real `step` and the real world come to with one target, a bulk touch, a RESET, lost
// rings, lost connections, a clock without bound and one fail-over (with and without loss). Asked in every state:
//   I1  an answer is the truth at the head of the history that the world follows
//   I3  (G2) an answer lacks no commit acknowledged more than `maxStaleness` ago
//   I4  (G1) an answer lacks no commit that was reported before
//   I6  from here, with the link whole and nothing more committed, the check is answered

import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { newFollower, step } from '../src/follower.ts';
import type { Effect, FollowerEvent, FollowerSettings, FollowerState } from '../src/follower.ts';
import { newStats } from '../src/observer.ts';
import type { Change, ObjectsReply, PullReply } from '../src/source.ts';
import { compileVocabulary } from '../src/vocabulary.ts';
import { provedObject } from '../src/world.ts';
import type { World } from '../src/world.ts';
import { copyFollower, copyWorld } from './coherence.copy.ts';

const vocabulary = compileVocabulary(parse(readFileSync(new URL('../vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const TICK = 1_000;
const MAX_STALENESS = TICK;
const settings: FollowerSettings = {
  vocabulary,
  touchedLimit: 1,
  maxStaleness: MAX_STALENESS,
  follower: null,
  stats: newStats(),
  newStores: () => ({ subjects: new Map(), targets: new Map(), absent: new Map(), classes: new Map() }),
};

// ---- the database: a chain of commits per server -----------------------------------------------------------------------------

type Kind = 'x' | 'y' | 'bulk' | 'all';
interface Commit {
  readonly kind: Kind;
  readonly version: number;
  readonly id: string;
  readonly age: number;
}
interface Server {
  readonly log: readonly Commit[];
  readonly timeline: string;
}
const GENESIS = { version: 0, id: 'g' };
const headOf = (log: readonly Commit[]): { version: number; id: string } => log.at(-1) ?? GENESIS;
/** What x is worth at a point of a history: the id of the newest commit that touched it. The most discriminating value there is. */
const truth = (log: readonly Commit[]): string => log.findLast((commit) => commit.kind !== 'y')?.id ?? GENESIS.id;
const tagged = ({ kind, version, id }: Commit): Change => [version, id, kind === 'all' ? '*' : 'o', kind === 'x' || kind === 'y' ? [kind] : []];

type Message =
  | { readonly of: 'pull'; readonly session: number; readonly pull: number; readonly cursor: number; readonly light: boolean; readonly reply: PullReply | null }
  | { readonly of: 'load'; readonly session: number; readonly load: number; readonly stamp: { version: number; id: string } | null }
  | {
      readonly of: 'fill';
      readonly session: number;
      readonly batch: number;
      readonly names: readonly string[];
      readonly ids: readonly string[];
      readonly reply: ObjectsReply | null;
    };

interface State {
  readonly follower: FollowerState;
  /** 0: the old primary, 1: the new one once there was a fail-over. */
  readonly servers: readonly Server[];
  /** Server of each session still of interest. */
  readonly at: number | null;
  readonly attaching: number | null;
  readonly messages: readonly Message[];
  readonly commits: number;
  readonly now: number;
  /** Ids of commits reported by the head of a world that answered. */
  readonly reported: readonly string[];
}

export interface Options {
  readonly kinds: readonly Kind[];
  readonly commits: number;
  readonly failover: boolean;
  readonly rule: Rule | null;
  /** Steps that are not taken: a trace that does not need them is found sooner. */ readonly without?: readonly string[];
}
/** A rule taken away, by putting the state right after a step to what it would be without the rule. */
export type Rule =
  | 'lease from send'
  | 'bulk raises floor'
  | 'eviction raises floor'
  | 'proof before an answer'
  | 'ids in fills'
  | 'ids in pulls'
  | 'RESET drops entries'
  | 'replies of dead sessions unheard';

// ---- hashing the state -------------------------------------------------------------------------------------------------------

function fingerprint(state: State): string {
  const { follower: f, now } = state;
  const age = (since: number): number => Math.min(2, (now - since) / TICK);
  const world = (w: World | null): unknown =>
    w && [
      w.head,
      age(w.freshAsOf),
      w.last.o,
      w.floor.o,
      [...w.touched.o],
      [...w.ids],
      [...(w.targets as Map<string, { at: number; value: { groups: readonly number[] } }>)].map(([id, e]) => [id, e.at, name(w, e.value.groups)]),
    ];
  const live = (m: Message): boolean =>
    m.session === f.session && (m.of === 'pull' ? m.pull === f.inFlight?.number : m.of === 'load' ? m.load === f.reset?.load : f.flights.batches.has(m.batch));
  return JSON.stringify([
    f.phase,
    f.due,
    f.timeline,
    world(f.current),
    f.reset && [world(f.reset.world)],
    f.inFlight && [age(f.inFlight.sent), f.inFlight.world === f.current],
    [...f.flights.out].map(([n, flight]) => [n, flight.answer, f.flights.batches.has(flight.batch)]),
    [...f.flights.queue.keys()],
    state.servers.map((s) => s.log.map((c) => [c.kind, c.version, c.id, c.age])),
    state.at,
    state.attaching !== null,
    state.messages
      .map((m) => [m.of, live(m), m.of === 'load' ? m.stamp : m.reply, m.of === 'pull' && [m.cursor, m.light]])
      .toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)),
    state.commits,
    state.reported,
  ]);
}

const name = (world: World, groups: readonly number[]): string => [...world.groupNumbers].find(([, number]) => number === groups[0])![0];

// ---- one transition ----------------------------------------------------------------------------------------------------------

function send(state: State, event: FollowerEvent, rule: Rule | null): State {
  const follower = copyFollower(state.follower);
  const before = { floor: follower.current?.floor.o, targets: follower.current?.targets, numbers: follower.current?.groupNumbers };
  if (rule === 'ids in pulls' && event.kind === 'pulled' && follower.inFlight)
    event = { ...event, reply: { ...event.reply, cursorId: follower.inFlight.world.head.id } };
  if (rule === 'ids in fills' && event.kind === 'objects') follower.current?.ids.set(event.reply.stamp.version, event.reply.stamp.id);
  if (rule === 'replies of dead sessions unheard' && event.kind === 'pulled' && follower.inFlight)
    event = { ...event, session: follower.session, pull: follower.inFlight.number };
  const effects = step(settings, follower, event, state.now);
  if (rule === 'lease from send' && event.kind === 'pulled' && follower.current) follower.current.freshAsOf = state.now;
  if (
    rule === 'bulk raises floor' &&
    event.kind === 'pulled' &&
    follower.current &&
    event.reply.changes.some(([, , , keys]) => keys.length === 0) &&
    before.floor !== undefined
  )
    follower.current.floor.o = before.floor;
  if (rule === 'eviction raises floor' && event.kind === 'pulled' && follower.current && before.floor !== undefined) follower.current.floor.o = before.floor;
  if (rule === 'RESET drops entries' && before.targets && follower.current && follower.current.targets.size === 0)
    for (const [id, entry] of before.targets as Map<string, never>) {
      for (const [group, number] of before.numbers!) follower.current.groupNumbers.set(group, number);
      follower.current.targets.set(id, { ...(entry as object), at: follower.current.head.version } as never);
    }
  return effects.reduce(carryOut, { ...state, follower });
}

function carryOut(state: State, effect: Effect): State {
  switch (effect.kind) {
    case 'attach':
      return { ...state, attaching: effect.session };
    case 'close':
      return { ...state, at: null };
    case 'pull':
      return {
        ...state,
        messages: [
          ...state.messages,
          { of: 'pull', session: effect.session, pull: effect.pull, cursor: effect.request.cursor, light: effect.request.limit === null, reply: null },
        ],
      };
    case 'load':
      return { ...state, messages: [...state.messages, { of: 'load', session: effect.session, load: effect.load, stamp: null }] };
    case 'fill':
      return {
        ...state,
        messages: [
          ...state.messages,
          { of: 'fill', session: effect.session, batch: effect.batch, names: effect.wants.map(() => 'tx'), ids: ['x'], reply: null },
        ],
      };
    default:
      return state;
  }
}

function* successors(state: State, options: Options): Generator<[string, State]> {
  const { rule } = options;
  const { follower, servers } = state;
  const primary = servers.length - 1;
  if (state.commits < options.commits)
    for (const kind of options.kinds) {
      const { log, timeline } = servers[primary]!;
      const commit = { kind, version: headOf(log).version + 1, id: `c${state.commits}`, age: 0 };
      yield [`commit ${kind}`, { ...state, commits: state.commits + 1, servers: servers.with(primary, { log: [...log, commit], timeline }) }];
    }
  if (options.failover && primary === 0)
    for (const lost of servers[0]!.log.length > 0 ? [0, 1] : [0])
      yield [
        `fail-over that loses ${lost}`,
        { ...state, servers: [...servers, { log: servers[0]!.log.slice(0, servers[0]!.log.length - lost), timeline: '2' }] },
      ];
  yield ['tick', { ...state, now: state.now + TICK, servers: servers.map((s) => ({ ...s, log: s.log.map((c) => ({ ...c, age: Math.min(2, c.age + 1) })) })) }];
  if (state.attaching !== null) yield ['attached', send({ ...state, attaching: null, at: primary }, { kind: 'attached', session: state.attaching }, rule)];
  else yield ['connection lost', send(state, { kind: 'closed', session: follower.session, why: 'lost' }, rule)];
  if (follower.phase === 'following' && follower.inFlight === null) yield ['beat', send(state, { kind: 'beat' }, rule)];
  if (follower.current && !follower.flights.out.has('tx') && !follower.flights.queue.has('tx'))
    yield ['miss', send(state, { kind: 'want', wants: [{ kind: 'object', as: 'target', id: 'x', asker: 'u' }], until: Infinity }, rule)];

  for (const [i, message] of state.messages.entries()) {
    const others = state.messages.toSpliced(i, 1);
    const server = state.at === null ? null : servers[state.at]!;
    const ran = message.of === 'load' ? message.stamp !== null : message.reply !== null;
    if (!ran && message.session === follower.session && server !== null) {
      // Fencing: once the new primary is promoted, no pull runs at the old one (coherence 3.7). Fills and loads may.
      if (message.of === 'pull' && state.at === primary)
        yield [`pull runs`, { ...state, messages: [...others, { ...message, reply: pullReply(server, message) }] }];
      if (message.of === 'load') yield ['load runs', { ...state, messages: [...others, { ...message, stamp: headOf(server.log) }] }];
      if (message.of === 'fill')
        yield [
          'fill runs',
          {
            ...state,
            messages: [
              ...others,
              {
                ...message,
                reply: {
                  stamp: headOf(server.log),
                  rows: [{ id: 'x', kind: 'entity', type: 'DEVICE', owner: 't', enabled: true, groups: [truth(server.log)] }],
                },
              },
            ],
          },
        ];
    }
    if (!ran) {
      if (message.session !== follower.session) yield ['forgotten', { ...state, messages: others }];
      continue;
    }
    const rest = { ...state, messages: others };
    if (message.of === 'pull') yield ['pull reply', send(rest, { kind: 'pulled', session: message.session, pull: message.pull, reply: message.reply! }, rule)];
    if (message.of === 'load')
      yield ['load reply', send(rest, { kind: 'loaded', load: message.load, reply: { stamp: message.stamp!, tree: [['t', [null]]] } }, rule)];
    if (message.of === 'fill') {
      yield ['fill reply', send(rest, { kind: 'objects', batch: message.batch, reply: message.reply! }, rule)];
      yield ['fill expires', send(rest, { kind: 'fill-failed', batch: message.batch, names: message.names }, rule)];
    }
  }
  if ([...follower.flights.out.values()].some((flight) => flight.answer !== null))
    yield ['flight expires', send(state, { kind: 'fill-failed', batch: [...follower.flights.out.values()][0]!.batch, names: ['tx'] }, rule)];
}

function pullReply({ log, timeline }: Server, { cursor, light }: { cursor: number; light: boolean }): PullReply {
  const changes = log
    .filter((commit) => commit.version > cursor)
    .map(tagged)
    .filter(([, , tag]) => !light || tag === '*');
  const cursorId = cursor === 0 ? GENESIS.id : (log.find((commit) => commit.version === cursor)?.id ?? null);
  return { pid: 1, timeline, head: headOf(log), over: false, cursorId, changes, tree: [], answers: [], awaited: null, queueUsage: null, lagMs: null };
}

// ---- what is asked in every state ---------------------------------------------------------------------------------------------

function violation(state: State, rule: Rule | null): string | null {
  const world = state.follower.current;
  if (world === null || state.now - world.freshAsOf > MAX_STALENESS) return null;
  const entry = (world.targets as Map<string, { at: number; value: { groups: readonly number[] }; cell: null }>).get('x');
  if (entry === undefined) return null;
  if (rule !== 'proof before an answer' && !provedObject(copyWorld(world), 'x', { ...entry, value: null })) return null;
  const primary = state.servers.at(-1)!.log;
  const history = state.servers.map(({ log }) => log).find((log) => world.head.version === 0 || log.some((c) => c.id === world.head.id))!;
  const at = history.filter((commit) => commit.version <= world.head.version);
  const value = name(world, entry.value.groups);
  if (value !== truth(at)) return `I1: answers ${value}, the truth at its head is ${truth(at)}`;
  const lacks = (commit: Commit): boolean => !at.some(({ id }) => id === commit.id);
  for (const commit of primary) {
    if (commit.age >= 2 && lacks(commit)) return `I3: lacks ${commit.id}, acknowledged more than maxStaleness ago`;
    if (state.reported.includes(commit.id) && lacks(commit)) return `I4: lacks ${commit.id}, reported before`;
  }
  return null;
}

/** Takes the good steps alone until x is answered, or gives up. */
function heals(state: State): boolean {
  let at: State = { ...state, servers: state.servers.slice(-1) };
  if (state.at !== null && state.at !== state.servers.length - 1)
    at = send(at, { kind: 'closed', session: at.follower.session, why: 'old primary gone' }, null);
  else if (state.at !== null) at = { ...at, at: 0 };
  const good = ['attached', 'pull runs', 'load runs', 'fill runs', 'pull reply', 'load reply', 'fill reply', 'forgotten', 'flight expires'];
  for (let turns = 0; turns < 60; turns++) {
    const world = at.follower.current;
    const entry = world && (world.targets as Map<string, never>).get('x');
    if (world && entry && at.now - world.freshAsOf <= MAX_STALENESS && provedObject(copyWorld(world), 'x', { ...(entry as object) } as never)) return true;
    const next = new Map(successors(at, { kinds: [], commits: 0, failover: false, rule: null }));
    const label = good.find((l) => next.has(l)) ?? (turns % 2 === 0 && next.has('miss') ? 'miss' : 'beat');
    if (!next.has(label)) return false;
    at = next.get(label)!;
  }
  return false;
}

/** I6 costs more than all the rest: it is asked in every tenth state. */
const HEAL_EVERY = 10;

export interface Found {
  readonly states: number;
  readonly transitions: number;
  readonly depth: number;
  readonly trace: readonly string[] | null;
  readonly answers: number;
}

export function explore(options: Options, limit = Infinity): Found {
  let start: State = {
    follower: newFollower(),
    servers: [{ log: [], timeline: '1' }],
    at: null,
    attaching: null,
    messages: [],
    commits: 0,
    now: 0,
    reported: [],
  };
  start = send(start, { kind: 'start' }, null);
  // From a world that is current; the way there is walked again after every lost connection and RESET.
  for (const label of ['attached', 'load runs', 'load reply', 'pull runs', 'pull reply']) start = new Map(successors(start, options)).get(label)!;
  const parents = new Map<string, [string, string] | null>([[fingerprint(start), null]]);
  let frontier: [string, State][] = [[fingerprint(start), start]];
  let [transitions, depth, answers] = [0, 0, 0];
  const trace = (key: string, last: string): string[] => {
    const labels = [last];
    for (let link = parents.get(key); link; link = parents.get(link[0])) labels.unshift(link[1]);
    return labels;
  };
  while (frontier.length > 0 && parents.size < limit) {
    const next: [string, State][] = [];
    for (const [key, state] of frontier) {
      if (parents.size >= limit) break;
      for (const [label, after] of successors(state, options)) {
        if (options.without?.includes(label)) continue;
        transitions++;
        const head = after.follower.current?.head;
        const log = after.servers.at(-1)!.log;
        const reported = head ? log.filter((c) => c.version <= head.version && log.some((d) => d.id === head.id)).map(({ id }) => id) : [];
        const judged: State = { ...after, reported: [...new Set([...after.reported, ...reported])].toSorted() };
        const hash = fingerprint(judged);
        if (parents.has(hash)) continue;
        parents.set(hash, [key, label]);
        const wrong =
          violation(judged, options.rule) ??
          (options.rule === null && parents.size % HEAL_EVERY === 0 && !heals(judged) ? 'I6: no check can be answered any more' : null);
        if (wrong !== null) return { states: parents.size, transitions, depth, trace: [...trace(key, label), wrong], answers };
        if (judged.follower.current?.targets.get('x')) answers++;
        next.push([hash, judged]);
      }
    }
    frontier = next;
    depth++;
  }
  return { states: parents.size, transitions, depth, trace: null, answers };
}
