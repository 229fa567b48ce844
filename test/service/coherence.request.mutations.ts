// Which rules make an answer by a key one of a single state, and how is each of them taken away?

import { patch } from '../../policy-cache/test/coherence.mutation.ts';
import type { Mutation } from '../../policy-cache/test/coherence.mutation.ts';
import type { Configuration } from '../../policy-cache/test/coherence.steps.ts';

/** Nobody else asks, so that what a request needs is read for it alone; and it has all of that at first. */
export const ALONE = { start: 'request', without: ['look', 'loss', 'close', 'tick'] } as const;
export const ACTING = { ...ALONE, acting: true } as const;
const EVICTS: Configuration = { ...ALONE, kinds: ['k gone'], commits: 1, evicts: true };
export const ENDS: Configuration = { kinds: ['u'], commits: 1, ends: 1, start: 'request', without: ['look', 'loss', 'close'] };
/** What others ask for brings a key back into memory while a request waits. */
const BESIDE = { start: 'request', without: ['loss', 'close', 'tick'] } as const;
const OTHER: Configuration = { ...BESIDE, kinds: ['k other', 'u off'], commits: 2 };
const TAKEN: Configuration = { ...BESIDE, acting: true, kinds: ['k actor', 'a off'], commits: 2 };
const GAPS: Configuration = { ...EVICTS, gaps: true };
const ACTOR: Configuration = { ...ACTING, kinds: ['a off'], commits: 1 };
const BOTH: Configuration = { ...ACTING, kinds: ['a off', 'u'], commits: 2 };

export const MUTATIONS: readonly Mutation[] = [
  {
    rule: 'the time of a session is looked at',
    patches: [patch('service/opaque', 'if (wall() >= expires) return REFUSALS[kind].expired;', '')],
    in: ENDS,
    breaks: 'I1',
  },
  {
    rule: 'its time is looked at for each request anew',
    patches: [
      patch('service/opaque', '  let reading = 0;', '  let reading = 0;\n  let first: number | undefined;'),
      patch('service/opaque', 'if (wall() >= expires)', 'if ((first ??= wall()) >= expires)'),
    ],
    in: ENDS,
    breaks: 'I1',
  },
  {
    rule: 'a request that waited asks once more for its key',
    patches: [patch('service/authorize', 'if (who.again === undefined) return conclude', 'if (question.until > 0) return conclude')],
    in: EVICTS,
    breaks: 'I1',
  },
  {
    rule: 'the key that is asked for once more is not the one of then',
    patches: [
      patch('service/opaque', "return { kind: 'user', subject: user, actor,", "const identity: Authentication = { kind: 'user', subject: user, actor,"),
      patch('service/opaque', 'again: () => ask(kind, digest, plain) };', 'again: () => identity };\n      return identity;'),
    ],
    in: EVICTS,
    breaks: 'I1',
  },
  {
    rule: 'what is learnt of a key that is not in memory is judged once more',
    patches: [patch('service/authorize', 'decide(draft, question, settled)));', 'conclude(draft, { asked, who, ruling })));')],
    in: EVICTS,
    breaks: 'I1',
  },
  {
    rule: 'a request whose key was waited for asks once more for it, too',
    patches: [patch('service/authorize', 'question.waited ? confirm(draft, { question, who, ruling }) : conclude(', 'conclude(')],
    in: { ...ALONE, kinds: ['k gone'], commits: 1, start: 'empty' },
    breaks: { none: 'whoever is told of a key goes on in that turn. The rule is for the microtasks in between, as the next row shows' },
  },
  {
    rule: 'a request whose key was waited for asks once more for it, too (with gaps)',
    patches: [patch('service/authorize', 'question.waited ? confirm(draft, { question, who, ruling }) : conclude(', 'conclude(')],
    in: GAPS,
    breaks: 'I1',
  },
  {
    rule: 'its user is still the same',
    patches: [patch('service/authorize', ' && now.subject === who.subject', '')],
    in: OTHER,
    breaks: 'I1',
  },
  {
    rule: 'whoever acts as its user is still the same',
    patches: [patch('service/authorize', ' && now.actor === who.actor', '')],
    in: TAKEN,
    breaks: 'I1',
  },
  {
    rule: 'whoever acts as a user must be allowed to',
    patches: [
      patch('service/authorize', 'who.actor ? [acting(who.subject, who.actor), ...requests] : requests', 'requests'),
      patch('service/authorize', 'who.actor ? ruling.index - 1 : ruling.index', 'ruling.index'),
    ],
    in: ACTOR,
    breaks: 'I1',
  },
  {
    rule: 'both are asked in one state',
    patches: [patch('service/pdp', 'if (differ) {', 'if (differ && round > ROUNDS) {')],
    in: BOTH,
    breaks: 'I1',
  },
];

/** Those that take minutes to find. */
export const DEEP: readonly Mutation[] = [
  {
    rule: 'a state is the same by version and id',
    patches: [patch('service/pdp', 'a.version === b.version && a.id === b.id', 'a.version === b.version')],
    in: { ...BOTH, failOver: 'loses', without: ['loss', 'tick'] },
    breaks: 'I1',
  },
];
