// What must every source do? The port of source.ts as a suite: given a way to make one, it runs against memory and Postgres alike.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseWorldFile, type WorldFile } from '../src/worldfile.ts';
import type { Permissions, Revision } from '../src/model.ts';
import type { Attachment, ClassKey, KeyRow, PullReply, Source, TreeRow } from '../src/source.ts';
import { loadAll } from './support.ts';

/** One write; several make a commit. */
export type Write =
  | { readonly do: 'insert'; readonly world: WorldFile }
  | { readonly do: 'addMember' | 'removeMember'; readonly member: string; readonly group: string }
  | { readonly do: 'changeOwner'; readonly id: string; readonly owner: string }
  | { readonly do: 'setEnabled'; readonly user: string; readonly enabled: boolean }
  | { readonly do: 'editRole'; readonly id: string; readonly permissions: Permissions }
  | { readonly do: 'setShared'; readonly grant: string; readonly shared: boolean }
  | { readonly do: 'remove'; readonly id: string }
  | { readonly do: 'insertKey' | 'updateKey'; readonly key: KeyRow }
  | { readonly do: 'removeKey'; readonly hash: string }
  | { readonly do: 'touchEverything' };

export interface SourceUnderTest {
  readonly source: Source;
  /** All of it or nothing; the revision at which it is true. */
  commit(...writes: readonly Write[]): Promise<Revision>;
  /** Forgets the log below the newest commit. */
  trim(): Promise<void>;
  /** Ends every session, as a server that goes away. */
  endSessions(): Promise<void>;
  close(): Promise<void>;
}

export function world(rows: Readonly<Record<string, unknown>>): WorldFile {
  const { world: parsed, problems } = parseWorldFile({ ...rows });
  if (problems.length > 0) throw new Error(problems.map(({ path, message }) => `${path}: ${message}`).join('; '));
  return parsed;
}

/** The same for both, whatever order a source answers in. */
export const byText = <T>(rows: readonly T[]): readonly T[] => rows.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));

const BASE = world({
  tenants: [{ id: 't' }, { id: 'other' }],
  customers: [
    { id: 'c', owner: 't' },
    { id: 'd', owner: 'c' },
    { id: 'in-group', owner: 't', groups: ['customers'] },
  ],
  groups: [
    { id: 'staff', type: 'USER', owner: 't' },
    { id: 'night', type: 'USER', owner: 't' },
    { id: 'meters', type: 'DEVICE', owner: 't' },
    { id: 'of-c', type: 'DEVICE', owner: 'c' },
    { id: 'customers', type: 'CUSTOMER', owner: 't' },
  ],
  users: [
    { id: 'ann', owner: 't', groups: ['night', 'staff'] },
    { id: 'bob', owner: 't', enabled: false },
    { id: 'Ünïcode-😀"\\{},', owner: 'd' },
  ],
  entities: [
    { id: 'm1', type: 'DEVICE', owner: 't', groups: ['meters'] },
    { id: 'm2', type: 'DEVICE', owner: 'c', groups: ['of-c'] },
  ],
  roles: [
    { id: 'all', owner: 't', type: 'GENERIC', permissions: { ALL: ['ALL'] }, excluded: { ROLE: ['DELETE'] } },
    { id: 'reader', owner: 't', type: 'GROUP', permissions: ['READ', 'no such'] },
  ],
  grants: [
    { id: 'gr1', userGroup: 'staff', role: 'all' },
    { id: 'gr2', userGroup: 'staff', role: 'reader', entityGroup: 'meters', shared: true },
    { id: 'gr3', userGroup: 'all:USER:t', role: 'reader', entityGroup: 'of-c' },
    { id: 'gr4', userGroup: 'night', role: 'reader', entityGroup: 'all:DEVICE:c' },
  ],
});
const GENERIC = { kind: 'generic', role: 'all', permissions: { ALL: ['ALL'] }, excluded: { ROLE: ['DELETE'] } };
const group = (name: string | null, more: object) => ({
  kind: 'group',
  role: 'reader',
  operations: ['READ', 'no such'],
  shared: false,
  group: name,
  type: 'DEVICE',
  ...more,
});

/** Registers the suite. `make` is called once. */
export function sourceConformance(make: () => Promise<SourceUnderTest>): void {
  let under: SourceUnderTest;
  let attachment: Attachment;
  const seen = { rings: 0, closed: [] as Error[] };
  const attach = () => under.source.attach({ ring: () => void seen.rings++, closed: (cause) => void seen.closed.push(cause) });
  const pull = (cursor: number, limit: number | null = 1_001, ask: readonly number[] = []): Promise<PullReply> => attachment.pull({ cursor, limit, ask });
  const head = async (): Promise<Revision> => (await pull(0, null)).head;
  /** What a commit touched, as `tag:key`, each once. */
  const touchedBy = async (...writes: readonly Write[]): Promise<readonly string[]> => {
    const before = await head();
    const revision = await under.commit(...writes);
    const reply = await pull(before.version);
    expect(reply.head).toEqual(revision);
    expect(reply.changes.map(([version]) => version)).toEqual(reply.changes.map(([version]) => version).toSorted((a, b) => a - b));
    expect(reply.changes.at(-1)?.slice(0, 2)).toEqual([revision.version, revision.id]);
    return byText([...new Set(reply.changes.flatMap(([, , tag, keys]) => (keys.length === 0 ? [`${tag}:{}`] : keys.map((key) => `${tag}:${key}`))))]);
  };
  const rejects = async (work: Promise<unknown>): Promise<void> => {
    expect(
      await work.then(
        () => null,
        (cause: unknown) => cause,
      ),
    ).toBeInstanceOf(Error);
  };

  beforeAll(async () => {
    under = await make();
    await under.commit({ do: 'insert', world: BASE });
    attachment = await attach();
  });
  afterAll(async () => {
    attachment.close();
    await under.close();
  });

  test('the load is every tenant and customer, stamped with the newest revision', async () => {
    const reply = await loadAll(attachment);
    expect(reply.stamp).toEqual(await head());
    expect(byText(reply.tree)).toEqual(
      byText<TreeRow>([
        ['t', [null]],
        ['other', [null]],
        ['c', ['t']],
        ['d', ['c']],
        ['in-group', ['t']],
      ]),
    );
  });

  test('objects: every kind, the groups that count, and nothing for an id that is not there', async () => {
    const { stamp, rows } = await attachment.objects([
      't',
      'd',
      'in-group',
      'ann',
      'bob',
      'Ünïcode-😀"\\{},',
      'm2',
      'meters',
      'all',
      'gr2',
      'nobody',
      'all:USER:t',
    ]);
    expect(stamp).toEqual(await head());
    const row = (id: string, kind: string, type: string, owner: string | null, groups: readonly string[] = [], enabled = true) => ({
      id,
      kind,
      type,
      owner,
      enabled,
      groups,
    });
    expect(byText(rows.map((one) => ({ ...one, groups: byText(one.groups) })))).toEqual(
      byText([
        row('t', 'tenant', 'TENANT', null),
        row('d', 'customer', 'CUSTOMER', 'c'),
        row('in-group', 'customer', 'CUSTOMER', 't', ['customers']),
        row('ann', 'user', 'USER', 't', ['night', 'staff']),
        row('bob', 'user', 'USER', 't', [], false),
        row('Ünïcode-😀"\\{},', 'user', 'USER', 'd'),
        row('m2', 'entity', 'DEVICE', 'c', ['of-c']),
        row('meters', 'group', 'DEVICE', 't'),
        row('all', 'role', 'ROLE', 't'),
        row('gr2', 'grant', 'GROUP_PERMISSION', 't'),
      ]),
    );
  });

  test('classes: the grants of each key, in the order asked, with those of the owner’s All group of users', async () => {
    const keys: ClassKey[] = [
      { owner: 't', groups: ['night', 'staff'] },
      { owner: 'd', groups: [] },
      { owner: 't', groups: [] },
      { owner: 't', groups: ['night'] },
      { owner: 't', groups: ['gone'] },
    ];
    const { stamp, grants } = await attachment.classes(keys);
    expect(stamp).toEqual(await head());
    const ofAll = group('of-c', { owner: 'c' });
    const ofNight = group(null, { owner: 'c' });
    expect(grants.map(byText)).toEqual([
      byText([GENERIC, group('meters', { owner: 't', shared: true }), ofNight, ofAll]),
      [],
      [ofAll],
      byText([ofNight, ofAll]),
      [ofAll],
    ]);
  });

  test('nothing asked is nothing answered, with a stamp', async () => {
    expect(await attachment.objects([])).toEqual({ stamp: await head(), rows: [] });
    expect(await attachment.classes([])).toEqual({ stamp: await head(), grants: [] });
    expect(await attachment.keys([])).toEqual({ stamp: await head(), rows: [] });
  });

  test('keys: user and end of those that exist; each change of one touches it, and so does the end of its user', async () => {
    const [first, second] = ['1', '2'].map((digit) => digit.repeat(64)) as [string, string];
    const key = { hash: first, user: 'Ünïcode-😀"\\{},', actor: '', expires: 1_800_000_000_123 };
    const user = world({ tenants: [], users: [{ id: 'holder', owner: 't' }] });
    expect(await touchedBy({ do: 'insertKey', key })).toEqual([`k:${first}`]);
    expect(await attachment.keys([second, first, first])).toEqual({ stamp: await head(), rows: expect.arrayContaining([key]) as unknown });
    expect((await attachment.keys([second])).rows).toEqual([]);
    expect(await touchedBy({ do: 'updateKey', key: { ...key, expires: 1_800_000_000_000 } })).toEqual([`k:${first}`]);
    expect((await attachment.keys([first])).rows).toEqual([{ ...key, expires: 1_800_000_000_000 }]);
    expect(await touchedBy({ do: 'removeKey', hash: first })).toEqual([`k:${first}`]);
    expect((await attachment.keys([first])).rows).toEqual([]);
    await touchedBy({ do: 'insert', world: user });
    await touchedBy({ do: 'insertKey', key: { ...key, hash: second, user: 'holder' } });
    expect(byText(await touchedBy({ do: 'remove', id: 'holder' }))).toEqual([`k:${second}`, 'o:holder']);
    expect((await attachment.keys([second])).rows).toEqual([]);
  });

  test('keys that somebody has as another: both are told, and it ends with either of them', async () => {
    const hashes = ['a', 'b', 'c'].map((digit) => digit.repeat(64)) as [string, string, string];
    const people = world({ tenants: [], users: ['holder', 'actor', 'deputy', 'gone'].map((id) => ({ id, owner: 't' })) });
    await touchedBy({ do: 'insert', world: people });
    const [first, second, third] = hashes;
    const key = { hash: first, user: 'holder', actor: 'actor', expires: 1_800_000_000_123 };
    expect(await touchedBy({ do: 'insertKey', key })).toEqual([`k:${first}`]);
    expect((await attachment.keys([first])).rows).toEqual([key]);
    expect(await touchedBy({ do: 'updateKey', key: { ...key, actor: 'deputy' } })).toEqual([`k:${first}`]);
    expect((await attachment.keys([first])).rows).toEqual([{ ...key, actor: 'deputy' }]);
    expect(await touchedBy({ do: 'removeKey', hash: first })).toEqual([`k:${first}`]);
    expect((await attachment.keys([first])).rows).toEqual([]);
    await touchedBy({ do: 'insertKey', key: { ...key, hash: second } }, { do: 'insertKey', key: { ...key, hash: third, actor: 'gone' } });
    expect(byText((await attachment.keys(hashes)).rows)).toEqual(
      byText([
        { ...key, hash: second },
        { ...key, hash: third, actor: 'gone' },
      ]),
    );
    expect(byText(await touchedBy({ do: 'remove', id: 'gone' }))).toEqual([`k:${third}`, 'o:gone']);
    expect((await attachment.keys(hashes)).rows).toEqual([{ ...key, hash: second }]);
    expect(byText(await touchedBy({ do: 'remove', id: 'holder' }))).toEqual([`k:${second}`, 'o:holder']);
    expect((await attachment.keys(hashes)).rows).toEqual([]);
  });

  test('each write touches what coherence 3.6 says, and a change is pulled in the order of commits', async () => {
    expect(await touchedBy({ do: 'addMember', member: 'bob', group: 'staff' })).toEqual(['o:bob']);
    expect(await touchedBy({ do: 'removeMember', member: 'bob', group: 'staff' })).toEqual(['o:bob']);
    expect(await touchedBy({ do: 'setEnabled', user: 'bob', enabled: true })).toEqual(['o:bob']);
    expect(await touchedBy({ do: 'setShared', grant: 'gr2', shared: false })).toEqual(['g:staff', 'o:gr2']);
    expect(await touchedBy({ do: 'editRole', id: 'all', permissions: { DEVICE: ['READ'] } })).toEqual(['r:all']);
    expect(await touchedBy({ do: 'insert', world: world({ entities: [{ id: 'm3', type: 'DEVICE', owner: 'c' }] }) })).toEqual(['o:m3']);
    expect(await touchedBy({ do: 'changeOwner', id: 'm1', owner: 'c' })).toEqual(['o:m1']);
    expect((await attachment.objects(['m1'])).rows).toMatchObject([{ owner: 'c', groups: [] }]);
    expect(await touchedBy({ do: 'changeOwner', id: 'd', owner: 't' })).toEqual(['n:d', 'o:d']);
    expect(await touchedBy({ do: 'insert', world: world({ customers: [{ id: 'e', owner: 'd' }] }) })).toEqual(['n:e', 'o:e']);
    expect(await touchedBy({ do: 'remove', id: 'gr3' })).toEqual(['g:all:USER:t', 'o:gr3']);
    expect(await touchedBy({ do: 'remove', id: 'staff' })).toEqual(['g:staff', 'o:ann', 'o:gr1', 'o:gr2', 'o:staff']);
    expect(await touchedBy({ do: 'remove', id: 'reader' })).toEqual(['g:night', 'o:gr4', 'o:reader']);
    expect(await touchedBy({ do: 'remove', id: 'm3' }, { do: 'remove', id: 'e' })).toEqual(['n:e', 'o:e', 'o:m3']);
    expect(await touchedBy({ do: 'touchEverything' })).toEqual(['*:{}']);
  });

  test('a pull carries the present state of touched nodes: a tenant, a customer at its newest place, one that is gone', async () => {
    const before = await head();
    await under.commit({
      do: 'insert',
      world: world({
        tenants: [{ id: 'n-t' }],
        customers: [
          { id: 'n-a', owner: 'n-t' },
          { id: 'n-b', owner: 'n-a' },
          { id: 'n-c', owner: 'n-t' },
        ],
      }),
    });
    await under.commit({ do: 'changeOwner', id: 'n-b', owner: 'n-c' });
    await under.commit({ do: 'remove', id: 'n-a' });
    const expected = byText<TreeRow>([
      ['n-t', [null]],
      ['n-a', null],
      ['n-b', ['n-c']],
      ['n-c', ['n-t']],
    ]);
    expect(byText((await pull(before.version)).tree)).toEqual(expected);
    expect(byText((await pull(before.version, null)).tree)).toEqual(expected);
  });

  test('the cursor’s id is told, or null where the log has no such row; so are ids that were asked for', async () => {
    const first = await head();
    const second = await under.commit({ do: 'setEnabled', user: 'bob', enabled: false });
    const reply = await pull(first.version, 1_001, [first.version, second.version, second.version + 1_000]);
    expect(reply.cursorId).toBe(first.id);
    expect(byText(reply.answers)).toEqual(
      byText([
        [first.version, first.id],
        [second.version, second.id],
        [second.version + 1_000, null],
      ] as const),
    );
    expect(await pull(second.version)).toMatchObject({ cursorId: second.id, changes: [], tree: [], over: false, head: second });
    expect(await pull(second.version + 1_000)).toMatchObject({ cursorId: null, changes: [], head: second });
  });

  test('more commits than the limit is `over`, and carries nothing; without a limit only nodes are told', async () => {
    const before = await head();
    for (const enabled of [true, false, true]) await under.commit({ do: 'setEnabled', user: 'bob', enabled });
    expect(await pull(before.version, 4)).toMatchObject({ over: false, changes: { length: 3 } });
    expect(await pull(before.version, 3)).toMatchObject({ over: true, changes: [], tree: [], cursorId: before.id });
    await under.commit({ do: 'changeOwner', id: 'd', owner: 'c' });
    const reply = await pull(before.version, null);
    expect(reply.over).toBe(false);
    expect(reply.changes.map(([, , tag, keys]) => [tag, keys])).toEqual([['n', ['d']]]);
    expect(reply.tree).toEqual([['d', ['c']]]);
  });

  test('a commit rings; one that fails is not in the log', async () => {
    const rings = seen.rings;
    const before = await under.commit({ do: 'setEnabled', user: 'bob', enabled: false });
    await expect.poll(() => seen.rings, { timeout: 20_000 }).toBeGreaterThan(rings);
    await expect(under.commit({ do: 'setEnabled', user: 'bob', enabled: true }, { do: 'addMember', member: 'bob', group: 'no such group' })).rejects.toThrow();
    expect((await pull(before.version)).changes).toEqual([]);
    expect((await attachment.objects(['bob'])).rows).toMatchObject([{ enabled: false }]);
  });

  test('an answer is one state of the database, the one that its stamp names', async () => {
    const truth = new Map<number, boolean>([
      [(await under.commit({ do: 'setEnabled', user: 'ann', enabled: true }, { do: 'setEnabled', user: 'bob', enabled: true })).version, true],
    ]);
    let busy = true;
    const writing = (async () => {
      for (let i = 0; i < 30; i++) {
        const enabled = i % 2 === 1;
        const { version } = await under.commit({ do: 'setEnabled', user: 'ann', enabled }, { do: 'setEnabled', user: 'bob', enabled });
        truth.set(version, enabled);
        await new Promise((resolve) => setImmediate(resolve));
      }
    })().finally(() => (busy = false));
    const answers: { readonly version: number; readonly enabled: readonly boolean[] }[] = [];
    while (busy) {
      const { stamp, rows } = await attachment.objects(['ann', 'bob']);
      answers.push({ version: stamp.version, enabled: rows.map((row) => row.enabled) });
      await new Promise((resolve) => setImmediate(resolve));
    }
    await writing;
    for (const { version, enabled } of answers) expect({ version, enabled }).toEqual({ version, enabled: [truth.get(version), truth.get(version)] });
    expect(answers.length).toBeGreaterThan(3);
  });

  test('a trimmed log knows the newest row alone', async () => {
    const before = await head();
    const newest = await under.commit({ do: 'setEnabled', user: 'ann', enabled: false });
    await under.trim();
    expect(await pull(before.version, 1_001, [before.version])).toMatchObject({ cursorId: null, head: newest, answers: [[before.version, null]] });
    expect(await pull(newest.version)).toMatchObject({ cursorId: newest.id });
  });

  test('close ends the calls and is not told as closed; a session that ends by itself is told once', async () => {
    const mine = await attach();
    mine.close();
    mine.close();
    for (const call of [() => mine.pull({ cursor: 0, limit: 1_001, ask: [] }), () => loadAll(mine), () => mine.objects(['t']), () => mine.classes([])])
      await rejects(call());
    expect(seen.closed).toEqual([]);
    await under.endSessions();
    await expect.poll(() => seen.closed.length, { timeout: 20_000 }).toBe(1);
    await rejects(attachment.pull({ cursor: 0, limit: 1_001, ask: [] }));
    await rejects(attachment.objects(['t']));
    attachment.close();
    attachment = await attach();
    expect((await attachment.objects(['t'])).rows).toHaveLength(1);
    expect(seen.closed).toHaveLength(1);
  });
}
