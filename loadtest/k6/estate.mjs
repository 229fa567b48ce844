// Which world is asked about, and which answers are right in it? Right by the way it is built: no line here decides anything.
//
// An estate with many buildings, each with floors, rooms and people. A person may READ every device of the own building, however deep it
// hangs (a GENERIC role), and the devices of the own lobby, which belong to the estate and are shared (a GROUP role). Nothing else: nothing of
// another building or lobby, and nothing but READ. Beside them are *movers*: each may read one device by one row, which is
// taken away and given back while they ask.

import { createHmac, randomBytes } from 'node:crypto';

const BUILDINGS = 40;
const DEVICES = 60; // of a building
const LOBBY = 5; // devices of a lobby
const LEVELS = ['', '-floor', '-room'];

/** How a mover's permission goes and comes: by each kind of row that can hold one. */
const WAYS = ['grant', 'membership', 'role', 'enabled'];

/** @typedef {{ user: string | null, method: string, path: string, permit: boolean }} Question `user` null: without a token */

/** @param {{ users: number, movers: number }} size */
export function estate({ users, movers }) {
  const people = Array.from({ length: users }, (_, i) => `person-${i}`);
  return {
    people,
    rows: [...rows(people), ...moverRows(movers)],
    questions: people.flatMap(asked),
    movers: Array.from({ length: movers }, (_, i) => mover(i)),
  };
}

const READS = { DEVICE: ['READ'] };
const generic = (/** @type {string} */ id, /** @type {string} */ owner) => ({ kind: 'roles', id, owner, type: 'GENERIC', permissions: READS });
const device = (/** @type {string} */ id, /** @type {string} */ owner) => ({ kind: 'entities', id, type: 'DEVICE', owner });

/** In the order that an import wants: owners before what they own. @param {readonly string[]} people */
function rows(people) {
  const buildings = Array.from({ length: BUILDINGS }, (_, i) => `building-${i}`);
  return [
    { kind: 'tenants', id: 'estate' },
    ...buildings.flatMap((id) =>
      LEVELS.map((level, depth) => ({ kind: 'customers', id: id + level, owner: depth === 0 ? 'estate' : id + (LEVELS[depth - 1] ?? ''), title: id + level })),
    ),
    ...buildings.flatMap((id) => [
      { kind: 'groups', id: `${id}-people`, type: 'USER', owner: id },
      { kind: 'groups', id: `${id}-lobby`, type: 'DEVICE', owner: 'estate' },
    ]),
    generic('reader', 'estate'),
    { kind: 'roles', id: 'looker', owner: 'estate', type: 'GROUP', permissions: ['READ'] },
    ...people.map((id, i) => ({ kind: 'users', id, owner: `building-${i % BUILDINGS}`, groups: [`building-${i % BUILDINGS}-people`] })),
    ...buildings.flatMap((id) => Array.from({ length: DEVICES }, (_, i) => device(`${id}-device-${i}`, id + (LEVELS[i % LEVELS.length] ?? '')))),
    ...buildings.flatMap((id) => Array.from({ length: LOBBY }, (_, i) => ({ ...device(`${id}-lobby-${i}`, 'estate'), groups: [`${id}-lobby`] }))),
    ...buildings.flatMap((id) => [
      { kind: 'grants', id: `${id}-reads`, userGroup: `${id}-people`, role: 'reader' },
      { kind: 'grants', id: `${id}-looks`, userGroup: `${id}-people`, role: 'looker', entityGroup: `${id}-lobby`, shared: true },
    ]),
  ];
}

/** What one of them asks: as much that is permitted as that is not. @param {string} person @param {number} i @returns {Question[]} */
function asked(person, i) {
  const own = `building-${i % BUILDINGS}`;
  const other = `building-${(i + 1 + (i % 7)) % BUILDINGS}`;
  const nth = (i * 13) % DEVICES;
  const question = (/** @type {string} */ id, /** @type {boolean} */ permit, method = 'GET') => ({ user: person, method, path: `/api/device/${id}`, permit });
  return [
    question(`${own}-device-${nth}`, true),
    question(`${other}-device-${nth}`, false),
    question(`${own}-lobby-${i % LOBBY}`, true),
    question(`${own}-device-${nth}`, false, 'DELETE'),
    question(`${own}-device-${(nth + 1) % DEVICES}`, true),
    question(`${other}-lobby-${i % LOBBY}`, false),
    question(`${own}-device-${(nth + 2) % DEVICES}`, true),
    { ...question(`${own}-device-${nth}`, false), user: null },
  ];
}

/** @param {number} count */
function moverRows(count) {
  return Array.from({ length: count }, (_, i) => `mover-${i}`).flatMap((id) => [
    { kind: 'groups', id: `${id}-team`, type: 'USER', owner: 'building-0' },
    generic(`${id}-role`, 'building-0'),
    { kind: 'users', id, owner: 'building-0', groups: [`${id}-team`] },
    { kind: 'grants', id: `${id}-grant`, userGroup: `${id}-team`, role: `${id}-role` },
  ]);
}

/** The statements that take and give back. @param {number} i */
function mover(i) {
  const user = `mover-${i}`;
  const way = WAYS[i % WAYS.length] ?? 'grant';
  return { user, path: '/api/device/building-0-device-0', way, ...statements(user, way) };
}

/** @param {string} user @param {string} way @returns {{ take: string, give: string }} */
function statements(user, way) {
  if (way === 'membership')
    return {
      take: `delete from grantgate.membership where member_id = '${user}'`,
      give: `insert into grantgate.membership (tenant, group_id, member_id, type, owner) values ('estate', '${user}-team', '${user}', 'USER', 'building-0')`,
    };
  if (way === 'role') {
    const set = (/** @type {object} */ to) => `update grantgate.role set permissions = '${JSON.stringify(to)}' where id = '${user}-role'`;
    return { take: set({}), give: set(READS) };
  }
  if (way === 'enabled') {
    const set = (/** @type {boolean} */ to) => `update grantgate.user_account set enabled = ${to} where id = '${user}'`;
    return { take: set(false), give: set(true) };
  }
  return {
    take: `delete from grantgate.object where id = '${user}-grant'`,
    give: `insert into grantgate.object (id, tenant, kind, type, owner) values ('${user}-grant', 'estate', 'grant', 'GROUP_PERMISSION', 'building-0');
      insert into grantgate.group_permission (id, tenant, user_owner, user_group, role, role_type)
        values ('${user}-grant', 'estate', 'building-0', '${user}-team', '${user}-role', 'GENERIC')`,
  };
}

/** An edit of the role that everybody has, each time another one. What is asked stays as it is: nobody asks for what comes and goes. @param {number} nth */
export function editForAll(nth) {
  const permissions = { DEVICE: ['READ', nth % 2 === 0 ? 'READ_TELEMETRY' : 'READ_ATTRIBUTES'] };
  return `update grantgate.role set permissions = '${JSON.stringify(permissions)}' where id = 'reader'`;
}

/** Access tokens as ThingsBoard signs them, of a key of this run. */
export function signer() {
  const key = randomBytes(64);
  const part = (/** @type {object} */ value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const iat = Math.floor(Date.now() / 1000);
  return {
    key: key.toString('base64'),
    token(/** @type {string} */ userId) {
      const body = `${part({ alg: 'HS512' })}.${part({ sub: userId, userId, scopes: ['CUSTOMER_USER'], iss: 'thingsboard.io', iat, exp: iat + 86_400 })}`;
      return `${body}.${createHmac('sha512', key).update(body).digest('base64url')}`;
    },
  };
}
