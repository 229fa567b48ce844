// Does the owner tree of two arrays say what a naive walk says, whatever moves?

import fc from 'fast-check';
import { NONE, OwnerTree, PolicyError } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { seed } from './support.ts';
import type { TreeRow } from 'policy-cache';

function treeOf(rows: readonly TreeRow[]): OwnerTree {
  const tree = new OwnerTree();
  tree.apply(rows);
  return tree;
}

/** The truth to compare with: a parent by id, and a walk. */
class NaiveTree {
  readonly parents = new Map<string, string | null>();
  chain(id: string): string[] {
    const parent = this.parents.get(id)!;
    return parent === null ? [id] : [id, ...this.chain(parent)];
  }
}

describe('against a naive walk over random moves', () => {
  test(`chains, tenants and absent nodes agree (GRANTGATE_SEED=${seed})`, () => {
    const step = fc.tuple(fc.constantFrom('tenant', 'add', 'add', 'add', 'move', 'move', 'remove', 'revive'), fc.nat(0xffff), fc.nat(0xffff));
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }), fc.nat(3), (steps, batch) => {
        const naive = new NaiveTree();
        const tree = new OwnerTree();
        const numbers = new Map<string, number>();
        const gone: string[] = [];
        let pending = new Map<string, TreeRow>();
        const put = (id: string, parent: string | null): void => {
          naive.parents.set(id, parent);
          pending.set(id, [id, [parent]]);
        };
        steps.forEach(([what, a, b], i) => {
          const ids = [...naive.parents.keys()];
          const [some, other] = [ids[a % ids.length], ids[b % ids.length]];
          if (what === 'tenant' || some === undefined || other === undefined) put(`t${i}`, null);
          else if (what === 'add') put(`c${i}`, some);
          else if (what === 'revive' && gone.length > 0) put(gone.pop()!, some);
          else if (
            what === 'move' &&
            naive.parents.get(some) !== null &&
            naive.chain(some).at(-1) === naive.chain(other).at(-1) &&
            !naive.chain(other).includes(some)
          )
            put(some, other);
          else if (what === 'remove' && !ids.some((id) => naive.parents.get(id) === some)) {
            naive.parents.delete(some);
            pending.set(some, [some, null]);
            gone.push(some);
          }
          if (i % (batch + 1) !== batch) return; // the rows of several commits may come in one pull
          tree.apply([...pending.values()]);
          pending = new Map();
          expect(differences(tree, naive, numbers)).toEqual([]);
          expect(gone.filter((id) => !naive.parents.has(id) && tree.node(id) !== NONE)).toEqual([]);
          expect(new Set(numbers.values()).size).toBe(numbers.size);
        });
      }),
      { seed, numRuns: 100 },
    );
  });
});

test(`a tree that was loaded part by part, in any order, is the one that was applied at once (GRANTGATE_SEED=${seed})`, () => {
  const above = fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 80, size: 'max' });
  fc.assert(
    fc.property(above, fc.integer({ min: 1, max: 9 }), fc.infiniteStream(fc.nat(0xffff)), (parents, part, order) => {
      const rows = parents.map((parent, i): TreeRow => [`n${i}`, [i === 0 || parent % 7 === 0 ? null : `n${parent % i}`]]);
      const tree = new OwnerTree();
      const shuffled = rows.map((row) => ({ row, key: order.next().value as number })).toSorted((a, b) => a.key - b.key);
      for (let from = 0; from < rows.length; from += part) tree.load(shuffled.slice(from, from + part).map(({ row }) => row));
      tree.seal();
      const naive = new NaiveTree();
      for (const [id, parent] of rows) naive.parents.set(id, parent![0]);
      expect(differences(tree, naive, new Map())).toEqual([]);
      tree.apply([['late', ['n0']]]); // and it grows like any other
      naive.parents.set('late', 'n0');
      expect(differences(tree, naive, new Map())).toEqual([]);
    }),
    { seed, numRuns: 60 },
  );
});

test('a part that is missing shows when the tree is sealed', () => {
  const tree = new OwnerTree();
  tree.load([
    ['t', [null]],
    ['lost', ['nobody']],
  ]);
  expect(() => tree.seal()).toThrow(PolicyError);
});

/** Where the arrays and the walk disagree; `numbers` are those that nodes had before. */
function differences(tree: OwnerTree, naive: NaiveTree, numbers: Map<string, number>): readonly string[] {
  const found: string[] = [];
  const ids = [...naive.parents.keys()];
  for (const id of ids) {
    const chain = naive.chain(id);
    const node = tree.node(id);
    if (tree.id(node) !== id || (numbers.get(id) ?? node) !== node) found.push(`${id} is node ${node}`);
    numbers.set(id, node);
    if (tree.id(tree.tenant(node)) !== chain.at(-1)) found.push(`tenant of ${id}`);
    if (tree.isTenant(node) !== (chain.length === 1)) found.push(`${id} a tenant`);
    if (tree.parent(node) !== (chain.length === 1 ? NONE : tree.node(chain[1]!))) found.push(`parent of ${id}`);
    for (const ancestor of ids) if (tree.inChain(tree.node(ancestor), node) !== chain.includes(ancestor)) found.push(`${ancestor} above ${id}`);
  }
  return found;
}

test('a customer 1,000 deep is still in the chain of its tenant', () => {
  const rows: TreeRow[] = [['t', [null]], ...Array.from({ length: 1_000 }, (_, i): TreeRow => [`c${i + 1}`, [i === 0 ? 't' : `c${i}`]])];
  const tree = treeOf(rows.toReversed());
  const [deepest, tenant] = [tree.node('c1000'), tree.node('t')];
  expect(tree.inChain(tenant, deepest)).toBe(true);
  expect(tree.tenant(deepest)).toBe(tenant);
});

test('a corrupt cycle ends, and holds nothing of anybody', () => {
  const tree = treeOf([
    ['t', [null]],
    ['a', ['b']],
    ['b', ['c']],
    ['c', ['a']],
    ['self', ['self']],
  ]);
  expect(tree.inChain(tree.node('t'), tree.node('a'))).toBe(false);
  expect(tree.inChain(tree.node('b'), tree.node('a'))).toBe(true);
  expect(tree.inChain(tree.node('t'), tree.node('self'))).toBe(false);
  expect(tree.tenant(tree.node('a'))).not.toBe(tree.node('t'));
});

test('rows that are not of one snapshot are refused', () => {
  expect(() => treeOf([['c', ['nobody']]])).toThrow(new PolicyError('source', 'owner tree: "c" hangs below an unknown owner'));
});

test('a copy goes its own way', () => {
  const tree = treeOf([
    ['t', [null]],
    ['a', ['t']],
    ['b', ['t']],
  ]);
  const copy = tree.copy();
  tree.apply([['b', ['a']]]);
  const [a, b] = [tree.node('a'), tree.node('b')];
  expect([tree.inChain(a, b), copy.inChain(a, b)]).toEqual([true, false]);
  expect(copy.node('b')).toBe(b);
});

test('names of every object are ids like any other', () => {
  const tree = treeOf([
    ['__proto__', [null]],
    ['constructor', ['__proto__']],
  ]);
  expect(tree.inChain(tree.node('__proto__'), tree.node('constructor'))).toBe(true);
  expect(tree.node('toString')).toBe(NONE);
});
