// Can anybody, by any sequence of calls, come to do what it could not do before, by itself or by whom it controls?
//
// Controlled are those whom it made, and those whose e-mail or flag it changed: it acts as them, too. Asked is every question about
// what was there before and was neither moved nor put into a group meanwhile. `GRANTGATE_SEQUENCES` lengthens the run, `GRANTGATE_SEED`
// replays it. With a clause of *covers* taken away, or a place where it is asked, the same search must find a way.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { parse } from 'yaml';
import { compileWorld, requestOf, type CompiledWorld, type Revision, type WorldFile } from 'policy-cache';
import { openWriter, type Writer } from 'policy-cache/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { resourceOf, worlds } from '../../policy-cache/test/arbitraries.ts';
import type { Names } from '../../policy-cache/test/reference.ts';
import { adminRoutes } from '../../src/api/admin/app.ts';
import { createCursors } from '../../src/api/admin/cursor.ts';
import { createAuthority } from '../../src/api/admin/needs.ts';
import { BOUNDS } from '../../src/api/admin/page.ts';
import { createPerformer } from '../../src/api/admin/perform.ts';
import { newApiKey } from '../../src/opaque.ts';
import { createPdp } from '../../src/pdp.ts';
import { KINDS, callOf, learn, sceneOf, type Call, type Scene, type Search } from '../support/admin-calls.ts';
import { insertWorld, prefixed, readWorld, storable } from '../support/admin-worlds.ts';
import { asking, startTestAdministration, type TestAdministration } from '../support/admin.ts';
import { vocabulary } from '../support/doors.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { MUTATIONS, mutated, type Mutation } from './escalation.mutations.ts';
import { CLERK, withOffice } from './escalation.world.ts';

const names = parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')) as Names;
const CALLS = 14;
/** Of a mutation: what it takes is one call, or two. */
const FEW = 6;
/** At once: each in a tenant of its own. */
const ABREAST = 4;
const sequences = Number(process.env['GRANTGATE_SEQUENCES'] ?? 80);
/** Of each mutation, until it is found. */
const budget = Math.max(sequences, 120);
const seed = Number(process.env['GRANTGATE_SEED'] ?? (Date.now() ^ (process.pid << 15)) & 0x7fffffff);

let server: TestServer;
let intact: TestAdministration;
let weakened: TestAdministration['ask'];
let writer: Writer;
let mutation: Mutation = MUTATIONS[0]!;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  const database = await server.database();
  intact = await startTestAdministration(database);
  writer = openWriter({ url: await database.urlAs('grantgate_writer') });
  weakened = asking(weakenedRoutes());
});
afterAll(async () => {
  intact?.close();
  writer?.close();
  await server?.close();
});

/** Put together as start.ts does, over the same cache and connections, with the authority of the mutation. */
function weakenedRoutes() {
  const { cache } = intact;
  const pdp = createPdp(cache, { deadline: 5_000 });
  const authority = mutated(createAuthority({ pdp, cache, vocabulary, deadline: 5_000 }), { cache, vocabulary, mutation: () => mutation });
  const applied = async (atLeast: Revision): Promise<void> => {
    await cache.check({ subject: '', operation: -1, resource: -1, target: '' }, undefined, { atLeast, deadline: 5_000 });
  };
  const performer = createPerformer({ writer, authority, applied });
  const caller = async (authorization = '') => {
    const subject = Buffer.from(authorization.replace('Bearer ', ''), 'base64url').toString();
    return { kind: 'user', subject, actor: subject, tenants: '*' } as const;
  };
  return adminRoutes({
    vocabulary,
    writer,
    authority,
    performer,
    caller,
    cursors: createCursors([]),
    bounds: BOUNDS,
    newId: randomUUID,
    newKey: newApiKey,
    version: '0',
  });
}

interface Drawn {
  readonly world: WorldFile;
  readonly by: string;
  readonly numbers: readonly (readonly number[])[];
}

const draw = fc
  .tuple(worlds(names), fc.array(fc.array(fc.nat(0xfffff), { minLength: 7, maxLength: 7 }), { minLength: 3 * CALLS, maxLength: 3 * CALLS }), fc.nat(0xfffff))
  .map(([world, numbers, which]): Drawn => {
    const there = withOffice(storable(world, vocabulary.entityTypes), which >>> 4);
    const others = there.users.filter(({ enabled }) => enabled).map(({ id }) => id);
    return { world: there, by: which % 8 < 5 ? CLERK : which % 8 < 7 ? 'chief' : others[(which >>> 8) % others.length]!, numbers };
  });

interface Outcome {
  readonly calls: number;
  readonly accepted: number;
  /** What somebody can do now; null: nothing new. */
  readonly gained: string | null;
  readonly trace: readonly string[];
}

interface Plan extends Search {
  readonly calls: number;
}

let inserted = 0;
async function played(ask: TestAdministration['ask'], drawn: Drawn, { calls: most, ...search }: Plan): Promise<Outcome> {
  const prefix = `w${inserted++}.`;
  const world = prefixed(drawn.world, prefix);
  const by = `${prefix}${drawn.by}`;
  await writer.write((db) => insertWorld(db, world));
  const scene = sceneOf(world, { by, prefix });
  const trace: string[] = [];
  let calls = 0;
  for (const numbers of drawn.numbers) {
    const call = callOf(scene, numbers, search);
    if (call === null) continue;
    const answer = await ask(call.by, call.request, call.body);
    if (answer.status >= 500) throw new Error(`${call.request} ${JSON.stringify(call.body)}: ${answer.status} ${JSON.stringify(answer.body)}`);
    calls++;
    if (answer.status < 300) {
      learn(scene, call, answer);
      trace.push(worded(call, prefix));
    }
    if (calls === most) break;
  }
  const tenants = world.tenants.map(({ id }) => id);
  const now = await writer.read((db) => readWorld(db, tenants));
  const gained = gainOf(scene, { by, before: world, was: compileWorld(vocabulary, world), is: compileWorld(vocabulary, now) });
  return { calls, accepted: trace.length, gained: gained?.replaceAll(prefix, '') ?? null, trace };
}

function worded({ by, request, body }: Call, prefix: string): string {
  return decodeURIComponent(`${by}: ${request} ${JSON.stringify(body ?? {})}`).replaceAll(prefix, '');
}

/** What one of the controlled may do now, and whoever began could not before. */
function gainOf(
  { controlled, touched }: Scene,
  { by, before, was, is }: { readonly by: string; readonly before: WorldFile; readonly was: CompiledWorld; readonly is: CompiledWorld },
): string | null {
  const { tenants, customers, groups, users, entities, roles, grants } = before;
  const owners = [...tenants, ...customers].map(({ id }) => id).filter((id) => !touched.has(id));
  const allGroups = owners.flatMap((owner) => [...vocabulary.groupableTypes].map((type) => `all:${type}:${owner}`));
  const things = [...tenants, ...customers, ...groups, ...users, ...entities, ...roles, ...grants].map(({ id }) => id).filter((id) => !touched.has(id));
  const about = [...things, ...allGroups].map((target) => ({ target, resource: resourceOf(names, before, target) }));
  const any = vocabulary.resources.map((resource) => ({ target: '*', resource }));
  const making = owners.flatMap((owner) => [
    ...vocabulary.resources.map((resource) => ({ target: '*', resource, owner })),
    ...[...groups.filter((group) => group.owner === owner), { id: `all:DEVICE:${owner}`, type: 'DEVICE' }].map(({ id, type }) => ({
      target: '*',
      resource: names.entityResource?.[type] ?? type,
      owner,
      groups: [id],
    })),
  ]);
  const questions = [
    ...[...about, ...any].flatMap((asked) => vocabulary.operations.map((operation) => ({ ...asked, operation }))),
    ...making.map((asked) => ({ ...asked, operation: 'CREATE' })),
  ];
  for (const user of controlled) {
    for (const question of questions) {
      if (!is.decide(requestOf(vocabulary, { user, ...question })).allow) continue;
      if (!was.decide(requestOf(vocabulary, { user: by, ...question })).allow) return `${by} by ${user}: ${JSON.stringify(question)}`;
    }
  }
  return null;
}

/** Several at once, until one gains something. */
async function searched(
  ask: TestAdministration['ask'],
  drawn: readonly Drawn[],
  plan: Plan,
): Promise<{ sequences: number; calls: number; accepted: number; found: Outcome | null }> {
  const sum = { sequences: 0, calls: 0, accepted: 0, found: null as Outcome | null };
  const left = [...drawn];
  const work = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined && sum.found === null; next = left.shift()) {
      const outcome = await played(ask, next, plan);
      sum.sequences++;
      sum.calls += outcome.calls;
      sum.accepted += outcome.accepted;
      if (outcome.gained !== null) sum.found ??= outcome;
    }
  };
  await Promise.all(Array.from({ length: ABREAST }, work));
  return sum;
}

const share = ({ calls, accepted }: { readonly calls: number; readonly accepted: number }): string => `${((100 * accepted) / calls).toFixed(0)} % accepted`;

test('no sequence of calls gives anybody more than it had', { timeout: 600_000 }, async () => {
  console.log(`escalation: GRANTGATE_SEED=${seed}`); // also when it fails
  const drawn = fc.sample(draw, { seed, numRuns: sequences });
  const sum = await searched(intact.ask, drawn, { calls: CALLS, kinds: KINDS, aims: [] });
  expect(sum.found?.gained ?? null, sum.found?.trace.join('\n')).toBe(null);
  console.log(`escalation: ${sum.sequences} sequences, ${sum.calls} calls, ${share(sum)}, nobody gained anything`);
  expect(sum.accepted / sum.calls).toBeGreaterThan(0.2);
});

test.each(MUTATIONS.map((each) => [each.without, each] as const))('found without %s', { timeout: 600_000 }, async (without, each) => {
  mutation = each;
  const sum = await searched(
    weakened,
    fc.sample(draw, { seed: seed ^ 0x5eed, numRuns: budget }).map((each) => ({ ...each, by: CLERK })),
    { calls: FEW, kinds: each.by, aims: each.aims ?? [] },
  );
  console.log(
    `without ${without}: ${sum.sequences} sequences, ${sum.calls} calls, ${share(sum)}: ${sum.found?.gained ?? 'nothing'}\n  ${sum.found?.trace.join('\n  ')}`,
  );
  expect(sum.found).not.toBe(null);
});
