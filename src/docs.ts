// Does the README's table of settings say what the schema says? `--check` fails where it does not; without it the table is written.
//
// A program of the checkout (`npm run docs`), not of the product.

import { readFileSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { showDuration } from './setting-kinds.ts';
import { leaves, type Leaf } from './settings.ts';

const BEGIN = '<!-- settings: made from src/settings.ts by `npm run docs` -->';
const END = '<!-- end of settings -->';

/** The table, one row per setting. */
export function settingsTable(): string {
  const rows = leaves.map((leaf) => [`\`${leaf.path}\``, variables(leaf), defaultOf(leaf), leaf.note.description]);
  return [
    '| setting | environment | default | meaning |',
    '| --- | --- | --- | --- |',
    ...rows.map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`),
  ].join('\n');
}

/** @throws where a marker is missing */
export function withTable(readme: string): string {
  const begin = readme.indexOf(BEGIN);
  const end = readme.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`README.md has no place for the settings: a line ${BEGIN}, and below it ${END}`);
  return `${readme.slice(0, begin + BEGIN.length)}\n\n${settingsTable()}\n\n${readme.slice(end)}`;
}

function variables({ env, note }: Leaf): string {
  return [`\`${env}\``, ...(note.alias === undefined ? [] : [`\`${note.alias}\``])].join(', ');
}

function defaultOf({ schema, note }: Leaf): string {
  const value: unknown = schema.parse(undefined);
  if (value === undefined) return '';
  return `\`${note.time && typeof value === 'number' ? showDuration(value) : typeof value === 'string' ? value : JSON.stringify(value)}\``;
}

function main(args: readonly string[]): number {
  const path = fileURLToPath(new URL('../README.md', import.meta.url));
  const before = readFileSync(path, 'utf8');
  const after = withTable(before);
  if (before === after) return 0;
  if (args.includes('--check')) {
    process.stderr.write('README.md: the table of settings is not that of src/settings.ts; `npm run docs` writes it\n');
    return 1;
  }
  writeFileSync(path, after);
  return 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main(process.argv.slice(2));
