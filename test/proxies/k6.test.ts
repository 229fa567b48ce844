// Does k6, with clients of its own, find no wrong answer through nginx and Envoy, beside writes that take permissions away and give them back? What
// `npm run bench:k6` runs, shortly. (`floor` has k6 judge a stub that lets everybody in, and throws where nothing is found wrong with it.)

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { startChild } from '../support/child.ts';
import { requirePart } from '../support/require.ts';

for (const part of ['k6', 'nginx', 'envoy', 'embedded18'] as const) requirePart(part);

const SECONDS = 2;
const RATE = 200;
const UNDECIDED = 0.05; // at most

const root = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
/** On a machine that does other work a check would be 503 by chance. Below what both proxies wait; and a few may be so all the same. */
const PATIENT = ['--set', 'doors.deadline=450ms', '--set', 'overload.delay=2s'];

test('answers are right and decided, also while they change', { timeout: 120_000 }, async () => {
  await promisify(execFile)(process.execPath, [root('src/ready.mjs')]);
  const lines: string[] = [];
  const asked = [
    '--json',
    '--only',
    'floor,churn',
    '--through',
    'nginx,envoy',
    '--seconds',
    `${SECONDS}`,
    '--rate',
    `${RATE}`,
    '--users',
    '200',
    '--customers',
    '20',
  ];
  const run = startChild(process.execPath, [root('loadtest/k6/run.mjs'), ...asked, ...PATIENT], {
    line: (line, from) => from === 'stdout' && lines.push(line),
  });
  expect([await run.ended, run.stderr()]).toEqual(['exit 0', '']);
  const { figures } = JSON.parse(lines.join('')) as { figures: readonly { name: string; value: number }[] };
  const found = Object.fromEntries(figures.map(({ name, value }) => [name, value]));
  console.log(figures.map(({ name, value }) => `${name} ${value}`).join('\n'));
  for (const name of ['churn.nginx', 'churn.envoy']) {
    expect(found).toMatchObject({ [`k6.${name}.wrong`]: 0 });
    expect(found[`k6.${name}.errors`]).toBeLessThanOrEqual(UNDECIDED * RATE * SECONDS);
    expect(found[`k6.${name}.rate`]).toBeGreaterThan(RATE / 4);
  }
});
