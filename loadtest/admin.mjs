// How long does an administrator wait?  npm run bench:admin [-- --json] [--entities N] [--directory DIR] [--only list,search,move,members]
//
// Lists and search among a million entities of one tenant, for who may read all of them, a tenth, or a few hundred; a customer moved with all
// that is below it; 50,000 members in one call. The real program, asked by HTTP with tokens; on the embedded Postgres, in a world of the generator.

import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import postgres from 'postgres';
import { signToken } from '../dist/issuers/thingsboard.js';
import { assertAll, decided, openClient, requestOf } from './checks.mjs';
import { benchmark, median, percentile } from './figures.mjs';
import { temporaryDirectory } from './processes.mjs';
import { serve } from './served.mjs';
import { PROGRAM, startServer, worldOf } from './worlds.mjs';

const SIGNING_KEY = Buffer.alloc(64, 'a key of the benches ').toString('base64');
const OPERATOR = 'the-operator-of-the-benches.0123456789abcdef';
/** Another tenant, whose users are known at the door by a header. */
const OTHER = `other-${Date.now().toString(36)}`;
const PAGE = 50;
const PAGES = 100;
const MOVES = 10;
const MEMBERS = 50_000;
const GOAL_MS = 50;
/** p99 of each list and search. @type {Map<string, number>} */
const slowest = new Map();

const { given, listed, number, say, figure, finish } = benchmark('admin', {
  entities: { type: 'string', default: '1000000' },
  directory: { type: 'string' },
  only: { type: 'string' },
});
const entities = number('entities', 1000);
const only = listed('only', ['list', 'search', 'move', 'members']);
const server = await startServer(typeof given['directory'] === 'string' ? given['directory'] : temporaryDirectory('admin'));
let version = '';
try {
  const customers = Math.ceil(entities / 100);
  const { url } = await worldOf(server, { tenants: 1, customers, users: 2 * customers, entities, seed: 1 }, say);
  const sql = postgres(url, { max: 1, onnotice: () => undefined });
  const secrets = {
    ...{ ADMIN_DATABASE_URL: url, GRANTGATE_OPERATOR_SECRETS: OPERATOR, GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: SIGNING_KEY },
  };
  const service = await serve(PROGRAM, url, { 'identity.asserted.tenants': OTHER }, secrets);
  try {
    [{ version }] = /** @type {[{ version: string }]} */ (
      /** @type {unknown} */ (await sql`select split_part(current_setting('server_version'), ' ', 1) as version`)
    );
    await measured(sql, service);
  } finally {
    await service.stop();
    await sql.end({ timeout: 5 });
  }
} finally {
  await server.stop();
}
finish({ PostgreSQL: version });

/** @typedef {ReturnType<typeof postgres>} Sql */
/** @typedef {Awaited<ReturnType<typeof serve>>} Service */
/** @typedef {{ status: number, ms: number, body: any }} Answer */
/** @typedef {(method: string, path: string, body?: object) => Promise<Answer>} Ask */

/** @param {Sql} sql @param {Service} service */
async function measured(sql, service) {
  const agent = new Agent({ keepAlive: true });
  try {
    const who = await administrators(sql);
    const asking = async (/** @type {string} */ user) => askAs(service.api, agent, await tokenOf(user));
    const callers = await Promise.all(who.map(async (one) => ({ ...one, ask: await asking(one.user) })));
    say(callers.map(({ name, owner, entities: below }) => `${name}: ${owner}, ${below} entities`).join('; '));
    if (only.includes('list')) for (const caller of callers) await lists(sql, caller);
    if (only.includes('search')) for (const caller of callers) await searches(sql, caller);
    for (const kind of ['list', 'search'].filter((each) => only.includes(each))) {
      const [name = '', p99 = NaN] = [...slowest].filter(([each]) => each.startsWith(`admin.${kind}.`)).toSorted(([, a], [, b]) => b - a)[0] ?? [];
      figure(`admin.${kind}`, p99, { unit: 'ms', most: GOAL_MS, of: 'value', note: `the slowest p99 of all: that of ${name}` });
    }
    const [tenant, big] = callers;
    if (tenant === undefined || big === undefined) throw new Error('nobody administers this world');
    if (only.includes('move')) await moves(sql, { ask: tenant.ask, big });
    if (only.includes('members')) await members(sql, { service, agent, tenant });
  } finally {
    agent.destroy();
  }
}

/** @typedef {{ name: string, owner: string, user: string, entities: number }} Administrator */
/** @typedef {Administrator & { ask: Ask }} Caller */

/** Of the tenant, of a customer with a tenth of it below, and of one with a few hundred. @param {Sql} sql @returns {Promise<Administrator[]>} */
async function administrators(sql) {
  await hangTenth(sql);
  await sql.unsafe(`create temporary table part as
    with recursive below (root, id) as (
      select id, id from grantgate.object where kind in ('tenant', 'customer')
      union all select b.root, o.id from below b join grantgate.object o on o.owner = b.id and o.kind = 'customer'),
      own as (select owner, count(*) n from grantgate.object where kind = 'entity' group by 1)
    select root, sum(own.n)::int entities, count(*)::int owners from below join own on own.owner = below.id group by 1`);
  const nearest = async (/** @type {string} */ name, /** @type {number} */ wanted) => {
    const [row] = await sql`select p.root as owner, p.entities, u.id as user from part p
      join grantgate.membership m on m.group_id = 'admins:' || p.root join grantgate.user_account u on u.id = m.member_id and u.enabled
      where ${wanted === Infinity} = exists (select from grantgate.object o where o.id = p.root and o.kind = 'tenant')
      order by ${wanted === Infinity ? sql`p.entities desc` : sql`abs(p.entities - ${wanted})`}, u.id limit 1`;
    return /** @type {Administrator} */ ({ name, ...row });
  };
  return [await nearest('tenant', Infinity), await nearest('big', entities / 10), await nearest('small', 300)];
}

/** In a generated world no customer has so much below it: the largest ones of the tenant are put below the first of them, until it has. @param {Sql} sql */
async function hangTenth(sql) {
  await sql.unsafe(`with recursive below (root, id) as (
      select o.id, o.id from grantgate.object o join grantgate.object t on t.id = o.owner and t.kind = 'tenant' where o.kind = 'customer'
      union all select b.root, o.id from below b join grantgate.object o on o.owner = b.id and o.kind = 'customer'),
      own as (select owner, count(*) n from grantgate.object where kind = 'entity' group by 1),
      part as (select root, sum(own.n)::int n from below join own on own.owner = below.id group by 1),
      ranked as (select root, sum(n) over (order by n desc, root) - n so_far, first_value(root) over (order by n desc, root) head from part)
    update grantgate.object o set owner = r.head from ranked r where o.id = r.root and r.root <> r.head and r.so_far < ${entities / 10}`);
}

/** @param {string} user */
function tokenOf(user) {
  return signToken(SIGNING_KEY, { userId: user, scope: 'TENANT_ADMIN', issuedAt: Math.floor(Date.now() / 1000), lifetime: 7_200 });
}

/** @param {number} port @param {Agent} agent @param {string} token @returns {Ask} */
function askAs(port, agent, token) {
  return (method, path, body) =>
    new Promise((resolve, reject) => {
      const begun = performance.now();
      const sent = request(
        { host: '127.0.0.1', port, method, path, agent, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' } },
        (answer) => {
          /** @type {Buffer[]} */ const parts = [];
          answer.on('data', (part) => parts.push(part)).on('error', reject);
          answer.on('end', () => {
            const ms = performance.now() - begun;
            const text = Buffer.concat(parts).toString();
            resolve({ status: answer.statusCode ?? 0, ms, body: text === '' ? null : JSON.parse(text) });
          });
        },
      );
      sent.on('error', reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
}

/** @param {Ask} ask @param {string} path */
async function right(ask, path) {
  const answer = await ask('GET', path);
  assert.equal(answer.status, 200, `${path}: ${JSON.stringify(answer.body)}`);
  return answer;
}

/** What somebody has below it, as SQL. @param {Sql} sql @param {string} owner */
function below(sql, owner) {
  return sql`(with recursive b (id) as (select ${owner}::text collate "C" union all select o.id from b join grantgate.object o on o.owner = b.id and o.kind = 'customer') select id from b)`;
}

/** @param {Sql} sql @param {Caller} caller */
async function lists(sql, caller) {
  const { name, owner, ask } = caller;
  // The answers first: the first page of devices is that of the database, filtered and sorted by it.
  const rows = await sql`select id from grantgate.object where kind = 'entity' and type = 'DEVICE' and owner in ${below(sql, owner)}
    order by lower(coalesce(label, '')) collate "C", id limit 200`;
  /** @type {string[]} */ const found = [];
  for (let cursor = ''; found.length < rows.length;) {
    const { body } = await right(ask, `/v1/entities?type=DEVICE&limit=${PAGE}${cursor}`);
    found.push(...body.items.map((/** @type {{ id: string }} */ { id }) => id));
    if (body.next === undefined) break;
    cursor = `&cursor=${body.next}`;
  }
  assert.deepEqual(
    found.slice(0, rows.length),
    rows.map(({ id }) => id),
    `${name}: the list of devices`,
  );

  /** @type {number[]} */ const first = [];
  /** @type {number[]} */ const floor = [];
  for (let i = 0; i < PAGES; i++) {
    first.push((await right(ask, `/v1/entities?limit=${PAGE}`)).ms);
    floor.push((await right(ask, '/v1/me')).ms);
  }
  told(`admin.list.${name}.first`, first, { floor, note: `${caller.entities} entities of ${entities}; the floor: \`GET /v1/me\`, in turn` });

  // Deep inside: pages of a thousand lead there.
  let cursor = '';
  for (let i = 0; i < 100; i++) {
    const { body } = await right(ask, `/v1/entities?limit=1000${cursor}`);
    if (body.next === undefined) break;
    cursor = `&cursor=${body.next}`;
  }
  /** @type {number[]} */ const deep = [];
  let [shown, empty] = [0, 0];
  floor.length = 0;
  for (let from = cursor; deep.length < PAGES;) {
    floor.push((await right(ask, '/v1/me')).ms);
    const { body, ms } = await right(ask, `/v1/entities?limit=${PAGE}${from}`);
    deep.push(ms);
    shown += body.items.length;
    if (body.items.length === 0) empty++;
    from = body.next === undefined ? cursor : `&cursor=${body.next}`;
  }
  told(`admin.list.${name}.deep`, deep, { floor, note: `${(shown / deep.length).toFixed(0)} items a page of ${PAGE}, ${empty} of ${deep.length} pages empty` });
}

/** @param {string} name @param {readonly number[]} times @param {{ floor: readonly number[], note: string }} more */
function told(name, times, { floor, note }) {
  slowest.set(name, percentile(times, 0.99));
  figure(`${name}.p50`, median(times), { unit: 'ms', floor: median(floor), most: GOAL_MS, of: 'value', note });
  figure(`${name}.p99`, percentile(times, 0.99), { unit: 'ms', floor: percentile(floor, 0.99), most: GOAL_MS, of: 'value' });
}

/** @param {Sql} sql @param {Caller} caller */
async function searches(sql, caller) {
  const { name, owner, ask } = caller;
  const rows = /** @type {{ id: string, label: string }[]} */ (
    /** @type {unknown} */ (
      await sql`select id, label from grantgate.object where kind = 'entity' and type in ('DEVICE', 'ASSET') and owner in ${below(sql, owner)}
        order by md5(id) limit 100`
    )
  );
  /** @type {number[]} */ const times = [];
  /** @type {number[]} */ const floor = [];
  for (const { id, label } of rows) {
    floor.push((await right(ask, '/v1/me')).ms);
    const whole = await right(ask, `/v1/entities?q=${encodeURIComponent(label.replace(/[a-z]/g, (letter) => letter.toUpperCase()))}`);
    assert.ok(whole.body.items.some((/** @type {{ id: string }} */ row) => row.id === id), `${name}: ${label} is found`); // prettier-ignore
    const byId = await right(ask, `/v1/entities?q=${encodeURIComponent(id)}`);
    assert.ok(byId.body.items.some((/** @type {{ id: string }} */ row) => row.id === id), `${name}: ${id} is found`); // prettier-ignore
    times.push(whole.ms, byId.ms);
    for (const share of [0.2, 0.5, 0.8])
      times.push((await right(ask, `/v1/entities?q=${encodeURIComponent(label.slice(0, Math.ceil(label.length * share)))}`)).ms);
  }
  told(`admin.search.${name}`, times, { floor, note: `${times.length} questions: beginnings of names, whole names and ids` });
}

/**
 * What a change tells the followers: rings (notifications, of which a follower hears one a transaction), ids in the log.
 * @template T @param {Sql} sql @param {() => Promise<T>} change @returns {Promise<{ value: T, rings: number, ids: readonly string[] }>}
 */
async function heard(sql, change) {
  let rings = 0;
  const [before] = await sql`select coalesce(max(n), 0)::int as n from grantgate.touched`;
  const { unlisten } = await sql.listen('grantgate', () => rings++);
  const value = await change();
  // Those that are on their way come before this one.
  await new Promise((resolve) => void sql.listen('told', () => resolve(null)).then(() => sql.notify('told', '')));
  await unlisten();
  const rows = await sql`select keys from grantgate.touched where n > ${before?.['n']}`;
  return { value, rings, ids: [...new Set(rows.flatMap(({ keys }) => /** @type {string[]} */ (keys)))] };
}

/** @param {Sql} sql @param {{ ask: Ask, big: Caller }} of */
async function moves(sql, { ask, big }) {
  const [home] = await sql`select owner from grantgate.object where id = ${big.owner}`;
  const [other] =
    await sql`select id from grantgate.object where kind = 'customer' and id not in ${below(sql, big.owner)} and id <> ${home?.['owner']} order by id limit 1`;
  const path = `/v1/customers/${encodeURIComponent(big.owner)}/owner`;
  /** @type {number[]} */ const times = [];
  /** @type {number[]} */ const keys = [];
  /** @type {number[]} */ const rings = [];
  for (let i = 0; i < 2 * MOVES; i++) {
    const { value, rings: rung, ids } = await heard(sql, () => ask('PUT', path, { owner: i % 2 === 0 ? other?.['id'] : home?.['owner'] }));
    assert.equal(value.status, 200, JSON.stringify(value.body));
    times.push(value.ms);
    rings.push(rung);
    keys.push(ids.length);
  }
  const note = `a customer with ${big.entities} entities below it, to another and back`;
  figure('admin.move', median(times), { unit: 'ms', spread: [Math.min(...times), Math.max(...times)], note });
  figure('admin.move.keys', Math.max(...keys), { unit: 'ids in the change log', most: 1, of: 'value' });
  figure('admin.move.rings', Math.max(...rings), { unit: 'notifications', most: 1, of: 'value' });
}

/** @param {Sql} sql @param {{ service: Service, agent: Agent, tenant: Caller }} of */
async function members(sql, { service, agent, tenant: { ask, owner } }) {
  const [group, theirAdmin] = [`fleet-of-${OTHER}`, `ada-of-${OTHER}`];
  const operator = askAs(service.api, agent, OPERATOR);
  const made = async (/** @type {Promise<Answer>} */ answer) => assert.equal((await answer).status, 201, JSON.stringify((await answer).body));
  await made(operator('POST', '/v1/tenants', { id: OTHER }));
  await made(operator('POST', `/v1/tenants/${OTHER}/administrator`, { id: theirAdmin }));
  const theirs = Array.from({ length: 1000 }, (_, i) => ({ id: `${OTHER}-${i}`, type: 'DEVICE' }));
  await made(askAs(service.api, agent, await tokenOf(theirAdmin))('POST', '/v1/entities/bulk', { items: theirs }));
  await made(ask('POST', '/v1/groups', { id: group, type: 'DEVICE' }));
  const add = Array.from({ length: MEMBERS }, (_, i) => `${group}-${i}`);
  await sql`insert into grantgate.object (id, tenant, kind, type, owner, label) select id, ${owner}, 'entity', 'DEVICE', ${owner}, id from unnest(${add}::text[]) id`;

  const client = await openClient(service.port, 1);
  try {
    const questions = theirs.map(({ id }) => requestOf({ user: theirAdmin, target: id, operation: 'READ' }));
    assertAll(await decided(client, questions), 200, 'another tenant, first asked');
    const { value, rings, ids } = await heard(sql, () => ask('POST', `/v1/groups/${group}/members`, { add }));
    assert.deepEqual({ status: value.status, ...value.body }, { status: 200, added: MEMBERS, removed: 0 });
    assert.deepEqual(new Set(ids), new Set(add), 'the change log names the members and nothing else');
    figure('admin.members', value.ms / 1000, { unit: `s for ${MEMBERS} members`, most: 3, of: 'value' });
    figure('admin.members.rings', rings, { unit: 'notifications', most: 1, of: 'value' });
    const misses = () => service.metric('authz_cache_requests_total', /cache="policy".*result="miss"/);
    const fills = () => service.metric('authz_store_query_duration_seconds_count');
    const [missed, filled] = [await misses(), await fills()];
    assertAll(await client.flood(questions), 200, 'another tenant, asked again');
    const note = 'checks of another tenant after that which were not answered from memory, and statements that they caused';
    figure('admin.members.refilled', (await misses()) - missed + (await fills()) - filled, { unit: 'of 1000', most: 0, of: 'value', note });
    const taken = await ask('POST', `/v1/groups/${group}/members`, { remove: add });
    assert.deepEqual({ status: taken.status, ...taken.body }, { status: 200, added: 0, removed: MEMBERS });
    figure('admin.members.removed', taken.ms / 1000, { unit: `s for ${MEMBERS} members`, most: 3, of: 'value' });
  } finally {
    client.close();
  }
  await sql`delete from grantgate.object where id = any (${add})`;
}
