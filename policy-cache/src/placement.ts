// How does a row of the database look to a decision?

import { NONE } from './model.ts';
import type { Placement } from './model.ts';
import type { Numbers } from './flatten.ts';
import type { ObjectRow } from './source.ts';
import type { Vocabulary } from './vocabulary.ts';

/** Names and ids turned to numbers. An owner that the tree does not have becomes `NONE`. */
export function placementOf(vocabulary: Vocabulary, row: ObjectRow, numbers: Numbers): Placement {
  const group = row.kind === 'group';
  return {
    group,
    type: vocabulary.type(row.type),
    owner: row.owner === null ? NONE : numbers.node(row.owner),
    node: row.kind === 'tenant' || row.kind === 'customer' ? numbers.node(row.id) : NONE,
    enabled: row.enabled,
    groups: (group ? [row.id] : row.groups).map((id) => numbers.group(id)).toSorted((a, b) => a - b),
  };
}
