// Is every mistake in a world file told at once, by its path, and is what is right taken as it stands?

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expandDefaults, grantId, parseId, parseWorldFile, roleProblems, utf8Length, vocabularyProblems } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { seed, vocabulary } from './support.ts';
import type { WorldFile } from 'policy-cache';

const paths = (value: unknown): readonly string[] => parseWorldFile(value).problems.map(({ path }) => path);
const tenants = [{ id: 't' }];
console.log(`worldfile: GRANTGATE_SEED=${seed}`);

test('a file that is no world is not copied into the problem', () => {
  const [problem, ...more] = parseWorldFile('x'.repeat(100_000)).problems;
  expect(more).toEqual([]);
  expect(problem!.message).toMatch(/got string "x{79}…$/);
});

describe('a good file', () => {
  test('what it leaves out has its default', () => {
    const { world, problems } = parseWorldFile({
      tenants,
      users: [{ id: 'u', owner: 't' }],
      roles: [{ id: 'r', owner: 't', type: 'GENERIC', permissions: { ALL: ['READ'] } }],
      grants: [{ userGroup: 'g', role: 'r' }],
      checks: [{ user: 'u', operation: 'READ', resource: 'DEVICE', expect: 'deny' }],
    });
    expect(problems).toEqual([]);
    expect(world).toEqual({
      defaults: false,
      tenants,
      customers: [],
      groups: [],
      entities: [],
      users: [{ id: 'u', owner: 't', enabled: true, groups: [] }],
      roles: [{ id: 'r', owner: 't', type: 'GENERIC', permissions: { ALL: ['READ'] }, excluded: {} }],
      grants: [{ id: 'grant:g>r', userGroup: 'g', role: 'r', shared: false }],
      checks: [{ user: 'u', operation: 'READ', resource: 'DEVICE', target: '*', expect: 'deny' }],
    });
  });

  test('what decides nothing is kept, and so is what an export says of itself', () => {
    const user = { id: 'u', owner: 't', name: 'Ada', email: 'ada@example.org', firstName: 'Ada', lastName: 'L.', lastLogin: '2026-11-27T09:30:00.123456Z' };
    const customer = { id: 'c', owner: 't', title: 'C', details: { city: 'Kyiv', floors: [1, 2] } };
    const { world, problems } = parseWorldFile({ export: { revision: '7-x', tenant: 't' }, tenants, customers: [customer], users: [user], end: { rows: 3 } });
    expect(problems).toEqual([]);
    expect(world).toMatchObject({ customers: [{ ...customer, groups: [] }], users: [{ ...user, enabled: true, groups: [] }] });
  });

  test('an export without its end is none: a pipe broke, and rows may be missing', () => {
    const { problems } = parseWorldFile({ export: { revision: '7-x' }, tenants });
    expect(problems).toEqual([{ path: 'end', message: expect.stringMatching(/^the export is cut off/) as string }]);
  });

  test('a rule may be a number, as YAML reads it', () => {
    const check = { user: 'u', operation: 'READ', resource: 'DEVICE', expect: 'deny', reason: 'unknown-target', rule: 4 };
    expect(parseWorldFile({ checks: [check] })).toMatchObject({ problems: [], world: { checks: [{ rule: '4' }] } });
  });

  test('roles may name what is a property of every object, and it is harmless', () => {
    const text = '{"roles": [{"id": "r", "owner": "t", "type": "GENERIC", "permissions": {"__proto__": ["READ"], "constructor": ["__proto__"]}}]}';
    const { world, problems } = parseWorldFile(JSON.parse(text));
    expect(problems).toEqual([]);
    expect(Object.keys(world.roles[0]!.permissions)).toEqual(['__proto__', 'constructor']);
  });

  test('the reserved ids of an owner’s own predefined objects', () => {
    const { problems } = parseWorldFile(expanded({ tenants, defaults: true }));
    expect(problems).toEqual([]);
  });
});

describe('what is wrong is told by its path', () => {
  test.each<[string, unknown, readonly string[]]>([
    ['nothing', undefined, ['']],
    ['a list', [], ['']],
    ['a field that there is not', { tenant: tenants }, ['tenant']],
    ['a field of a row that there is not', { tenants: [{ id: 't', colour: 'red' }] }, ['tenants[0].colour']],
    ['a prototype’s name as a field', JSON.parse('{"__proto__": []}'), ['__proto__']],
    ['no list', { users: {} }, ['users']],
    ['no row', { users: ['u'] }, ['users[0]']],
    ['no id', { tenants: [{}] }, ['tenants[0].id']],
    ['a number for an id', { tenants: [{ id: 42 }] }, ['tenants[0].id']],
    ['an empty id', { tenants: [{ id: '' }] }, ['tenants[0].id']],
    ['a control character', { tenants: [{ id: 'a\nb' }] }, ['tenants[0].id']],
    ['a lone surrogate', { tenants: [{ id: '\ud800' }] }, ['tenants[0].id']],
    ['256 bytes', { entities: [{ id: 'é'.repeat(128), type: 'DEVICE', owner: 't' }] }, ['entities[0].id']],
    ['201 bytes for an owner', { tenants: [{ id: 'x'.repeat(201) }] }, ['tenants[0].id']],
    ['the target that is none', { entities: [{ id: '*', type: 'DEVICE', owner: 't' }] }, ['entities[0].id']],
    ['an All group’s row', { groups: [{ id: 'all:DEVICE:t', type: 'DEVICE', owner: 't' }] }, ['groups[0].id']],
    ['a predefined group of another owner', { groups: [{ id: 'admins:a', type: 'USER', owner: 't' }] }, ['groups[0].id']],
    ['a predefined group of devices', { groups: [{ id: 'admins:t', type: 'DEVICE', owner: 't' }] }, ['groups[0].id']],
    ['a role’s reserved id for a group', { groups: [{ id: 'role:admin:t', type: 'USER', owner: 't' }] }, ['groups[0].id']],
    ['a predefined role of another owner', { roles: [{ id: 'role:user:a', owner: 't', type: 'GENERIC', permissions: {} }] }, ['roles[0].id']],
    ['a reserved id for a grant', { grants: [{ id: 'role:x', userGroup: 'g', role: 'r' }] }, ['grants[0].id']],
    ['a reserved id for a user', { users: [{ id: 'users:t', owner: 't' }] }, ['users[0].id']],
    ['membership in an All group', { users: [{ id: 'u', owner: 't', groups: ['g', 'all:USER:t'] }] }, ['users[0].groups[1]']],
    ['a membership twice', { users: [{ id: 'u', owner: 't', groups: ['g', 'h', 'g'] }] }, ['users[0].groups[2]']],
    ['enabled by a string', { users: [{ id: 'u', owner: 't', enabled: 'no' }] }, ['users[0].enabled']],
    ['a day that there is not', { users: [{ id: 'u', owner: 't', lastLogin: '2026-02-30T00:00:00Z' }] }, ['users[0].lastLogin']],
    ['an hour that there is not', { users: [{ id: 'u', owner: 't', lastLogin: '2026-02-03T24:00:00Z' }] }, ['users[0].lastLogin']],
    ['a moment of no place', { users: [{ id: 'u', owner: 't', lastLogin: '2026-02-03T10:00:00' }] }, ['users[0].lastLogin']],
    ['a moment that is a number', { users: [{ id: 'u', owner: 't', lastLogin: 1 }] }, ['users[0].lastLogin']],
    ['details that are a list', { customers: [{ id: 'c', owner: 't', details: [] }] }, ['customers[0].details']],
    ['an export without its revision', { export: { tenant: 't' } }, ['export.revision']],
    ['a role of no type', { roles: [{ id: 'r', owner: 't', permissions: {} }] }, ['roles[0].type']],
    ['a role of another type', { roles: [{ id: 'r', owner: 't', type: 'ADMIN', permissions: {} }] }, ['roles[0].type']],
    ['a GROUP role’s permissions as an object', { roles: [{ id: 'r', owner: 't', type: 'GROUP', permissions: {} }] }, ['roles[0].permissions']],
    ['a GROUP role that excludes', { roles: [{ id: 'r', owner: 't', type: 'GROUP', permissions: [], excluded: {} }] }, ['roles[0].excluded']],
    ['a GENERIC role’s permissions as a list', { roles: [{ id: 'r', owner: 't', type: 'GENERIC', permissions: ['READ'] }] }, ['roles[0].permissions']],
    [
      'an operation that is no name',
      { roles: [{ id: 'r', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ', 1], 'a b': 'READ' } }] },
      ['roles[0].permissions.DEVICE[1]', 'roles[0].permissions."a b"'],
    ],
    ['a grant to nobody', { grants: [{ role: 'r' }] }, ['grants[0].userGroup']],
    ['a null where nothing is meant', { users: [{ id: 'u', owner: 't', groups: null }] }, ['users[0].groups']],
    ['an answer that cannot be', { checks: [{ user: 'u', operation: 'READ', resource: 'DEVICE', expect: 'allow', reason: 'no-grant' }] }, ['checks[0]']],
    [
      'a rule that gives no such reason',
      { checks: [{ user: 'u', operation: 'READ', resource: 'DEVICE', expect: 'deny', reason: 'no-grant', rule: '6a' }] },
      ['checks[0]'],
    ],
    ['an answer that is neither', { checks: [{ user: 'u', operation: 'READ', resource: 'DEVICE', expect: 'maybe' }] }, ['checks[0]']],
  ])('%s', (_, value, expected) => {
    expect(paths(value)).toEqual(expected);
    for (const { message } of parseWorldFile(value).problems) expect(message.length).toBeGreaterThan(8);
  });

  test('all at once', () => {
    expect(paths({ tenants: [{ id: 1 }, { id: 't', x: 1 }], users: [{ owner: '' }], grants: 'none' })).toEqual([
      'tenants[0].id',
      'tenants[1].x',
      'users[0].id',
      'users[0].owner',
      'grants',
    ]);
  });

  test('never by an exception', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.anything(),
          fc.record({
            tenants: fc.anything(),
            users: fc.array(fc.anything()),
            roles: fc.array(fc.record({ id: fc.string(), owner: fc.string(), type: fc.constantFrom('GENERIC', 'GROUP', 1), permissions: fc.anything() })),
            checks: fc.anything(),
          }),
        ),
        (value) => {
          expect(Array.isArray(parseWorldFile(value).problems)).toBe(true);
        },
      ),
      { seed, numRuns: 500 },
    );
  });
});

function expanded(value: unknown): WorldFile {
  const { world, problems } = parseWorldFile(value);
  expect(problems).toEqual([]);
  return expandDefaults(world);
}

describe('defaults: true', () => {
  const world = expanded({
    defaults: true,
    tenants,
    customers: [{ id: 'c', owner: 't' }],
    groups: [{ id: 'users:c', type: 'USER', owner: 'c', name: 'Our people' }],
  });
  test('gives every tenant and customer the predefined groups, roles and grants', () => {
    expect(world.groups).toEqual([
      { id: 'users:c', type: 'USER', owner: 'c', name: 'Our people' }, // what the file lists itself is kept
      { id: 'admins:t', type: 'USER', owner: 't', name: 'Tenant Administrators' },
      { id: 'users:t', type: 'USER', owner: 't', name: 'Tenant Users' },
      { id: 'admins:c', type: 'USER', owner: 'c', name: 'Customer Administrators' },
    ]);
    const user = { PROFILE: ['ALL'], ALL: ['READ', 'RPC_CALL', 'READ_CREDENTIALS', 'READ_ATTRIBUTES', 'READ_TELEMETRY', 'READ_CALCULATED_FIELD'] };
    expect(world.roles).toEqual([
      { id: 'role:admin:t', owner: 't', type: 'GENERIC', permissions: { ALL: ['ALL'] }, excluded: {} },
      { id: 'role:user:t', owner: 't', type: 'GENERIC', permissions: user, excluded: {} },
      { id: 'role:admin:c', owner: 'c', type: 'GENERIC', permissions: { ALL: ['ALL'] }, excluded: {} },
      { id: 'role:user:c', owner: 'c', type: 'GENERIC', permissions: user, excluded: {} },
    ]);
    expect(world.grants).toEqual(
      ['t', 'c'].flatMap((owner) => [
        { id: `grant:admins:${owner}>role:admin:${owner}`, userGroup: `admins:${owner}`, role: `role:admin:${owner}`, shared: false },
        { id: `grant:users:${owner}>role:user:${owner}`, userGroup: `users:${owner}`, role: `role:user:${owner}`, shared: false },
      ]),
    );
  });
  test('once is enough', () => expect(expandDefaults(world)).toBe(world));
  test('the vocabulary knows all that is in them', () => expect(vocabularyProblems(vocabulary, world)).toEqual([]));
});

describe('the id of a grant that was given none', () => {
  const id = fc.oneof(
    fc.constantFrom('a', 'b', 'a>b', 'a%3Eb', 'a%b', '>', '%', 'é', 'all:DEVICE:t'),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }).filter((text) => {
      try {
        return parseId(text) === text;
      } catch {
        return false;
      }
    }),
    fc.nat(300).map((n) => 'x'.repeat(250) + n),
  );
  const grant = fc.record({ userGroup: id, role: id, entityGroup: id }, { requiredKeys: ['userGroup', 'role'] });
  test('is an id, and another for every other grant', () => {
    fc.assert(
      fc.property(grant, grant, (one, other) => {
        const same = one.userGroup === other.userGroup && one.role === other.role && one.entityGroup === other.entityGroup;
        expect(grantId(one) === grantId(other)).toBe(same);
        expect(utf8Length(parseId(grantId(one)))).toBeLessThanOrEqual(255);
      }),
      { seed, numRuns: 2_000 },
    );
  });
});

describe('names that the vocabulary does not have', () => {
  test('are told for entities, groups and roles', () => {
    const { world } = parseWorldFile({
      tenants,
      entities: [
        { id: 'a', type: 'NO_SUCH', owner: 't' },
        { id: 'b', type: 'USER', owner: 't' },
        { id: 'c', type: 'DEVICE', owner: 't' },
      ],
      groups: [
        { id: 'g', type: 'ALARM', owner: 't' },
        { id: 'h', type: 'DEVICE', owner: 't' },
      ],
      roles: [
        {
          id: 'r',
          owner: 't',
          type: 'GENERIC',
          permissions: { DEVICES: ['READ'], DEVICE: ['READ', 'FLY'], ALARM: ['RPC_CALL'] },
          excluded: { ALL: ['nothing'] },
        },
        { id: 's', owner: 't', type: 'GROUP', permissions: ['READ', 'FLY', 'ALL', 'CHANGE_OWNER'] },
      ],
    });
    expect(vocabularyProblems(vocabulary, world).map(({ path }) => path)).toEqual([
      'entities[0].type',
      'entities[1].type',
      'groups[0].type',
      'roles[0].permissions.DEVICES',
      'roles[0].permissions.DEVICE[1]',
      'roles[0].permissions.ALARM[0]',
      'roles[0].excluded.ALL[0]',
      'roles[1].permissions[1]',
    ]);
    expect(roleProblems(vocabulary, world.roles[1]!, 'role')).toEqual([{ path: 'role.permissions[1]', message: 'there is no operation "FLY"' }]);
  });
});

test('the worlds of the corpus come back from JSON as from YAML', () => {
  const parsed: unknown = parse(readFileSync(new URL('../../test/corpus/worlds/owner-only-and-shares.yaml', import.meta.url), 'utf8'));
  expect(parseWorldFile(JSON.parse(JSON.stringify(parsed)))).toEqual(parseWorldFile(parsed));
});
