// What may the users of a generated world do, said by the library over its rows alone?
//
// A slice of it: some of the smaller tenants, whole. Nothing of one tenant decides anything in another.

import { readFileSync } from 'node:fs';
import { compileVocabulary, compileWorld, expandDefaults, parseAllGroup, parseWorldFile, requestOf } from 'policy-cache';
import { parse } from 'yaml';
import { idsOf } from '../../dist/generate/ids.js';
import { rolls } from '../../dist/generate/random.js';
import { generateWorld } from '../../dist/generate/rows.js';
import { shapeOf } from '../../dist/generate/shape.js';
import { signToken } from '../../dist/issuers/thingsboard.js';

export const SIGNING_KEY = Buffer.alloc(64, 'a key of the benches ').toString('base64');
const SLICE = 12_000;

const vocabulary = compileVocabulary(parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));

/** @typedef {{ token: string, path: string, expect: number }} Ask */

/**
 * Questions for a door, with the status that is right: `hot` ones, few and of few users, and `cold` ones, each about another thing.
 * @param {import('../../src/generate/shape.ts').WorldSize} size @param {{ hot: number, cold: number }} wanted
 * @returns {Promise<{ hot: readonly Ask[], cold: readonly Ask[] }>}
 */
export async function questions(size, wanted) {
  const world = sliceOf(shapeOf(size));
  const compiled = compileWorld(vocabulary, world);
  const roll = rolls(size.seed, 1_000);
  const users = world.users.filter(() => roll(4) === 0).slice(0, 500);
  const things = world.entities.filter(({ type }) => type === 'DEVICE' || type === 'ASSET');
  const tokens = new Map();
  for (const { id } of users)
    tokens.set(id, await signToken(SIGNING_KEY, { userId: id, scope: 'TENANT_ADMIN', issuedAt: Math.floor(Date.now() / 1000), lifetime: 7_200 }));
  /** @type {Map<string, typeof things>} */ const byOwner = new Map();
  for (const thing of things) byOwner.set(thing.owner, [...(byOwner.get(thing.owner) ?? []), thing]);
  /** @param {{ id: string, type: string }} thing @param {{ id: string, owner: string }} user */
  const ask = (thing, user) => {
    const { allow } = compiled.decide(requestOf(vocabulary, { user: user.id, operation: 'READ', resource: thing.type, target: thing.id }));
    return { token: tokens.get(user.id), path: `/api/${thing.type.toLowerCase()}/${thing.id}`, expect: allow ? 200 : 403 };
  };
  /** @template T @param {readonly T[]} list @returns {T} */
  const any = (list) => /** @type {T} */ (list[roll(list.length)]);
  const hot = Array.from({ length: wanted.hot }, () => {
    const user = any(users);
    return ask(any(roll(2) === 0 ? (byOwner.get(user.owner) ?? things) : things), user);
  });
  const cold = things.slice(0, wanted.cold).map((thing) => ask(thing, any(users)));
  return { hot, cold };
}

/** @param {import('../../src/generate/shape.ts').Shape} shape */
function sliceOf(shape) {
  const ids = idsOf(shape);
  /** @type {Set<number>} */ const tenants = new Set();
  const entities = (/** @type {number} */ owner) => (shape.firstEntity[owner + 1] ?? 0) - (shape.firstEntity[owner] ?? 0);
  const sizes = new Float64Array(shape.tenants);
  for (let owner = 0; owner < shape.owners; owner++) {
    const tenant = shape.tenant[owner] ?? 0;
    sizes[tenant] = (sizes[tenant] ?? 0) + entities(owner);
  }
  for (let tenant = shape.tenants - 1, sum = 0; tenant >= 0 && sum < SLICE; tenant--) {
    tenants.add(tenant);
    sum += sizes[tenant] ?? 0;
  }
  /** @type {Set<string>} */ const owners = new Set();
  for (let owner = 0; owner < shape.owners; owner++) if (tenants.has(shape.tenant[owner] ?? 0)) owners.add(ids.owner(owner));

  /** @type {Record<string, object[]>} */ const lists = {};
  /** @type {Set<string>} */ const groups = new Set();
  const ofOurs = (/** @type {string} */ group) => groups.has(group) || owners.has(parseAllGroup(group)?.owner ?? group.slice(group.indexOf(':') + 1));
  for (const { kind, ...row } of generateWorld(shape)) {
    const ours = 'owner' in row ? owners.has(row.owner) : 'userGroup' in row ? ofOurs(row.userGroup) : 'id' in row && owners.has(row.id);
    if (!ours) continue;
    if (kind === 'groups' && 'id' in row) groups.add(row.id);
    (lists[kind] ??= []).push(row);
  }
  const { world, problems } = parseWorldFile({ defaults: true, ...lists });
  if (problems.length > 0) throw new Error(JSON.stringify(problems.slice(0, 3)));
  return expandDefaults(world);
}
