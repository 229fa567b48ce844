// Is the core pure, by proof of the compiler and not by habit?

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const library = fileURLToPath(new URL('..', import.meta.url));
// Inside the package, so that it stands where a source file of the core stands.
const folder = mkdtempSync(join(library, '.purity-'));
afterAll(() => rmSync(folder, { recursive: true }));

const typescript = createRequire(import.meta.url).resolve('typescript/package.json');
const { bin } = JSON.parse(readFileSync(typescript, 'utf8')) as { bin: { tsc: string } };

function compile(name: string, source: string): Promise<string> {
  writeFileSync(join(folder, `${name}.ts`), source);
  writeFileSync(
    join(folder, `${name}.json`),
    JSON.stringify({
      extends: '../tsconfig.json',
      compilerOptions: { rootDir: '.', noEmit: true, composite: false, incremental: false, tsBuildInfoFile: null },
      include: [],
      files: [`${name}.ts`],
    }),
  );
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [join(dirname(typescript), bin.tsc), '-p', join(folder, `${name}.json`)], (error, stdout) => {
      // An exit code is an answer; not having run at all is none.
      if (error && typeof error.code !== 'number') reject(new Error('tsc did not run', { cause: error }));
      else resolve(stdout);
    });
  });
}

test('what the core may name compiles', async () => {
  expect(await compile('pure', 'export const one: ReadonlyMap<string, Promise<number>> = new Map([["a", Promise.resolve(Math.max(1, 2))]]);\n')).toBe('');
});

test.each(['process', 'Buffer', 'setTimeout', 'fetch', 'console', 'performance', 'queueMicrotask'])('a file that names %s does not', async (name) => {
  expect(await compile(`names-${name}`, `export const host: unknown = ${name};\n`)).toMatch(
    new RegExp(`names-${name}\\.ts.*(Cannot find name '${name}'|TS2\\d\\d\\d)`),
  );
});

test('nor does one that imports a module of Node', async () => {
  expect(await compile('imports', "import { readFileSync } from 'node:fs';\nexport const read = readFileSync;\n")).toContain("'node:fs'");
});
