// Can anybody, by any sequence of calls, come to do what it could not do before, by itself or by whom it controls?
//
// Controlled are those whom it made, those whose e-mail or flag it changed, whose key or link it was told, and those as whom it has logged in: it acts
// as them, too. Asked is every question about what was there before and was neither moved nor put into a group meanwhile; and each token by which
// it is somebody else, also when what it could has been taken from it: nothing of what it came by so may answer then. `GRANTGATE_SEQUENCES`
// lengthens the run, `GRANTGATE_SEED` replays it. With a clause of *covers* taken away, or a place where it is asked, the same search must find a way.

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
import { createCaller } from '../../src/api/admin/caller.ts';
import { createCursors } from '../../src/api/admin/cursor.ts';
import { createAuthority } from '../../src/api/admin/needs.ts';
import { BOUNDS } from '../../src/api/admin/page.ts';
import { createPerformer } from '../../src/api/admin/perform.ts';
import { createAuthorize } from '../../src/authorize.ts';
import { hostClock } from '../../src/clock.ts';
import { createOpaqueTokens, hashOf, newApiKey, type OpaqueTokens } from '../../src/opaque.ts';
import { createPdp } from '../../src/pdp.ts';
import { compileRoutes } from '../../src/routes.ts';
import { KINDS, callOf, learn, sceneOf, type Call, type Scene, type Search } from '../support/admin-calls.ts';
import { insertWorld, prefixed, readWorld, storable } from '../support/admin-worlds.ts';
import { asking, localAddition, startTestAdministration, type AdminAnswer, type TestAdministration } from '../support/admin.ts';
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
/** What is played against. */
interface System {
  readonly ask: TestAdministration['ask'];
  /** Whether a door lets this token pass to what is for whoever is authenticated. */
  readonly enters: (token: string) => Promise<boolean>;
}
let administration: TestAdministration;
let intact: System;
let weakened: System;
let writer: Writer;
let mutation: Mutation = MUTATIONS[0]!;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  const database = await server.database();
  administration = await startTestAdministration(database, { addition: localAddition() });
  writer = openWriter({ url: await database.urlAs('grantgate_writer') });
  const opaque = createOpaqueTokens({ cache: administration.cache, wall: Date.now, kinds: { key: true, session: true }, deadline: 5_000 });
  intact = { ask: administration.ask, enters: door(opaque) };
  weakened = { ask: asking(weakenedRoutes(opaque)), enters: door(forgetful(opaque, () => mutation.forgets === 'doors')) };
});
afterAll(async () => {
  administration?.close();
  writer?.close();
  await server?.close();
});

/** Put together as start.ts does, over the same cache and connections, with the authority of the mutation. */
function weakenedRoutes(opaque: OpaqueTokens) {
  const { cache } = administration;
  const pdp = createPdp(cache, { deadline: 5_000 });
  const authority = mutated(createAuthority({ pdp, cache, vocabulary, deadline: 5_000 }), { cache, vocabulary, mutation: () => mutation });
  const applied = async (atLeast: Revision): Promise<void> => {
    await cache.check({ subject: '', operation: -1, resource: -1, target: '' }, undefined, { atLeast, deadline: 5_000 });
  };
  const performer = createPerformer({ writer, authority, applied });
  const addition = localAddition()({ vocabulary, writer, authority, performer, newId: randomUUID });
  const authenticate = (token: string) =>
    ({
      kind: 'user',
      subject: Buffer.from(token, 'base64url').toString(),
      authority: { name: 'test', external: false, tenants: '*' },
      expires: Infinity,
    }) as const;
  return adminRoutes({
    ...{ vocabulary, writer, authority, performer, addition },
    caller: createCaller({ operator: [], authenticate, opaque: forgetful(opaque, () => mutation.forgets === 'administration') }),
    cursors: createCursors([]),
    bounds: BOUNDS,
    newId: randomUUID,
    newKey: newApiKey,
    version: '0',
  });
}

/** Takes whoever has logged in as another for that one. */
function forgetful(opaque: OpaqueTokens, forgets: () => boolean): OpaqueTokens {
  return {
    ...opaque,
    async authenticate(...asked) {
      const who = await opaque.authenticate(...asked);
      if (!forgets() || who.kind !== 'user') return who;
      const { kind, subject, authority, expires } = who;
      return { kind, subject, authority, expires };
    },
  };
}

function door(opaque: OpaqueTokens): System['enters'] {
  const authorize = createAuthorize({
    table: compileRoutes(vocabulary, { routes: [{ method: 'GET', path: '/me', authenticated: true }] }).table,
    authenticator: { authenticate: () => ({ kind: 'refused', problem: 'bad-token' }), hits: 0, misses: 0, size: 0 },
    opaque,
    pdp: createPdp(administration.cache, { deadline: 5_000 }),
    nextId: () => '',
    clock: hostClock(),
    deadline: 5_000,
  });
  const asked = { protocol: 'test', method: 'GET', uri: '/me', parameters: null, preflight: false, credentials: 1, cookies: '', origin: '', asserted: null };
  return async (token) => {
    const { verdict, reason } = await authorize({ ...asked, credential: `Bearer ${token}`, timeout: null, atLeast: 'latest', problem: null, requestId: '' });
    if (verdict === 'unavailable') throw new Error(`the door cannot decide: ${reason}`);
    return verdict === 'permit';
  };
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
async function played(system: System, drawn: Drawn, { calls: most, ...search }: Plan): Promise<Outcome> {
  const prefix = `w${inserted++}.`;
  const world = prefixed(drawn.world, prefix);
  const by = `${prefix}${drawn.by}`;
  await writer.write((db) => insertWorld(db, world));
  const scene = sceneOf(world, { by, prefix });
  const trace: string[] = [];
  let calls = 0;
  let useless: string | null = null;
  for (const numbers of drawn.numbers) {
    const call = callOf(scene, numbers, search);
    if (call === null) continue;
    const answer = await system.ask(call.by, call.request, call.body);
    if (answer.status >= 500) throw new Error(`${call.request} ${JSON.stringify(call.body)}: ${answer.status} ${JSON.stringify(answer.body)}`);
    calls++;
    if (answer.status < 300) {
      learn(scene, call, answer);
      trace.push(worded(scene, call));
      if (call.about.does === 'act') useless ??= await refused(system, answer);
    }
    if (calls === most) break;
  }
  const tenants = world.tenants.map(({ id }) => id);
  const now = await writer.read((db) => readWorld(db, tenants));
  const gained =
    useless ??
    gainOf(scene, { by, before: world, was: compileWorld(vocabulary, world), is: compileWorld(vocabulary, now) }) ??
    (scene.acting.size === 0 ? null : ((await unlike(system, scene, now)) ?? (await outlived(system, scene, tenants))));
  return { calls, accepted: trace.length, gained: gained?.replaceAll(prefix, '') ?? null, trace };
}

function worded({ acting, prefix }: Scene, { by, request, body }: Call): string {
  const as = acting.get(by);
  return decodeURIComponent(`${as === undefined ? by : `${as.actor} as ${as.user}`}: ${request} ${JSON.stringify(body ?? {})}`).replaceAll(prefix, '');
}

/** Who may log in as another may be it. */
async function refused({ ask }: System, { body }: AdminAnswer): Promise<string | null> {
  const { accessToken, actor, user } = body as { readonly accessToken: string; readonly actor: string; readonly user: string };
  const { status } = await ask(accessToken, 'GET /v1/me');
  return status === 200 ? null : `${actor} has logged in as ${user}, and may not: ${status}`;
}

let told = 0;
let refusedAfter = 0;

/** A token that answers otherwise than it must, in the world as it is: by the session, and by whether the one who has it may. */
async function unlike({ ask, enters }: System, { acting, ended }: Scene, now: WorldFile): Promise<string | null> {
  const is = compileWorld(vocabulary, now);
  const enabled = new Set(now.users.filter((user) => user.enabled).map(({ id }) => id));
  const hashes = [...acting.keys()].map(hashOf);
  const there = await writer.read((db) =>
    db.rows<{ hash: string }>('select hash from grantgate.session where hash = any ($1::text[])', [`{${hashes.join()}}`]),
  );
  const sessions = new Set(there.map(({ hash }) => hash));
  for (const [token, { actor, user }] of acting) {
    const may = is.decide(requestOf(vocabulary, { user: actor, operation: 'IMPERSONATE', resource: 'USER', target: user })).allow;
    const good = sessions.has(hashOf(token)) && !ended.has(token) && enabled.has(user) && may;
    const [{ status }, entered] = await Promise.all([ask(token, 'GET /v1/me'), enters(token)]);
    if (good) told++;
    else refusedAfter++;
    if ((status === 200) !== good || entered !== good)
      return `${actor} as ${user} ${good ? 'is refused' : 'is let in'}: ${status} of the administration, ${entered ? 'allowed' : 'refused'} at the door`;
  }
  return null;
}

/** Whoever has logged in as another is stripped of all that it has, or disabled: what it came by so must be good for nothing. */
async function outlived(system: System, scene: Scene, tenants: readonly string[]): Promise<string | null> {
  const actors = `{${[...new Set([...scene.acting.values()].map(({ actor }) => JSON.stringify(actor)))].join()}}`;
  const [statement, what] =
    scene.made % 2 === 0
      ? ['delete from grantgate.membership where member_id = any ($1::text[])', 'stripped']
      : ['update grantgate.user_account set enabled = false where id = any ($1::text[])', 'disabled'];
  await writer.write((db) => db.rows(statement, [actors]));
  const still = await unlike(system, scene, await writer.read((db) => readWorld(db, tenants)));
  if (still !== null) return `when it is ${what}: ${still}`;
  for (const secret of scene.lasting) {
    const links = await writer.read((db) => db.rows('select 1 from grantgate.activation where hash = $1', [hashOf(secret)]));
    if (links.length > 0) return 'a link that was made by one who had logged in as another outlives that';
    if ((await system.ask(secret, 'GET /v1/me')).status === 200) return 'an API key that was made by one who had logged in as another outlives that';
  }
  return null;
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
  system: System,
  drawn: readonly Drawn[],
  plan: Plan,
): Promise<{ sequences: number; calls: number; accepted: number; found: Outcome | null }> {
  const sum = { sequences: 0, calls: 0, accepted: 0, found: null as Outcome | null };
  const left = [...drawn];
  const work = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined && sum.found === null; next = left.shift()) {
      const outcome = await played(system, next, plan);
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
  const sum = await searched(intact, drawn, { calls: CALLS, kinds: KINDS, aims: [] });
  expect(sum.found?.gained ?? null, sum.found?.trace.join('\n')).toBe(null);
  console.log(
    `escalation: ${sum.sequences} sequences, ${sum.calls} calls, ${share(sum)}, nobody gained anything; tokens as another: ${told} good, ${refusedAfter} refused`,
  );
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
