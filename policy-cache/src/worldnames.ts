// Does a world use only names that the vocabulary has?
//
// Stored roles with unknown names are tolerated when they are read (they match nothing), and refused when they are written
// (semantics 2). An import is a write; so is anything that takes a world from a person.

import { ALL } from './vocabulary.ts';
import type { Permissions } from './model.ts';
import type { Vocabulary } from './vocabulary.ts';
import { under } from './worldfile.ts';
import type { Problem, WorldFile, WorldRole } from './worldfile.ts';

/** Types of entities and groups, and what roles name, that a write must not name. */
export function vocabularyProblems(vocabulary: Vocabulary, world: WorldFile): readonly Problem[] {
  const problems: Problem[] = [];
  world.entities.forEach(({ type }, i) => {
    if (!vocabulary.entityTypes.has(type))
      problems.push({ path: `entities[${i}].type`, message: `${JSON.stringify(type)} is no type of entity in the vocabulary ${vocabulary.name}` });
  });
  world.groups.forEach(({ type }, i) => {
    if (!vocabulary.groupableTypes.has(type))
      problems.push({
        path: `groups[${i}].type`,
        message: `${JSON.stringify(type)} is not groupable; groupable are ${[...vocabulary.groupableTypes].join(', ')}`,
      });
  });
  world.roles.forEach((role, i) => problems.push(...roleProblems(vocabulary, role, `roles[${i}]`)));
  return problems;
}

/** What a role write names that it must not: unknown resources and operations, and operations that its resource does not have. */
export function roleProblems(
  vocabulary: Vocabulary,
  role: Pick<WorldRole, 'type' | 'permissions'> & { readonly excluded?: Permissions },
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
