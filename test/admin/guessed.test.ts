// Which passwords are refused because they are guessed first, and what does it cost to say so?

import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { passwordProblem } from '../../src/api/local/passwords.ts';

const seed = Number(process.env['GRANTGATE_SEED'] ?? (Date.now() ^ (process.pid << 15)) & 0x7fffffff);
const EMAIL = 'ada.lovelace@acme.example';
const problemOf = (password: string, email = EMAIL) => passwordProblem(password, { least: 12, email });

test.each([
  'password1234',
  'Password2024!',
  'P@ssw0rd1234',
  'p4$$w0rdp4$$w0rd',
  'passwordpassword',
  'iloveyou1234',
  'qwertyuiop[]',
  '1q2w3e4r5t6y',
  '123456789012',
  '0123456789abcdef',
  'abcdefghijkl',
  'aaaaaaaaaaaaaaaa',
  'administrator',
  'changeme1234',
  'monkeymonkey',
  'grantgate1234',
  'GrantGate2026',
  'adalovelace!',
  'ada.lovelace1',
  'acme.example1',
  'lovelace2026',
  'password'.repeat(32),
  'qwertyuiop'.repeat(9),
  '1'.repeat(256),
])('%s is refused, and it is said what to choose', async (password) => {
  expect(await problemOf(password)).toMatch(/guessed first.*choose another one/);
});

test.each([
  'correct horse battery',
  'another password',
  'four words of mine',
  'Zo\u00eb und das Schlo\u00df',
  'tr0ub4dor&3xyz',
  'kxqvmzpwrtbn',
  '918273640562',
  'a'.repeat(40) + 'kxqvmzpwrtbn',
  'kxqvmzpwrtbn' + 'a'.repeat(240),
  'a'.repeat(20) + 'kxqvmzpw' + 'a'.repeat(20),
  '\u5bc6\u7801\u662f\u4e00\u4e2a\u5f88\u957f\u7684\u53e5\u5b50\u5c31\u554a',
])('%s is not', async (password) => {
  expect(await problemOf(password)).toBe(null);
});

test('random ones are not, whatever they are made of', async () => {
  console.log(`guessed: GRANTGATE_SEED=${seed}`);
  const letters = fc.array(fc.constantFrom(...Array.from('abcdefghijklmnopqrstuvwxyz0123456789')), { minLength: 16, maxLength: 16 });
  for (const each of fc.sample(
    letters.map((all) => all.join('')),
    { seed, numRuns: 40 },
  ))
    expect(await problemOf(each), each).toBe(null);
  // Of anything there is an answer.
  const anything = fc.tuple(fc.string({ unit: 'binary', minLength: 12, maxLength: 256 }), fc.string({ unit: 'binary', maxLength: 60 }));
  for (const [password, email] of fc.sample(anything, { seed, numRuns: 40 })) expect(await problemOf(password, email)).toBeOneOf([null, expect.any(String)]);
});

// By how much of the processor it takes, which is not that of others: in proportion to what the same password takes of a tenth of its length.
test('256 characters cost little more than 32, whatever they are', async () => {
  const spent = async (password: string): Promise<number> => {
    await setImmediate();
    const each = [];
    for (let i = 0; i < 5; i++) {
      const before = process.cpuUsage();
      await problemOf(password);
      const { user, system } = process.cpuUsage(before);
      each.push((user + system) / 1_000);
    }
    return Math.min(...each);
  };
  const most = { short: 0, long: 0 };
  for (const piece of [
    'p4$$w0rd',
    '1.1.1991',
    '11111991',
    '4@8({[<369&!1|0$5+7%2',
    'a',
    'ab',
    '1234567890',
    'qwertzuiop',
    '\\/\\/',
    '|_||-|/-\\',
    'p455w0rd1',
    // Found by a search for the dearest.
    '+p4$$w0rd@|p4$$w0rd\u00e9|\\/\\/',
    '!\\1p4$$w0rd6/-\\',
  ]) {
    const whole = piece.repeat(256);
    await spent(whole.slice(0, 256)); // compiled by then
    most.short = Math.max(most.short, await spent(whole.slice(0, 32)));
    most.long = Math.max(most.long, await spent(whole.slice(0, 256)));
  }
  const plain = await spent('qwertzuiop'.repeat(26).slice(0, 256));
  console.log(
    `guessed: ${most.short.toFixed(1)} ms of processor for 32 characters, ${most.long.toFixed(1)} ms for 256, at the worst; ${plain.toFixed(1)} ms for 256 letters`,
  );
  expect(most.long).toBeLessThan(10 * most.short);
  // Each way to read a digit as a letter is another password to be judged [measured: 2.3 of 4 ways, 4.5 of 16].
  expect(most.long).toBeLessThan(3.3 * plain);
});
