// Does *covers* say what the specification says, and does it mean what it is there for: that nobody hands on more than it has?

import fc from 'fast-check';
import { compileVocabulary, compileWorld, requestOf, uncovered } from 'policy-cache';
import type { CompiledWorld, Grant, Held, Vocabulary, WorldFile } from 'policy-cache';
import { expect, test } from 'vitest';
import { chainOf, questionOf, samples, worlds } from './arbitraries.ts';
import { referenceCovers, type Handed, type Names } from './reference.ts';
import { checks, names, seed, vocabulary } from './support.ts';

console.log(`covers: GRANTGATE_SEED=${seed}`);

/** What a user of a world holds, as an administration is shown it. */
function heldBy(compiled: CompiledWorld, subject: string): Held {
  const ask = { subject, operation: 0, resource: 0, target: '*' };
  const { tree, subject: placement, effective } = compiled.facts(ask);
  return { tree, scope: placement!.owner, effective, group: (id) => compiled.facts({ ...ask, groups: [id] }).groups[0]!.groups[0]!, groupId: String };
}

function grantOf(world: WorldFile, { role: id, entityGroup, shared }: Handed & { readonly shared: boolean }): Grant {
  const role = world.roles.find((one) => one.id === id)!;
  if (role.type === 'GENERIC') return { kind: 'generic', role: id, permissions: role.permissions, excluded: role.excluded ?? {} };
  const all = /^all:([^:]+):(.+)$/.exec(entityGroup!);
  const explicit = world.groups.find((group) => group.id === entityGroup);
  const side = all ? { group: null, type: all[1]!, owner: all[2]! } : { group: explicit!.id, type: explicit!.type, owner: explicit!.owner };
  return { kind: 'group', role: id, operations: role.permissions, shared, ...side };
}

/** Every stored grant, and every role over every group of a random few, to users of whatever owner. */
function handedOf(world: WorldFile, draws: readonly number[]): readonly (Handed & { readonly shared: boolean })[] {
  const ownerOf = (group: string): string => /^all:USER:(.+)$/.exec(group)?.[1] ?? world.groups.find(({ id }) => id === group)!.owner;
  const stored = world.grants.map((grant) => ({ ...grant, userOwner: ownerOf(grant.userGroup), shared: grant.shared ?? false }));
  const owners = [...world.tenants, ...world.customers].map(({ id }) => id);
  const entityGroups = [...world.groups.map(({ id }) => id), ...owners.flatMap((owner) => [`all:DEVICE:${owner}`, `all:USER:${owner}`])];
  const made = draws.map((draw) => {
    const role = world.roles[draw % world.roles.length]!;
    const entityGroup = entityGroups[(draw >>> 4) % entityGroups.length]!;
    return { userOwner: owners[(draw >>> 8) % owners.length]!, role: role.id, shared: draw % 3 === 0, ...(role.type === 'GROUP' ? { entityGroup } : {}) };
  });
  return [...stored, ...made];
}

const draws = fc.array(fc.nat(0xfffff), { minLength: 12, maxLength: 12 });

/** Another product's words (semantics 2), and a groupable type that is closed to customer users. */
const FOREIGN: Names & { readonly name: string } = {
  name: 'own words',
  operations: ['CREATE', 'READ', 'DELETE', 'FLY'],
  resources: ['USER', 'CUSTOMER', 'DEVICE', 'FLEET', 'CREW', 'ASSET'],
  groupResource: { DEVICE: 'FLEET', USER: 'CREW' },
  notInGroupRoles: ['FLY'],
  ownerOnlyOperations: ['READ'],
  ownerOnlyGroupOperations: ['CREATE'],
  selfOperations: ['FLY'],
  closedToCustomerUsers: ['DEVICE'],
};
const vocabularies: readonly (readonly [string, Names, Vocabulary])[] = [
  ['thingsboard', names, vocabulary],
  ['own words', FOREIGN, compileVocabulary(FOREIGN)],
];

test.each(vocabularies)('the core and the specification agree on what is covered: %s', { timeout: 600_000 }, (_, file, compiledFile) => {
  let covered = 0;
  let asked = 0;
  fc.assert(
    fc.property(worlds(file), draws, (world, numbers) => {
      const compiled = compileWorld(compiledFile, world);
      const specified = referenceCovers(file, world);
      for (const { id } of world.users) {
        const held = heldBy(compiled, id);
        for (const handed of handedOf(world, numbers)) {
          const lacking = uncovered(compiledFile, held, { grant: grantOf(world, handed), userOwner: handed.userOwner });
          asked++;
          if (lacking === null) covered++;
          if ((lacking === null) !== specified(id, handed)) expect.fail(`${id} ${JSON.stringify(handed)}: ${JSON.stringify(lacking)}`);
        }
      }
    }),
    { seed, numRuns: Math.ceil(checks / 500) },
  );
  console.log(`covers, ${file === names ? 'thingsboard' : 'own words'}: ${asked} asked, ${covered} covered, 0 differences`);
  expect(covered).toBeGreaterThan(asked / 20);
});

test.each(vocabularies)('whoever covers a grant may do whatever somebody may who has just that grant: %s', { timeout: 600_000 }, (_, file, compiledFile) => {
  let used = 0;
  const questionDraw = fc.array(fc.nat(0xfffff), { minLength: 9, maxLength: 9 });
  fc.assert(
    fc.property(samples(file, 0), draws, fc.array(questionDraw, { minLength: 60, maxLength: 60 }), ({ world }, numbers, asking) => {
      const compiled = compileWorld(compiledFile, world);
      const grantIds = new Set(['the-grant', ...world.grants.map(({ id }) => id)]);
      for (const handed of handedOf(world, numbers)) {
        const { userOwner, shared, role, entityGroup } = handed;
        const tenant = (owner: string): string => chainOf(world.customers, owner).at(-1)!;
        // No such grant can be stored (semantics 1.3).
        const over = grantOf(world, handed);
        if (tenant(world.roles.find(({ id }) => id === role)!.owner) !== tenant(userOwner)) continue;
        if (over.kind === 'group' && tenant(over.owner) !== tenant(userOwner)) continue;
        const covering = world.users.filter(
          ({ id, enabled }) => enabled && uncovered(compiledFile, heldBy(compiled, id), { grant: grantOf(world, handed), userOwner }) === null,
        );
        if (covering.length === 0) continue;
        const theirs: WorldFile = {
          ...world,
          groups: [...world.groups, { id: 'the-group', type: 'USER', owner: userOwner }],
          users: [{ id: 'the-user', owner: userOwner, enabled: true, groups: ['the-group'] }],
          grants: [{ id: 'the-grant', userGroup: 'the-group', role, shared, ...(entityGroup === undefined ? {} : { entityGroup }) }],
        };
        const other = compileWorld(compiledFile, theirs);
        const known = new Set([...world.tenants, ...world.customers, ...world.groups, ...world.entities, ...world.roles].map(({ id }) => id));
        for (const draw of asking) {
          const drawn = { ...questionOf(file, theirs, draw), user: 'the-user' };
          // The same for both: for nobody in particular, a new one would be the owner's of whoever asks.
          const question = drawn.operation === 'CREATE' ? { owner: userOwner, ...drawn } : drawn;
          const { target } = question;
          if (question.resource === 'PROFILE' || grantIds.has(target) || !(known.has(target) || target === '*' || target.startsWith('all:'))) continue;
          if (!other.decide(requestOf(compiledFile, question)).allow) continue;
          for (const { id } of covering) {
            used++;
            if (!compiled.decide(requestOf(compiledFile, { ...question, user: id })).allow)
              expect.fail(`${id} covers ${JSON.stringify(handed)} and may not ${JSON.stringify(question)}`);
          }
        }
      }
    }),
    { seed, numRuns: Math.ceil(checks / 2_500) },
  );
  console.log(
    `covers, ${file === names ? 'thingsboard' : 'own words'}: ${used} questions that a covered grant answers with yes, and so does what the actor has`,
  );
  expect(used).toBeGreaterThan(checks / 200);
});
