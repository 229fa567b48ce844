// What must stay true of answers when a world changes in a way whose meaning is known?

import fc from 'fast-check';
import { compileWorld, decide, requestOf } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { chainOf, resourceOf, samples } from './arbitraries.ts';
import { addition, moveCustomer, tenantOf } from './edits.ts';
import { reference } from './reference.ts';
import { answerOf, names, seed, triple, vocabulary } from './support.ts';
import type { WorldFile, WorldGrant, WorldGroup, WorldRole } from 'policy-cache';
import type { Question } from './reference.ts';

const numbers = fc.array(fc.nat(0xfffff), { minLength: 8, maxLength: 8 });
const settings = { seed, numRuns: 250 };
console.log(`metamorphic: GRANTGATE_SEED=${seed}`);

function answers(world: WorldFile, questions: readonly Question[]): readonly string[] {
  const compiled = compileWorld(vocabulary, world);
  return questions.map((question) => triple(compiled.decide(requestOf(vocabulary, question))));
}
const allowed = (answer: string): boolean => answer.split(' ')[1] === 'allow';

describe('grants only add', () => {
  test('a membership, a grant, a role or an operation more never turns an allow into a deny', () => {
    let changed = 0;
    fc.assert(fc.property(samples(names, 60), numbers, ({ world, questions }, draw) => {
      const edit = addition(world, draw);
      if (edit === null) return;
      const before = answers(world, questions);
      const after = answers(edit.world, questions);
      questions.forEach((question, i) => {
        expect(allowed(before[i]!) && !allowed(after[i]!), `${edit.what}: ${JSON.stringify(question)} was ${before[i]}, is ${after[i]}`).toBe(false);
        if (before[i] !== after[i]) changed++;
      });
    }), settings);
    expect(changed, 'some addition gave something').toBeGreaterThan(20);
  });

  test('without grants nothing is allowed, whoever asks', () => {
    fc.assert(fc.property(samples(names, 60), ({ world, questions }) => {
      expect(answers({ ...world, grants: [] }, questions).filter(allowed)).toEqual([]);
    }), settings);
  });

  test('an exclusion takes nothing away that another role gives', () => {
    fc.assert(fc.property(samples(names, 0), numbers, ({ world }, [a, b]) => {
      const user = world.users[a! % world.users.length]!;
      const operation = names.operations[b! % names.operations.length]!;
      const group: WorldGroup = { id: 'g-plain', type: 'USER', owner: user.owner };
      const plain: WorldRole = { id: 'r-plain', owner: user.owner, type: 'GENERIC', permissions: { DEVICE: [operation] }, excluded: {} };
      const nothing: WorldRole = { ...plain, id: 'r-nothing', excluded: { ALL: ['ALL'] } };
      const grants: WorldGrant[] = [plain, nothing].map((role, i) => ({ id: `p-plain${i}`, userGroup: 'g-plain', role: role.id, shared: false }));
      const more = { ...world, groups: [...world.groups, group], roles: [...world.roles, plain, nothing], grants: [...world.grants, ...grants], users: world.users.map((other) => (other === user ? { ...user, enabled: true, groups: [...user.groups, 'g-plain'] } : other)) };
      const asked = { user: user.id, operation, resource: 'DEVICE', target: '*' };
      expect(answers(more, [asked])).toEqual([operation === 'CREATE' ? '7 allow generic' : '3 allow generic']);
      const [alone] = answers({ ...more, grants: grants.slice(1) }, [asked]);
      expect(allowed(alone!), 'and what is excluded in its own role is not given by it').toBe(false);
    }), settings);
  });
});

describe('moving a customer', () => {
  // What a check holds when the move arrives: permissions flattened before it, the tree after it. No user is invalidated.
  test('is the world built so from the start, and moving it back restores every answer', () => {
    let woke = 0;
    fc.assert(fc.property(samples(names, 60), numbers, ({ world: drawn, questions }, [a, b]) => {
      const world = { ...drawn, customers: drawn.customers.map((customer) => ({ ...customer, groups: [] })) };
      const edit = moveCustomer(world, a!, b!);
      if (edit === null) return;
      const customer = edit.world.customers.find((row, i) => row !== world.customers[i]) ?? world.customers[0]!;
      const origin = world.customers.find(({ id }) => id === customer.id)!.owner;
      const compiled = compileWorld(vocabulary, world);
      const held = questions.map((question) => ({ question, request: requestOf(vocabulary, question), facts: compiled.facts(requestOf(vocabulary, question)) }));
      const check = (against: WorldFile, owner: string): void => {
        const ask = reference(names, against);
        for (const { question, request, facts } of held) {
          facts.tree.apply([[customer.id, [owner]]]);
          const target = facts.target && question.target === customer.id ? { ...facts.target, owner: facts.tree.node(owner) } : facts.target;
          expect(answerOf(decide(vocabulary, { ...facts, target }, request)), `${edit.what}: ${JSON.stringify(question)}`).toEqual(ask(question));
        }
      };
      check(edit.world, customer.owner);
      check(world, origin);
      const [before, after] = [answers(world, questions), answers(edit.world, questions)];
      woke += before.filter((answer, i) => /group$/.test(answer) !== /group$/.test(after[i]!)).length;
    }), { ...settings, numRuns: 400 });
    expect(woke, 'some grant went dormant or woke').toBeGreaterThan(5);
  });
});

describe('the same permission class', () => {
  test('answers alike, and holds one object of effective permissions', () => {
    fc.assert(fc.property(samples(names, 60), numbers, ({ world, questions }, [a]) => {
      const user = world.users[a! % world.users.length]!;
      const twin = { ...user, id: 'u-twin', groups: user.groups.toReversed() };
      const both = { ...world, users: [...world.users, twin] };
      const compiled = compileWorld(vocabulary, both);
      for (const question of questions) {
        if (question.target === user.id) continue; // except for themselves as the target
        const [one, other] = [user, twin].map(({ id }) => requestOf(vocabulary, { ...question, user: id }));
        expect(compiled.decide(other!)).toBe(compiled.decide(one!));
        expect(compiled.facts(other!).effective).toBe(compiled.facts(one!).effective);
      }
    }), settings);
  });
});

describe('the same meaning, written otherwise', () => {
  const same = (rewrite: (world: WorldFile, draw: readonly number[]) => WorldFile) => () => {
    fc.assert(fc.property(samples(names, 60), numbers, ({ world, questions }, draw) => {
      expect(answers(rewrite(world, draw), questions)).toEqual(answers(world, questions));
    }), settings);
  };

  test('rows in another order', same((world, draw) => {
    const shuffled = <T>(list: readonly T[]): T[] => list.map((row, i) => [draw[i % 8]! ^ (i * 2654435761), row] as const).toSorted(([a], [b]) => a - b).map(([, row]) => row);
    return { ...world, tenants: shuffled(world.tenants), customers: shuffled(world.customers), groups: shuffled(world.groups), users: shuffled(world.users), entities: shuffled(world.entities), roles: shuffled(world.roles), grants: shuffled(world.grants) };
  }));

  test('a role cut in two, each part with all that it excludes', same((world) => {
    const half = (role: WorldRole, part: number): WorldRole => (role.type === 'GROUP'
      ? { ...role, id: `${role.id}-${part}`, permissions: role.permissions.filter((_, i) => i % 2 === part) }
      : { ...role, id: `${role.id}-${part}`, permissions: Object.fromEntries(Object.entries(role.permissions).filter((_, i) => i % 2 === part)) });
    const roles = world.roles.flatMap((role) => [role, half(role, 0), half(role, 1)]); // the whole one stays: it may be a target
    const grants = world.grants.flatMap((grant) => [0, 1].map((part) => ({ ...grant, id: part === 0 ? grant.id : `${grant.id}-1`, role: `${grant.role}-${part}` })));
    return { ...world, roles, grants };
  }));

  test('every resource by name in place of ALL', same((world) => ({
    ...world,
    roles: world.roles.map((role) => {
      if (role.type === 'GROUP') return role;
      const spelled = (side: Readonly<Record<string, readonly string[]>>): Record<string, readonly string[]> => {
        const everywhere = side['ALL'] ?? [];
        const rest = Object.entries(side).filter(([resource]) => resource !== 'ALL');
        return Object.fromEntries([...names.resources.map((resource) => [resource, everywhere] as const), ...rest.map(([resource, list]) => [resource, [...list, ...everywhere]] as const)]);
      };
      return { ...role, permissions: spelled(role.permissions), excluded: spelled(role.excluded) };
    }),
  })));

  test('every operation by name in place of ALL, and everything granted twice', same((world) => {
    const spell = (list: readonly string[]): readonly string[] => (list.includes('ALL') ? names.operations : list);
    const sides = (side: Readonly<Record<string, readonly string[]>>) => Object.fromEntries(Object.entries(side).map(([resource, list]) => [resource, spell(list)]));
    const again = world.roles.map((role): WorldRole => (role.type === 'GROUP' ? { ...role, id: `${role.id}-again`, permissions: spell(role.permissions) } : { ...role, id: `${role.id}-again`, permissions: sides(role.permissions), excluded: sides(role.excluded) }));
    return { ...world, roles: [...world.roles, ...again], grants: [...world.grants, ...world.grants.map((grant) => ({ ...grant, id: `${grant.id}-again`, role: `${grant.role}-again` }))] };
  }));

  test('a grant to the users of an owner, as a grant to an explicit group of the same users', same((world) => {
    const alls = [...new Set(world.grants.map(({ userGroup }) => userGroup).filter((id) => id.startsWith('all:')))];
    const groups = alls.map((id, i): WorldGroup => ({ id: `g-all${i}`, type: 'USER', owner: id.slice('all:USER:'.length) }));
    return {
      ...world,
      groups: [...world.groups, ...groups],
      users: world.users.map((user) => ({ ...user, groups: [...user.groups, ...groups.filter(({ owner }) => owner === user.owner).map(({ id }) => id)] })),
      grants: world.grants.map((grant) => ({ ...grant, userGroup: groups[alls.indexOf(grant.userGroup)]?.id ?? grant.userGroup })),
    };
  }));

  test('a grant over an All group, as one over an explicit group of the same members', () => {
    fc.assert(fc.property(samples(names, 60), ({ world, questions }) => {
      const alls = [...new Set(world.grants.flatMap(({ entityGroup }) => (entityGroup?.startsWith('all:') ? [entityGroup] : [])))];
      const groups = alls.map((id, i): WorldGroup => ({ id: `g-all${i}`, type: id.split(':')[1]!, owner: id.split(':').slice(2).join(':') }));
      const joined = <T extends { readonly owner: string; readonly groups: readonly string[] }>(type: string, row: T): T => ({ ...row, groups: [...row.groups, ...groups.filter((group) => group.type === type && group.owner === row.owner).map(({ id }) => id)] });
      const explicit = {
        ...world,
        groups: [...world.groups, ...groups],
        users: world.users.map((row) => joined('USER', row)), customers: world.customers.map((row) => joined('CUSTOMER', row)), entities: world.entities.map((row) => joined(row.type, row)),
        grants: world.grants.map((grant) => ({ ...grant, ...(grant.entityGroup === undefined ? {} : { entityGroup: groups[alls.indexOf(grant.entityGroup)]?.id ?? grant.entityGroup }) })),
      };
      const ofMembers = questions.filter(({ target, groups: into }) => !alls.includes(target) && !into?.some((id) => alls.includes(id)));
      expect(answers(explicit, ofMembers)).toEqual(answers(world, ofMembers));
      const ofGroups = questions.filter(({ target }) => alls.includes(target));
      expect(answers(explicit, ofGroups.map((question) => ({ ...question, target: groups[alls.indexOf(question.target)]!.id })))).toEqual(answers(world, ofGroups));
    }), settings);
  });

  test('other ids, one for each', same_ids);
  function same_ids(): void {
    fc.assert(fc.property(samples(names, 60), numbers, ({ world, questions }, draw) => {
      const owners = new Set([...world.tenants, ...world.customers].map(({ id }) => id));
      const rows = [world.tenants, world.customers, world.groups, world.users, world.entities, world.roles, world.grants].flat();
      const ids = new Map(rows.map(({ id }, i) => [id, strangeId(i, draw[i % 8]!, owners.has(id) ? 200 : 255)]));
      const renamed = (id: string): string => {
        const all = /^all:([^:]+):(.+)$/.exec(id);
        return all ? `all:${all[1]}:${renamed(all[2]!)}` : (ids.get(id) ?? id);
      };
      expect(answers(renamedWorld(world, renamed), questions.map((question) => renamedQuestion(question, renamed)))).toEqual(answers(world, questions));
    }), settings);
  }
});

/** Distinct by its number, and as like to the others as it can be: joined keys, case folding and normalising would make two of them one. */
function strangeId(number: number, draw: number, bytes: number): string {
  const tail = `${number}`;
  const kinds = [`id|${tail}`, `ID|${tail}`, `a:b:${tail}`, `$$${tail}`, `e\u0301${tail}`, `\u00e9${tail}`, ` ${tail}`, `${tail} `, `*${tail}`, `All:DEVICE:${tail}`, `${tail}>%`, `"${tail}`, 'x'.repeat(bytes - tail.length) + tail, `__proto__${tail}`];
  return kinds[draw % kinds.length]!;
}

function renamedWorld(world: WorldFile, renamed: (id: string) => string): WorldFile {
  const row = <T extends { readonly id: string; readonly owner: string; readonly groups?: readonly string[] }>(old: T): T => ({ ...old, id: renamed(old.id), owner: renamed(old.owner), ...(old.groups ? { groups: old.groups.map(renamed) } : {}) });
  return {
    ...world,
    tenants: world.tenants.map(({ id }) => ({ id: renamed(id) })),
    customers: world.customers.map(row), groups: world.groups.map(row), users: world.users.map(row), entities: world.entities.map(row), roles: world.roles.map(row),
    grants: world.grants.map((grant) => ({ ...grant, id: renamed(grant.id), userGroup: renamed(grant.userGroup), role: renamed(grant.role), ...(grant.entityGroup === undefined ? {} : { entityGroup: renamed(grant.entityGroup) }) })),
  };
}

function renamedQuestion(question: Question, renamed: (id: string) => string): Question {
  return { ...question, user: renamed(question.user), target: renamed(question.target), ...(question.owner === undefined ? {} : { owner: renamed(question.owner) }), ...(question.groups ? { groups: question.groups.map(renamed) } : {}) };
}

describe('tenants are apart', () => {
  test('no answer crosses a tenant', () => {
    let crossed = 0;
    fc.assert(fc.property(samples(names, 60), ({ world, questions }) => {
      const owners = new Set([...world.tenants, ...world.customers].map(({ id }) => id));
      const ownerOf = (id: string): string | undefined => (owners.has(id) ? id : ([...world.users, ...world.entities, ...world.groups, ...world.roles].find((row) => row.id === id)?.owner ?? /^all:[^:]+:(.+)$/.exec(id)?.[1]));
      answers(world, questions).forEach((answer, i) => {
        const { user, target, owner } = questions[i]!;
        const [mine, its] = [ownerOf(user), target === '*' ? owner : ownerOf(target)].map((id) => (id === undefined || !owners.has(id) ? undefined : tenantOf(world, id)));
        if (mine === undefined || its === undefined || mine === its) return;
        crossed++;
        expect(allowed(answer) && (target !== '*' || questions[i]!.operation === 'CREATE'), JSON.stringify(questions[i])).toBe(false);
      });
    }), settings);
    expect(crossed).toBeGreaterThan(50);
  });

  test('two worlds side by side answer as each did alone', () => {
    fc.assert(fc.property(samples(names, 40), samples(names, 40), (one, two) => {
      const renamed = (id: string): string => (/^(nobody|nothing|\*|)$/.test(id) ? id : id.startsWith('all:') ? id.replace(/^(all:[^:]*:)(.+)$/, '$1other-$2') : `other-${id}`);
      const other = { world: renamedWorld(two.world, renamed), questions: two.questions.map((question) => renamedQuestion(question, renamed)) };
      const both = Object.fromEntries(Object.entries(one.world).map(([key, rows]) => [key, key === 'defaults' ? false : [...(rows as unknown[]), ...(other.world[key as 'users'] as unknown[])]])) as unknown as WorldFile;
      expect(answers(both, [...one.questions, ...other.questions])).toEqual([...answers(one.world, one.questions), ...answers(two.world, two.questions)]);
    }), settings);
  });
});

describe('whoever is refused, is refused everything', () => {
  test('a disabled user, an unknown one, ALL as operation or resource', () => {
    fc.assert(fc.property(samples(names, 60), ({ world, questions }) => {
      const disabled = { ...world, users: world.users.map((user) => ({ ...user, enabled: false })) };
      const stranger = questions.map((question) => ({ ...question, user: 'nobody' }));
      const all = questions.flatMap((question) => [{ ...question, operation: 'ALL' }, { ...question, resource: 'ALL' }]);
      expect([...answers(disabled, questions), ...answers(world, stranger)].filter(allowed)).toEqual([]);
      expect(new Set(answers(world, all))).toEqual(new Set(['0 deny unknown-vocabulary']));
    }), { ...settings, numRuns: 100 });
  });
});

describe('decide never throws', () => {
  const number = fc.oneof(fc.integer({ min: -3, max: 70 }), fc.double(), fc.constantFrom(NaN, Infinity, -1, 2 ** 31, 2 ** 32, '3', '__proto__', null, undefined, {}) as fc.Arbitrary<number>);
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('', '*', '__proto__', 'constructor', 'all:', 'all::', 'all:DEVICE:', 'all:__proto__:t0', 'all:USER:__proto__', 'x'.repeat(1_000_000), `all:DEVICE:${'c'.repeat(100_000)}`, '\ud800'));
  test('whatever it is asked', () => {
    fc.assert(fc.property(samples(names, 5), fc.array(fc.tuple(number, number, text, text, fc.array(text, { maxLength: 4 }), text), { maxLength: 20 }), ({ world, questions }, garbage) => {
      const compiled = compileWorld(vocabulary, world);
      const someone = world.users[0]!.id;
      for (const [operation, resource, target, owner, groups, subject] of garbage) {
        for (const asked of [{ subject, operation, resource, target }, { subject: someone, operation, resource, target, owner, groups }, { subject: someone, operation: vocabulary.createOperation, resource: 3, target: '*', owner, groups }, { ...requestOf(vocabulary, questions[0]!), target }]) {
          const decision = compiled.decide(asked);
          expect(Object.isFrozen(decision)).toBe(true);
        }
      }
    }), { ...settings, numRuns: 200 });
  });
});

test('the generator reaches customers of customers', () => {
  const deepest = fc.sample(samples(names, 0), { seed, numRuns: 200 }).reduce((most, { world }) => Math.max(most, ...world.customers.map(({ id }) => chainOf(world.customers, id).length)), 0);
  expect(deepest).toBeGreaterThanOrEqual(4);
  expect(resourceOf(names, { defaults: false, tenants: [], customers: [], groups: [], users: [], entities: [], roles: [], grants: [], checks: [] }, 'all:ASSET:x')).toBe('ASSET_GROUP');
});
