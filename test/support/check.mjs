// Is everything in order that needs no test run? All stages of `npm run check`, also after one has failed; what a stage wrote is
// shown if it failed. `npm run check -- lint types` runs those alone.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { install } from '../../src/ready.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const program = (/** @type {string} */ path) => join('node_modules', ...path.split('/'));
// What a stage writes is kept, and shown later: it may as well be read by a program. (oxlint colours all the same where CI is set.)
const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined };
const TSC = program('typescript/bin/tsc');
const KNIP = program('knip/bin/knip.js');

/** Each command is arguments to Node. @type {Readonly<Record<string, readonly (readonly string[])[]>>} */
const stages = {
  format: [[program('prettier/bin/prettier.cjs'), '--check', '--log-level', 'warn', '.']],
  lint: [[program('oxlint/bin/oxlint')]],
  types: [
    [TSC, '-b', 'policy-cache', 'policy-cache/src/postgres', 'tsconfig.json'],
    [TSC, '-p', 'test'],
  ],
  docs: [['src/ready.mjs'], ['dist/docs.js', '--check'], ['loadtest/report.mjs', '--check']],
  imports: [['test/support/imports.mjs']],
  unused: [
    [KNIP, '--no-progress', '--no-config-hints'],
    [KNIP, '--production', '--no-progress', '--no-config-hints'],
  ],
};

install();
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in stages));
if (unknown.length > 0) {
  console.error(`no such stage: ${unknown.join(', ')}. There are: ${Object.keys(stages).join(', ')}`);
  process.exit(2);
}
const chosen = Object.entries(stages).filter(([name]) => asked.length === 0 || asked.includes(name));
// The longest stage needs one processor and nothing that the others make: it runs beside them.
const beside = new Map(chosen.filter(([name]) => name === 'format').map(([name, commands]) => [name, ended(commands)]));
/** @type {string[]} */
const failed = [];
for (const [name, commands] of chosen.filter(([each]) => !beside.has(each))) if (!told(name, await ended(commands))) failed.push(name);
for (const [name, stage] of beside) if (!told(name, await stage)) failed.push(name);
console.log(`${chosen.length - failed.length} stages passed, ${failed.length} failed${failed.length > 0 ? `: ${failed.join(', ')}` : ''}`);
process.exitCode = failed.length > 0 ? 1 : 0;

/** @typedef {{ readonly output: string, readonly passed: boolean }} Result */

/** Every command of a stage, one after the other. @param {readonly (readonly string[])[]} commands @returns {Promise<{ results: Result[], seconds: number }>} */
async function ended(commands) {
  const start = performance.now();
  const results = [];
  for (const command of commands) results.push(await result(command));
  return { results, seconds: (performance.now() - start) / 1_000 };
}

/** @param {readonly string[]} command @returns {Promise<Result>} */
function result(command) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...command], { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.once('error', (error) => resolve({ output: `${error.message}\n`, passed: false }));
    child.once('close', (code) => resolve({ output, passed: code === 0 }));
  });
}

/** @param {string} name @param {{ results: Result[], seconds: number }} stage @returns {boolean} whether it passed */
function told(name, { results, seconds }) {
  const passed = results.every((each) => each.passed);
  console.log(`${passed ? 'ok    ' : 'FAILED'}  ${name.padEnd(8)} ${seconds.toFixed(1).padStart(5)} s`);
  for (const each of results) if (!each.passed) console.log(stripVTControlCharacters(each.output));
  return passed;
}
