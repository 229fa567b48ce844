// How are the states of a model visited: all of them, nearest first, or along random walks?

import type { Model } from './coherence.model.ts';
import type { State } from './coherence.state.ts';
import type { Chance } from './coherence.steps.ts';

export interface Bounds {
  readonly states: number;
  /** Steps from the start at most. */
  readonly depth?: number;
  /** I6 is asked in every n-th state, it costs more than all the rest. */
  readonly healEvery: number;
}

export interface Explored {
  readonly states: number;
  readonly transitions: number;
  /** Steps from the start within which every state was visited, or the last of a trace was found. */
  readonly depth: number;
  /** Decisions that were given, and judged. */
  readonly answers: number;
  /** Was every reachable state visited? */
  readonly exhausted: boolean;
  /** The shortest way to a broken promise, and which one it is. */
  readonly trace: readonly string[] | null;
  readonly ms: number;
}

const NEVER_ANSWERED = 'I6: no check is answered any more, with the link whole and no more commits';

/** Breadth first; the first broken promise ends it, so its trace is the shortest. */
export function explore(model: Model, bounds: Bounds): Explored {
  return withoutStacks(() => search(model, bounds));
}

function search(model: Model, { states: bound, depth: deepest = Infinity, healEvery }: Bounds): Explored {
  const began = performance.now();
  const known = new Set<string>();
  const parents: number[] = [];
  const labels: string[] = [];
  let transitions = 0;
  let depth = 0;
  let broken: string[] | null = null;
  let at = -1;
  let next: [number, State][] = [];

  const wayTo = (state: number): string[] => {
    const way: string[] = [];
    for (let i = state; i > 0; i = parents[i]!) way.unshift(labels[i]!);
    return way;
  };
  const visit = (label: string, state: State): void => {
    transitions++;
    const number = known.size;
    known.add(model.key(state));
    if (known.size === number || broken !== null) return;
    parents.push(at);
    labels.push(label);
    const wrong = model.judge(state) ?? (number % healEvery === 0 && !model.heals(state) ? NEVER_ANSWERED : null);
    if (wrong !== null) broken = [...wayTo(number), wrong];
    next.push([number, state]);
  };

  visit('', model.begin());
  const done = (): boolean => broken !== null || known.size >= bound;
  while (next.length > 0 && depth < deepest && !done()) {
    const frontier = next;
    next = [];
    for (const [number, state] of frontier) {
      at = number;
      model.successors(state, (_, label, make) => {
        for (const [where, after] of model.outcomes(make())) visit(label + where, after);
      });
      if (done()) break;
    }
    if (broken !== null || known.size < bound) depth++;
  }
  return {
    states: known.size,
    transitions,
    depth,
    answers: model.answers(),
    exhausted: next.length === 0,
    trace: broken,
    ms: performance.now() - began,
  };
}

export interface Walked {
  readonly walks: number;
  readonly states: number;
  readonly answers: number;
  readonly trace: readonly string[] | null;
}

/** What moves the protocol on is drawn more often than what disturbs it, or no walk would ever come to an answer. */
const WEIGHTS: Readonly<Record<Chance, number>> = { commit: 3, fault: 1, tick: 1, close: 1, link: 8, answer: 12, loss: 1, look: 8, evict: 1, request: 8 };

/** Walks from the start, so many steps each, until so many states were seen; the random numbers decide everything. */
export function walk(model: Model, { random, steps, states: bound }: { random: (below: number) => number; steps: number; states: number }): Walked {
  return withoutStacks(() => {
    let walks = 0;
    let states = 0;
    while (states < bound) {
      walks++;
      let state = model.begin();
      const trace: string[] = [];
      for (let i = 0; i < steps; i++) {
        const [label, after] = oneOf(model, state, random);
        state = after;
        states++;
        trace.push(label);
        const wrong = model.judge(state) ?? (i % 8 === 0 && !model.heals(state) ? NEVER_ANSWERED : null);
        if (wrong !== null) return { walks, states, answers: model.answers(), trace: [...trace, wrong] };
      }
    }
    return { walks, states, answers: model.answers(), trace: null };
  });
}

function oneOf(model: Model, state: State, random: (below: number) => number): [string, State] {
  const offers = new Map<Chance, [string, () => State][]>();
  model.successors(state, (chance, label, make) => {
    const others = offers.get(chance);
    if (others) others.push([label, make]);
    else offers.set(chance, [[label, make]]);
  });
  const chances = [...offers.keys()].flatMap((chance) => Array<Chance>(WEIGHTS[chance]).fill(chance));
  const cases = offers.get(chances[random(chances.length)]!)!;
  const [label, make] = cases[random(cases.length)]!;
  const outcomes = [...model.outcomes(make())];
  const [where, after] = outcomes[random(outcomes.length)]!;
  return [label + where, after];
}

/** Refusals are thrown by the million: without their stacks. */
function withoutStacks<T>(use: () => T): T {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return use();
  } finally {
    Error.stackTraceLimit = limit;
  }
}
