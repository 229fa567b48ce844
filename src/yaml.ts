// How is YAML read, without loading its parser where there is none to read?
//
// [measured] The parser is 73 modules, a tenth of the time to ready, and the shipped route table takes it four times as long as loading it: so what it
// says of the shipped files is kept as JSON beside them (`npm run docs`), by the hash of their text. A file that somebody changed has another
// hash, and is read as it stands.

import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type * as Yaml from 'yaml';

const require = createRequire(import.meta.url);

/** The parser, from its first use on. Settings are read in one turn, so it is not awaited. */
export function yamlParser(): typeof Yaml {
  return require('yaml') as typeof Yaml;
}

/** What is kept of the shipped files: by the hash of each. */
export const SHIPPED = fileURLToPath(import.meta.resolve('policy-cache/vocabulary/shipped.json'));

export function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** What the parser would make of this text; undefined: it has to be asked. */
export function shippedContent(text: string, readFile: (path: string) => string): unknown {
  try {
    const kept = JSON.parse(readFile(SHIPPED)) as Readonly<Record<string, unknown>>;
    const hash = hashOf(text);
    return Object.hasOwn(kept, hash) ? kept[hash] : undefined;
  } catch {
    return undefined; // the parser tells the same, later
  }
}
