// Can this checkout run? Installs what the lock file names and builds what is out of date, so that every command of README works
// straight after `git clone`. Nothing but Node is needed, and it says nothing where nothing is to be done: 10 ms.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const NODE = { major: 20, minor: 19 };
const PROJECTS = ['policy-cache', 'policy-cache/src/postgres', 'tsconfig.json'];
const SOURCES = [
  'src',
  'policy-cache/src',
  'policy-cache/package.json',
  'policy-cache/tsconfig.json',
  'policy-cache/tsconfig.strict.json',
  'tsconfig.json',
  'package-lock.json',
  '.bundle.mjs',
];
const stamp = join(root, 'dist', '.built');

/** Brings the packages in step with the lock file. Ends the process where that is not possible. */
export function install() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < NODE.major || (major === NODE.major && minor < NODE.minor)) {
    fail(`grantgate needs Node ${NODE.major}.${NODE.minor} or later, this is ${process.versions.node}: install a newer one and try again`);
  }
  if (isInstalled()) return;
  say('installing packages (npm ci)');
  // Windows finds npm.cmd through a shell only. No install script of a package is needed, and some npm versions refuse them.
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { shell: process.platform === 'win32' });
}

/** Brings dist in step with the sources. Ends the process where that is not possible. */
export function build() {
  const start = Date.now();
  if (builtAt() > newest(SOURCES.map((path) => join(root, path)))) return;
  say('building (tsc -b)');
  run(process.execPath, [join('node_modules', 'typescript', 'bin', 'tsc'), '-b', ...PROJECTS]);
  run(process.execPath, ['.bundle.mjs']);
  mkdirSync(join(root, 'dist'), { recursive: true });
  writeFileSync(stamp, String(start)); // not the end: what is saved during a build is built by the next
}

// By content, not by age: a clone, a checkout and `npm install` leave the two files' dates in any order.
function isInstalled() {
  const hidden = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(hidden)) return false;
  const wanted = packages(join(root, 'package-lock.json'));
  const present = packages(hidden);
  const known = Object.entries(wanted).filter(([path]) => path.includes('node_modules/'));
  return known.every(([path, { version, optional }]) => (present[path] ? present[path].version === version : optional === true));
}

/** @param {string} path @returns {Record<string, { version?: string, optional?: boolean }>} */
function packages(path) {
  return JSON.parse(readFileSync(path, 'utf8')).packages;
}

function builtAt() {
  return existsSync(stamp) && existsSync(join(root, 'dist', 'main.js')) ? Number(readFileSync(stamp, 'utf8')) : 0;
}

/** @param {readonly string[]} paths @returns {number} when the newest file or directory below them was changed, in ms */
function newest(paths) {
  return Math.max(
    ...paths.map((path) => {
      const found = statSync(path);
      const below = found.isDirectory() ? newest(readdirSync(path).map((name) => join(path, name))) : 0;
      return Math.max(found.mtimeMs, below);
    }),
    0,
  );
}

/** @param {string} command @param {readonly string[]} args @param {{ shell?: boolean }} [options] */
function run(command, args, options = {}) {
  // Standard output is the caller's: `grantgate check --json` is read by programs.
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  if (error) fail(`${command} cannot be run: ${error.message}`);
  if (status !== 0) fail(`${command} ${args.join(' ')} failed; its own lines above say why`);
}

/** @param {string} line */
function say(line) {
  process.stderr.write(`grantgate: ${line}\n`);
}

/** @param {string} line @returns {never} */
function fail(line) {
  say(line);
  process.exit(1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  install();
  build();
}
