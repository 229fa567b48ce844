// Does an attach find out what would make a follower blind: a right that is missing, a standby?

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import { cli } from '../support/cli.ts';
import { servers, startOwnPostgres, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { startSidecar } from '../support/sidecar.ts';
import { until } from '../support/until.ts';
import { seed } from './fixture.ts';
import { attachRefusal } from './following.ts';

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  let database: TestDatabase;
  let reader: string;
  let sql: ReturnType<typeof openPool>;
  beforeAll(async () => {
    server = await startPostgres(kind);
    database = await server.database();
    reader = await database.urlAs('grantgate_reader');
    sql = openPool({ url: database.url, max: 1 });
    await seed(sql);
  });
  afterAll(async () => {
    await sql.end({ timeout: 5 });
    await server.close();
  });

  describe('a right that is missing is named, with the way to it', () => {
    const READS = ['object', 'role', 'membership', 'group_permission', 'change', 'touched', 'fleet', 'migration'].map(
      (table) => `select on grantgate.${table}`,
    );
    const CALLS = ['broken_triggers()', 'report(text,bigint,text,integer)'].map((called) => `execute on function grantgate.${called}`);
    test.each([...READS, 'select (enabled) on grantgate.user_account', ...CALLS])('%s', async (right) => {
      await sql.unsafe(`revoke ${right} from grantgate_reader`);
      try {
        expect(await attachRefusal(reader)).toContain(`lacks ${right}: run grantgate migrate, which grants them to grantgate_reader`);
      } finally {
        await sql.unsafe('select grantgate.grant_roles()');
      }
      expect(await attachRefusal(reader)).toBe(null);
    });
    test('of a login that is no reader', async () => {
      const url = await database.urlAs('pg_monitor');
      const login = new URL(url).username;
      await sql.unsafe(`grant usage on schema grantgate to "${login}"`);
      expect(await attachRefusal(url)).toMatch(new RegExp(`"${login}" lacks select on grantgate.object, .*: run: grant grantgate_reader to "${login}"$`));
      await sql.unsafe(`grant grantgate_reader to "${login}"`);
      expect(await attachRefusal(url)).toBe(null);
    });
  });

  test('the service is not ready for any of it, says why at /readyz, and is ready once it is mended', async () => {
    const faults = [
      ['revoke select on grantgate.touched from grantgate_reader', 'select grantgate.grant_roles()', 'lacks select on grantgate.touched'],
      [
        'alter table grantgate.membership enable trigger log_insert',
        'alter table grantgate.membership enable always trigger log_insert',
        'not ENABLE ALWAYS: membership.log_insert',
      ],
    ] as const;
    for (const [fault] of faults) await sql.unsafe(fault);
    const sidecar = await startSidecar({ databaseUrl: reader, ready: false });
    try {
      for (const [, mend, sentence] of faults) {
        await until(async () => (await sidecar.readyz()).cause?.includes(sentence) === true, sentence);
        expect((await sidecar.readyz()).status).toBe(503);
        await sql.unsafe(mend);
      }
      await until(async () => (await sidecar.readyz()).status === 200, 'ready');
    } finally {
      for (const [, mend] of faults) await sql.unsafe(mend);
      await sidecar.stop();
    }
  });

  test('on a standby the service is not ready, and is once it has been promoted', async () => {
    const own = await startOwnPostgres(kind);
    try {
      const url = await (await own.database()).urlAs('grantgate_reader');
      await own.stop();
      await writeFile(join(own.directory, 'standby.signal'), '');
      await own.start();
      const sidecar = await startSidecar({ databaseUrl: url, ready: false });
      try {
        await until(async () => (await sidecar.readyz()).cause?.includes('it is a standby, and only a primary can be listened to: name') === true, 'the cause');
        expect((await sidecar.readyz()).status).toBe(503);
        const { code, stdout } = await cli(['doctor'], { env: { DATABASE_URL: url } });
        expect([code, stdout]).toEqual([1, expect.stringMatching(/^problem +primary +it is a standby/m)]);
        const admin = openPool({ url: own.url, max: 1 });
        await admin`select pg_promote()`;
        await admin.end({ timeout: 5 });
        await until(async () => (await sidecar.readyz()).status === 200, 'ready');
      } finally {
        await sidecar.stop();
      }
    } finally {
      await own.close();
    }
  });
});
