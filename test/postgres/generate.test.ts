// Does an import take a generated world whole, and say nothing but that its dormant grants are dormant?

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPool } from 'policy-cache/postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Summary } from '../../src/generate/tally.ts';
import { cli } from '../support/cli.ts';
import { servers, startPostgres, type TestServer } from '../support/postgres.ts';

describe.each(servers)('on %s', (kind) => {
  const directory = mkdtempSync(join(tmpdir(), 'grantgate-generate-'));
  let server: TestServer;
  beforeAll(async () => {
    server = await startPostgres(kind);
  });
  afterAll(async () => {
    await server.close();
    rmSync(directory, { recursive: true });
  });

  test.each(['names', 'uuid'])('5,000 entities, ids: %s', async (ids) => {
    const file = join(directory, `${ids}.ndjson`);
    const size = ['--tenants', '4', '--customers', '400', '--users', '1000', '--entities', '5000', '--seed', '42', '--ids', ids];
    const { stdout, stderr } = await cli(['generate', '--json', ...size]);
    const { counts, memberships, rows } = JSON.parse(stderr) as Summary;
    writeFileSync(file, stdout, { mode: 0o600 });
    const { url } = await server.database();
    const started = Date.now();
    const imported = await cli(['import', file], { env: { DATABASE_URL: url } });
    console.log(`${kind}: ${rows} rows imported in ${Date.now() - started} ms`);
    expect(imported.code).toBe(0);
    const warnings = imported.stderr.split('\n').filter((line) => line !== '');
    expect(warnings.filter((line) => !line.includes('the grant is dormant'))).toEqual([]);
    expect(warnings.length).toBeGreaterThan(0);
    expect(warnings.length).toBeLessThan(counts.grants / 50);

    const sql = openPool({ url, max: 1 });
    try {
      const stored = await sql<{ readonly kind: string; readonly n: number }[]>`select kind, count(*)::int as n from grantgate.object group by kind`;
      const twoEach = 2 * (counts.tenants + counts.customers);
      expect(Object.fromEntries(stored.map((row) => [row.kind, row.n]))).toEqual({
        tenant: counts.tenants,
        customer: counts.customers,
        user: counts.users,
        entity: counts.entities,
        group: counts.groups + twoEach,
        role: counts.roles + twoEach,
        grant: counts.grants + twoEach,
      });
      const [members] = await sql<[object]>`
        select count(*) filter (where type = 'USER')::int as users, count(*) filter (where type = 'CUSTOMER')::int as customers,
          count(*) filter (where type not in ('USER', 'CUSTOMER'))::int as entities from grantgate.membership`;
      expect({ ...members }).toEqual(memberships);
    } finally {
      await sql.end({ timeout: 5 });
    }
  });
});
