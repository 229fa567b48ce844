// Is a generated world a world, as large as asked for, shaped as said, and the same for the same seed?

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { compileVocabulary, expandDefaults, parseAllGroup, parseWorldFile, vocabularyProblems, worldProblems, type WorldFile } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { runCli } from '../../src/cli.ts';
import type { Row } from '../../src/generate/row.ts';
import { generateWorld } from '../../src/generate/rows.ts';
import { shapeOf, type WorldSize } from '../../src/generate/shape.ts';
import { GROUPED, OF_TENANTS, UNGROUPED } from '../../src/generate/words.ts';
import { cli, testHost } from '../support/cli.ts';

const vocabulary = compileVocabulary(parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const seed = Number(process.env['GRANTGATE_SEED'] ?? Date.now() % 0x7fff_ffff);
console.log(`generate: GRANTGATE_SEED=${seed}`);

const rowsOf = (size: WorldSize): readonly Row[] => [...generateWorld(shapeOf(size))];

/** As whoever reads the lines gets it. */
function worldOf(rows: readonly Row[]): WorldFile {
  const lists: Record<string, unknown> = { defaults: rows.some(({ kind }) => kind === 'defaults') };
  for (const { kind, ...row } of rows) if (kind !== 'defaults') ((lists[kind] ??= []) as unknown[]).push(JSON.parse(JSON.stringify(row)));
  const { world, problems } = parseWorldFile(lists);
  expect(problems).toEqual([]);
  return world;
}

/** Grants that are dormant (semantics 1.4): not shared, and the group's owner is neither the users' owner nor below it. */
function dormantOf(world: WorldFile): number {
  const parent = new Map(world.customers.map(({ id, owner }) => [id, owner]));
  const groups = new Map(world.groups.map(({ id, owner }) => [id, owner]));
  const ownerOf = (group: string): string => parseAllGroup(group)?.owner ?? groups.get(group)!;
  return world.grants.filter(({ userGroup, entityGroup, shared }) => {
    if (entityGroup === undefined || shared) return false;
    let at: string | undefined = ownerOf(entityGroup);
    while (at !== undefined && at !== ownerOf(userGroup)) at = parent.get(at);
    return at === undefined;
  }).length;
}

const sizes = fc.record({
  customers: fc.nat(400),
  users: fc.nat(800),
  entities: fc.nat(3000),
  seed: fc.integer({ min: 0, max: 0xffff_ffff }),
  ids: fc.constantFrom('names', 'uuid'),
  tenants: fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined }),
  perUser: fc.option(fc.double({ min: 0, max: 3, noNaN: true }), { nil: undefined }),
});

test('any size: exactly so many of each, and a world without a problem, in an order in which owners come first', () => {
  fc.assert(
    fc.property(sizes, ({ tenants, perUser, ...rest }) => {
      const memberships = perUser === undefined ? Math.floor((rest.users * 3) / 2) : Math.floor(rest.users * perUser);
      const rows = rowsOf({ ...rest, ...(tenants === undefined ? {} : { tenants }), ...(perUser === undefined ? {} : { memberships }) });
      const world = worldOf(rows);
      expect([world.customers.length, world.users.length, world.entities.length]).toEqual([rest.customers, rest.users, rest.entities]);
      expect(world.tenants.length).toBe(tenants ?? Math.max(1, Math.ceil(rest.customers / 100)));
      expect(world.users.reduce((sum, { groups }) => sum + groups.length, 0)).toBe(memberships);
      // Names of nothing, foreign tenants, types and owners that differ, ids and grants that stand twice.
      expect(worldProblems(world)).toEqual([]);
      expect(vocabularyProblems(vocabulary, world)).toEqual([]);
      const depths = new Map(world.tenants.map(({ id }) => [id, 0]));
      for (const { id, owner } of world.customers) depths.set(id, depths.get(owner)! + 1); // NaN where the owner comes later
      for (const depth of depths.values()) expect(depth).toBeLessThanOrEqual(50);
    }),
    { seed, numRuns: 60 },
  );
});

describe('a larger one', () => {
  const shape = shapeOf({ customers: 6000, users: 30_000, entities: 100_000, seed });
  const world = worldOf([...generateWorld(shape)]);
  const shareOfLargest = (sizes: readonly number[], percent: number): number => {
    const sorted = sizes.toSorted((a, b) => b - a);
    const sum = (list: readonly number[]): number => list.reduce((total, size) => total + size, 0);
    return sum(sorted.slice(0, Math.ceil((sorted.length * percent) / 100))) / sum(sorted);
  };

  test('has depths from 1 to 50', () => {
    const depths = new Map(world.tenants.map(({ id }) => [id, 0]));
    for (const { id, owner } of world.customers) depths.set(id, depths.get(owner)! + 1);
    expect(new Set(depths.values())).toEqual(new Set(Array.from({ length: 51 }, (_, depth) => depth)));
  });

  test('has few large tenants and groups, and many small ones', () => {
    const tenantOf = new Map(world.tenants.map(({ id }) => [id, id]));
    for (const { id, owner } of world.customers) tenantOf.set(id, tenantOf.get(owner)!);
    const owned = new Map<string, number>();
    for (const { owner } of [...world.customers, ...world.users, ...world.entities])
      owned.set(tenantOf.get(owner)!, (owned.get(tenantOf.get(owner)!) ?? 0) + 1);
    const members = new Map<string, number>();
    for (const { groups } of [...world.users, ...world.entities, ...world.customers])
      for (const group of groups) members.set(group, (members.get(group) ?? 0) + 1);
    const figures = {
      'largest 5 % of tenants': shareOfLargest([...owned.values()], 5),
      'largest 1 % of groups': shareOfLargest([...members.values()], 1),
      'smaller half of groups': 1 - shareOfLargest([...members.values()], 50),
    };
    console.log(`shares of all: ${JSON.stringify(figures)}`);
    expect(figures['largest 5 % of tenants']).toBeGreaterThan(0.15); // 3 of 60 tenants: 0.05 if all were alike
    expect(figures['largest 1 % of groups']).toBeGreaterThan(0.1);
    expect(figures['smaller half of groups']).toBeLessThan(0.3);
  });

  test('has every type of entity, devices mostly, and roles and grants of every kind', () => {
    expect(new Set([...GROUPED.map(({ type }) => type), ...UNGROUPED, ...OF_TENANTS])).toEqual(vocabulary.entityTypes);
    expect(new Set(world.entities.map(({ type }) => type)).size).toBeGreaterThan(0.8 * vocabulary.entityTypes.size); // the rarest are half a dozen
    expect(world.entities.filter(({ type }) => type === 'DEVICE').length / world.entities.length).toBeCloseTo(0.8, 1);
    expect(new Set(world.groups.map(({ type }) => type))).toEqual(vocabulary.groupableTypes);
    expect(world.roles.filter((role) => role.type === 'GENERIC' && Object.keys(role.excluded).length > 0).length).toBeGreaterThan(100);
    expect(world.grants.filter(({ shared }) => shared).length).toBeGreaterThan(100);
    expect(world.grants.filter(({ entityGroup }) => entityGroup?.startsWith('all:')).length).toBeGreaterThan(100);
    expect(world.grants.filter(({ userGroup }) => userGroup.startsWith('all:USER:')).length).toBeGreaterThan(100);
    expect(world.users.filter(({ enabled }) => !enabled).length / world.users.length).toBeCloseTo(0.01, 2);
    expect(world.users.filter(({ name }) => /[^ -~]/.test(name ?? '')).length).toBeGreaterThan(10_000);
  });

  test('has dormant grants, about one in a hundred', () => {
    const share = dormantOf(world) / world.grants.length;
    expect(share).toBeGreaterThan(0.001);
    expect(share).toBeLessThan(0.02);
  });

  test('gives its predefined objects to everyone when it is read', () => {
    const owners = world.tenants.length + world.customers.length;
    expect(expandDefaults(world).groups.length - world.groups.length).toBe(2 * owners);
  });
});

test('the first rows of a world of 200 million are there at once: nothing is kept for a user or an entity', () => {
  const before = process.memoryUsage();
  const rows = generateWorld(shapeOf({ customers: 10_000, users: 100_000_000, entities: 100_000_000, seed }));
  const kinds: string[] = [];
  for (const { kind } of rows) if (kinds.push(kind) === 5) break;
  expect(kinds).toEqual(['defaults', 'tenants', 'tenants', 'tenants', 'tenants']);
  expect(process.memoryUsage().arrayBuffers - before.arrayBuffers).toBeLessThan(2_000_000);
});

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
const SMALL = ['generate', '--tenants', '3', '--customers', '300', '--users', '600', '--entities', '3000', '--seed', '7', '--quiet'];

// The promise of --seed, on every Node and platform. Who changes the worlds on purpose takes the new digests over from what this
// test prints, and says so in CHANGELOG.md: whoever has kept a seed gets another world from then on.
test.each([
  ['names', 'dc98aba6c217a46c790d422cd9474a1a12ce96c91bd5d972acd3e8fb10879ebc'],
  ['uuid', 'b1b420ec1c1c5ae40324f5ba9a9030485db78687605aac8bf7172d9532d5ed89'],
])('a seed is a promise: %s', async (ids, expected) => {
  const { code, stdout, stderr } = await cli([...SMALL, '--ids', ids]);
  expect([code, stderr]).toEqual([0, '']);
  expect(digest(stdout)).toBe(expected);
});

test('another seed is another world', async () => {
  const worlds = await Promise.all(['7', '8'].map((seed) => cli([...SMALL, '--seed', seed])));
  expect(worlds[0]!.stdout).not.toBe(worlds[1]!.stdout);
});

test('a seed of chance is told, with the line that repeats it', async () => {
  const first = await cli(['generate', '--customers', '20', '--users', '20', '--entities', '20', '--ids', 'uuid']);
  const [, again = ''] = /again: grantgate (.*)\n$/.exec(first.stderr) ?? [];
  expect((await cli(again.split(' '))).stdout).toBe(first.stdout);
  const quiet = await cli(['generate', '--entities', '20', '--quiet']);
  const [, told = ''] = /^seed (\d+)\n$/.exec(quiet.stderr) ?? [];
  expect((await cli(['generate', '--entities', '20', '--quiet', '--seed', told])).stdout).toBe(quiet.stdout);
});

test('the summary is of what was written', async () => {
  const { stdout, stderr } = await cli(['generate', '--seed', '1', '--json']);
  const lines = stdout.trimEnd().split('\n');
  const rows = lines.map((line) => JSON.parse(line) as Row);
  const count = (kind: Row['kind']): number => rows.filter((row) => row.kind === kind).length;
  const members = new Map<string, number>();
  for (const row of rows) if ('groups' in row) for (const group of row.groups ?? []) members.set(group, (members.get(group) ?? 0) + 1);
  const summary = JSON.parse(stderr) as { readonly largestGroup: { readonly id: string; readonly members: number } };
  expect(summary).toMatchObject({
    seed: 1,
    rows: lines.length,
    bytes: Buffer.byteLength(stdout),
    counts: { tenants: 1, customers: 100, users: 1000, entities: 10_000, groups: count('groups'), roles: count('roles'), grants: count('grants') },
    memberships: { users: 1500 },
    largestTenant: { id: 'tenant-000000', customers: 100, users: 1000, entities: 10_000 },
    deepestCustomer: { depth: Math.max(...shapeOf({ customers: 100, users: 1000, entities: 10_000, seed: 1 }).depth) },
  });
  expect(members.get(summary.largestGroup.id)).toBe(Math.max(...members.values()));
  expect(summary.largestGroup.members).toBe(Math.max(...members.values()));
});

test.each([
  [['--customers', '-1'], '--customers: must be a whole number from 0 to 1000000, got "-1"'],
  [['--users', '1e3'], '--users: must be a whole number from 0 to 100000000, got "1e3"'],
  [['--entities', ''], '--entities: must be a whole number from 0 to 100000000, got ""'],
  [['--tenants', '0'], '--tenants: must be a whole number from 1 to 100000, got "0"'],
  [['--users', '10', '--memberships', '31'], '--memberships: must be a whole number from 0 to 30 (3 for each of the 10 users), got "31"'],
  [['--seed', '4294967296'], '--seed: must be a whole number from 0 to 4294967295, got "4294967296"'],
  [['--ids', 'UUID'], '--ids: must be names or uuid, got "UUID"'],
])('%j is refused', async (args, message) => {
  expect(await cli(['generate', ...args])).toEqual({ code: 2, stdout: '', stderr: `grantgate: ${message}\n` });
});

describe('a reader', () => {
  const written: string[] = [];
  const generate = (write: (text: string, done?: (problem?: Error | null) => void) => unknown): Promise<{ code: number; stderr: string }> => {
    let stderr = '';
    written.length = 0;
    const stdout = { write: (text: string, done?: (problem?: Error | null) => void) => (written.push(text), write(text, done)) };
    return runCli(['generate', '--seed', '1'], testHost({ stdout, stderr: { write: (text) => (stderr += text) } })).then((code) => ({ code, stderr }));
  };

  test('that takes nothing is waited for: one chunk, not the world', async () => {
    let take: (() => void) | undefined;
    const run = generate((_text, done) => (take = () => done?.()));
    for (const expected of [1, 2, 3]) {
      await new Promise(setImmediate);
      expect(written).toHaveLength(expected);
      take?.();
    }
    for (let over = false; !over; take?.()) over = await Promise.race([run.then(() => true), new Promise<boolean>((resolve) => setImmediate(resolve, false))]);
    expect((await run).code).toBe(0);
    expect(Math.max(...written.map((text) => text.length))).toBeLessThan(70_000);
  });
  test('that goes away ends it, quietly', async () => {
    expect(await generate((_text, done) => done?.(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })))).toEqual({ code: 0, stderr: '' });
    expect(written).toHaveLength(1);
  });
  test('that is a full disk is a failure', async () => {
    expect(await generate((_text, done) => done?.(new Error('ENOSPC: no space left on device')))).toEqual({
      code: 2,
      stderr: 'grantgate: ENOSPC: no space left on device\n',
    });
  });
});
