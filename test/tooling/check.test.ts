// Does every stage of `npm run check` find what it is for? One file with a mistake for each is planted in a copy of the checkout.

import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { copyCheckout, type Checkout } from '../support/checkout.ts';

const mistakes = `
import './api/app.ts';
async function later(): Promise<number> {
    return await Promise.resolve(1)
}
export function planted(): string {
  later();
  const wrong: string = 1;
  return wrong;
}
`;

let checkout: Checkout;
beforeAll(() => {
  checkout = copyCheckout();
  checkout.write('src/api/app.ts', 'export {};\n');
  checkout.write('src/planted.ts', mistakes);
});
afterAll(() => checkout.remove());

test.each([
  ['format', /planted\.ts/],
  ['lint', /no-floating-promises[\s\S]*planted\.ts:7/],
  ['types', /planted\.ts[(:]8[\s\S]*not assignable to type 'string'/],
  ['imports', /one-wirer: src\/planted\.ts/],
  ['unused', /src\/planted\.ts/],
])('the stage %s', (stage, finding) => {
  const { status, stdout } = check(stage);
  expect(stdout).toMatch(new RegExp(`^FAILED  ${stage} `, 'm'));
  expect(stdout).toMatch(finding);
  expect(stdout).toMatch(new RegExp(`^0 stages passed, 1 failed: ${stage}$`, 'm'));
  expect(status).toBe(1);
});

test('a stage that there is not', () => {
  const { status, stderr } = check('everything');
  expect(stderr).toMatch(/no such stage: everything. There are: format, lint, types,/);
  expect(status).toBe(2);
});

function check(stage: string): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, ['test/support/check.mjs', stage], { cwd: checkout.root, encoding: 'utf8' });
}
