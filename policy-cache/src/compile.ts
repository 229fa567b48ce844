// How is one world asked without a cache, a source or a server?
//
// For library use, tests and the `check` command: rows at rest, from which each question's facts are read and decided. The
// cache reaches the same `decide` with facts that it keeps coherent.

import { decide, virtualGroup } from './decide.ts';
import { flatten } from './flatten.ts';
import { ANY } from './model.ts';
import { Tables, insertWhole, insertWorld } from './tables.ts';
import { OwnerTree } from './tree.ts';
import { expandDefaults } from './worldfile.ts';
import type { Facts } from './decide.ts';
import type { EffectivePermissions } from './effective.ts';
import type { AccessRequest, Decision, Grant, Placement } from './model.ts';
import type { ClassKey, ObjectRow, TreeRow } from './source.ts';
import type { Vocabulary } from './vocabulary.ts';
import type { WorldFile } from './worldfile.ts';
import type { Problem, WorldCheck } from './worldrows.ts';
import { placementOf } from './placement.ts';

/** The rows of one database state, as a source reports them. */
export interface WorldRows {
  object(id: string): ObjectRow | null;
  grants(key: ClassKey): readonly Grant[];
  tree(): readonly TreeRow[];
}

export interface CompiledWorld {
  /** What `decide` reads for a request: a new object each time. */
  facts(request: AccessRequest): Facts;
  decide(request: AccessRequest): Decision;
}

/** What keeps a well-formed world from being loaded: names of nothing, cycles, foreign tenants, ids used twice. */
export function worldProblems(world: WorldFile): readonly Problem[] {
  return insertWorld(new Tables(), expandDefaults(world));
}

/**
 * A world that answers. Defaults are expanded.
 * @throws InputError if the world cannot be; `worldProblems` tells all of it
 */
export function compileWorld(vocabulary: Vocabulary, world: WorldFile): CompiledWorld {
  const tables = new Tables();
  insertWhole(tables, world);
  return compileRows(vocabulary, tables);
}

/** The same over rows that came from elsewhere. @throws PolicyError `source` if the tree is not of one piece */
export function compileRows(vocabulary: Vocabulary, rows: WorldRows): CompiledWorld {
  const tree = new OwnerTree();
  tree.apply(rows.tree());
  const groups = new Map<string, number>();
  const classes = new Map<string, EffectivePermissions>();
  const group = (id: string): number => groups.get(id) ?? (groups.set(id, groups.size), groups.size - 1);
  const node = (id: string): number => tree.node(id);

  const place = (id: string): Placement | null => {
    const row = rows.object(id);
    return row === null ? virtualGroup(vocabulary, tree, id) : placementOf(vocabulary, row, { group, node });
  };
  const effective = (row: ObjectRow | null): EffectivePermissions => {
    if (row === null || row.kind !== 'user') return flatten(vocabulary, [], { group, node });
    const key = JSON.stringify([row.owner, ...row.groups]);
    const known = classes.get(key) ?? flatten(vocabulary, rows.grants({ owner: row.owner!, groups: row.groups }), { group, node });
    classes.set(key, known);
    return known;
  };
  const facts = (request: AccessRequest): Facts => {
    const row = rows.object(request.subject);
    return {
      tree,
      subject: row && placementOf(vocabulary, row, { group, node }),
      effective: effective(row),
      target: request.target === ANY ? null : place(request.target),
      groups: (request.groups ?? []).map(place),
    };
  };
  return { facts, decide: (request) => decide(vocabulary, facts(request), request) };
}

/** A question by names, as a world file asks it. Unknown names become -1. */
export function requestOf(vocabulary: Vocabulary, check: Pick<WorldCheck, 'user' | 'operation' | 'resource' | 'target' | 'owner' | 'groups'>): AccessRequest {
  const { user, operation, resource, target, owner, groups } = check;
  return {
    subject: user,
    operation: vocabulary.operation(operation),
    resource: vocabulary.resource(resource),
    target,
    ...(owner === undefined ? {} : { owner }),
    ...(groups === undefined ? {} : { groups }),
  };
}
