// Who owns whom? The whole tree of tenants and customers, as two typed arrays and a walk upwards.
//
// Parent pointers alone: a move is one write, and a check walks at most the depth of the target's owner (architecture, measured:
// labels or a depth array win nanoseconds on a hit and stall the loop on a move). A node keeps its number for the life of the
// world and no number is used twice, so a number held by a cached entry never means another owner.

import { PolicyError } from './errors.ts';
import { IdTable } from './idtable.ts';
import { NONE } from './model.ts';
import type { TreeRow } from './source.ts';

/** Depth at which a walk gives up; the database refuses deeper trees (semantics 1). */
const MAX_DEPTH = 1_000;
const GONE = -2;
/** No root is known yet. */
const UNKNOWN = -1;
/** Room grows by an eighth: of a tree that is there at the start, the rest would be lost. */
const GROWTH = 1.125;

export class OwnerTree {
  #ids = new IdTable();
  #parent = new Int32Array(64);
  #root = new Int32Array(64);

  /** Nodes ever numbered, those gone included. */
  get size(): number {
    return this.#ids.size;
  }

  /** The node of a tenant or customer id; `NONE` if there is none (now). */
  node(id: string): number {
    const node = this.#ids.number(id);
    return node === NONE || this.#parent[node] === GONE ? NONE : node;
  }

  id(node: number): string {
    return this.#ids.id(node);
  }

  /** The tenant that a node belongs to (itself for a tenant). */
  tenant(node: number): number {
    return this.#root[node]!;
  }

  isTenant(node: number): boolean {
    return this.#parent[node] === NONE;
  }

  /** The owner directly above; `NONE` for a tenant. */
  parent(node: number): number {
    return this.#parent[node]!;
  }

  /** Is `ancestor` in `chain(node)`, which begins with `node` itself? */
  inChain(ancestor: number, node: number): boolean {
    const parent = this.#parent;
    let at = node;
    for (let steps = 0; at >= 0 && steps <= MAX_DEPTH; steps++) {
      if (at === ancestor) return true;
      at = parent[at]!;
    }
    return false;
  }

  /**
   * Takes part of a whole tree, its rows in any order. Until `seal` nothing may be asked.
   * So a million rows are never there at once, and no part holds the event loop up.
   */
  load(rows: readonly TreeRow[]): void {
    for (const [id, parent] of rows) {
      const node = this.#add(id);
      const above = parent === null ? GONE : parent[0] === null ? NONE : this.#add(parent[0]);
      this.#parent[node] = above; // not in one statement: to add may put another array in the place of this one
    }
  }

  /**
   * The whole tree was loaded.
   * @throws PolicyError `source` if a parent is not in it: the rows are not of one snapshot
   */
  seal(): void {
    const parent = this.#parent;
    for (let node = 0; node < this.size; node++) {
      const above = parent[node]!;
      if (above >= 0 && parent[above] === GONE) this.#adrift(node);
    }
    this.#root.fill(UNKNOWN);
    for (let node = 0; node < this.size; node++) this.#findRoot(node);
    this.#ids.trim();
    this.#parent = this.#parent.slice(0, Math.max(64, this.size));
    this.#root = this.#root.slice(0, Math.max(64, this.size));
  }

  /**
   * Sets the present parents of the nodes named, in any order.
   * @throws PolicyError `source` if a parent is not in the tree: the rows are not of one snapshot
   */
  apply(rows: readonly TreeRow[]): void {
    for (const [id] of rows) this.#add(id);
    for (const [id, parent] of rows) {
      const node = this.#ids.number(id);
      const owner = parent === null ? null : parent[0];
      const above = owner === null ? NONE : this.#ids.number(owner);
      if (owner !== null && above === NONE) this.#adrift(node);
      this.#parent[node] = parent === null ? GONE : above;
    }
    // A node's tenant never changes while it exists, but an id may be deleted and made anew: every named node is asked again.
    for (const [id] of rows) this.#root[this.#ids.number(id)] = UNKNOWN;
    for (const [id] of rows) this.#findRoot(this.#ids.number(id));
  }

  /** A tree of its own with the same content and the same numbers. */
  copy(): OwnerTree {
    const tree = new OwnerTree();
    tree.#ids = this.#ids.copy();
    tree.#parent = this.#parent.slice();
    tree.#root = this.#root.slice();
    return tree;
  }

  #adrift(node: number): never {
    throw new PolicyError('source', `owner tree: ${JSON.stringify(this.#ids.id(node))} hangs below an unknown owner`);
  }

  /** Of a node and of all above it that have none: each node of a tree is walked over once. */
  #findRoot(node: number): void {
    const [parent, root] = [this.#parent, this.#root];
    let top = node;
    for (let steps = 0; root[top] === UNKNOWN && parent[top]! >= 0 && steps <= MAX_DEPTH; steps++) top = parent[top]!;
    const found = root[top] === UNKNOWN ? top : root[top]!;
    for (let at = node, steps = 0; root[at] === UNKNOWN && steps <= MAX_DEPTH; steps++) {
      root[at] = found;
      at = parent[at]!;
      if (at < 0) return;
    }
  }

  #add(id: string): number {
    const before = this.#ids.size;
    const node = this.#ids.add(id);
    if (node < before) return node;
    if (node >= this.#parent.length) {
      this.#parent = grown(this.#parent);
      this.#root = grown(this.#root);
    }
    this.#parent[node] = GONE;
    this.#root[node] = node;
    return node;
  }
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const more = new Int32Array(Math.ceil(array.length * GROWTH));
  more.set(array);
  return more;
}
