// Who owns whom? The whole tree of tenants and customers, as two typed arrays and a walk upwards.
//
// Parent pointers alone: a move is one write, and a check walks at most the depth of the target's owner (architecture, measured:
// labels or a depth array win nanoseconds on a hit and stall the loop on a move). A node keeps its number for the life of the
// world and no number is used twice, so a number held by a cached entry never means another owner.

import { PolicyError } from './errors.ts';
import { NONE } from './model.ts';
import type { TreeRow } from './source.ts';

/** Depth at which a walk gives up; the database refuses deeper trees (semantics 1). */
const MAX_DEPTH = 1_000;
const GONE = -2;

export class OwnerTree {
  readonly #nodes = new Map<string, number>();
  readonly #ids: string[] = [];
  #parent = new Int32Array(64);
  #root = new Int32Array(64);

  /** Nodes ever numbered, those gone included. */
  get size(): number {
    return this.#ids.length;
  }

  /** The node of a tenant or customer id; `NONE` if there is none (now). */
  node(id: string): number {
    const node = this.#nodes.get(id);
    return node === undefined || this.#parent[node] === GONE ? NONE : node;
  }

  id(node: number): string {
    return this.#ids[node]!;
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
   * Sets the present parents of the nodes named, in any order.
   * @throws PolicyError `source` if a parent is not in the tree: the rows are not of one snapshot
   */
  apply(rows: readonly TreeRow[]): void {
    for (const [id] of rows) if (!this.#nodes.has(id)) this.#add(id);
    for (const [id, parent] of rows) {
      const above = parent === null ? GONE : parent[0] === null ? NONE : this.#nodes.get(parent[0]);
      if (above === undefined) throw new PolicyError('source', `owner tree: ${JSON.stringify(id)} hangs below an unknown owner`);
      this.#parent[this.#nodes.get(id)!] = above;
    }
    // A node's tenant never changes while it exists, but an id may be deleted and made anew: every named node is asked again.
    for (const [id] of rows) {
      const node = this.#nodes.get(id)!;
      let at = node;
      for (let steps = 0; this.#parent[at]! >= 0 && steps <= MAX_DEPTH; steps++) at = this.#parent[at]!;
      this.#root[node] = at;
    }
  }

  /** A tree of its own with the same content and the same numbers. */
  copy(): OwnerTree {
    const tree = new OwnerTree();
    for (const id of this.#ids) tree.#ids.push(id); // spread, a large tree would be more arguments than a call may have
    for (const [id, node] of this.#nodes) tree.#nodes.set(id, node);
    tree.#parent = this.#parent.slice();
    tree.#root = this.#root.slice();
    return tree;
  }

  #add(id: string): void {
    const node = this.#ids.length;
    if (node === this.#parent.length) {
      this.#parent = grown(this.#parent);
      this.#root = grown(this.#root);
    }
    this.#ids.push(id);
    this.#nodes.set(id, node);
    this.#parent[node] = GONE;
    this.#root[node] = node;
  }
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const twice = new Int32Array(array.length * 2);
  twice.set(array);
  return twice;
}
