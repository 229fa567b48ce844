// Which worlds must an import refuse, and in which words?

export const BASE = `
tenants: [{ id: t }, { id: z }]
customers: [{ id: a, owner: t }, { id: b, owner: a }]
groups:
  - { id: ug, type: USER, owner: a }
  - { id: dg, type: DEVICE, owner: a }
  - { id: zg, type: DEVICE, owner: z }
users: [{ id: u, owner: a, groups: [ug] }]
entities: [{ id: d, type: DEVICE, owner: a, groups: [dg] }]
roles:
  - { id: gen, owner: t, type: GENERIC, permissions: { ALL: [ALL] } }
  - { id: grp, owner: t, type: GROUP, permissions: [READ] }
  - { id: zr, owner: z, type: GROUP, permissions: [READ] }
grants: [{ id: g1, userGroup: ug, role: gen }]
`;

/** Worlds that are added to BASE, each with what is said about it. Lines count from the first of the text. */
export const BAD: readonly (readonly [what: string, text: string, said: readonly string[]])[] = [
  [
    'unknown owner',
    'entities:\n  - { id: e1, type: DEVICE,\n      owner: nobody }\n',
    ['w.yaml:3: entities[0].owner: there is no tenant or customer "nobody" (add it to tenants or customers, or name one that exists)'],
  ],
  [
    'an owner that owns nothing',
    'entities: [{ id: e1, type: DEVICE, owner: d }, { id: e2, type: DEVICE, owner: u }, { id: e3, type: DEVICE, owner: ug }, { id: e4, type: ASSET, owner: e1 }]',
    [
      'w.yaml:1: entities[0].owner: "d" is an entity, and only a tenant or a customer owns things (name a tenant or a customer)',
      'w.yaml:1: entities[1].owner: "u" is a user, and only a tenant or a customer owns things (name a tenant or a customer)',
      'w.yaml:1: entities[2].owner: "ug" is a group, and only a tenant or a customer owns things (name a tenant or a customer)',
      'w.yaml:1: entities[3].owner: "e1" is an entity, and only a tenant or a customer owns things (name a tenant or a customer)',
    ],
  ],
  [
    'a name that is too long',
    `customers: [{ id: c1, owner: t, title: ${'é'.repeat(501)} }]\nentities: [{ id: e1, type: DEVICE, owner: a, name: ${'x'.repeat(1_001)} }]`,
    [
      'w.yaml:1: customers[0].title: has 1002 bytes; at most 1000 are possible (shorten it)',
      'w.yaml:2: entities[0].name: has 1001 bytes; at most 1000 are possible (shorten it)',
    ],
  ],
  [
    'details that would be stored as something else',
    `customers: [{ id: c1, owner: t, details: { serial: [12345678901234567890] } }, { id: c2, owner: t, details: { n: 1e400 } }, { id: c3, owner: t, details: { n: ${'['.repeat(501)}${']'.repeat(501)} } }]`,
    [
      'w.yaml:1: customers[0].details: a number in it has too many digits to be kept (it would be stored as 12345678901234567000): put it in quotes',
      'w.yaml:1: customers[1].details: a number in it is too large: put it in quotes',
      'w.yaml:1: customers[2].details: is nested more than 500 deep',
    ],
  ],
  [
    'a year that Postgres does not know',
    'users: [{ id: u1, owner: a, lastLogin: 0000-01-01T00:00:00Z }]',
    ['w.yaml:1: users[0].lastLogin: expected a moment as 2026-11-27T09:30:00.123456Z, got string "0000-01-01T00:00:00Z"'],
  ],
  [
    'unknown group',
    'users: [{ id: u1, owner: a, groups: [ug, nogroup] }]',
    ['w.yaml:1: users[0].groups[1]: there is no group "nogroup" (add it to groups, or name one that exists)'],
  ],
  [
    'a group that is none',
    'users: [{ id: u1, owner: a, groups: [d, a] }]',
    [
      'w.yaml:1: users[0].groups[0]: "d" is an entity, not a group (name a group)',
      'w.yaml:1: users[0].groups[1]: "a" is a customer, not a group (name a group)',
    ],
  ],
  [
    'group of another type',
    'entities: [{ id: e1, type: ASSET, owner: a, groups: [dg] }]',
    ['w.yaml:1: entities[0].groups[0]: group "dg" holds DEVICE, and this is of type ASSET (name a group of type ASSET)'],
  ],
  [
    'group of another owner',
    'entities: [{ id: e1, type: DEVICE, owner: b, groups: [dg] }]',
    ['w.yaml:1: entities[0].groups[0]: group "dg" belongs to "a", and this to "b" (a group holds what its own owner owns: name a group of "b")'],
  ],
  [
    'foreign tenant: a group',
    'entities: [{ id: e1, type: DEVICE, owner: a, groups: [zg] }]',
    [
      'w.yaml:1: entities[0].groups[0]: group "zg" belongs to tenant "z", and this to tenant "t" (nothing refers across tenants: name a group of its own tenant)',
    ],
  ],
  [
    'foreign tenant: a role',
    'grants:\n  - userGroup: ug\n    role: zr\n    entityGroup: dg\n',
    ['w.yaml:3: grants[0].role: "zr" belongs to tenant "z", and the user group to tenant "t" (nothing refers across tenants: name one of its own tenant)'],
  ],
  [
    'foreign tenant: an entity group',
    'grants:\n  - userGroup: ug\n    role: grp\n    entityGroup: zg\n  - userGroup: ug\n    role: grp\n    entityGroup: "all:DEVICE:z"\n',
    [
      'w.yaml:4: grants[0].entityGroup: "zg" belongs to tenant "z", and the user group to tenant "t" (nothing refers across tenants: name one of its own tenant)',
      'w.yaml:7: grants[1].entityGroup: "all:DEVICE:z" belongs to tenant "z", and the user group to tenant "t" (nothing refers across tenants: name one of its own tenant)',
    ],
  ],
  [
    'unknown role',
    'grants: [{ userGroup: ug, role: norole }, { userGroup: ug, role: d }]',
    [
      'w.yaml:1: grants[0].role: there is no role "norole" (add it to roles, or name one that exists)',
      'w.yaml:1: grants[1].role: "d" is an entity, not a role (name a role)',
    ],
  ],
  [
    'unknown user group',
    'grants: [{ userGroup: nogroup, role: gen }, { userGroup: dg, role: gen }, { userGroup: u, role: gen }, { userGroup: "all:USER:nobody", role: gen }, { userGroup: "all:DEVICE:a", role: gen }]',
    [
      'w.yaml:1: grants[0].userGroup: there is no group "nogroup" (add it to groups, or name one that exists)',
      'w.yaml:1: grants[1].userGroup: "dg" is not a group of users (a role is given to a group of type USER)',
      'w.yaml:1: grants[2].userGroup: "u" is a user, not a group (name a group)',
      'w.yaml:1: grants[3].userGroup: there is no group "all:USER:nobody" (add it to groups, or name one that exists)',
      'w.yaml:1: grants[4].userGroup: "all:DEVICE:a" is not a group of users (a role is given to a group of type USER)',
    ],
  ],
  [
    'shape of a grant',
    'grants: [{ userGroup: ug, role: gen, entityGroup: dg }, { userGroup: ug, role: grp }]',
    [
      'w.yaml:1: grants[0].entityGroup: role "gen" is GENERIC and takes no entity group (leave it out)',
      'w.yaml:1: grants[1].entityGroup: is missing: role "grp" is a GROUP role (name the entity group that the role is for)',
    ],
  ],
  [
    'unknown entity group',
    'grants: [{ userGroup: ug, role: grp, entityGroup: nogroup }, { userGroup: ug, role: grp, entityGroup: d }, { userGroup: ug, role: grp, entityGroup: "all:RULE_CHAIN:a" }, { userGroup: ug, role: grp, entityGroup: "all:DEVICE:nobody" }]',
    [
      'w.yaml:1: grants[0].entityGroup: there is no group "nogroup" (add it to groups, or name one that exists)',
      'w.yaml:1: grants[1].entityGroup: "d" is an entity, not a group (name a group)',
      'w.yaml:1: grants[2].entityGroup: there is no group "all:RULE_CHAIN:a" (add it to groups, or name one that exists)',
      'w.yaml:1: grants[3].entityGroup: there is no group "all:DEVICE:nobody" (add it to groups, or name one that exists)',
    ],
  ],
  [
    'the same grant twice',
    'grants:\n  - { id: x, userGroup: ug, role: gen }\n  - { id: y, userGroup: "all:USER:a", role: grp, entityGroup: "all:DEVICE:a" }\n  - { id: z1, userGroup: "all:USER:a", role: grp, entityGroup: "all:DEVICE:a" }\n',
    [
      'w.yaml:2: grants[0]: role "gen" is given to "ug" for the same entities in the database (g1) already (leave one of the two out)',
      'w.yaml:4: grants[2]: role "grp" is given to "all:USER:a" for the same entities in w.yaml:3 already (leave one of the two out)',
    ],
  ],
  [
    'an id twice in the files',
    'entities:\n  - { id: e1, type: DEVICE, owner: a }\n  - { id: e1, type: ASSET, owner: b }\nusers:\n  - { id: e1, owner: a }\n',
    [
      'w.yaml:3: entities[1].id: "e1" is used at w.yaml:2 already (an id names one thing: give one of the two another)',
      'w.yaml:5: users[0].id: "e1" is used at w.yaml:2 already (an id names one thing: give one of the two another)',
    ],
  ],
  [
    'an id of the database',
    'entities: [{ id: d, type: DEVICE, owner: a }, { id: a, type: DEVICE, owner: t }, { id: g1, type: DEVICE, owner: t }]',
    [
      `w.yaml:1: entities[0].id: "d" is in the database already, as an entity (leave it out here, delete it there first, or import with --mode upsert, which changes what is there)\n  stored: {"kind":"entities","id":"d","type":"DEVICE","owner":"a","groups":["dg"]}\n  given:  {"kind":"entities","id":"d","type":"DEVICE","owner":"a"}`,
      `w.yaml:1: entities[1].id: "a" is in the database already, as a customer (leave it out here, delete it there first, or import with --mode upsert, which changes what is there)\n  stored: {"kind":"customers","id":"a","owner":"t","groups":[],"details":{}}\n  given:  {"kind":"entities","id":"a","type":"DEVICE","owner":"t"}`,
      `w.yaml:1: entities[2].id: "g1" is in the database already, as a grant (leave it out here, delete it there first, or import with --mode upsert, which changes what is there)\n  stored: {"kind":"grants","id":"g1","userGroup":"ug","role":"gen","shared":false}\n  given:  {"kind":"entities","id":"g1","type":"DEVICE","owner":"t"}`,
    ],
  ],
  [
    'a cycle',
    'customers:\n  - { id: c0, owner: c1 }\n  - { id: c1, owner: c2 }\n  - { id: c2, owner: c3 }\n  - { id: c3, owner: c1 }\n  - { id: c4, owner: c4 }\nentities: [{ id: e1, type: DEVICE, owner: c0 }]\n',
    [
      'w.yaml:3: customers[1].owner: "c1" would be above itself: c1 → c2 → c3 → c1 (hang one of them on a tenant, or on a customer outside the ring)',
      'w.yaml:6: customers[4].owner: "c4" would be above itself: c4 → c4 (hang one of them on a tenant, or on a customer outside the ring)',
    ],
  ],
  [
    'too deep',
    `customers:\n${Array.from({ length: 1000 }, (_, i) => `  - { id: k${i}, owner: ${i === 0 ? 'a' : `k${i - 1}`} }`).join('\n')}`,
    ['w.yaml:1001: customers[999].owner: "k999" would hang 1,001 customers deep (at most 1,000 are possible: hang it higher)'],
  ],
  [
    'names that the vocabulary has not',
    `entities: [{ id: e1, type: TOASTER, owner: a }, { id: e2, type: ROLE, owner: a }]
groups: [{ id: x1, type: RULE_CHAIN, owner: a }]
roles:
  - id: r1
    owner: t
    type: GENERIC
    permissions:
      DEVICE: [READ, FLY]
      TOASTER: [READ]
      AUDIT_LOG: [DELETE]
    excluded: { DEVICE: [SWIM] }
  - { id: r2, owner: t, type: GROUP, permissions: [READ, FLY] }
users: [{ id: u1, owner: nobody }]`,
    [
      'w.yaml:1: entities[0].type: "TOASTER" is no type of entity in the vocabulary thingsboard',
      'w.yaml:1: entities[1].type: "ROLE" is no type of entity in the vocabulary thingsboard',
      'w.yaml:2: groups[0].type: "RULE_CHAIN" is not groupable; groupable are CUSTOMER, DEVICE, ASSET, USER, ENTITY_VIEW, DASHBOARD, EDGE',
      'w.yaml:8: roles[0].permissions.DEVICE[1]: there is no operation "FLY"',
      'w.yaml:9: roles[0].permissions.TOASTER: there is no resource "TOASTER"',
      'w.yaml:10: roles[0].permissions.AUDIT_LOG[0]: DELETE is not among the operations of AUDIT_LOG',
      'w.yaml:11: roles[0].excluded.DEVICE[0]: there is no operation "SWIM"',
      'w.yaml:12: roles[1].permissions[1]: there is no operation "FLY"',
      // found by another means, and told with the rest
      'w.yaml:13: users[0].owner: there is no tenant or customer "nobody" (add it to tenants or customers, or name one that exists)',
    ],
  ],
  [
    'text that cannot be stored',
    'customers: [{ id: c1, owner: t, title: "a\\0b" }]\ngroups: [{ id: x1, type: USER, owner: a, name: "\\ud800" }]',
    [
      'w.yaml:1: customers[0].title: has a U+0000 or a lone surrogate in it (take it out)',
      'w.yaml:2: groups[0].name: has a U+0000 or a lone surrogate in it (take it out)',
    ],
  ],
  [
    'a shape that is none: nothing else is looked at',
    'users:\n  - { id: 5, owner: nobody }\n  - { id: u1,\n      ownr: a }\nentities: [{ id: "*", type: DEVICE, owner: a }, { id: admins:a, type: DEVICE, owner: a }]',
    [
      'w.yaml:2: users[0].id: expected a string, got number 5; put it in quotes',
      'w.yaml:4: users[1].ownr: unknown field; the fields here are id, owner, enabled, groups, name, email, firstName, lastName, lastLogin',
      'w.yaml:3: users[1].owner: is missing',
      'w.yaml:5: entities[0].id: "*" is reserved to the server; choose another id',
      'w.yaml:5: entities[1].id: "admins:a" is reserved to the server; choose another id',
    ],
  ],
  ['a second owner', 'entities:\n  - id: e1\n    type: DEVICE\n    owner: a\n    owner: b\n', ['w.yaml:5: Map keys must be unique']],
  ['no YAML', 'tenants: [{ id: x }\nusers: {}\n', ['w.yaml:2: Flow sequence in block collection must be sufficiently indented and end with a ]']],
];
