// What becomes of API keys and sessions when a database is migrated under a living sidecar, imported into, and exported?

import { readdirSync, readFileSync } from 'node:fs';
import { PolicyCache, requestOf } from 'policy-cache';
import { insertSession, migrate, openPool, openWriter, postgresSource } from 'policy-cache/postgres';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { hostClock } from '../../src/clock.ts';
import { newAccessToken, newApiKey } from '../../src/opaque.ts';
import { cli } from '../support/cli.ts';
import { vocabulary } from '../support/doors.ts';
import { PATIENT, startPostgres, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';
import { seed, type Sql } from './fixture.ts';

const directory = new URL('../../deploy/sql/', import.meta.url);
const files = readdirSync(directory)
  .filter((name) => name.endsWith('.sql'))
  .map((name) => ({ name, text: readFileSync(new URL(name, directory), 'utf8') }));
const WORLD = new URL('../../deploy/demo/smart-building.yaml', import.meta.url).pathname;

let server: TestServer;
beforeAll(async () => {
  server = await startPostgres('embedded18');
});
afterAll(() => server.close());

async function open(name?: 'empty') {
  const database = await server.database(name);
  const sql = openPool({ url: database.url, max: 1 });
  onTestFinished(() => sql.end({ timeout: 5 }));
  return { database, sql };
}
/** A key of the user, good for an hour. */
async function keyOf(sql: Sql, user: string): Promise<string> {
  const { hash } = newApiKey();
  await sql`insert into grantgate.api_key (hash, id, tenant, user_id, expires, created_by)
    select ${hash}, ${hash}, o.tenant, o.id, now() + interval '1 hour', '' from grantgate.object o where o.id = ${user}`;
  return hash;
}

describe('a sidecar that follows an older schema', () => {
  /** A session of the user, that the other has; good for an hour. */
  const sessionOf = async (sql: Sql, user: string, actor: string): Promise<string> => {
    const { hash } = newAccessToken();
    await sql`insert into grantgate.session (id, tenant, user_id, actor, hash, expires, ends)
      select ${hash}, o.tenant, o.id, ${actor}, ${hash}, now() + interval '1 hour', now() + interval '1 hour' from grantgate.object o where o.id = ${user}`;
    return hash;
  };

  test.each([
    [5, 'neither keys nor sessions'],
    [7, 'keys, and no sessions'],
    [8, 'all of them'],
  ])('version %i, with %s: what there is is known, checks are answered, and from the migration on the rest is known without a restart', async (version) => {
    const { database, sql } = await open('empty');
    await migrate(
      sql,
      files.filter(({ name }) => Number(name.slice(0, 4)) <= version),
    );
    await seed(sql);
    const source = postgresSource({ url: await database.urlAs('grantgate_reader'), limits: PATIENT });
    const cache = new PolicyCache({ vocabulary, source, clock: hostClock(), random: Math.random });
    onTestFinished(() => cache.close());
    cache.start();
    await cache.ready(20_000);
    const known = (hash: string) => cache.key(hash, { deadline: 5_000, atLeast: 'latest' });
    expect(await known(newApiKey().hash)).toBeNull();
    expect(await known(newAccessToken().hash)).toBeNull();
    const before = version < 7 ? null : await keyOf(sql, 'u');
    if (before !== null) expect(await known(before)).toMatchObject({ user: 'u', actor: '' });
    const question = requestOf(vocabulary, { user: 'u', operation: 'READ', resource: 'DEVICE', target: 'd' });
    expect(await cache.check(question, undefined, { deadline: 5_000 })).toMatchObject({ allow: true });

    await migrate(sql, files);
    const key = await keyOf(sql, 'u');
    const session = await sessionOf(sql, 'u', 'u2');
    expect(await known(key)).toMatchObject({ user: 'u', actor: '' });
    expect(await known(session)).toMatchObject({ user: 'u', actor: 'u2' });
    if (before !== null) expect(await known(before)).toMatchObject({ user: 'u' });
    await sql`delete from grantgate.api_key`;
    await sql`update grantgate.user_account set enabled = false where id = 'u2'`;
    for (const [hash, what] of [[key, 'the key'] as const, [session, 'the session'] as const])
      await until(async () => (await cache.key(hash, { deadline: 5_000 })) === null, `${what} is gone`);
    expect(cache.stats.attaches).toBe(1);
  });
});

describe('whoever is being disabled while a session begins, as whom or by whom it is', () => {
  const wanted = { id: 's', tenant: 't', user: 'u', actor: 'u2', hash: '0'.repeat(64), lifetime: 900 };
  const disable = (id: string): string => `update grantgate.user_account set enabled = false where id = '${id}'`;
  async function both() {
    const { database, sql } = await open();
    await seed(sql);
    const writer = openWriter({ url: await database.urlAs('grantgate_writer') });
    const other = openPool({ url: database.url, max: 1 });
    onTestFinished(async () => {
      writer.close();
      await other.end({ timeout: 5 });
    });
    const waits = () => until(async () => (await sql`select 1 from pg_locks where not granted`).length > 0, 'the later one waits');
    return {
      sql,
      other,
      waits,
      begin: (then = async (): Promise<void> => undefined) => writer.write(async (db) => [await insertSession(db, wanted), await then()] as const),
    };
  }

  test.each(['u', 'u2'])('it ends with that: %s', async (id) => {
    const { sql, other, waits, begin } = await both();
    let disabled: Promise<unknown> = Promise.resolve();
    const [begun] = await begin(async () => {
      disabled = other.unsafe(disable(id)).execute();
      await waits();
    });
    expect(begun).toMatchObject({ user: 'u', actor: 'u2' });
    await disabled;
    expect(await sql`select id from grantgate.session`).toEqual([]);
  });

  test.each(['u', 'u2'])('it does not begin: %s', async (id) => {
    const { sql, other, waits, begin } = await both();
    let begun: Promise<unknown> = Promise.resolve();
    await other.begin(async (transaction) => {
      await transaction.unsafe(disable(id));
      begun = begin().catch((error: unknown) => error);
      await waits();
    });
    expect(await begun).toMatchObject([null, undefined]);
    expect(await sql`select id from grantgate.session`).toEqual([]);
  });
});

test('an import leaves keys alone, but for those of a user whom it removes; an export writes none', async () => {
  const { database, sql } = await open();
  const env = { DATABASE_URL: database.url };
  expect(await cli(['import', WORLD], { env })).toMatchObject({ code: 0 });
  const kept = await keyOf(sql, 'hana');
  expect(await cli(['import', '--mode', 'upsert', WORLD], { env })).toMatchObject({ code: 0 });
  expect((await sql`select hash from grantgate.api_key`).map(({ hash }) => hash as string)).toEqual([kept]);
  const { code, stdout } = await cli(['export'], { env });
  expect(code).toBe(0);
  expect(stdout).toContain('hana');
  expect(stdout).not.toContain(kept);
  await sql`delete from grantgate.object where id = 'hana'`;
  expect(await sql`select 1 from grantgate.api_key`).toHaveLength(0);
});
