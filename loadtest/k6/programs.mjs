// Where are the programs that npm does not bring?

import { accessSync, constants, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ours = fileURLToPath(new URL('../../.programs', import.meta.url));

/** @type {Readonly<Record<string, { find: () => string | undefined, fix: string }>>} */
const PROGRAMS = {
  k6: { find: () => executable(join(ours, 'bin/k6')), fix: 'npm run programs' },
  // The program itself: what lies in `bin` is a script that starts it.
  envoy: { find: () => inPython('envoy/_bin/envoy'), fix: 'npm run programs' },
  traefik: { find: () => executable(join(ours, 'bin/traefik')), fix: 'npm run programs' },
  caddy: { find: () => executable(join(ours, 'bin/caddy')), fix: 'npm run programs' },
  nginx: { find: () => onPath('nginx'), fix: 'apt-get install nginx' },
  haproxy: { find: () => onPath('haproxy'), fix: 'apt-get install haproxy' },
  wrk: { find: () => onPath('wrk'), fix: 'apt-get install wrk' },
  h2load: { find: () => onPath('h2load'), fix: 'apt-get install nghttp2-client' },
};

/** @param {string} name */
export function findProgram(name) {
  return PROGRAMS[name]?.find();
}

/** @param {string} name */
export function requireProgram(name) {
  const found = findProgram(name);
  if (found === undefined) throw new Error(`needs ${name}: ${PROGRAMS[name]?.fix}`);
  return found;
}

/** Debian keeps daemons in sbin, which an ordinary user's PATH lacks. @param {string} program */
function onPath(program) {
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return directories.map((directory) => executable(join(directory, program))).find((path) => path !== undefined);
}

/** @param {string} path below the packages of Python */
function inPython(path) {
  try {
    const library = join(ours, 'lib');
    return readdirSync(library)
      .map((version) => executable(join(library, version, 'site-packages', path)))
      .find((found) => found !== undefined);
  } catch {
    return undefined;
  }
}

/** @param {string} path */
function executable(path) {
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch {
    return undefined;
  }
}
