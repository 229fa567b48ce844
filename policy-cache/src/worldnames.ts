// Does a world use only names that the vocabulary has?
//
// Stored roles with unknown names are tolerated when they are read (they match nothing), and refused when they are written
// (semantics 2). An import is a write; so is anything that takes a world from a person.

import { ALL } from './vocabulary.ts';
import type { Permissions } from './model.ts';
import type { Vocabulary } from './vocabulary.ts';
import { under } from './worldrows.ts';
import type { WorldFile } from './worldfile.ts';
import type { GivenRole, GivenRows, Problem, WorldList } from './worldrows.ts';

/** Types of entities and groups, and what roles name, that a write must not name. */
export function vocabularyProblems(vocabulary: Vocabulary, world: WorldFile): readonly Problem[] {
  const { entities, groups, roles } = world;
  const listed: readonly (ListedRow & { readonly i: number })[] = [
    ...entities.map((row, i) => ({ list: 'entities' as const, row, i })),
    ...groups.map((row, i) => ({ list: 'groups' as const, row, i })),
    ...roles.map((row, i) => ({ list: 'roles' as const, row, i })),
  ];
  return listed.flatMap((each) => rowNameProblems(vocabulary, each, `${each.list}[${each.i}]`));
}

/** A row and the list that it is of. */
export type ListedRow = { readonly [L in WorldList]: { readonly list: L; readonly row: GivenRows[L] } }[WorldList];

/** As `vocabularyProblems`, of one row. */
export function rowNameProblems(vocabulary: Vocabulary, listed: ListedRow, path: string): readonly Problem[] {
  switch (listed.list) {
    case 'entities': {
      const { type } = listed.row;
      if (vocabulary.entityTypes.has(type)) return NONE;
      return [{ path: `${path}.type`, message: `${JSON.stringify(type)} is no type of entity in the vocabulary ${vocabulary.name}` }];
    }
    case 'groups': {
      const { type } = listed.row;
      if (vocabulary.groupableTypes.has(type)) return NONE;
      return [{ path: `${path}.type`, message: `${JSON.stringify(type)} is not groupable; groupable are ${[...vocabulary.groupableTypes].join(', ')}` }];
    }
    case 'roles':
      return roleProblems(vocabulary, listed.row, path);
    default:
      return NONE;
  }
}
const NONE: readonly Problem[] = [];

/** What a role write names that it must not: unknown resources and operations, and operations that its resource does not have. */
export function roleProblems(
  vocabulary: Vocabulary,
  role: Pick<GivenRole, 'type' | 'permissions'> & { readonly excluded?: Permissions },
  path: string,
): readonly Problem[] {
  if (role.type === 'GROUP') {
    // Any operation: one of `notInGroupRoles` is stored and never fires (semantics 3), as in what ThingsBoard exports.
    const mask = vocabulary.every;
    return (role.permissions as readonly string[]).flatMap((name, i) =>
      operationProblem(vocabulary, name, { mask, path: `${path}.permissions[${i}]`, of: 'group roles' }),
    );
  }
  const sides = { permissions: role.permissions as Permissions, excluded: role.excluded ?? {} };
  return Object.entries(sides).flatMap(([side, entries]) =>
    Object.entries(entries).flatMap(([resource, names]) => {
      const at = under(`${path}.${side}`, resource);
      const mask = vocabulary.writable.get(resource);
      if (mask === undefined) return [{ path: at, message: `there is no resource ${JSON.stringify(resource)}` }];
      return names.flatMap((name, i) => operationProblem(vocabulary, name, { mask, path: `${at}[${i}]`, of: resource }));
    }),
  );
}

function operationProblem(vocabulary: Vocabulary, name: string, at: { readonly mask: number; readonly path: string; readonly of: string }): readonly Problem[] {
  const operation = vocabulary.operation(name);
  if (name === ALL || (operation >= 0 && (at.mask & (1 << operation)) !== 0)) return [];
  const message = operation < 0 ? `there is no operation ${JSON.stringify(name)}` : `${name} is not among the operations of ${at.of}`;
  return [{ path: at.path, message }];
}
