// What does a flood of log-ins cost those who are checked?  npm run bench:login [-- --json]
//
// Wrong passwords for as many e-mails as there are requests, from as many addresses, as fast as one client can: each that is let in is one hash of argon2id
// beside the doors. Checks from memory at a steady rate, without the flood and with it in turns; with the limit of one address, too. On the embedded Postgres.

import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { hash } from '@node-rs/argon2';
import { decided, openClient, requestOf } from './checks.mjs';
import { benchmark, median, percentile } from './figures.mjs';
import { temporaryDirectory } from './processes.mjs';
import { serve } from './served.mjs';
import { PROGRAM, startServer, worldOf } from './worlds.mjs';

const ROUNDS = 5;
const SECONDS = 4;
const RATE = 500;
const LANES = 64;

/** As fast as answers come, until told to stop; then how many there were of each status. @param {number} port @param {boolean} many addresses */
async function flood(port, many) {
  const client = await openClient(port, LANES);
  const requests = Array.from({ length: 5_000 }, (_, i) => {
    const body = JSON.stringify({ email: `${process.pid}-${i}@flood.example`, password: 'a wrong password' });
    const address = many ? `10.${i >> 12}.${(i >> 6) & 63}.${i & 63}` : '10.0.0.1';
    return `POST /v1/auth/login HTTP/1.1\r\nHost: api\r\nX-Real-IP: ${address}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  });
  process.send?.('begun');
  const answers = await client.flood(requests, { seconds: SECONDS });
  /** @type {Record<string, number>} */ const statuses = {};
  for (const { status } of answers) statuses[status] = (statuses[status] ?? 0) + 1;
  process.send?.(statuses);
  client.close();
  process.disconnect();
}

async function measured() {
  const { say, figure, finish } = benchmark('login', {});
  const hashes = [];
  for (let i = 0; i < 40; i++) {
    const begun = performance.now();
    await hash(`password ${i}`, { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
    hashes.push(performance.now() - begun);
  }
  figure('login.hash', median(hashes), { unit: 'ms', note: 'argon2id, 19 MiB, 2 passes, alone' });
  const server = await startServer(temporaryDirectory('login'));
  try {
    const { url } = await worldOf(server, { tenants: 1, customers: 10, users: 100, entities: 1_000, seed: 1 }, say);
    const settings = { 'identity.local.enabled': 'true', 'identity.local.addressHeader': 'X-Real-IP' };
    const service = await serve(PROGRAM, url, settings, { ADMIN_DATABASE_URL: url });
    const client = await openClient(service.port, 16);
    try {
      const questions = Array.from({ length: 100 }, (_, i) =>
        requestOf({ user: `user-${String(i).padStart(6, '0')}`, target: 'device-000001', operation: 'READ' }),
      );
      const answers = await decided(client, questions);
      const status = answers[0]?.status ?? 0;
      const same = questions.filter((_, i) => answers.some((answer) => answer.question === i && answer.status === status));
      say(`${same.length} questions, each answered with ${status}`);
      const hits = async () => {
        const got = await client.paced(same, { rate: RATE, seconds: SECONDS, draw: Math.random });
        const wrong = got.filter((answer) => answer.status !== status && answer.status !== 503);
        assert.equal(wrong.length, 0);
        return { times: got.map(({ ms }) => ms), late: got.filter((answer) => answer.status === 503).length / got.length };
      };
      /** @type {Record<'calm' | 'many' | 'one', number[]>} */ const p99 = { calm: [], many: [], one: [] };
      /** @type {Record<'calm' | 'many' | 'one', number[]>} */ const p50 = { calm: [], many: [], one: [] };
      /** @type {Record<'calm' | 'many' | 'one', number[]>} */ const undecided = { calm: [], many: [], one: [] };
      /** @type {Record<string, number>} */ const told = {};
      await hits();
      for (let round = 0; round < ROUNDS; round++)
        for (const kind of /** @type {const} */ (['calm', 'many', 'one'])) {
          const child = kind === 'calm' ? null : fork(fileURLToPath(import.meta.url), ['flood', String(service.api), kind]);
          if (child) await once(child, 'message');
          const over = child ? once(child, 'message') : null;
          const { times, late } = await hits();
          undecided[kind].push(late);
          p99[kind].push(percentile(times, 0.99));
          p50[kind].push(percentile(times, 0.5));
          if (over !== null && kind === 'many')
            for (const [code, count] of Object.entries(/** @type {Record<string, number>} */ ((await over)[0]))) told[code] = (told[code] ?? 0) + count;
          else await over;
        }
      assert.ok((told['401'] ?? 0) > 0);
      say(`flood from many addresses: ${JSON.stringify(told)} in ${ROUNDS * SECONDS} s`);
      figure('login.tried', (told['401'] ?? 0) / (ROUNDS * SECONDS), { unit: '1/s', note: 'wrong passwords that were tried while checks were asked' });
      for (const kind of /** @type {const} */ (['calm', 'many', 'one']))
        figure(`login.check.${kind}.undecided`, median(undecided[kind]), { unit: 'share', note: 'answered with 503' });
      for (const [share, of] of /** @type {const} */ ([
        ['p50', p50],
        ['p99', p99],
      ])) {
        figure(`login.check.calm.${share}`, median(of.calm), { unit: 'ms' });
        for (const kind of /** @type {const} */ (['many', 'one']))
          figure(`login.check.${kind}.${share}`, median(of[kind]), {
            unit: 'ms',
            ratio: median(of[kind].map((ms, i) => ms / (of.calm[i] ?? Number.NaN))),
            note: kind === 'many' ? 'beside a flood from many addresses' : 'beside a flood from one address, of which identity.local.rate is let in',
          });
      }
    } finally {
      client.close();
      await service.stop();
    }
  } finally {
    await server.stop();
  }
  finish();
}

const [, , what, port, kind] = process.argv;
if (what === 'flood') await flood(Number(port), kind === 'many');
else await measured();
