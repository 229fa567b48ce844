// May the next page of a list be asked of another worker, where they have no password and no operator in common?

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openPool } from 'policy-cache/postgres';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { startClient } from '../support/ask.ts';
import { cli } from '../support/cli.ts';
import { startOwnPostgres, type OwnServer } from '../support/postgres.ts';
import { startSidecar, tokenFor, type ServedSidecar } from '../support/sidecar.ts';
import { until } from '../support/until.ts';

let server: OwnServer;
let sidecar: ServedSidecar;
beforeAll(async () => {
  server = await startOwnPostgres('embedded18');
  const database = await server.database();
  const url = new URL(await database.urlAs('grantgate_writer'));
  for (const user of ['ada', 'eve'] as const)
    expect(await cli(['bootstrap', '--tenant', `of-${user}`, '--user', user], { env: { ADMIN_DATABASE_URL: database.url } })).toMatchObject({ code: 0 });
  writeFileSync(join(server.directory, 'pg_hba.conf'), 'host all all 127.0.0.1/32 trust\nlocal all all trust\n');
  const sql = openPool({ url: database.url, max: 1 });
  await sql`select pg_reload_conf()`;
  await sql.end();
  url.password = '';
  sidecar = await startSidecar({ databaseUrl: await database.urlAs('grantgate_reader'), set: { workers: 2 }, env: { ADMIN_DATABASE_URL: url.href } });
});
afterAll(async () => {
  await sidecar?.stop('SIGKILL');
  await server?.close();
});

/** A connection to each of the two: they go to whoever has fewest. */
function two(): readonly ReturnType<typeof startClient>[] {
  const clients = [startClient(sidecar.api, 1), startClient(sidecar.api, 1)];
  onTestFinished(() => clients.forEach((client) => client.close()));
  return clients;
}
const workers = (): readonly string[] => readFileSync(`/proc/${sidecar.pid}/task/${sidecar.pid}/children`, 'utf8').trim().split(' ');

test('it may, of one that was started later, too; and of nobody but who was given it', async () => {
  const [token, other] = [await tokenFor('ada'), await tokenFor('eve')];
  const groups = async (
    client: ReturnType<typeof startClient>,
    query: string,
    as = token,
  ): Promise<{ status: number; body: { items: { id: string }[]; next: string } }> => {
    const { status, body } = await client.ask({ path: `/v1/groups?limit=1${query}`, token: as });
    return { status, body: JSON.parse(body) as { items: { id: string }[]; next: string } };
  };
  const all = two();
  const pages = await Promise.all(all.map((client) => groups(client, '')));
  for (const { status, body } of pages) {
    expect(status).toBe(200);
    for (const client of all) expect(await groups(client, `&cursor=${body.next}`)).toMatchObject({ status: 200, body: { items: [{ id: 'users:of-ada' }] } });
    expect(await groups(all[0]!, `&cursor=${body.next}`, other)).toMatchObject({ status: 400 });
  }
  const [first, second] = workers();
  for (const client of all) client.close();
  process.kill(Number(first), 'SIGKILL');
  await until(() => workers().length === 2 && !workers().includes(first!) && workers().includes(second!), 'another worker in its place');
  await until(() => sidecar.log().includes('it is replaced, and ready'), 'its first world');
  for (const client of two())
    expect(await groups(client, `&cursor=${pages[0]!.body.next}`)).toMatchObject({ status: 200, body: { items: [{ id: 'users:of-ada' }] } });
});
