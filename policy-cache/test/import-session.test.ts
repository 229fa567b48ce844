// Does the connection of an import, or an export, keep what has passed through it?

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { test } from 'vitest';
import { startPostgres } from '../../test/support/postgres.ts';
import { requirePart } from '../../test/support/require.ts';
import { until } from '../../test/support/until.ts';
import { openSession } from '../src/postgres/import-session.ts';
import { openPool } from '../src/postgres/pool.ts';

requirePart('embedded18');

test('what a session was answered is not kept for as long as it lasts', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const server = await startPostgres('embedded18');
  const pool = openPool({ url: (await server.database()).url, max: 1 });
  const link = await pool.dedicated();
  const session = await openSession(link);
  const answers: WeakRef<object>[] = [];
  for (let i = 0; i < 20; i++) answers.push(new WeakRef(await session.rows('select generate_series(1, 100)')));
  await until(() => {
    collect();
    return answers.filter((answer) => answer.deref() !== undefined).length < 3;
  }, 'answers that nobody holds');
  link.destroy();
  await pool.end({ timeout: 5 });
  await server.close();
});
