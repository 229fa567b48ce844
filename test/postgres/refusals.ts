// Which statements must the database refuse, and by which constraint?

import { customer, entity, genericRole, grant, group, member, object, tenant } from './fixture.ts';

export const long = (bytes: number): string => 'x'.repeat(bytes);
export const IN_DG = { type: 'DEVICE', owner: 'a' };
const DROP_OBJECT_KEY = 'alter table grantgate.group_permission drop constraint group_permission_object_fkey';
export const permission = (role: string, type: string, permissions: string, excluded = '{}'): string =>
  `${object(role, 't', 'role', { type: 'ROLE', owner: 't' })}; insert into grantgate.role (id, tenant, type, permissions, excluded) values ('${role}', 't', '${type}', '${permissions}', '${excluded}')`;
const AUDIT = (kind: string, actor: string): string =>
  `select grantgate.write_audit('[{"tenant": "t", "owner": "t", "actor_kind": "${kind}", "actor": "${actor}", "as_user": "${actor}", "action": "x", "target": "d", "request_id": ""}]')`;

export const KEY = ({ hash = '0', id = 'k', user = 'u', name = 'n', expires = '2100-01-01' }): string =>
  `insert into grantgate.api_key (hash, id, tenant, user_id, name, expires, created_by) values (repeat('${hash}', 64), '${id}', 't', '${user}', '${name}', '${expires}', '')`;

export const CREDENTIAL = ({ user = 'u', login = 'u@example.com', password = '$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA' }): string =>
  `insert into grantgate.credential (user_id, tenant, login, password) values ('${user}', 't', '${login}', '${password}')`;
export const LINK = ({ user = 'u', hash = '0' }): string =>
  `insert into grantgate.activation (user_id, tenant, hash, expires, created_by) values ('${user}', 't', repeat('${hash}', 64), '2100-01-01', '')`;
interface SessionRow {
  readonly id?: string;
  readonly user?: string;
  readonly actor?: string;
  readonly hash?: string;
  readonly expires?: string;
  readonly ends?: string;
  readonly family?: string;
  readonly refresh?: string;
}
const digits = (digit: string | undefined): string => (digit === undefined ? 'null' : `repeat('${digit}', 64)`);
export const SESSION = ({ id = 's', user = 'u', actor, hash = '2', expires = '2100-01-01', ends = expires, family, refresh = family }: SessionRow): string =>
  `insert into grantgate.session (id, tenant, user_id, actor, hash, expires, ends, family, refresh)
    values ('${id}', 't', '${user}', ${actor === undefined ? 'null' : `'${actor}'`}, ${digits(hash)}, '${expires}', '${ends}', ${digits(family)}, ${digits(refresh)})`;
export const NETWORK = ({ user = 'u', hash = '5' }): string => `insert into grantgate.known_network (user_id, hash) values ('${user}', repeat('${hash}', 64))`;
export const ATTEMPT = (digit = '0'): string => `insert into grantgate.login_attempt (account, failures) values (repeat('${digit}', 64), 1)`;

/** Each constraint with statements that it alone refuses. */
export const REFUSED: readonly (readonly [constraint: string, statements: string])[] = [
  ['object_pkey', entity('d', 'DEVICE', 'a')],
  ['object_pkey', tenant('a')], // one namespace for all
  ['object_id_bytes', entity('', 'DEVICE', 'a')],
  ['object_id_bytes', entity(long(256), 'DEVICE', 'a')],
  ['object_id_bytes', entity('ä'.repeat(128), 'DEVICE', 'a')], // bytes, not characters
  ['object_id_bytes', tenant(long(201))],
  ['object_id_bytes', customer(long(201), 't')],
  ['object_id_no_control', entity('a\u0001', 'DEVICE', 'a')],
  ['object_id_no_control', entity('a\n', 'DEVICE', 'a')],
  ['object_id_no_control', entity('a\u007f', 'DEVICE', 'a')],
  ['object_id_no_control', entity('a\u009f', 'DEVICE', 'a')],
  ['object_id_reserved', entity('*', 'DEVICE', 'a')],
  ['object_id_reserved', group('all:USER:a', 'USER', 'a')],
  ['object_id_reserved', entity('admins:a', 'DEVICE', 'a')],
  ['object_id_reserved', group('admins:b', 'USER', 'a')], // another owner's
  ['object_id_reserved', group('users:a', 'DEVICE', 'a')],
  ['object_id_reserved', tenant('users:a')],
  ['object_id_reserved', genericRole('role:admin:b', 'a')],
  ['object_id_reserved', genericRole('role:other:a', 'a')],
  ['object_id_reserved', entity('role:admin:a', 'DEVICE', 'a')],
  ['object_kind', object('x', 't', 'robot', { type: 'DEVICE', owner: 'a' })],
  ['object_type', object('x', 'x', 'tenant', { type: 'DEVICE' })],
  ['object_type', object('x', 't', 'customer', { type: 'DEVICE', owner: 'a' })],
  ['object_type', object('x', 't', 'user', { type: 'DEVICE', owner: 'a' })],
  ['object_type', object('x', 't', 'role', { type: 'USER', owner: 'a' })],
  ['object_type', object('x', 't', 'grant', { type: 'USER', owner: 'a' })],
  ['object_type', entity('x', 'USER', 'a')],
  ['object_type', entity('x', 'device', 'a')],
  ['object_type', group('x', 'ROLE', 'a')],
  ['object_tenant_is_root', object('x', 't', 'tenant', { type: 'TENANT' })],
  ['object_tenant_is_root', object('x', 'x', 'tenant', { type: 'TENANT', owner: 't' })],
  ['object_tenant_is_root', object('x', 'x', 'customer', { type: 'CUSTOMER', owner: 't' })],
  ['object_tenant_is_root', object('x', 't', 'entity', { type: 'DEVICE' })],
  ['object_not_own_owner', object('x', 't', 'customer', { type: 'CUSTOMER', owner: 'x' })],
  ['object_label_length', `update grantgate.object set label = '${long(1001)}' where id = 'd'`],
  ['object_owner_fkey', entity('x', 'DEVICE', 'nobody')],
  ['object_owner_fkey', entity('x', 'DEVICE', 'zc')], // another tenant's
  ['object_owner_fkey', entity('x', 'DEVICE', 'u')], // a user owns nothing
  ['object_owner_fkey', entity('x', 'DEVICE', 'dg')],
  ['object_owner_fkey', `update grantgate.object set owner = 'zc' where id = 'd'`],
  ['object_owner_fkey', `delete from grantgate.object where id = 'a'`],
  ['object_owner_fkey', `delete from grantgate.object where id = 't'`],
  ['object_fixed', `update grantgate.object set id = 'x' where id = 'd'`],
  ['object_fixed', `update grantgate.object set tenant = 'z' where id = 'd'`],
  ['object_fixed', `update grantgate.object set kind = 'group' where id = 'd'`],
  ['object_fixed', `update grantgate.object set type = 'ASSET' where id = 'd'`],
  ['object_fixed', `update grantgate.object set owner = 't' where id = 'dg'`],
  ['second_row', object('x', 't', 'user', { type: 'USER', owner: 'a' })],
  ['second_row', object('x', 't', 'customer', { type: 'CUSTOMER', owner: 'a' })],
  ['second_row', object('x', 't', 'role', { type: 'ROLE', owner: 'a' })],
  ['second_row', object('x', 't', 'grant', { type: 'GROUP_PERMISSION', owner: 'a' })],
  ['second_row_fixed', `${object('x', 't', 'user', { type: 'USER', owner: 'a' })}; update grantgate.user_account set id = 'x' where id = 'u'`],
  ['second_row_fixed', `${object('x', 't', 'customer', { type: 'CUSTOMER', owner: 'a' })}; update grantgate.customer set id = 'x' where id = 'a'`],
  ['second_row_fixed', `${object('x', 't', 'role', { type: 'ROLE', owner: 'a' })}; update grantgate.role set id = 'x' where id = 'gen'`],
  [
    'second_row_fixed',
    `${object('x', 't', 'grant', { type: 'GROUP_PERMISSION', owner: 'a' })}; update grantgate.group_permission set id = 'x' where id = 'g1'`,
  ],
  ['user_account_pkey', `insert into grantgate.user_account (id, tenant) values ('u', 't')`],
  ['user_account_object_fkey', `insert into grantgate.user_account (id, tenant) values ('d', 't')`],
  ['user_account_object_fkey', `update grantgate.user_account set tenant = 'z' where id = 'u'`],
  ['customer_pkey', `insert into grantgate.customer (id, tenant) values ('a', 't')`],
  ['customer_object_fkey', `insert into grantgate.customer (id, tenant) values ('t', 't')`],
  ['customer_details_shape', `update grantgate.customer set details = '[]' where id = 'a'`],
  ['role_pkey', `insert into grantgate.role (id, tenant, type, permissions) values ('gen', 't', 'GROUP', '[]')`],
  ['role_object_fkey', `insert into grantgate.role (id, tenant, type, permissions) values ('u', 't', 'GROUP', '[]')`],
  ['role_type', permission('x', 'OTHER', '[]')],
  ['role_permissions_shape', permission('x', 'GENERIC', '["READ"]')],
  ['role_permissions_shape', permission('x', 'GENERIC', '{"DEVICE": "READ"}')],
  ['role_permissions_shape', permission('x', 'GENERIC', '{"DEVICE": [1]}')],
  ['role_permissions_shape', permission('x', 'GENERIC', '{"DEVICE": [["READ"]]}')],
  ['role_permissions_shape', permission('x', 'GENERIC', 'null')],
  ['role_permissions_shape', permission('x', 'GROUP', '{"DEVICE": ["READ"]}')],
  ['role_permissions_shape', permission('x', 'GROUP', '["READ", null]')],
  ['role_excluded_shape', permission('x', 'GENERIC', '{}', '["READ"]')],
  ['role_excluded_shape', permission('x', 'GENERIC', '{}', '{"DEVICE": {}}')],
  ['role_excluded_shape', permission('x', 'GROUP', '[]', '{"DEVICE": ["READ"]}')],
  ['membership_pkey', member('d', 'dg', IN_DG)],
  ['membership_group_fkey', member('d2', 'nogroup', IN_DG)],
  ['membership_group_fkey', member('d2', 'd', IN_DG)], // no group
  ['membership_group_fkey', member('d2', 'ag', IN_DG)], // of another type
  ['membership_group_fkey', member('d2', 'bg', IN_DG)], // of another owner
  ['membership_group_fkey', member('d2', 'zg', IN_DG)], // of another tenant
  ['membership_member_fkey', member('nobody', 'dg', IN_DG)],
  ['membership_member_fkey', member('ag', 'ag', { type: 'ASSET', owner: 'a' })], // a group in a group
  ['membership_member_fkey', member('b', 'bg', { type: 'DEVICE', owner: 'b' })],
  [
    'membership_member_fkey',
    `delete from grantgate.membership; drop trigger "A_leave_groups" on grantgate.object; ${member('d', 'dg', IN_DG)}; update grantgate.object set owner = 'b' where id = 'd'`,
  ],
  ['group_permission_pkey', `insert into grantgate.group_permission (id, tenant, user_owner, role, role_type) values ('g1', 't', 'a', 'gen', 'GENERIC')`],
  ['group_permission_unique', grant('x', ['a', 'USER', 'ug'], ['gen', 'GENERIC'])],
  ['group_permission_unique', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'DEVICE', 'dg'])],
  [
    'group_permission_unique',
    `${grant('x', ['a', 'USER'], ['grp', 'GROUP'], ['a', 'DEVICE'])}; ${grant('y', ['a', 'USER'], ['grp', 'GROUP'], ['a', 'DEVICE'])}`,
  ], // nulls are the same
  ['group_permission_shape', grant('x', ['a', 'USER', 'ug'], ['gen', 'GENERIC'], ['a', 'DEVICE', 'dg'])],
  ['group_permission_shape', grant('x', ['a', 'USER', 'ug'], ['gen', 'GENERIC'], ['a', 'DEVICE'])],
  ['group_permission_shape', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'])],
  ['group_permission_entity_type', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'ROLE'])],
  ['group_permission_entity_type', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'any'])],
  ['group_permission_object_fkey', `insert into grantgate.group_permission (id, tenant, user_owner, role, role_type) values ('x', 't', 'a', 'gen', 'GENERIC')`],
  [
    'group_permission_object_fkey',
    `${object('x', 't', 'grant', { type: 'GROUP_PERMISSION', owner: 't' })};
    insert into grantgate.group_permission (id, tenant, user_owner, role, role_type) values ('x', 't', 'a', 'gen', 'GENERIC')`,
  ], // owner of another than the user group
  ['group_permission_object_fkey', `update grantgate.object set owner = 't' where id = 'g1'`],
  // The object row's own owner says the same, so this key is reached only without the key to that row.
  [
    'group_permission_user_owner_fkey',
    `${DROP_OBJECT_KEY}; insert into grantgate.group_permission (id, tenant, user_owner, role, role_type) values ('x', 't', 'nobody', 'gen', 'GENERIC')`,
  ],
  ['group_permission_user_group_fkey', grant('x', ['a', 'USER', 'nogroup'], ['gen', 'GENERIC'])],
  ['group_permission_user_group_fkey', grant('x', ['a', 'USER', 'dg'], ['gen', 'GENERIC'])],
  ['group_permission_user_group_fkey', grant('x', ['t', 'USER', 'ug'], ['gen', 'GENERIC'])],
  ['group_permission_role_fkey', grant('x', ['a', 'USER', 'ug'], ['norole', 'GENERIC'])],
  ['group_permission_role_fkey', grant('x', ['a', 'USER', 'ug'], ['zr', 'GROUP'], ['a', 'DEVICE', 'dg'])], // of another tenant
  ['group_permission_role_fkey', grant('x', ['b', 'USER'], ['grp', 'GENERIC'])], // the wrong type, to get around the shape
  ['group_permission_role_fkey', `update grantgate.role set type = 'GROUP', permissions = '[]' where id = 'gen'`],
  ['group_permission_entity_owner_fkey', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['nobody', 'DEVICE'])],
  ['group_permission_entity_owner_fkey', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['zc', 'DEVICE'])],
  ['group_permission_entity_group_fkey', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'DEVICE', 'nogroup'])],
  ['group_permission_entity_group_fkey', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'ASSET', 'dg'])],
  ['group_permission_entity_group_fkey', grant('x', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['t', 'DEVICE', 'dg'])],
  ['object_no_cycle', `update grantgate.object set owner = 'b' where id = 'a'`],
  [
    'object_depth',
    `insert into grantgate.object (id, tenant, kind, type, owner)
    select 'deep' || i, 't', 'customer', 'CUSTOMER', case i when 1 then 't' else 'deep' || i - 1 end from generate_series(1, 1001) i`,
  ],
  ['touched_tag', `insert into grantgate.touched (tag, keys) values ('x', '{}')`],
  ['touched_pkey', `insert into grantgate.touched (n, tag, keys) overriding system value select n, 'o', '{}' from grantgate.touched limit 1`],
  ['change_pkey', `insert into grantgate.change (version, n) values (0, 0)`],
  ['follower_id', `select grantgate.report('', 1, '', 1)`],
  ['follower_pkey', `insert into grantgate.follower values ('f', 'x', null, null, now(), now()), ('f', 'x', null, null, now(), now())`],
  ['fleet_pkey', `insert into grantgate.fleet (since) values (now()), (now())`],
  ['fleet_one', `insert into grantgate.fleet (one, since) values (false, now())`],
  ['lease_pkey', `insert into grantgate.lease (longest_ms) values (1)`],
  ['lease_one', `insert into grantgate.lease (one, longest_ms) values (false, 1)`],
  ['tenant_tree_pkey', `insert into grantgate.tenant_tree select * from grantgate.tenant_tree`],
  ['tenant_tree_tenant_fkey', `insert into grantgate.tenant_tree values ('nobody', 0, pg_current_xact_id())`],
  ['audit_pkey', `${AUDIT('user', 'ada')}; insert into grantgate.audit overriding system value select * from grantgate.audit`],
  ['audit_actor_kind', AUDIT('somebody', 'ada')],
  ['audit_actor', AUDIT('operator', 'ada')],
  ['audit_actor', AUDIT('user', '')],
  ['api_key_pkey', `${KEY({ id: 'x' })}; ${KEY({ id: 'y' })}`],
  ['api_key_id_key', `${KEY({ hash: '1' })}; ${KEY({ hash: '2' })}`],
  ['api_key_hash', KEY({ hash: 'A' })],
  ['api_key_id_bytes', KEY({ id: '' })],
  ['api_key_name_length', KEY({ name: 'n'.repeat(1001) })],
  ['api_key_expires', KEY({ expires: 'infinity' })],
  ['api_key_user_fkey', KEY({ user: 'nobody' })],
  ['api_key_user_fkey', KEY({ user: 'd' })], // not a user
  ['credential_pkey', `${CREDENTIAL({})}; ${CREDENTIAL({ login: 'x' })}`],
  ['credential_login_key', `${CREDENTIAL({})}; ${CREDENTIAL({ user: 'u2' })}`],
  ['credential_login', CREDENTIAL({ login: '' })],
  ['credential_login', CREDENTIAL({ login: long(1001) })],
  ['credential_login', CREDENTIAL({ login: 'U@example.com' })],
  ['credential_login', CREDENTIAL({ login: 'zoe\u0308@example.com' })],
  ['credential_password', CREDENTIAL({ password: 'in clear' })],
  ['credential_password', CREDENTIAL({ password: `$argon2id$${long(500)}` })],
  ['credential_user_fkey', CREDENTIAL({ user: 'nobody' })],
  ['credential_user_fkey', CREDENTIAL({ user: 'd' })], // not a user
  ['activation_pkey', `${LINK({})}; ${LINK({ hash: '1' })}`],
  ['activation_hash_key', `${LINK({})}; ${LINK({ user: 'u2' })}`],
  ['activation_hash', LINK({ hash: 'A' })],
  ['activation_user_fkey', LINK({ user: 'nobody' })],
  ['activation_user_fkey', LINK({ user: 'ug' })],
  ['session_pkey', `${SESSION({})}; ${SESSION({ hash: '1' })}`],
  ['session_hash_key', `${SESSION({})}; ${SESSION({ id: 'x' })}`],
  ['session_family_key', `${SESSION({ family: '3' })}; ${SESSION({ id: 'x', hash: '1', family: '3', refresh: '4' })}`],
  ['session_id_bytes', SESSION({ id: '' })],
  ['session_hash', SESSION({ hash: 'A' })],
  ['session_refresh', SESSION({ refresh: '3' })],
  ['session_refresh', SESSION({ family: 'A', refresh: '3' })],
  ['session_refresh', SESSION({ family: '3', refresh: 'A' })],
  ['session_expires', SESSION({ expires: 'infinity' })],
  ['session_expires', SESSION({ ends: 'infinity' })],
  ['session_expires', SESSION({ ends: '2099-01-01' })], // before its token
  ['session_actor', SESSION({ actor: 'u' })],
  ['session_actor', SESSION({ actor: 'u2', family: '3' })], // renewed, it would have no end
  ['session_user_fkey', SESSION({ user: 'nobody' })],
  ['session_user_fkey', SESSION({ user: 'd' })],
  ['session_actor_fkey', SESSION({ actor: 'nobody' })],
  ['session_actor_fkey', SESSION({ actor: 'd' })],
  ['session_lately', `${SESSION({ family: '3' })}; update grantgate.session set lately = array[repeat('A', 64)]`],
  ['session_lately', `${SESSION({ family: '3' })}; update grantgate.session set lately = array[null]`],
  ['session_lately', `${SESSION({ family: '3' })}; update grantgate.session set lately = array_fill(repeat('a', 64), array[33])`],
  ['known_network_pkey', `${CREDENTIAL({})}; ${NETWORK({})}; ${NETWORK({})}`],
  ['known_network_hash', `${CREDENTIAL({})}; ${NETWORK({ hash: 'A' })}`],
  ['known_network_user_fkey', NETWORK({})], // nobody who logs in here
  ['login_attempt_pkey', `${ATTEMPT()}; ${ATTEMPT()}`],
  ['login_attempt_account', ATTEMPT('A')],
  ['migration_pkey', `insert into grantgate.migration select * from grantgate.migration`],
];

/** Only targets for foreign keys: the primary key says more. */
export const IMPLIED = ['object_whole_key', 'object_node_key', 'object_second_key', 'role_type_key'];
