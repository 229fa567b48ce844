// How is a rule taken out of the real code?
//
// By text: a patch names a file of the library, a piece of it that stands there exactly once, and what takes its place. The patched
// library is compiled into a directory of its own and imported from there; so what is explored is always the code that ships, less one
// rule, and a patch that no longer fits the code fails the test. With no patch, it is the library as it is.

import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { transformSync } from '@swc/core';
import type * as Cache from '../src/cache.ts';
import type * as Follower from '../src/follower.ts';
import type * as Observer from '../src/observer.ts';
import type * as Vocabulary from '../src/vocabulary.ts';

/** The library, intact or less a rule. */
export interface Code {
  /** What the intact code leaves alone in a step, patched code may change. */
  readonly intact: boolean;
  readonly PolicyCache: typeof Cache.PolicyCache;
  readonly step: typeof Follower.step;
  readonly newFollower: typeof Follower.newFollower;
  readonly newStats: typeof Observer.newStats;
  readonly compileVocabulary: typeof Vocabulary.compileVocabulary;
}

export interface Patch {
  readonly file: string;
  readonly find: string;
  readonly put: string;
}

const SOURCES = new URL('../src/', import.meta.url);
const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url));
const sources = new Map(readdirSync(SOURCES).flatMap((name) => (name.endsWith('.ts') ? [[name, readFileSync(new URL(name, SOURCES), 'utf8')] as const] : [])));
const compiled = new Map<string, string>();

/** @throws Error if a piece does not stand in its file exactly once */
function patched(patches: readonly Patch[], among: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const texts = new Map(among);
  for (const { file, find, put } of patches) {
    const parts = texts.get(file)?.split(find) ?? [];
    if (parts.length !== 2) throw new Error(`${file} has this ${Math.max(0, parts.length - 1)} times, a patch wants it once: ${find}`);
    texts.set(file, parts.join(put));
  }
  return texts;
}

/** Code that uses the library, compiled with it: its texts by path (`service/pdp.ts`), in which it is `../src/index.ts`. */
export interface Beside<T> {
  readonly texts: ReadonlyMap<string, string>;
  readonly load: (load: <M>(path: string) => Promise<M>) => Promise<T>;
}

let intact: Promise<Code> | null = null;

/** The library with these patches; with none, there is one for all who ask. */
export function codeOf(patches: readonly Patch[]): Promise<Code> {
  const library = async (): Promise<Code> => (await codeBeside(patches, NOTHING)).code;
  if (patches.length > 0) return library();
  return (intact ??= library());
}
const NOTHING: Beside<null> = { texts: new Map(), load: () => Promise.resolve(null) };

/** The same, and what uses it. */
export async function codeBeside<T>(patches: readonly Patch[], { texts, load }: Beside<T>): Promise<{ readonly code: Code; readonly beside: T }> {
  const directory = mkdtempSync(join(tmpdir(), 'grantgate-model-'));
  const loaded = <M>(path: string): Promise<M> => import(/* @vite-ignore */ pathToFileURL(join(directory, `${path}.mjs`)).href) as Promise<M>;
  try {
    symlinkSync(MODULES, join(directory, 'node_modules'), 'junction');
    for (const [name, text] of patched(patches, new Map([...sources, ...texts]))) {
      const path = join(directory, name.includes('/') ? name : `src/${name}`).replace(/\.ts$/, '.mjs');
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, compile(text));
    }
    const [{ PolicyCache }, { step, newFollower }, { newStats }, { compileVocabulary }, beside] = await Promise.all([
      loaded<typeof Cache>('src/cache'),
      loaded<typeof Follower>('src/follower'),
      loaded<typeof Observer>('src/observer'),
      loaded<typeof Vocabulary>('src/vocabulary'),
      load(loaded),
    ]);
    return { code: { intact: patches.length === 0, PolicyCache, step, newFollower, newStats, compileVocabulary }, beside };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function compile(text: string): string {
  const known = compiled.get(text);
  if (known !== undefined) return known;
  const { code } = transformSync(text, {
    jsc: { parser: { syntax: 'typescript' }, target: 'es2022', transform: { verbatimModuleSyntax: true } },
    swcrc: false,
  });
  const module = code.replaceAll(/(from\s+["']\.[^"']+)\.ts(["'])/g, '$1.mjs$2');
  compiled.set(text, module);
  return module;
}
