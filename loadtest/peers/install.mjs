// Where do the peers come from? npm and Go's module proxy, exact versions, below `.programs/peers`: none of it is a dependency of ours.
//
// Installed when first measured; a peer that cannot be had is told with the command that would bring it.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const PROGRAMS = fileURLToPath(new URL('../../.programs/peers/', import.meta.url));
const SPICEDB = fileURLToPath(new URL('spicedb/', import.meta.url));

/** @typedef {{ readonly version: string, readonly file: string, readonly command: string, readonly args: readonly string[], readonly cwd?: string }} Installation */

/** @param {string} packageName @param {string} version @param {string} file @returns {Installation} */
const npm = (packageName, version, file) => ({
  version,
  file: `node_modules/${packageName}/${file}`,
  command: 'npm',
  args: ['install', '--prefix', '.programs/peers', '--ignore-scripts', '--no-audit', '--no-fund', '--save-exact', `${packageName}@${version}`],
});
const LEAN = ['-p', '2', '-ldflags=-s -w'];

/** What a peer needs, by the name of its program. @type {Readonly<Record<string, Installation>>} */
export const INSTALLATIONS = {
  casbin: npm('casbin', '5.51.1', 'package.json'),
  cedar: npm('@cedar-policy/cedar-wasm', '4.13.0', 'package.json'),
  cerbos: npm('@cerbos/cerbos-linux-x64', '0.55.0', 'cerbos-linux-x64'),
  opa: { version: '1.19.1', file: 'bin/opa', command: 'go', args: ['install', ...LEAN, 'github.com/open-policy-agent/opa@v1.19.1'] },
  openfga: { version: '1.18.1', file: 'bin/openfga', command: 'go', args: ['install', ...LEAN, 'github.com/openfga/openfga/cmd/openfga@v1.18.1'] },
  // `go install …/cmd/spicedb@v1.56.0` is refused: a module with a `replace` is nobody's but its own.
  spicedb: { version: '1.56.0', file: 'bin/spicedb', command: 'go', args: ['build', ...LEAN, '-o', `${PROGRAMS}bin/spicedb`, '.'], cwd: SPICEDB },
};

/** @param {string} name */
const installation = (name) => {
  const found = INSTALLATIONS[name];
  if (found === undefined) throw new Error(`nothing installs ${name}`);
  return found;
};

/** @param {string} name */
export function programOf(name) {
  return `${PROGRAMS}${installation(name).file}`;
}

/** The command as a person would give it, from the root of the checkout. @param {string} name */
export function commandOf(name) {
  const { command, args, cwd } = installation(name);
  const quoted = args.map((arg) => (arg.includes(' ') ? `'${arg}'` : arg)).join(' ');
  if (command === 'npm') return `npm ${quoted}`;
  return `${cwd === undefined ? '' : 'cd loadtest/peers/spicedb && '}CGO_ENABLED=0 GOBIN="$PWD/.programs/peers/bin" go ${quoted.replace(PROGRAMS, '../../../.programs/peers/')}`;
}

/** @type {Map<string, string | null>} */ const tried = new Map();

/** Brings what is not there. Null: it is there; else why it is not. @param {string} name @param {(line: string) => void} say @returns {string | null} */
export function install(name, say) {
  const known = tried.get(name);
  const problem = known === undefined ? bring(name, say) : known;
  tried.set(name, problem);
  return problem;
}

/** @param {string} name @param {(line: string) => void} say */
function bring(name, say) {
  if (existsSync(programOf(name))) return null;
  const { command, args, cwd, version } = installation(name);
  say(`installing ${name} ${version}: ${commandOf(name)}`);
  mkdirSync(`${PROGRAMS}bin`, { recursive: true });
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const { status, stderr, error } = spawnSync(command, [...args], {
    cwd: cwd ?? root,
    env: { ...process.env, CGO_ENABLED: '0', GOBIN: `${PROGRAMS}bin` },
    encoding: 'utf8',
    timeout: 900_000,
  });
  if (status === 0 && existsSync(programOf(name))) return null;
  return (error?.message ?? stderr.trim().split('\n').at(-1) ?? `ended with ${status}`).slice(0, 200);
}
