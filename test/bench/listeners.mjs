// The floor of revoke.bench.mjs: what a notification and two round trips cost where nothing is decided at all.
//
// As followers.mjs, but each "follower" is a bare LISTEN of the same client: a ring, one query in place of the pull, another in place of
// the reading that follows.

import { openPool } from 'policy-cache/postgres';

const [url = '', count = '1'] = process.argv.slice(2);
const now = () => Number(process.hrtime.bigint()) / 1e6;
/** @type {((times: { unserved: number, refused: number }) => void)[]} */
let waiting = [];
await Promise.all(
  Array.from({ length: Number(count) }, async (_, i) => {
    const sql = openPool({ url, max: 1 });
    const ask = () => sql`select 1`;
    await ask();
    await sql.listen('grantgate', () => void heard(i, ask));
  }),
);

/** @param {number} i @param {() => PromiseLike<unknown>} ask */
async function heard(i, ask) {
  const told = waiting[i];
  if (!told) return;
  await ask();
  const unserved = now();
  await ask();
  told({ unserved, refused: now() });
}

async function listened() {
  const times = Promise.all(Array.from({ length: Number(count) }, (_, i) => new Promise((resolve) => (waiting[i] = resolve))));
  process.send?.('watching');
  const all = await times;
  waiting = [];
  process.send?.(all);
}
process.on('message', () => void listened());
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
