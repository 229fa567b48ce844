// What does the memory source refuse, and what does a test do with it?

import { InputError, PolicyError, parseWorldFile, worldProblems } from 'policy-cache';
import { MemorySource } from 'policy-cache/memory';
import { describe, expect, test } from 'vitest';
import type { PullReply, WorldFile } from 'policy-cache';
import type { Tables } from '../src/tables.ts';

let commits = 0;
const newId = (): string => `00000000-0000-4000-8000-${String(commits++).padStart(12, '0')}`;

function parsed(rows: Readonly<Record<string, unknown>>): WorldFile {
  const { world, problems } = parseWorldFile(rows);
  expect(problems).toEqual([]);
  return world;
}

const world = parsed({
  tenants: [{ id: 't' }, { id: 'z' }],
  customers: [
    { id: 'b', owner: 'a' },
    { id: 'a', owner: 't' },
    { id: 'y', owner: 'z' },
  ],
  groups: [
    { id: 'staff', type: 'USER', owner: 't' },
    { id: 'meters', type: 'DEVICE', owner: 't' },
    { id: 'of-z', type: 'DEVICE', owner: 'z' },
  ],
  users: [{ id: 'ann', owner: 't', groups: ['staff'] }],
  entities: [
    { id: 'm1', type: 'DEVICE', owner: 't', groups: ['meters'] },
    { id: 'mb', type: 'DEVICE', owner: 'b' },
  ],
  roles: [
    { id: 'reader', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } },
    { id: 'on-group', owner: 't', type: 'GROUP', permissions: ['READ'] },
    { id: 'of-z-role', owner: 'z', type: 'GENERIC', permissions: {} },
  ],
  grants: [
    { id: 'p1', userGroup: 'staff', role: 'reader' },
    { id: 'p2', userGroup: 'staff', role: 'on-group', entityGroup: 'all:DEVICE:b' },
  ],
});
const grant = { id: 'p3', userGroup: 'staff', role: 'reader', shared: false };
const role = { id: 'r', owner: 't', type: 'GENERIC', permissions: {}, excluded: {} } as const;

async function attached(memory: MemorySource) {
  const heard: string[] = [];
  const attachment = await memory.attach({ ring: () => heard.push('ring'), closed: (cause) => heard.push(`closed: ${cause.message}`) });
  return { attachment, heard };
}

describe('what the model forbids is refused, by the field, and nothing is changed', () => {
  test.each<[string, (tables: Tables) => void, string]>([
    ['an id that is there', (tables) => tables.addEntity({ id: 'ann', type: 'DEVICE', owner: 't', groups: [] }), 'id'],
    ['an id that is none', (tables) => tables.addEntity({ id: '', type: 'DEVICE', owner: 't', groups: [] }), 'id'],
    ['a reserved id', (tables) => tables.addEntity({ id: 'users:t', type: 'DEVICE', owner: 't', groups: [] }), 'id'],
    ['a row for an All group', (tables) => tables.addGroup({ id: 'all:DEVICE:t', type: 'DEVICE', owner: 't' }), 'id'],
    ['a predefined group of another owner', (tables) => tables.addGroup({ id: 'admins:a', type: 'USER', owner: 't' }), 'id'],
    ['an owner’s id of 201 bytes', (tables) => tables.addCustomer({ id: 'é'.repeat(100) + 'x', owner: 't', groups: [] }), 'id'],
    ['an owner that is none', (tables) => tables.addUser({ id: 'u', owner: 'm1', enabled: true, groups: [] }), 'owner'],
    ['a customer below nothing', (tables) => tables.addCustomer({ id: 'c', owner: 'nobody', groups: [] }), 'owner'],
    ['a customer below itself', (tables) => tables.changeOwner('a', 'a'), 'owner'],
    ['a cycle', (tables) => tables.changeOwner('a', 'b'), 'owner'],
    ['a move to another tenant', (tables) => tables.changeOwner('b', 'y'), 'owner'],
    ['an entity to another tenant', (tables) => tables.changeOwner('m1', 'z'), 'owner'],
    ['another owner for a tenant', (tables) => tables.changeOwner('t', 'z'), 'id'],
    ['another owner for a group', (tables) => tables.changeOwner('meters', 'a'), 'id'],
    ['a membership twice', (tables) => tables.addMember('m1', 'meters'), 'member'],
    ['a membership in nothing', (tables) => tables.addMember('m1', 'nothing'), 'group'],
    ['a membership in what is no group', (tables) => tables.addMember('m1', 'ann'), 'group'],
    ['a membership across tenants', (tables) => tables.addMember('m1', 'of-z'), 'group'],
    ['the end of a membership that is none', (tables) => tables.removeMember('ann', 'meters'), 'member'],
    ['a grant twice', (tables) => tables.addGrant(grant), 'id'],
    ['a grant to no group', (tables) => tables.addGrant({ ...grant, userGroup: 'nobody' }), 'userGroup'],
    ['a grant to a group of devices', (tables) => tables.addGrant({ ...grant, userGroup: 'meters' }), 'userGroup'],
    ['a grant to the users of nobody', (tables) => tables.addGrant({ ...grant, userGroup: 'all:USER:nobody' }), 'userGroup'],
    ['a grant of no role', (tables) => tables.addGrant({ ...grant, role: 'nothing' }), 'role'],
    ['a grant of another tenant’s role', (tables) => tables.addGrant({ ...grant, role: 'of-z-role' }), 'role'],
    ['a GENERIC role on a group', (tables) => tables.addGrant({ ...grant, entityGroup: 'meters' }), 'entityGroup'],
    ['a GROUP role on none', (tables) => tables.addGrant({ ...grant, role: 'on-group' }), 'entityGroup'],
    ['a grant over another tenant’s group', (tables) => tables.addGrant({ ...grant, role: 'on-group', entityGroup: 'of-z' }), 'entityGroup'],
    ['a GROUP role’s content for a GENERIC one', (tables) => tables.editRole('reader', { permissions: ['READ'] }), 'permissions'],
    ['an edit of no role', (tables) => tables.editRole('ann', { permissions: {}, excluded: {} }), 'role'],
    ['a disabled device', (tables) => tables.setEnabled('m1', false), 'user'],
    ['a share of no grant', (tables) => tables.setShared('m1', true), 'grant'],
    ['the end of nothing', (tables) => tables.remove('nothing'), 'id'],
    ['the end of an owner that owns', (tables) => tables.remove('a'), 'id'],
  ])('%s', (_, write, field) => {
    const memory = new MemorySource({ newId, world });
    const { revision } = memory;
    let error: unknown;
    try {
      memory.commit((tables) => {
        tables.addRole(role); // a write of the same commit, which is given up too
        write(tables);
      });
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).field).toBe(field);
    expect(memory.revision).toEqual(revision);
    memory.commit((tables) => tables.addRole(role));
  });

  test('a customer deeper than 1,000, made so or moved there', () => {
    const customers = Array.from({ length: 999 }, (_, i) => ({ id: `c${i + 1}`, owner: i === 0 ? 't' : `c${i}` }));
    const memory = new MemorySource({
      newId,
      world: parsed({ tenants: [{ id: 't' }], customers: [...customers, { id: 'x', owner: 't' }, { id: 'x1', owner: 'x' }] }),
    });
    expect(() => memory.commit((tables) => tables.changeOwner('x', 'c999'))).toThrow(/at most 1000 deep/);
    memory.commit((tables) => tables.changeOwner('x', 'c998'));
    expect(() => memory.commit((tables) => tables.addCustomer({ id: 'x2', owner: 'x1', groups: [] }))).toThrow(/at most 1000 deep/);
  });
});

test('what cannot go into a world is told, each with its path', () => {
  const bad = parsed({
    tenants: [{ id: 't' }, { id: 't' }],
    customers: [
      { id: 'a', owner: 'b' },
      { id: 'b', owner: 'a' },
      { id: 'c', owner: 'nobody' },
    ],
    groups: [{ id: 'g', type: 'DEVICE', owner: 'nobody' }],
    users: [{ id: 'u', owner: 't', groups: ['g'] }],
    grants: [{ userGroup: 'u', role: 'r' }],
  });
  expect(worldProblems(bad).map(({ path }) => path)).toEqual([
    'tenants[1].id',
    'customers[0].owner',
    'customers[1].owner',
    'customers[2].owner',
    'groups[0].owner',
    'grants[0].userGroup',
    'users[0].groups[0].group',
  ]);
  expect(() => new MemorySource({ newId, world: bad })).toThrow(/^tenants\[1\]\.id: "t" is there already \(and 6 more problems\)$/);
});

test('an owner goes with its predefined objects, and so do the grants over its All groups', async () => {
  const memory = new MemorySource({
    newId,
    world: {
      ...parsed({
        defaults: true,
        tenants: [{ id: 't' }],
        customers: [{ id: 'a', owner: 't' }],
        groups: [{ id: 'staff', type: 'USER', owner: 't' }],
        roles: [{ id: 'r', owner: 't', type: 'GROUP', permissions: ['READ'] }],
        grants: [{ id: 'p', userGroup: 'staff', role: 'r', entityGroup: 'all:DEVICE:a' }],
      }),
    },
  });
  const { attachment } = await attached(memory);
  const gone = ['a', 'admins:a', 'users:a', 'role:admin:a', 'role:user:a', 'grant:admins:a>role:admin:a', 'grant:users:a>role:user:a', 'p'];
  expect((await attachment.objects(gone)).rows.length).toBe(gone.length);
  const { version } = memory.revision;
  memory.commit((tables) => tables.remove('a'));
  expect((await attachment.objects(gone)).rows).toEqual([]);
  const touched = (pull: PullReply, tag: string): readonly string[] =>
    pull.changes
      .filter((change) => change[2] === tag)
      .flatMap((change) => change[3])
      .toSorted();
  const pull = await attachment.pull({ cursor: version, limit: 1_001, ask: [] });
  expect(touched(pull, 'o')).toEqual(gone.toSorted());
  expect(touched(pull, 'g')).toEqual(['admins:a', 'staff', 'users:a']);
  expect([touched(pull, 'n'), pull.tree]).toEqual([['a'], [['a', null]]]);
});

describe('the log of large commits', () => {
  const entities = (count: number) => (tables: Tables) => {
    for (let i = 0; i < count; i++) tables.addEntity({ id: `e${i}`, type: 'DEVICE', owner: 't', groups: [] });
  };
  test('names 10,000 keys a row, and up to 100,000', async () => {
    const memory = new MemorySource({ newId, world: parsed({ tenants: [{ id: 't' }] }) });
    const { attachment } = await attached(memory);
    const { version } = memory.revision;
    memory.commit(entities(25_000));
    const { changes, over } = await attachment.pull({ cursor: version, limit: 1_001, ask: [] });
    expect([over, changes.map((change) => [change[2], change[3].length])]).toEqual([
      false,
      [
        ['o', 10_000],
        ['o', 10_000],
        ['o', 5_000],
      ],
    ]);
  });
  test('then says "every key"', async () => {
    const memory = new MemorySource({ newId, world: parsed({ tenants: [{ id: 't' }] }) });
    const { attachment } = await attached(memory);
    const { version } = memory.revision;
    memory.commit(entities(100_001));
    const { changes } = await attachment.pull({ cursor: version, limit: 1_001, ask: [] });
    expect(changes.map((change) => change.slice(2))).toEqual([['o', []]]);
  });
});

describe('in the hands of a test', () => {
  test('an answer that is held back is of the state that it was read in', async () => {
    let release: () => void = () => undefined;
    let held = false;
    const memory = new MemorySource({ newId, world, hold: (what) => (held && what === 'objects' ? new Promise((resolve) => (release = resolve)) : undefined) });
    const { attachment } = await attached(memory);
    const { revision } = memory;
    held = true;
    const reply = attachment.objects(['ann']);
    memory.commit((tables) => tables.setEnabled('ann', false));
    release();
    expect(await reply).toMatchObject({ stamp: revision, rows: [{ id: 'ann', enabled: true }] });
  });

  test('a ring comes in a later turn; one held back for ever never does', async () => {
    let lost = false;
    const memory = new MemorySource({ newId, world, hold: (what) => (lost && what === 'ring' ? new Promise(() => undefined) : undefined) });
    const { heard } = await attached(memory);
    memory.commit((tables) => tables.setEnabled('ann', false));
    expect(heard).toEqual([]);
    await Promise.resolve();
    expect(heard).toEqual(['ring']);
    lost = true;
    memory.commit((tables) => tables.setEnabled('ann', true));
    await Promise.resolve();
    expect(heard).toEqual(['ring']);
  });

  test('stopped, it ends its sessions, pending calls and all, and refuses new ones until it is started again', async () => {
    const memory = new MemorySource({ newId, world, hold: (what) => (what === 'load' ? new Promise(() => undefined) : undefined) });
    const { attachment, heard } = await attached(memory);
    const pending = attachment.load(() => undefined);
    memory.stop(new Error('pulled the plug'));
    await expect(pending).rejects.toThrow('pulled the plug');
    expect(heard).toEqual(['closed: pulled the plug']);
    await expect(attachment.objects([])).rejects.toThrow();
    await expect(attached(memory)).rejects.toThrow(PolicyError);
    memory.restart();
    expect((await (await attached(memory)).attachment.objects(['ann'])).rows.length).toBe(1);
  });

  test('a commit that changes nothing rings nothing and keeps the revision', async () => {
    const memory = new MemorySource({ newId, world });
    const { heard } = await attached(memory);
    const { revision } = memory;
    expect(memory.commit((tables) => tables.setEnabled('ann', true))).toEqual(revision);
    await Promise.resolve();
    expect(heard).toEqual([]);
  });
});
