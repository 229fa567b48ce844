// Which imports break the rules of .dependency-cruiser.mjs, and was everything looked at? (dependency-cruiser finds no module at
// all where its parser is missing, and then has nothing to complain of.) As a program: the stage `imports` of `npm run check`.

import { existsSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cruise } from 'dependency-cruiser';
import extractOptions from 'dependency-cruiser/config-utl/extract-depcruise-options';

const repository = fileURLToPath(new URL('../..', import.meta.url)).replace(/.$/, '');
const config = join(repository, '.dependency-cruiser.mjs');
const places = ['src', 'policy-cache/src', 'policy-cache/test', 'policy-cache/bench', 'test', 'loadtest'];

/**
 * @typedef {object} Cruised
 * @property {readonly string[]} violations `rule: from → to`
 * @property {number} dependencies followed
 * @property {readonly string[]} sources files there are
 * @property {readonly string[]} unread those of them that were not read
 */

/** @param {string} root a directory laid out like the repository @returns {Promise<Cruised>} */
export async function cruiseImports(root) {
  const sources = places.flatMap((place) => sourcesBelow(root, join(root, place)));
  const { output } = await cruise(sources, { ...(await extractOptions(config)), baseDir: root });
  if (typeof output === 'string') throw new Error(`expected a result, got text: ${output}`);
  const read = new Set(output.modules.map(({ source }) => source));
  return {
    violations: output.summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`),
    dependencies: output.summary.totalDependenciesCruised ?? 0,
    sources,
    unread: sources.filter((source) => !read.has(source)),
  };
}

/** @param {string} root @param {string} directory @returns {string[]} */
function sourcesBelow(root, directory) {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|mjs|js)$/.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { violations, dependencies, sources, unread } = await cruiseImports(repository);
  for (const violation of violations) console.log(violation);
  for (const source of unread) console.log(`not read: ${source}`);
  // Fewer imports than files is no tree of ours: the parser read the files and saw nothing in them.
  const blind = dependencies < sources.length;
  if (blind) console.log('dependency-cruiser sees no imports: is @swc/core installed for this platform?');
  console.log(`${sources.length} files, ${dependencies} imports, ${violations.length} violations`);
  process.exitCode = violations.length + unread.length > 0 || blind ? 1 : 0;
}
