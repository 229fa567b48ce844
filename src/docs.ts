// Does what is made from something else say the same? The README's table of settings, made from the schema, and what is kept of the shipped
// YAML files (yaml.ts). `--check` fails where one does not; without it they are written.
//
// A program of the checkout (`npm run docs`), not of the product.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { showDuration } from './setting-kinds.ts';
import { leaves, type Leaf } from './settings.ts';
import { hashOf, SHIPPED, yamlParser } from './yaml.ts';

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

/** The shipped files as the parser reads them. */
export function shippedAsJson(): string {
  const texts = ['thingsboard.yaml', 'thingsboard-routes.yaml'].map((name) => readFileSync(new URL(name, pathToFileURL(SHIPPED)), 'utf8'));
  return `${JSON.stringify(Object.fromEntries(texts.map((text) => [hashOf(text), yamlParser().parse(text) as unknown])))}\n`;
}

function main(args: readonly string[]): number {
  const readme = fileURLToPath(new URL('../README.md', import.meta.url));
  const made = [
    { path: readme, from: 'the schema in src/settings.ts', content: withTable(readFileSync(readme, 'utf8')) },
    { path: SHIPPED, from: 'the YAML files beside it', content: shippedAsJson() },
  ];
  const stale = made.filter(({ path, content }) => !existsSync(path) || readFileSync(path, 'utf8') !== content);
  for (const { path, from, content } of stale) {
    if (args.includes('--check')) process.stderr.write(`${path}: does not say what ${from} says; \`npm run docs\` writes it\n`);
    else writeFileSync(path, content);
  }
  return args.includes('--check') && stale.length > 0 ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main(process.argv.slice(2));
