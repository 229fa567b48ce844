// What worlds do these files hold, and on which line does each thing stand?
//
// YAML, JSON, or NDJSON with one `{ "kind": "customers", … }` a line. Shapes are the library's (`parseWorldFile`); what is added
// here is the file and the line, for every problem. (An import reads the same files row by row: worldstream.ts.)

import type { Node } from 'yaml';
import {
  parseWorldFile,
  parseWorldOrigin,
  vocabularyProblems,
  type Problem,
  type Vocabulary,
  type WorldFile,
  type WorldList,
  type WorldOrigin,
} from 'policy-cache';
import { MOST_PROBLEMS, type ImportProblem } from 'policy-cache/postgres';
import { parserWords } from './parser-words.ts';
import { yamlParser } from './yaml.ts';

export interface WorldText {
  /** As the person named it. */
  readonly file: string;
  readonly text: string;
}

export interface PlacedWorld {
  readonly file: string;
  readonly world: WorldFile;
  /** Line of `users[3].groups[0]`, or of the nearest thing around it that is there. */
  readonly lineOf: (path: string) => number | null;
}

export interface WorldsRead {
  readonly worlds: readonly PlacedWorld[];
  /** Not empty: these are not worlds, and `worlds` holds only the files that are. */
  readonly problems: readonly ImportProblem[];
}

/** Reads every file and tells all that is wrong with the shape of all of them. Never throws. */
export function readWorlds(texts: readonly WorldText[]): WorldsRead {
  const worlds: PlacedWorld[] = [];
  const problems: ImportProblem[] = [];
  for (const { file, text } of texts) {
    const { parsed, lineOf, broken } = read(file, text);
    const { world, problems: shape } = broken.length > 0 ? { world: null, problems: [] } : parseWorldFile(parsed);
    for (const { line, message } of broken) problems.push({ file, line, path: '', field: '', message, fix: '' });
    for (const problem of shape) problems.push(placed(file, problem, lineOf));
    if (world && shape.length === 0) worlds.push({ file, world, lineOf });
  }
  return { worlds, problems };
}

/** As many problems as anybody reads, and how many more there are. */
export function firstOf(problems: readonly ImportProblem[]): { readonly problems: readonly ImportProblem[]; readonly omitted: number } {
  return { problems: problems.slice(0, MOST_PROBLEMS), omitted: Math.max(0, problems.length - MOST_PROBLEMS) };
}

/** Names that the vocabulary has not. */
export function nameProblems(vocabulary: Vocabulary, worlds: readonly PlacedWorld[]): readonly ImportProblem[] {
  return worlds.flatMap(({ file, world, lineOf }) => vocabularyProblems(vocabulary, world).map((problem) => placed(file, problem, lineOf)));
}

export function placed(file: string, { path, message }: Problem, lineOf: (path: string) => number | null): ImportProblem {
  const [row, field] = split(path);
  return { file, line: lineOf(path), path: row, field, message, fix: '' };
}

/** `users[3].groups[0]` → `users[3]`, `groups[0]`. */
function split(path: string): [row: string, field: string] {
  const match = /^([a-z]+\[\d+\])\.(.*)$/s.exec(path);
  return match ? [match[1]!, match[2]!] : [path, ''];
}

export interface Reading {
  readonly parsed: unknown;
  readonly lineOf: (path: string) => number | null;
  /** What keeps the text from being read at all. */
  readonly broken: readonly { readonly line: number | null; readonly message: string }[];
}

function read(file: string, text: string): Reading {
  if (isLines(file, text)) return readLines(text);
  return readDocument(text);
}

/** Measured: a world of 50 MB of YAML takes two minutes to parse, and then more memory than Node has. 10 MB: 20 s and 1.2 GB. */
export const LONGEST_DOCUMENT = 10e6;

function unreadable(message: string): Reading {
  return { parsed: null, lineOf: () => null, broken: [{ line: null, message }] };
}

/** YAML, and JSON, which is YAML too. A key that stands twice is an error, so nothing has two owners. */
export function readDocument(text: string): Reading {
  // What the parser has to say of every byte of a binary file helps nobody.
  if (text.includes('\0')) return unreadable('is no text: there are zero bytes in it');
  if (text.length > LONGEST_DOCUMENT) {
    return unreadable(`is too large for one document (${LONGEST_DOCUMENT / 1e6} MB); write it as NDJSON, a row a line: {"kind":"users","id":…}`);
  }
  if (text.trim() === '') return unreadable('is empty: whatever was to write it did not');
  const { LineCounter, parseDocument } = yamlParser(); // not before: the command line knows this file whatever the command
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const lineAt = (offset: number): number => lines.linePos(offset).line;
  // A warning is something that was read as something else: an unknown tag, a directive of another version.
  const broken = [...document.errors, ...document.warnings].map(({ pos, message }) => ({ line: lineAt(pos[0]), message: parserWords(message) }));
  if (broken.length > 0) return { parsed: null, lineOf: () => null, broken };
  try {
    return { parsed: document.toJS(), lineOf: (path) => lineOfPath(document.contents, path, lineAt), broken };
  } catch (error) {
    // Aliases that multiply beyond measure.
    return { parsed: null, lineOf: () => null, broken: [{ line: null, message: error instanceof Error ? error.message : String(error) }] };
  }
}

function lineOfPath(root: Node | null, path: string, lineAt: (offset: number) => number): number | null {
  const { isCollection, isMap, isPair, isScalar } = yamlParser();
  let line = root?.range ? lineAt(root.range[0]) : null;
  let node: unknown = root;
  for (const step of steps(path)) {
    if (!isCollection(node)) break;
    if (isMap(node)) {
      const pair = node.items.find((item) => isPair(item) && String(isScalar(item.key) ? item.key.value : item.key) === step);
      if (!pair) break;
      // A value that begins on the line after its key is told by its key.
      const key = pair.key;
      if (isScalar(key) && key.range) line = lineAt(key.range[0]);
      node = pair.value;
    } else {
      node = node.items[Number(step)];
      const range = (node as Node | undefined)?.range;
      if (range) line = lineAt(range[0]);
    }
  }
  return line;
}

/** `roles[0].permissions.DEVICE[1]` and `roles[0]["odd name"]`-like steps as the library writes them. */
function steps(path: string): readonly string[] {
  return Array.from(path.matchAll(/"(?:[^"\\]|\\.)*"|[\w-]+/g), ([step]) => (step.startsWith('"') ? (JSON.parse(step) as string) : step));
}

/** By its name, or by how it begins. */
export function isLines(file: string, text: string): boolean {
  return /\.(?:ndjson|jsonl)$/i.test(file) || /^\s*\{\s*"kind"\s*:/.test(text);
}

const LISTS: readonly WorldList[] = ['tenants', 'customers', 'groups', 'users', 'entities', 'roles', 'grants', 'checks'];

/** One object a line, its list named by `kind`; a line `{ "kind": "defaults" }` asks for the predefined objects. */
function readLines(text: string): Reading {
  if (text.includes('\0')) return unreadable('is no text: there are zero bytes in it');
  const parsed: Record<string, unknown> = {};
  const at = new Map<string, number[]>();
  const broken: { line: number; message: string }[] = [];
  for (const [i, source] of text.split('\n').entries()) {
    if (source.trim() === '') continue;
    const read = readLine(source);
    const line = i + 1;
    if (read.is === 'problem') broken.push({ line, message: read.message });
    else if (read.is === 'defaults') parsed['defaults'] = true;
    else if (read.is === 'export') parsed['export'] = read.origin;
    else if (read.is === 'end') parsed['end'] = {};
    else {
      ((parsed[read.list] ??= []) as unknown[]).push(read.fields);
      const lines = at.get(read.list) ?? [];
      lines.push(line);
      at.set(read.list, lines);
    }
  }
  const lineOf = (path: string): number | null => {
    const match = /^([a-z]+)\[(\d+)\]/.exec(path);
    return match ? (at.get(match[1]!)?.[Number(match[2])] ?? null) : null;
  };
  return { parsed, lineOf, broken };
}

export type Line =
  | { readonly is: 'row'; readonly list: WorldList; readonly fields: object }
  /** Asks for the predefined objects. */
  | { readonly is: 'defaults' }
  /** What an export says of itself. */
  | { readonly is: 'export'; readonly origin: WorldOrigin }
  /** Stands last in an export that is whole. */
  | { readonly is: 'end' }
  | { readonly is: 'problem'; readonly message: string };

export function readLine(source: string): Line {
  let row: unknown;
  try {
    row = JSON.parse(source);
  } catch (error) {
    return { is: 'problem', message: parserWords(error instanceof Error ? error.message : String(error)) };
  }
  if (typeof row !== 'object' || row === null || Array.isArray(row)) return { is: 'problem', message: 'expected an object with "kind"' };
  const { kind, ...fields } = row as { kind?: unknown };
  const list = LISTS.find((name) => name === kind);
  if (list !== undefined) return { is: 'row', list, fields };
  if (kind === 'defaults') return { is: 'defaults' };
  if (kind === 'end') return { is: 'end' };
  if (kind !== 'export')
    return {
      is: 'problem',
      message: `kind: expected one of ${LISTS.join(', ')}, defaults, export, end; got ${parserWords(JSON.stringify(kind) ?? 'nothing')}`,
    };
  const problems: Problem[] = [];
  const origin = parseWorldOrigin(fields, { path: 'export', problems });
  return origin === null ? { is: 'problem', message: problems.map(({ path, message }) => `${path}: ${message}`).join('; ') } : { is: 'export', origin };
}
