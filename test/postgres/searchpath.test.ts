// Whose functions run when the service asks? In a database from before PostgreSQL 15 every login may create in `public`, and a function
// there that fits the arguments exactly is called instead of a built-in one that takes any.

import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { migrate, openPool, postgresSource } from 'policy-cache/postgres';
import { importWorlds } from '../../src/worldimport.ts';
import { PATIENT, servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { vocabulary } from '../support/stack.ts';
import type { TreeRow } from 'policy-cache';
import type { Sql } from './fixture.ts';

const directory = new URL('../../deploy/sql/', import.meta.url);
const files = readdirSync(directory)
  .filter((name) => name.endsWith('.sql'))
  .map((name) => ({ name, text: readFileSync(new URL(name, directory), 'utf8') }));
const WORLD = JSON.stringify({ tenants: [{ id: 't' }], entities: [{ id: 'd', type: 'DEVICE', owner: 't' }] });

/** Exact where ours are variadic or polymorphic. Each tells that it was called. */
const TRAPS = [
  'json_build_array(bigint, uuid)',
  'json_build_array(text, text)',
  'json_agg(text)',
  'format(text, regclass)',
  'array_agg(text)',
  'unnest(text[])',
];

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  const pools: Sql[] = [];
  const open = (url: string): Sql => {
    const pool = openPool({ url, max: 1 });
    pools.push(pool);
    return pool;
  };
  beforeAll(async () => {
    server = await startPostgres(kind);
  });
  afterAll(async () => {
    await Promise.all(pools.map((pool) => pool.end({ timeout: 5 })));
    await server?.close();
  });

  /** A database as PostgreSQL 14 left it, in which a login without any right of ours has laid its traps. */
  async function trapped(content: 'migrated' | 'empty'): Promise<{ database: TestDatabase; admin: Sql; stranger: Sql }> {
    const database = await server.database(content);
    const admin = open(database.url);
    const name = `stranger_${randomBytes(6).toString('hex')}`;
    await admin.unsafe(`create role ${name} login password '${name}'; grant create on schema public to public`);
    const url = new URL(database.url);
    url.username = url.password = name;
    const stranger = open(url.href);
    for (const trap of TRAPS)
      await stranger.unsafe(`create function public.${trap} returns text language plpgsql as $$ begin raise exception 'trapped by ${trap}'; end $$`);
    return { database, admin, stranger };
  }

  test('the traps work on whoever does not look out', async () => {
    const { admin } = await trapped('empty');
    await expect(admin`select json_build_array(1::bigint, gen_random_uuid())`).rejects.toThrow('trapped by json_build_array');
  });

  test('migrate runs none of them, and leaves the session as it was', async () => {
    const { admin } = await trapped('empty');
    expect(await migrate(admin, files)).toMatchObject({ from: 0, to: files.length, statements: [] });
    expect((await admin<{ search_path: string }[]>`show search_path`)[0]!.search_path).toBe('"$user", public');
  });

  test('import, pulls and fills run none of them', async () => {
    const { database, admin } = await trapped('migrated');
    expect(await importWorlds(admin, [{ file: 'w', text: WORLD }], vocabulary)).toMatchObject({ ok: true });
    const attachment = await postgresSource({ url: await database.urlAs('grantgate_reader'), limits: PATIENT }).attach({
      ring: () => undefined,
      closed: () => undefined,
    });
    try {
      const { head } = await attachment.pull({ cursor: 0, limit: null, ask: [] });
      expect(head.version).toBeGreaterThan(0);
      expect((await attachment.objects(['d'])).rows).toMatchObject([{ id: 'd', type: 'DEVICE', owner: 't' }]);
      expect((await attachment.classes([{ owner: 't', groups: ['g'] }])).stamp).toEqual(head);
      const tree: TreeRow[] = [];
      await attachment.load((rows) => tree.push(...rows));
      expect(tree).toEqual([['t', [null]]]);
    } finally {
      attachment.close();
    }
  });
});
