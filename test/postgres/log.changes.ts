// What is done to the tables, and what must the log say of it? The table of coherence 3.6, statement by statement.

import { ATTEMPT, CREDENTIAL, KEY, LINK, SESSION } from './refusals.ts';
import { customer, entity, genericRole, grant, group, member, tenant, user } from './fixture.ts';

const HASH = '0'.repeat(64);
/** Of a session, and of two others. */
const [TOKEN, SECOND, THIRD] = ['2', '3', '4'].map((digit) => digit.repeat(64)) as [string, string, string];
const RENEWABLE = SESSION({ family: '5' });

export type Touched = readonly [tag: string, keys: string];

/** The table of coherence 3.6: what is done, after what was there before, and what it touches. */
export const CHANGES: readonly (readonly [what: string, statement: string, touched: readonly Touched[], before?: string])[] = [
  [
    'a tenant created',
    tenant('n'),
    [
      ['o', 'n'],
      ['n', 'n'],
    ],
  ],
  [
    'a tenant deleted',
    `delete from grantgate.object where id = 'n'`,
    [
      ['o', 'n'],
      ['n', 'n'],
    ],
    tenant('n'),
  ],
  [
    'a customer created',
    customer('n', 'a'),
    [
      ['o', 'n'],
      ['n', 'n'],
    ],
  ],
  [
    'a customer moved',
    `update grantgate.object set owner = 't' where id = 'b'`,
    [
      ['o', 'b'],
      ['n', 'b'],
    ],
  ],
  [
    'a customer deleted',
    `delete from grantgate.customer where id = 'n'`,
    [
      ['o', 'n'],
      ['n', 'n'],
    ],
    customer('n', 'a'),
  ],
  ['a user created', user('n', 'a'), [['o', 'n']]],
  ['a user given to another owner, and its memberships with it', `update grantgate.object set owner = 't' where id = 'u'`, [['o', 'u']]],
  ['a user disabled', `update grantgate.user_account set enabled = false where id = 'u'`, [['o', 'u']]],
  ['a user deleted, and its memberships with it', `delete from grantgate.user_account where id = 'u'`, [['o', 'u']]],
  ['an entity created', entity('n', 'DEVICE', 'a'), [['o', 'n']]],
  ['an entity given to another owner', `update grantgate.object set owner = 'b' where id = 'd'`, [['o', 'd']]],
  ['an entity deleted', `delete from grantgate.object where id = 'd'`, [['o', 'd']]],
  ['a group created', group('n', 'USER', 'a'), [['o', 'n']]],
  [
    'an entity group deleted: members and grants by cascade',
    `delete from grantgate.object where id = 'dg'`,
    [
      ['o', 'dg'],
      ['o', 'd'],
      ['o', 'g1'],
      ['g', 'ug'],
    ],
  ],
  [
    'a user group deleted: members and grants by cascade',
    `delete from grantgate.object where id = 'ug'`,
    [
      ['o', 'ug'],
      ['o', 'u'],
      ['o', 'g1,g2'],
      ['g', 'ug'],
    ],
  ],
  ['a membership added', member('d2', 'dg', { type: 'DEVICE', owner: 'a' }), [['o', 'd2']]],
  ['a membership removed', `delete from grantgate.membership where member_id = 'd'`, [['o', 'd']]],
  ['a membership changed', `update grantgate.membership set member_id = 'd2' where member_id = 'd'`, [['o', 'd,d2']]],
  [
    'a grant added',
    grant('n', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'DEVICE']),
    [
      ['o', 'n'],
      ['g', 'ug'],
    ],
  ],
  [
    'a grant to All users added',
    grant('n', ['a', 'USER'], ['gen', 'GENERIC']),
    [
      ['o', 'n'],
      ['g', 'all:USER:a'],
    ],
  ],
  [
    'a grant changed: shared',
    `update grantgate.group_permission set shared = true where id = 'g1'`,
    [
      ['g', 'ug'],
      ['o', 'g1'],
    ],
  ],
  [
    'a grant changed: its entities',
    `update grantgate.group_permission set entity_group = null where id = 'g1'`,
    [
      ['g', 'ug'],
      ['o', 'g1'],
    ],
  ],
  [
    'a grant changed: its user group',
    `update grantgate.group_permission set user_group = null where id = 'g1'`,
    [
      ['g', 'all:USER:a,ug'],
      ['o', 'g1'],
    ],
  ],
  [
    'a grant changed: a user group of another owner',
    `update grantgate.group_permission set user_owner = 't', user_group = 'tg' where id = 'g2'`,
    [
      ['g', 'tg,ug'],
      ['o', 'g2'],
      ['o', 'g2'],
    ],
  ],
  [
    'a grant removed',
    `delete from grantgate.group_permission where id = 'g1'`,
    [
      ['o', 'g1'],
      ['g', 'ug'],
    ],
  ],
  [
    'a grant removed, by its object',
    `delete from grantgate.object where id = 'g1'`,
    [
      ['o', 'g1'],
      ['g', 'ug'],
    ],
  ],
  ['a role created', genericRole('n', 'a'), [['o', 'n']]],
  ['a role edited: permissions', `update grantgate.role set permissions = '{"DEVICE": ["READ"]}' where id = 'gen'`, [['r', 'gen']]],
  ['a role edited: excluded', `update grantgate.role set excluded = '{"DEVICE": ["READ"]}' where id = 'gen'`, [['r', 'gen']]],
  [
    'a role deleted: its grants by cascade',
    `delete from grantgate.role where id = 'gen'`,
    [
      ['o', 'gen'],
      ['o', 'g2'],
      ['g', 'ug'],
    ],
  ],
  ['an API key made', KEY({}), [['k', HASH]]],
  ['an API key that ends earlier', `update grantgate.api_key set expires = '2090-01-01'`, [['k', HASH]], KEY({})],
  ['an API key given to another user', `update grantgate.api_key set user_id = 'u2'`, [['k', HASH]], KEY({})],
  ['an API key with another hash', `update grantgate.api_key set hash = repeat('1', 64)`, [['k', `${HASH},${'1'.repeat(64)}`]], KEY({})],
  ['an API key taken away', `delete from grantgate.api_key`, [['k', HASH]], KEY({})],
  [
    'a user deleted: its API keys by cascade',
    `delete from grantgate.object where id = 'u'`,
    [
      ['o', 'u'],
      ['k', `${HASH},${'1'.repeat(64)}`],
    ],
    `${KEY({})}; ${KEY({ hash: '1', id: 'k1' })}`,
  ],
  ['what people call an API key', `update grantgate.api_key set name = 'x', id = 'x', created_by = 'x', expires = expires`, [], KEY({})],
  ['a session begun', RENEWABLE, [['k', TOKEN]]],
  ['a session that somebody has as another', SESSION({ actor: 'u2' }), [['k', TOKEN]]],
  ['a session renewed: another token', `update grantgate.session set hash = repeat('3', 64), renewed = now()`, [['k', `${TOKEN},${SECOND}`]], RENEWABLE],
  ['a session whose token ends earlier', `update grantgate.session set expires = '2090-01-01'`, [['k', TOKEN]], RENEWABLE],
  ['a session given to somebody else', `update grantgate.session set user_id = 'u2'`, [['k', TOKEN]], RENEWABLE],
  ['a session with an actor', `update grantgate.session set actor = 'u2'`, [['k', TOKEN]], SESSION({})],
  [
    'what a session is renewed by, and when it ends',
    `update grantgate.session set refresh = repeat('7', 64), ends = '2101-01-01', renewed = now()`,
    [],
    RENEWABLE,
  ],
  ['a session ended', `delete from grantgate.session`, [['k', TOKEN]], RENEWABLE],
  [
    'a user deleted: sessions of it and by it, by cascade',
    `delete from grantgate.object where id = 'u2'`,
    [
      ['o', 'u2'],
      ['k', `${SECOND},${THIRD}`],
    ],
    `${SESSION({})}; ${SESSION({ id: 'by', hash: '3', actor: 'u2' })}; ${SESSION({ id: 'of', hash: '4', user: 'u2' })}`,
  ],
  [
    'a user disabled: sessions of it and by it end, and its link',
    `update grantgate.user_account set enabled = false where id = 'u2'`,
    [
      ['o', 'u2'],
      ['k', SECOND],
      ['k', THIRD],
    ],
    `${SESSION({})}; ${SESSION({ id: 'by', hash: '3', actor: 'u2' })}; ${SESSION({ id: 'of', hash: '4', user: 'u2' })}; ${LINK({ user: 'u2' })}`,
  ],
  [
    'two users disabled by one statement: what ends of both is one entry',
    `update grantgate.user_account set enabled = false where id in ('u', 'u2')`,
    [
      ['o', 'u,u2'],
      ['k', `${TOKEN},${SECOND},${THIRD}`],
    ],
    `${SESSION({})}; ${SESSION({ id: 'by', hash: '3', actor: 'u2' })}; ${SESSION({ id: 'of', hash: '4', user: 'u2' })}`,
  ],
  ['another e-mail: what it logs in by', `update grantgate.user_account set email = 'New@Example.com' where id = 'u'`, [], `${CREDENTIAL({})}; ${SESSION({})}`],
  ['passwords, links, attempts', `${CREDENTIAL({})}; ${LINK({})}; ${ATTEMPT()}; delete from grantgate.credential; delete from grantgate.activation`, []],
  ['by hand', `select grantgate.touch('*')`, [['*', '']]],
  ['by hand, some keys', `select grantgate.touch('o', '{x,y}')`, [['o', 'x,y']]],
  ['by hand, every key of a tag', `select grantgate.touch('g')`, [['g', '']]],
  ['name, title, label', `update grantgate.object set label = 'new name'`, []],
  ['e-mail, names, last login', `update grantgate.user_account set email = 'x@y.z', first_name = 'X', last_name = 'Y', last_login = now()`, []],
  ['what is known of a customer', `update grantgate.customer set details = '{"city": "X"}'`, []],
  [
    'updates that change nothing',
    `update grantgate.object set owner = owner; update grantgate.user_account set enabled = enabled; update grantgate.membership set owner = owner;
     update grantgate.role set permissions = permissions; update grantgate.group_permission set shared = shared`,
    [],
  ],
  ['statements that meet no row', `delete from grantgate.object where id = 'nobody'; update grantgate.role set permissions = '[]' where id = 'nobody'`, []],
];
