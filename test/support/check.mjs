// Is everything in order that needs no test run? All stages of `npm run check`, also after one has failed; what a stage wrote is
// shown if it failed. `npm run check -- lint types` runs those alone.

import { spawnSync } from 'node:child_process';
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
const failed = chosen.filter(([name, commands]) => !passes(name, commands)).map(([name]) => name);
console.log(`${chosen.length - failed.length} stages passed, ${failed.length} failed${failed.length > 0 ? `: ${failed.join(', ')}` : ''}`);
process.exitCode = failed.length > 0 ? 1 : 0;

/** @param {string} name @param {readonly (readonly string[])[]} commands @returns {boolean} */
function passes(name, commands) {
  const start = performance.now();
  const results = commands.map((command) => spawnSync(process.execPath, [...command], { cwd: root, env, encoding: 'utf8', maxBuffer: 64 << 20 }));
  const passed = results.every(({ status }) => status === 0);
  console.log(`${passed ? 'ok    ' : 'FAILED'}  ${name.padEnd(8)} ${((performance.now() - start) / 1_000).toFixed(1).padStart(5)} s`);
  for (const { status, stdout, stderr, error } of results) {
    if (status !== 0) console.log(stripVTControlCharacters(`${stdout ?? ''}${stderr ?? ''}${error ? `${error.message}\n` : ''}`));
  }
  return passed;
}
