// Does the protocol's code keep its promises in every order of events? (the model: coherence.model.ts)
//
// First with every rule, then with one rule taken away at a time: each must give a counter-example, or the model proves nothing.

import { describe, expect, test } from 'vitest';
import { explore } from './coherence.model.ts';
import type { Options, Rule } from './coherence.model.ts';

const DEEP = process.env['GRANTGATE_MODEL_STATES'];
const BOUND = DEEP === undefined ? 4_000 : Number(DEEP);

describe('every order of events', () => {
  test.each<[string, Options]>([
    ['one key, two commits', { kinds: ['x'], commits: 2, failover: false, rule: null }],
    ['one key, a bulk touch and a RESET', { kinds: ['x', 'bulk', 'all'], commits: 1, failover: false, rule: null }],
    ['a key beside it that pushes it out of `touched`', { kinds: ['x', 'y'], commits: 2, failover: false, rule: null }],
    ['one commit and a fail-over', { kinds: ['x'], commits: 2, failover: true, rule: null }],
  ])(
    '%s',
    (title, options) => {
      const found = explore(options, BOUND);
      process.stdout.write(
        `model: ${title}: ${found.states} states, ${found.transitions} transitions, ${found.states >= BOUND ? 'cut off in' : 'exhausted at'} depth ${found.depth}, ${found.answers} with an answer\n`,
      );
      expect(found.trace).toBeNull();
      expect(found.answers).toBeGreaterThan(100);
    },
    600_000,
  );
});

describe('a rule taken away gives a counter-example', () => {
  const [slowFills, time, losses] = [['fill expires', 'flight expires'], ['tick'], ['connection lost']];
  test.each<[Rule, Partial<Options>]>([
    ['proof before an answer', { without: [...slowFills, ...time, ...losses] }],
    ['lease from send', { without: [...slowFills, ...losses] }],
    ['bulk raises floor', { kinds: ['bulk'], without: [...slowFills, ...time, ...losses] }],
    ['eviction raises floor', { kinds: ['x', 'y'], commits: 3, without: [...slowFills, ...time, ...losses] }],
    ['RESET drops entries', { kinds: ['all'], without: [...slowFills, ...time, ...losses] }],
    ['ids in fills', { failover: true, without: [...slowFills, ...time] }],
    ['ids in pulls', { failover: true, without: [...slowFills, ...time] }],
    ['replies of dead sessions unheard', { commits: 1, without: slowFills }],
  ])(
    '%s',
    (rule, options) => {
      const found = explore({ kinds: ['x'], commits: 2, failover: false, ...options, rule }, 200_000);
      process.stdout.write(`model without "${rule}": ${found.trace?.join(' · ') ?? `nothing in ${found.states} states`}\n`);
      expect(found.trace).not.toBeNull();
      // With the rule, as deep as that and further: nothing.
      const intact = explore({ kinds: ['x'], commits: 2, failover: false, ...options, rule: null }, found.states * 1.5);
      expect(intact).toMatchObject({ trace: null });
      expect(intact.depth).toBeGreaterThanOrEqual(found.depth);
    },
    600_000,
  );
});
