// What do checks feel when a role is edited that every user has, each in a class of permissions that has to be read again?
//
// A world of one tenant, all of its users in memory; a role that every group of users has, and that alone lets them write. Each edit takes that away or
// gives it back, so every answer says which state it is of: once one is of the new state, none that was begun later may be of the old one.

import assert from 'node:assert/strict';
import postgres from 'postgres';
import { percentile } from './figures.mjs';
import { assertAll, decided, openClient, requestOf } from './checks.mjs';
import { start, succeeded } from './processes.mjs';
import { serve } from './served.mjs';
import { PROGRAM } from './worlds.mjs';

const ROLE = 'scale-herd';
const EDITS = 8;
const EVERY_S = 1.5;
/** After an edit: so long its checks are counted as those during it. */
const DURING_MS = 1_000;
/** From an acknowledged commit to every answer being of it: many times what it takes (`npm run bench:revoke`). */
const LATEST_MS = 500;
const ASKED = 5_000;

/**
 * @param {{ url: string }} world @param {{ users: number, rate: number, say: (line: string) => void }} how
 */
export async function herd({ url }, { users, rate, say }) {
  const sql = postgres(url, { max: 2, onnotice: () => undefined });
  const service = await serve(PROGRAM, url, { 'cache.subjects': 2 * users, 'cache.classes': 2 * users });
  const client = await openClient(service.port, 64);
  try {
    await giveRole(sql, url);
    const everybody = await sql`select id from grantgate.object where kind = 'user'`;
    const begun = performance.now();
    const filled = await decided(
      client,
      everybody.map(({ id }) => requestOf({ user: id, target: '*', operation: 'READ' })),
    );
    assert.equal(filled.filter(({ status }) => status !== 200 && status !== 403).length, 0);
    const rateOfFills = everybody.length / ((performance.now() - begun) / 1000);
    const classes = await service.metric('authz_cache_entries', /"classes"/);
    say(`herd: ${everybody.length} users in ${classes} classes in memory, ${rateOfFills.toFixed(0)} a second; ${service.memoryMb().toFixed(0)} MB`);

    const requests = await questions(sql, client);
    const calm = await client.paced(requests, { rate, seconds: 6, draw: Math.random });
    assertAll(calm, 200, 'before the first edit');
    const counts = async () => [
      await service.metric('authz_cache_requests_total', /policy.*miss/),
      await service.metric('authz_store_query_duration_seconds_count'),
    ];
    const [missesBefore = 0, statementsBefore = 0] = await counts();
    /** @type {{ committed: number, expect: number }[]} */ const edits = [];
    const running = client.paced(requests, { rate, seconds: EDITS * EVERY_S + 0.5, draw: Math.random });
    for (let i = 0; i < EDITS; i++) {
      await new Promise((resolve) => setTimeout(resolve, i === 0 ? 500 : EVERY_S * 1000));
      const expect = i % 2 === 0 ? 403 : 200;
      await edit(sql, expect === 200);
      edits.push({ committed: performance.now(), expect });
    }
    const answers = await running;
    const [misses = 0, statements = 0] = await counts();
    const during = answers.filter(({ begun: at }) => edits.some(({ committed }) => at >= committed && at < committed + DURING_MS));
    const p99 = (/** @type {typeof calm} */ of) =>
      percentile(
        of.map(({ ms }) => ms),
        0.99,
      );
    return {
      p99: p99(during),
      calm: p99(calm),
      asked: requests.length,
      classes,
      fillsOfUsers: rateOfFills,
      refills: (misses - missesBefore) / (EDITS * (DURING_MS / 1000)),
      statements: (statements - statementsBefore) / (EDITS * (DURING_MS / 1000)),
      unavailable: answers.filter(({ status }) => status !== 200 && status !== 403).length,
      wrong: wrongOf(answers, edits),
    };
  } finally {
    client.close();
    await edit(sql, true);
    await sql.end({ timeout: 5 });
    await service.stop();
  }
}

/** A role of the tenant for every group that users begin in, once for a database. @param {postgres.Sql} sql @param {string} url */
async function giveRole(sql, url) {
  const [known] = await sql`select id from grantgate.object where id = ${ROLE}`;
  if (known === undefined) {
    const [tenant] = await sql`select id from grantgate.object where kind = 'tenant'`;
    const groups = await sql`select id from grantgate.object where kind = 'group' and (id like 'users:%' or id like 'admins:%')`;
    const rows = [
      { kind: 'roles', id: ROLE, owner: tenant?.['id'], type: 'GENERIC', permissions: { DEVICE: ['WRITE'] } },
      ...groups.map(({ id }) => ({ kind: 'grants', userGroup: id, role: ROLE })),
    ];
    const importer = start(process.execPath, [PROGRAM, 'import', '--mode', 'upsert', '-'], {
      env: { ADMIN_DATABASE_URL: url },
      stdin: 'pipe',
      stdout: 'ignore',
    });
    importer.child.stdin?.end(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    await succeeded(importer, 'grantgate import');
  }
  await edit(sql, true);
}

/** @param {postgres.Sql} sql @param {boolean} mayWrite */
async function edit(sql, mayWrite) {
  await sql`update grantgate.role set permissions = ${sql.json(mayWrite ? { DEVICE: ['WRITE'] } : { DEVICE: ['RPC_CALL'] })} where id = ${ROLE}`;
}

/** Users of different owners, each with a device of its owner, that the role alone lets write. @param {postgres.Sql} sql @param {Awaited<ReturnType<typeof openClient>>} client */
async function questions(sql, client) {
  const pairs = await sql`
    with u as (select distinct on (o.owner) o.owner, o.id from grantgate.object o join grantgate.user_account a on a.id = o.id and a.enabled
                 join grantgate.membership m on m.member_id = o.id and m.group_id = 'users:' || o.owner where o.kind = 'user' order by o.owner, o.id),
         d as (select distinct on (owner) owner, id from grantgate.object where kind = 'entity' and type = 'DEVICE' order by owner, id)
    select u.id as user, d.id as target from u join d using (owner) limit ${ASKED}`;
  const all = pairs.map(({ user, target }) => requestOf({ user, target, operation: 'WRITE' }));
  await settled(() => edit(sql, false));
  const without = await decided(client, all);
  const asked = without.filter(({ status }) => status === 403).map(({ question }) => all[question] ?? '');
  assert.ok(asked.length > 50, `${asked.length} of ${all.length} pairs are decided by the role`);
  await settled(() => edit(sql, true));
  const withIt = await decided(client, asked);
  assert.equal(withIt.filter(({ status }) => status !== 200).length, 0);
  return asked;
}

/** @param {() => Promise<void>} write */
async function settled(write) {
  await write();
  await new Promise((resolve) => setTimeout(resolve, LATEST_MS));
}

/** @param {readonly import('./checks.mjs').Answer[]} answers @param {readonly { committed: number, expect: number }[]} edits */
function wrongOf(answers, edits) {
  let wrong = 0;
  edits.forEach(({ committed, expect }, i) => {
    const end = edits[i + 1]?.committed ?? Infinity;
    const of = answers.filter(({ begun, ms }) => begun + ms >= committed && begun + ms < end - 50 && begun > (edits[i - 1]?.committed ?? 0));
    const first = Math.min(committed + LATEST_MS, ...of.filter(({ status }) => status === expect).map(({ begun, ms }) => begun + ms));
    wrong += of.filter(({ begun, status }) => begun > first && (status === 200 || status === 403) && status !== expect).length;
  });
  return wrong;
}
