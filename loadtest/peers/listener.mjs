// How soon can anybody know what was committed? The floor of a revocation: a bare connection that LISTENs, one `select` on it at each notification, and
// the time of its answer, told to whoever started this process. By the clock that all processes of a machine share.

import postgres from 'postgres';

// Accepted, and missing in the types.
const options = /** @type {postgres.Options<{}>} */ ({ max: 1, idle_timeout: 0, onnotify: () => void heard() });
const sql = postgres(process.argv[2] ?? '', options);
// Begun: what is prepared, and what has been compiled, is of a process that has listened for long.
await sql.unsafe('listen grantgate');
for (let i = 0; i < 1_000; i++) await sql`select 1`;
process.on('disconnect', () => process.exit(0));
process.send?.('listens');

async function heard() {
  await sql`select 1`;
  process.send?.(Number(process.hrtime.bigint()) / 1e6);
}
