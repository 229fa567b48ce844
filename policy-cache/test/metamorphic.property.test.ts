// What must stay true of answers when a world changes in a way whose meaning is known?

import fc from 'fast-check';
import { DECISIONS, compileWorld, decide, requestOf } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { chainOf, questionOf, resourceOf, samples, worlds } from './arbitraries.ts';
import { addition, moveCustomer, tenantOf } from './edits.ts';
import { reference } from './reference.ts';
import { renamedQuestion, renamedWorld } from './renaming.ts';
import { answers, names, seed, triple, vocabulary } from './support.ts';
import type { Decision, WorldFile, WorldGrant, WorldGroup, WorldRole } from 'policy-cache';

const numbers = fc.array(fc.nat(0xfffff), { minLength: 8, maxLength: 8 });
const questionDraw = fc.array(fc.nat(0xfffff), { minLength: 9, maxLength: 9 });
const settings = { seed, numRuns: 150 };
console.log(`metamorphic: GRANTGATE_SEED=${seed}`);

const allowed = (answer: string): boolean => answer.split(' ')[1] === 'allow';

describe('grants only add', () => {
  test('a membership, a grant, a role or an operation more never turns an allow into a deny', () => {
    let changed = 0;
    fc.assert(
      fc.property(
        worlds(names),
        fc.array(numbers, { minLength: 1, maxLength: 6 }),
        fc.array(questionDraw, { minLength: 60, maxLength: 60 }),
        (world, additions, draws) => {
          const steps = additions.reduce<WorldFile[]>((all, draw) => [...all, addition(all.at(-1)!, draw)?.world ?? all.at(-1)!], [world]);
          const questions = draws.map((draw) => questionOf(names, steps.at(-1)!, draw)); // directed at what was added, too
          const given = steps.map((step) => answers(step, questions));
          questions.forEach((question, i) => {
            const course = given.map((list) => list[i]!);
            if (course.findLastIndex((answer) => !allowed(answer)) > course.findIndex(allowed) && course.some(allowed))
              expect.fail(`${JSON.stringify(question)}: ${course.join(', ')}`);
            if (allowed(course.at(-1)!) && !allowed(course[0]!)) changed++;
          });
        },
      ),
      settings,
    );
    expect(changed, 'some addition gave something').toBeGreaterThan(100);
  });

  test('without grants nothing is allowed, whoever asks', () => {
    fc.assert(
      fc.property(samples(names, 60), ({ world, questions }) => {
        expect(answers({ ...world, grants: [] }, questions).filter(allowed)).toEqual([]);
      }),
      settings,
    );
  });

  test('an exclusion takes nothing away that another role gives', () => {
    fc.assert(
      fc.property(samples(names, 0), numbers, ({ world }, [a, b]) => {
        const user = world.users[a! % world.users.length]!;
        const operation = names.operations[b! % names.operations.length]!;
        const group: WorldGroup = { id: 'g-plain', type: 'USER', owner: user.owner };
        const plain: WorldRole = { id: 'r-plain', owner: user.owner, type: 'GENERIC', permissions: { DEVICE: [operation] }, excluded: {} };
        const nothing: WorldRole = { ...plain, id: 'r-nothing', excluded: { ALL: ['ALL'] } };
        const grants: WorldGrant[] = [plain, nothing].map((role, i) => ({ id: `p-plain${i}`, userGroup: 'g-plain', role: role.id, shared: false }));
        const more = {
          ...world,
          groups: [...world.groups, group],
          roles: [...world.roles, plain, nothing],
          grants: [...world.grants, ...grants],
          users: world.users.map((other) => (other === user ? { ...user, enabled: true, groups: [...user.groups, 'g-plain'] } : other)),
        };
        const asked = { user: user.id, operation, resource: 'DEVICE', target: '*' };
        expect(answers(more, [asked])).toEqual([operation === 'CREATE' ? '7 allow generic' : '3 allow generic']);
        const [alone] = answers({ ...more, grants: grants.slice(1) }, [asked]);
        expect(allowed(alone!), 'and what is excluded in its own role is not given by it').toBe(false);
      }),
      settings,
    );
  });
});

describe('moving a customer', () => {
  // What a check holds when the move arrives: permissions flattened before it, the tree after it. No user is invalidated.
  test('is the world built so from the start, and moving it back restores every answer', () => {
    let woke = 0;
    fc.assert(
      fc.property(samples(names, 60), numbers, ({ world: drawn, questions }, [a, b]) => {
        const world = { ...drawn, customers: drawn.customers.map((customer) => ({ ...customer, groups: [] })) };
        const edit = moveCustomer(world, a!, b!);
        if (edit === null) return;
        const customer = edit.world.customers.find((row, i) => row !== world.customers[i]) ?? world.customers[0]!;
        const origin = world.customers.find(({ id }) => id === customer.id)!.owner;
        const compiled = compileWorld(vocabulary, world);
        const held = questions.map((question) => ({
          question,
          request: requestOf(vocabulary, question),
          facts: compiled.facts(requestOf(vocabulary, question)),
        }));
        const check = (against: WorldFile, owner: string): void => {
          const ask = reference(names, against);
          for (const { question, request, facts } of held) {
            facts.tree.apply([[customer.id, [owner]]]);
            const target = facts.target && question.target === customer.id ? { ...facts.target, owner: facts.tree.node(owner) } : facts.target;
            const [decided, specified] = [triple(decide(vocabulary, { ...facts, target }, request)), triple(ask(question))];
            if (decided !== specified) expect(decided, `${edit.what}: ${JSON.stringify(question)}`).toBe(specified);
          }
        };
        check(edit.world, customer.owner);
        check(world, origin);
        const [before, after] = [answers(world, questions), answers(edit.world, questions)];
        woke += before.filter((answer, i) => answer.endsWith('group') !== after[i]!.endsWith('group')).length;
      }),
      { ...settings, numRuns: 250 },
    );
    expect(woke, 'some grant went dormant or woke').toBeGreaterThan(0);
  });
});

describe('the same permission class', () => {
  test('answers alike, and holds one object of effective permissions', () => {
    let asked = 0;
    fc.assert(
      fc.property(samples(names, 60), numbers, ({ world, questions }, [a]) => {
        const user = world.users[a! % world.users.length]!;
        const twin = { ...user, id: 'u-twin', groups: user.groups.toReversed() };
        const both = { ...world, users: [...world.users, twin] };
        const compiled = compileWorld(vocabulary, both);
        for (const question of questions) {
          if (question.target === user.id) continue; // except for themselves as the target
          const [one, other] = [user, twin].map(({ id }) => requestOf(vocabulary, { ...question, user: id }));
          if (compiled.decide(other!) !== compiled.decide(one!)) expect.fail(JSON.stringify(question));
          if (compiled.facts(other!).effective !== compiled.facts(one!).effective) expect.fail('two objects of one class');
          asked++;
        }
      }),
      settings,
    );
    expect(asked).toBeGreaterThan(1_000);
  });
});

describe('tenants are apart', () => {
  test('no answer crosses a tenant', () => {
    let crossed = 0;
    fc.assert(
      fc.property(samples(names, 60), ({ world, questions }) => {
        const owners = new Set([...world.tenants, ...world.customers].map(({ id }) => id));
        const ownerOf = (id: string): string | undefined =>
          owners.has(id)
            ? id
            : ([...world.users, ...world.entities, ...world.groups, ...world.roles].find((row) => row.id === id)?.owner ?? /^all:[^:]+:(.+)$/.exec(id)?.[1]);
        answers(world, questions).forEach((answer, i) => {
          const { user, target, owner } = questions[i]!;
          const [mine, its] = [ownerOf(user), target === '*' ? owner : ownerOf(target)].map((id) =>
            id === undefined || !owners.has(id) ? undefined : tenantOf(world, id),
          );
          if (mine === undefined || its === undefined || mine === its) return;
          crossed++;
          if (allowed(answer) && (target !== '*' || questions[i]!.operation === 'CREATE')) expect.fail(JSON.stringify(questions[i]));
        });
      }),
      settings,
    );
    expect(crossed).toBeGreaterThan(50);
  });

  test('two worlds side by side answer as each did alone', () => {
    fc.assert(
      fc.property(samples(names, 40), samples(names, 40), (one, two) => {
        const renamed = (id: string): string =>
          /^(nobody|nothing|\*|)$/.test(id) ? id : id.startsWith('all:') ? id.replace(/^(all:[^:]*:)(.+)$/, '$1other-$2') : `other-${id}`;
        const other = { world: renamedWorld(two.world, renamed), questions: two.questions.map((question) => renamedQuestion(question, renamed)) };
        const both = Object.fromEntries(
          Object.entries(one.world).map(([key, rows]) => [
            key,
            key === 'defaults' ? false : [...(rows as unknown[]), ...(other.world[key as 'users'] as unknown[])],
          ]),
        ) as unknown as WorldFile;
        expect(answers(both, [...one.questions, ...other.questions])).toEqual([...answers(one.world, one.questions), ...answers(two.world, two.questions)]);
      }),
      settings,
    );
  });
});

describe('whoever is refused, is refused everything', () => {
  test('a disabled user, an unknown one, ALL as operation or resource', () => {
    fc.assert(
      fc.property(samples(names, 60), ({ world, questions }) => {
        const disabled = { ...world, users: world.users.map((user) => ({ ...user, enabled: false })) };
        const stranger = questions.map((question) => ({ ...question, user: 'nobody' }));
        const all = questions.flatMap((question) => [
          { ...question, operation: 'ALL' },
          { ...question, resource: 'ALL' },
        ]);
        expect([...answers(disabled, questions), ...answers(world, stranger)].filter(allowed)).toEqual([]);
        expect(new Set(answers(world, all))).toEqual(new Set(['0 deny unknown-vocabulary']));
      }),
      { ...settings, numRuns: 100 },
    );
  });
});

describe('decide never throws', () => {
  const number = fc.oneof(
    fc.integer({ min: -3, max: 70 }),
    fc.double(),
    fc.constantFrom(NaN, Infinity, -1, 2 ** 31, 2 ** 32, '3', '__proto__', null, undefined, {}) as fc.Arbitrary<number>,
  );
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom(
      '',
      '*',
      '__proto__',
      'constructor',
      'all:',
      'all::',
      'all:DEVICE:',
      'all:__proto__:t0',
      'all:USER:__proto__',
      'x'.repeat(1_000_000),
      `all:DEVICE:${'c'.repeat(100_000)}`,
      '\ud800',
    ),
  );
  test('whatever it is asked', () => {
    const strange: Decision[] = [];
    fc.assert(
      fc.property(
        samples(names, 5),
        fc.array(fc.tuple(number, number, text, text, fc.array(text, { maxLength: 4 }), text), { maxLength: 20 }),
        ({ world, questions }, garbage) => {
          const compiled = compileWorld(vocabulary, world);
          const someone = world.users[0]!.id;
          for (const [operation, resource, target, owner, groups, subject] of garbage) {
            for (const asked of [
              { subject, operation, resource, target },
              { subject: someone, operation, resource, target, owner, groups },
              { subject: someone, operation: vocabulary.createOperation, resource: 3, target: '*', owner, groups },
              { ...requestOf(vocabulary, questions[0]!), target },
            ]) {
              const decision = compiled.decide(asked);
              if (!DECISIONS.includes(decision)) strange.push(decision);
            }
          }
        },
      ),
      { ...settings, numRuns: 200 },
    );
    expect(strange).toEqual([]);
  });
});

test('the generator reaches customers of customers', () => {
  const deepest = fc
    .sample(samples(names, 0), { seed, numRuns: 200 })
    .reduce((most, { world }) => Math.max(most, ...world.customers.map(({ id }) => chainOf(world.customers, id).length)), 0);
  expect(deepest).toBeGreaterThanOrEqual(4);
  expect(
    resourceOf(names, { defaults: false, tenants: [], customers: [], groups: [], users: [], entities: [], roles: [], grants: [], checks: [] }, 'all:ASSET:x'),
  ).toBe('ASSET_GROUP');
});
