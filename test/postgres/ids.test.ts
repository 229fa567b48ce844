// Is every id that may be one asked for as it is, whatever it looks like in the languages that it passes through?

import { afterAll, expect, test } from 'vitest';
import { openPool, postgresSource } from 'policy-cache/postgres';
import { PATIENT, startPostgres, type TestServer } from '../support/postgres.ts';

let server: TestServer | undefined;
afterAll(() => server?.close());

test('quotes, backslashes, braces, commas, nulls, spaces and every script', async () => {
  server = await startPostgres('embedded18');
  const database = await server.database();
  const ids = [
    '"',
    '\\',
    '\\"',
    '{}',
    '{',
    ',',
    'NULL',
    'null',
    "'",
    "''",
    ' ',
    ' a',
    'a ',
    '$1',
    '%s',
    'é',
    'e\u0301',
    '日本',
    '😀',
    '\\x41',
    '""',
    'a"b\\c,{d}',
    '\u2028',
  ];
  const sql = openPool({ url: database.url, max: 1 });
  await sql.begin(async (tx) => {
    await tx`insert into grantgate.object (id, tenant, kind, type) values ('t', 't', 'tenant', 'TENANT')`;
    for (const id of ids) await tx`insert into grantgate.object (id, tenant, kind, type, owner) values (${id}, 't', 'entity', 'DEVICE', 't')`;
  });
  await sql.end({ timeout: 5 });
  const attachment = await postgresSource({ url: await database.urlAs('grantgate_reader'), limits: PATIENT }).attach({
    ring: () => undefined,
    closed: () => undefined,
  });
  try {
    const all = await attachment.objects(ids);
    expect(all.rows.map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
    for (const id of ids) expect((await attachment.objects([id])).rows).toMatchObject([{ id, kind: 'entity', owner: 't' }]);
    // An id that no text can be is absent, and takes nobody with it.
    expect((await attachment.objects(['zero\0', ids[0]!, '\ud800'])).rows).toMatchObject([{ id: ids[0] }]);
    expect((await attachment.objects(['\0'])).rows).toEqual([]);
  } finally {
    attachment.close();
  }
});
