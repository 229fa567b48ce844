// Do the packages of a clone of tomorrow, on another platform, equal today's?

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly scripts: Readonly<Record<string, string>>;
}
interface Entry {
  readonly version?: string;
  readonly resolved?: string;
  readonly link?: boolean;
  readonly integrity?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const manifest = JSON.parse(read('package.json')) as Manifest;
const lock = (JSON.parse(read('package-lock.json')) as { packages: Readonly<Record<string, Entry>> }).packages;
const installed = Object.entries(lock).filter(([path, { link }]) => path.includes('node_modules/') && link !== true);

test('the manifest names exact versions', () => {
  const all = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies };
  const ranges = Object.entries(all).filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version));
  expect(ranges).toEqual([]);
});

test('the lock file names no registry, and proves each package by its hash', () => {
  expect(installed.length).toBeGreaterThan(100);
  expect(installed.filter(([, { resolved }]) => resolved !== undefined)).toEqual([]);
  expect(installed.filter(([, { integrity }]) => integrity === undefined)).toEqual([]);
});

test('the lock file holds the packages of every platform: else npm ci refuses it', () => {
  const wanted = installed.flatMap(([, { optionalDependencies }]) => Object.keys(optionalDependencies ?? {}));
  expect(wanted.length).toBeGreaterThan(50);
  const held = new Set(installed.map(([path]) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)));
  expect(wanted.filter((name) => !held.has(name))).toEqual([]);
});

test('what a clone builds by itself is what `npm run build` builds', () => {
  const projects = /PROJECTS = \[(.*?)\]/.exec(read('src/ready.mjs'))?.[1]?.replace(/[',]/g, '').trim();
  expect(read('src/ready.mjs')).toContain("run(process.execPath, ['.bundle.mjs'])");
  expect(manifest.scripts['build']).toBe(`tsc -b ${projects} && node .bundle.mjs`);
});
