// A small copy of this checkout to plant in, break and build: the real tools, packages and library, a service of two lines.

import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const made = new Set(['node_modules', 'dist', '.git', '.grantgate', '.programs', 'coverage']);
const left = new Set([
  'src',
  'deploy',
  'loadtest',
  'test/abuse',
  'test/admin',
  'test/bench',
  'test/corpus',
  'test/postgres',
  'test/proxies',
  'test/service',
  'test/tooling',
  'policy-cache/test',
  'policy-cache/bench',
]);

export interface Checkout {
  readonly root: string;
  at(...path: string[]): string;
  write(path: string, content: string): void;
  remove(): void;
}

export function copyCheckout(): Checkout {
  const root = mkdtempSync(join(tmpdir(), 'grantgate-checkout-'));
  const at = (...path: string[]): string => join(root, ...path);
  const write = (path: string, content: string): void => {
    mkdirSync(dirname(at(path)), { recursive: true });
    writeFileSync(at(path), content);
  };
  const wanted = (path: string): boolean => !made.has(basename(path)) && !left.has(relative(repository, path).split(sep).join('/'));
  cpSync(repository, root, { recursive: true, filter: wanted });
  for (const name of ['ready.mjs', 'grantgate.mjs']) cpSync(join(repository, 'src', name), at('src', name));
  write('src/word.ts', "export const word = 'first';\n");
  write('src/main.ts', "import { word } from './word.ts';\n\nconsole.log(word, process.argv.slice(2).join(' '));\nprocess.exitCode = 1;\n");
  write('src/worker.ts', 'export {};\n');
  // Each package by a link of its own, so that our library is the copy's.
  mkdirSync(at('node_modules'));
  for (const name of readdirSync(join(repository, 'node_modules'))) {
    symlinkSync(name === 'policy-cache' ? at(name) : join(repository, 'node_modules', name), at('node_modules', name));
  }
  return { root, at, write, remove: () => rmSync(root, { recursive: true }) };
}
