// What may be written otherwise without a difference? The same meaning must give the same answers.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { samples } from './arbitraries.ts';
import { renamedQuestion, renamedWorld } from './renaming.ts';
import { answers, names, seed } from './support.ts';
import type { WorldFile, WorldGroup, WorldRole } from 'policy-cache';

const numbers = fc.array(fc.nat(0xfffff), { minLength: 8, maxLength: 8 });
const settings = { seed, numRuns: 150 };
console.log(`rewrites: GRANTGATE_SEED=${seed}`);

type Rewrite = (world: WorldFile, draw: readonly number[]) => WorldFile;
const rewrites: readonly (readonly [string, Rewrite])[] = [
  [
    'rows in another order',
    (world, draw) => {
      const shuffled = <T>(list: readonly T[]): T[] =>
        list
          .map((row, i) => [draw[i % 8]! ^ (i * 2654435761), row] as const)
          .toSorted(([a], [b]) => a - b)
          .map(([, row]) => row);
      return {
        ...world,
        tenants: shuffled(world.tenants),
        customers: shuffled(world.customers),
        groups: shuffled(world.groups),
        users: shuffled(world.users),
        entities: shuffled(world.entities),
        roles: shuffled(world.roles),
        grants: shuffled(world.grants),
      };
    },
  ],
  [
    'a role cut in two, each part with all that it excludes',
    (world) => {
      const half = (role: WorldRole, part: number): WorldRole =>
        role.type === 'GROUP'
          ? { ...role, id: `${role.id}-${part}`, permissions: role.permissions.filter((_, i) => i % 2 === part) }
          : { ...role, id: `${role.id}-${part}`, permissions: Object.fromEntries(Object.entries(role.permissions).filter((_, i) => i % 2 === part)) };
      const roles = world.roles.flatMap((role) => [role, half(role, 0), half(role, 1)]); // the whole one stays: it may be a target
      const grants = world.grants.flatMap((grant) =>
        [0, 1].map((part) => ({ ...grant, id: part === 0 ? grant.id : `${grant.id}-1`, role: `${grant.role}-${part}` })),
      );
      return { ...world, roles, grants };
    },
  ],
  [
    'every resource by name in place of ALL',
    (world) => ({
      ...world,
      roles: world.roles.map((role) => {
        if (role.type === 'GROUP') return role;
        const spelled = (side: Readonly<Record<string, readonly string[]>>): Record<string, readonly string[]> => {
          const everywhere = side['ALL'] ?? [];
          const rest = Object.entries(side).filter(([resource]) => resource !== 'ALL');
          return Object.fromEntries([
            ...names.resources.map((resource) => [resource, everywhere] as const),
            ...rest.map(([resource, list]) => [resource, [...list, ...everywhere]] as const),
          ]);
        };
        return { ...role, permissions: spelled(role.permissions), excluded: spelled(role.excluded) };
      }),
    }),
  ],
  [
    'every operation by name in place of ALL, and everything granted twice',
    (world) => {
      const spell = (list: readonly string[]): readonly string[] => (list.includes('ALL') ? names.operations : list);
      const sides = (side: Readonly<Record<string, readonly string[]>>) =>
        Object.fromEntries(Object.entries(side).map(([resource, list]) => [resource, spell(list)]));
      const again = world.roles.map((role): WorldRole =>
        role.type === 'GROUP'
          ? { ...role, id: `${role.id}-again`, permissions: spell(role.permissions) }
          : { ...role, id: `${role.id}-again`, permissions: sides(role.permissions), excluded: sides(role.excluded) },
      );
      return {
        ...world,
        roles: [...world.roles, ...again],
        grants: [...world.grants, ...world.grants.map((grant) => ({ ...grant, id: `${grant.id}-again`, role: `${grant.role}-again` }))],
      };
    },
  ],
  [
    'a grant to the users of an owner, as a grant to an explicit group of the same users',
    (world) => {
      const alls = [...new Set(world.grants.map(({ userGroup }) => userGroup).filter((id) => id.startsWith('all:')))];
      const groups = alls.map((id, i): WorldGroup => ({ id: `g-all${i}`, type: 'USER', owner: id.slice('all:USER:'.length) }));
      return {
        ...world,
        groups: [...world.groups, ...groups],
        users: world.users.map((user) => ({ ...user, groups: [...user.groups, ...groups.filter(({ owner }) => owner === user.owner).map(({ id }) => id)] })),
        grants: world.grants.map((grant) => ({ ...grant, userGroup: groups[alls.indexOf(grant.userGroup)]?.id ?? grant.userGroup })),
      };
    },
  ],
];

describe('the same meaning, written otherwise', () => {
  test.each(rewrites)('%s', (_, rewrite) => {
    fc.assert(
      fc.property(samples(names, 60), numbers, ({ world, questions }, draw) => {
        expect(answers(rewrite(world, draw), questions)).toEqual(answers(world, questions));
      }),
      settings,
    );
  });

  test('a grant over an All group, as one over an explicit group of the same members', () => {
    fc.assert(
      fc.property(samples(names, 60), ({ world, questions }) => {
        const alls = [...new Set(world.grants.flatMap(({ entityGroup }) => (entityGroup?.startsWith('all:') ? [entityGroup] : [])))];
        const groups = alls.map((id, i): WorldGroup => ({ id: `g-all${i}`, type: id.split(':')[1]!, owner: id.split(':').slice(2).join(':') }));
        const joined = <T extends { readonly owner: string; readonly groups: readonly string[] }>(type: string, row: T): T => ({
          ...row,
          groups: [...row.groups, ...groups.filter((group) => group.type === type && group.owner === row.owner).map(({ id }) => id)],
        });
        const explicit = {
          ...world,
          groups: [...world.groups, ...groups],
          users: world.users.map((row) => joined('USER', row)),
          customers: world.customers.map((row) => joined('CUSTOMER', row)),
          entities: world.entities.map((row) => joined(row.type, row)),
          grants: world.grants.map((grant) => ({
            ...grant,
            ...(grant.entityGroup === undefined ? {} : { entityGroup: groups[alls.indexOf(grant.entityGroup)]?.id ?? grant.entityGroup }),
          })),
        };
        const ofMembers = questions.filter(({ target, groups: into }) => !alls.includes(target) && !into?.some((id) => alls.includes(id)));
        expect(answers(explicit, ofMembers)).toEqual(answers(world, ofMembers));
        const ofGroups = questions.filter(({ target }) => alls.includes(target));
        expect(
          answers(
            explicit,
            ofGroups.map((question) => ({ ...question, target: groups[alls.indexOf(question.target)]!.id })),
          ),
        ).toEqual(answers(world, ofGroups));
      }),
      settings,
    );
  });

  test('other ids, one for each', () => {
    fc.assert(
      fc.property(samples(names, 60), numbers, ({ world, questions }, draw) => {
        const owners = new Set([...world.tenants, ...world.customers].map(({ id }) => id));
        const rows = [world.tenants, world.customers, world.groups, world.users, world.entities, world.roles, world.grants].flat();
        const ids = new Map(rows.map(({ id }, i) => [id, strangeId(i, draw[i % 8]!, owners.has(id) ? 200 : 255)]));
        const renamed = (id: string): string => {
          const all = /^all:([^:]+):(.+)$/.exec(id);
          return all ? `all:${all[1]}:${renamed(all[2]!)}` : (ids.get(id) ?? id);
        };
        expect(
          answers(
            renamedWorld(world, renamed),
            questions.map((question) => renamedQuestion(question, renamed)),
          ),
        ).toEqual(answers(world, questions));
      }),
      settings,
    );
  });
});

/** Distinct by its number, and as like to the others as it can be: joined keys, case folding and normalising would make two of them one. */
function strangeId(number: number, draw: number, bytes: number): string {
  const tail = `${number}`;
  const kinds = [
    `id|${tail}`,
    `ID|${tail}`,
    `a:b:${tail}`,
    `$$${tail}`,
    `e\u0301${tail}`,
    `\u00e9${tail}`,
    ` ${tail}`,
    `${tail} `,
    `*${tail}`,
    `All:DEVICE:${tail}`,
    `${tail}>%`,
    `"${tail}`,
    'x'.repeat(bytes - tail.length) + tail,
    `__proto__${tail}`,
  ];
  return kinds[draw % kinds.length]!;
}
