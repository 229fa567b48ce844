// Is the audit log whole? Played over what was there in the beginning, does it come to what is stored in the end?
//
// Random calls, accepted and refused, by whoever; then each row of the log is applied, and beside it what the model says of owners: one begins
// with its predefined objects, and takes them along (semantics 1.2). Whatever else goes with something has a row of its own before that.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { parse } from 'yaml';
import { expandDefaults, type WorldFile } from 'policy-cache';
import { openWriter, type Statements, type Writer } from 'policy-cache/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { worlds } from '../../policy-cache/test/arbitraries.ts';
import type { Names } from '../../policy-cache/test/reference.ts';
import { KINDS, callOf, learn, sceneOf } from '../support/admin-calls.ts';
import { insertWorld, prefixed, readWorld, storable } from '../support/admin-worlds.ts';
import { localAddition, startTestAdministration, type TestAdministration } from '../support/admin.ts';
import { vocabulary } from '../support/doors.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { withOffice } from './escalation.world.ts';

const names = parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')) as Names;
const CALLS = 20;
const sequences = Number(process.env['GRANTGATE_SEQUENCES'] ?? 15);
const seed = Number(process.env['GRANTGATE_SEED'] ?? (Date.now() ^ (process.pid << 15)) & 0x7fffffff);

let server: TestServer;
let admin: TestAdministration;
let writer: Writer;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  const database = await server.database();
  admin = await startTestAdministration(database, { addition: localAddition() });
  writer = openWriter({ url: await database.urlAs('grantgate_writer') });
});
afterAll(async () => {
  admin?.close();
  writer?.close();
  await server?.close();
});

type Row = Readonly<Record<string, unknown>> & { readonly id: string };
interface AuditRow {
  readonly id: string;
  readonly at: Date;
  readonly revision: string;
  readonly owner: string;
  readonly actor_kind: string;
  readonly actor: string;
  readonly as_user: string;
  readonly action: string;
  readonly target: string;
  readonly before: Row | null;
  readonly after: (Row & { readonly added: readonly string[]; readonly removed: readonly string[] }) | null;
  readonly request_id: string;
}

const LISTS = ['tenants', 'customers', 'groups', 'roles', 'users', 'entities', 'grants'] as const;
const listOf = (action: string): (typeof LISTS)[number] => {
  const word = action.split('.')[0]!;
  return action === 'group.share' ? 'grants' : word === 'entity' ? 'entities' : (`${word}s` as (typeof LISTS)[number]);
};

/** An API key, or a session that somebody has as another: of whom, and whose. */
interface Held {
  readonly user: string;
  readonly actor: string;
}
/** What a row of these tells of is no object. */
const OF_CREDENTIALS = /^user\.(?:key|session|login-as|activation)\b/;

/** Everything by id, with the list that it is of. */
class Replayed {
  readonly rows = new Map<string, { readonly list: string; row: Row }>();
  readonly credentials = new Map<string, Held>();

  constructor(world: WorldFile) {
    for (const list of LISTS) for (const row of world[list]) this.rows.set(row.id, { list, row: row as unknown as Row });
  }

  apply({ action, owner, target, before, after }: AuditRow): void {
    const list = listOf(action);
    if (OF_CREDENTIALS.test(action)) return this.#credential(target, before, after);
    if (action === 'group.members') return this.#members(target, after!);
    expect(this.rows.get(target)?.row ?? null, `before ${action} of ${target}`).toEqual(before);
    expect(owner, `owner of ${action} of ${target}`).toBe(this.#ownerOf(list, (after ?? before)!));
    if (after === null) return this.#remove(target);
    this.rows.set(target, { list, row: after });
    // Its keys are there when it is enabled again.
    if (list === 'users' && after['enabled'] === false) this.#ends(target, (id) => id.startsWith('session '));
    if (before === null && list === 'customers') this.#predefined(target);
  }

  #credential(user: string, before: Row | null, after: Row | null): void {
    for (const kind of ['key', 'session']) {
      const [gone, made] = [before?.[kind], after?.[kind]] as readonly ({ readonly id: string; readonly actor?: string } | undefined)[];
      if (gone) expect(this.credentials.delete(`${kind} ${gone.id}`), `${kind} that ends`).toBe(true);
      if (made) this.credentials.set(`${kind} ${made.id}`, { user, actor: made.actor ?? '' });
    }
  }

  /** Of a user that is gone, or disabled, and of whoever it was as others. */
  #ends(gone: string, which: (id: string) => boolean): void {
    for (const [id, { user, actor }] of this.credentials) if ((user === gone || actor === gone) && which(id)) this.credentials.delete(id);
  }

  #ownerOf(list: string, row: Row): unknown {
    if (list !== 'grants') return row['owner'];
    const group = String(row['userGroup']);
    return ownerOfAll(group) ?? this.rows.get(group)?.row['owner'];
  }

  #members(group: string, { added, removed }: { readonly added: readonly string[]; readonly removed: readonly string[] }): void {
    for (const [ids, put] of [
      [removed, false],
      [added, true],
    ] as const)
      for (const id of ids) {
        const held = this.rows.get(id)!;
        const groups = (held.row['groups'] as readonly string[]).filter((each) => each !== group);
        held.row = { ...held.row, groups: put ? [...groups, group].toSorted() : groups };
      }
  }

  #predefined(owner: string): void {
    for (const [list, row] of predefinedRows(owner)) this.rows.set(row.id, { list, row });
  }

  #remove(id: string): void {
    const { list } = this.rows.get(id)!;
    this.rows.delete(id);
    if (list === 'users') this.#ends(id, () => true);
    if (list === 'customers') for (const [, row] of predefinedRows(id)) this.rows.delete(row.id);
    for (const [other, held] of this.rows) {
      const { userGroup, role, entityGroup, owner, groups } = held.row as { readonly [field: string]: unknown } & { readonly groups?: readonly string[] };
      expect([userGroup, role, entityGroup, owner, ownerOfAll(userGroup), ownerOfAll(entityGroup)], `${other}, which is still there`).not.toContain(id);
      if (groups?.includes(id)) held.row = { ...held.row, groups: groups.filter((each) => each !== id) };
    }
  }
}
const ownerOfAll = (group: unknown): string | undefined => (typeof group === 'string' ? /^all:[^:]+:(.+)$/.exec(group)?.[1] : undefined);
/** With its predefined groups and roles, list by list. */
function predefinedRows(owner: string): readonly (readonly [list: string, row: Row])[] {
  const one = { ...NOTHING, defaults: true, tenants: [{ id: 'above' }], customers: [{ id: owner, owner: 'above', groups: [] }] };
  const { groups, roles, grants } = expandDefaults(one);
  return Object.entries({ groups, roles, grants }).flatMap(([list, rows]) =>
    rows.filter(({ id }) => id.includes(owner)).map((row) => [list, row as unknown as Row] as const),
  );
}
const NOTHING: WorldFile = { defaults: false, tenants: [], customers: [], groups: [], users: [], entities: [], roles: [], grants: [], checks: [] };

const credentialsOf = (db: Statements, tenants: readonly string[]): Promise<readonly (Held & { readonly id: string })[]> =>
  db.rows(
    `select * from (
        select 'key ' || id id, user_id "user", '' actor, tenant from grantgate.api_key
        union all select 'session ' || id, user_id, coalesce(actor, ''), tenant from grantgate.session) c
      where tenant = any (array(select json_array_elements_text($1::text::json)))`,
    [JSON.stringify(tenants)],
  );
const auditOf = (db: Statements, tenant: string): Promise<readonly AuditRow[]> =>
  db.rows<AuditRow>('select * from grantgate.audit where tenant = $1 order by id', [tenant]);
const sorted = (world: WorldFile): object[] => [...new Replayed(world).rows.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1));

test('played over the beginning, the log comes to what is stored; what is refused is not in it', { timeout: 300_000 }, async () => {
  console.log(`audit: GRANTGATE_SEED=${seed}`);
  const draw = fc.tuple(worlds(names), fc.array(fc.array(fc.nat(0xfffff), { minLength: 7, maxLength: 7 }), { minLength: CALLS, maxLength: CALLS }));
  const count = { calls: 0, accepted: 0, rows: 0, taken: 0, hanging: 0, credentials: 0 };
  for (const [i, [drawn, numbers]] of fc.sample(draw, { seed, numRuns: sequences }).entries()) {
    const prefix = `a${i}.`;
    const world = prefixed(withOffice(storable(drawn, vocabulary.entityTypes), i), prefix);
    await writer.write((db) => insertWorld(db, world));
    const tenants = world.tenants.map(({ id }) => id);
    const before = await writer.read((db) => readWorld(db, tenants));
    const scene = sceneOf(world, { by: `${prefix}${i % 2 === 0 ? 'chief' : 'clerk'}`, prefix });
    const made = new Map<string, { readonly actor: string; readonly user: string; readonly revision: string }>();
    for (const draws of numbers) {
      const call = callOf(scene, draws, { kinds: KINDS, aims: [] });
      if (call === null) continue;
      const requestId = randomUUID();
      const answer = await admin.ask(call.by, call.request, call.body, { 'x-request-id': requestId });
      count.calls++;
      if (answer.status >= 300) continue;
      const { actor, user } = scene.acting.get(call.by) ?? { actor: call.by, user: call.by };
      // Where there was none to end, there is nothing to tell of.
      if (call.about.does !== 'end' || (answer.body as { readonly removed: number }).removed > 0)
        made.set(requestId, { actor, user, revision: answer.headers.get('x-authz-revision')! });
      learn(scene, call, answer);
    }
    const log = (await Promise.all(tenants.map((tenant) => writer.read((db) => auditOf(db, tenant))))).flat();
    const replayed = new Replayed(before);
    for (const [at, row] of log.entries()) {
      expect(row).toMatchObject({
        actor_kind: 'user',
        actor: made.get(row.request_id)?.actor,
        as_user: made.get(row.request_id)?.user,
        revision: made.get(row.request_id)?.revision,
      });
      // A change of owners has a row for either, one after the other, and each of them has all of it.
      if (row.action.endsWith('.owner') && row.before?.['owner'] !== row.after?.['owner']) {
        const [from, to] = row.owner === row.after?.['owner'] ? [log[at - 1], row] : [row, log[at + 1]];
        expect(from).toMatchObject({ ...to, id: from?.id, at: from?.at, owner: row.before?.['owner'] });
        if (row === from) continue;
        count.taken++;
      }
      if (row.action === 'grant.delete' && log.some((other) => other.request_id === row.request_id && other.action !== row.action)) count.hanging++;
      replayed.apply(row);
    }
    expect(new Set(log.map(({ request_id }) => request_id))).toEqual(new Set(made.keys()));
    const now = await writer.read((db) => readWorld(db, tenants));
    expect([...replayed.rows.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1))).toEqual(sorted(now));
    const held = await writer.read((db) => credentialsOf(db, tenants));
    expect(new Map(held.map(({ id, user, actor }) => [id, { user, actor }]))).toEqual(replayed.credentials);
    count.credentials += held.length;
    count.accepted += made.size;
    count.rows += log.length;
  }
  console.log(
    `audit: ${sequences} sequences, ${count.calls} calls, ${count.accepted} accepted, ${count.rows} rows, ${count.taken} of owners changed, ${count.hanging} of grants that went with something, ${count.credentials} keys and sessions in the end; each replay is what is stored`,
  );
  expect(count.accepted).toBeGreaterThan(count.calls / 5);
});
