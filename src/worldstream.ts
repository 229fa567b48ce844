// Which rows do these files hold, one after the other, however many there are?
//
// NDJSON is read line by line, and nothing of it is kept; a document of YAML or JSON is read whole. What is wrong is kept apart: the
// first hundred, and how many more.

import { CUT_OFF, grantId, parseWorldFile, parseWorldRow, rowNameProblems, type ListedRow, type Problem, type Vocabulary, type WorldList } from 'policy-cache';
import { MOST_PROBLEMS, type ImportPlace, type ImportProblem, type ImportRow, type RowsRead } from 'policy-cache/postgres';
import { LONGEST_DOCUMENT, isLines, placed, readDocument, readLine, type Reading, type WorldText } from './worldfiles.ts';

export interface WorldInput {
  /** As the person named it. */
  readonly file: string;
  readonly pieces: AsyncIterable<Uint8Array>;
}

export interface WorldRowsOptions {
  readonly vocabulary: Vocabulary;
  /** Names that the vocabulary has not are stored as they are. */
  readonly unknownNames?: boolean;
  /** A line `{"kind":"file","name":…}` begins another file: several are sent as one. */
  readonly joined?: boolean;
  /** Characters of a line at the most, for each is read in one turn; default: those of a document. */
  readonly longestLine?: number;
  /** Bytes of one piece that was read. */
  readonly took?: (bytes: number) => void;
}

export interface WorldRows {
  /** In pieces, for a turn of the event loop for each of a million rows would cost more than reading it. To be read once. */
  readonly rows: AsyncIterable<readonly ImportRow[]>;
  /** What there is to say when all rows are read. */
  read(): RowsRead;
  /** The problems of an import, each with the line of its field instead of that of its row. */
  withFieldLines(problems: readonly ImportProblem[]): readonly ImportProblem[];
}

export function worldRows(inputs: readonly WorldInput[], options: WorldRowsOptions): WorldRows {
  const found = { problems: [] as ImportProblem[], omitted: 0, unreadable: false };
  const defaults = new Set<string>();
  const lines = new Map<string, Reading['lineOf']>();
  const add = (problem: ImportProblem): void => {
    if (found.problems.length < MOST_PROBLEMS) found.problems.push(problem);
    else found.omitted++;
  };
  const report: Report = {
    shape(problem) {
      found.unreadable = true;
      add(problem);
    },
    name: add,
    defaults: (file) => void defaults.add(file),
    lines: (file, lineOf) => void lines.set(file, lineOf),
  };
  return {
    rows: rowsOf(inputs, { ...options, report }),
    read: () => ({ ...found, defaults }),
    withFieldLines: (problems) =>
      problems.map((problem) => {
        const line = problem.field === '' ? null : lines.get(problem.file)?.(`${problem.path}.${problem.field}`);
        return { ...problem, line: line ?? problem.line };
      }),
  };
}

/** A text that is at hand, as an input. */
export function textInput({ file, text }: WorldText): WorldInput {
  return {
    file,
    pieces: (async function* () {
      yield Buffer.from(text);
    })(),
  };
}

const NONE: readonly ImportRow[] = [];

interface Report {
  /** Not a world: rows are missing. */
  shape(problem: ImportProblem): void;
  /** A row with a name that the vocabulary has not. */
  name(problem: ImportProblem): void;
  defaults(file: string): void;
  lines(file: string, lineOf: Reading['lineOf']): void;
}
type Options = WorldRowsOptions & { readonly report: Report };

async function* rowsOf(inputs: readonly WorldInput[], options: Options): AsyncGenerator<readonly ImportRow[]> {
  for (const input of inputs) {
    try {
      yield* inputRows(input, options);
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      options.report.shape({ file: error.file ?? input.file, line: error.line, path: '', field: '', message: error.message, fix: '' });
    }
  }
}

/** Of a file, from where on there is nothing to be had. */
class Unreadable extends Error {
  readonly line: number | null;
  /** Null: the one that was opened. */
  readonly file: string | null;
  constructor(line: number | null, message: string, file: string | null = null) {
    super(message);
    this.line = line;
    this.file = file;
  }
}

async function* inputRows({ file, pieces }: WorldInput, options: Options): AsyncGenerator<readonly ImportRow[]> {
  const texts = decoded(pieces, options.took);
  // How it begins may be all of it, and less than a line.
  let head = '';
  for (let next = await texts.next(); ; next = await texts.next()) {
    if (next.done !== true) head += next.value;
    if (next.done === true || head.trimStart().length > 100) break;
  }
  if (isLines(file, head)) {
    yield* lineRows(file, rejoined(head, texts), options);
    return;
  }
  for await (const text of texts) {
    head += text;
    if (head.length > LONGEST_DOCUMENT) break;
  }
  yield documentRows(file, head, options);
}

async function* rejoined(head: string, rest: AsyncIterable<string>): AsyncGenerator<string> {
  yield head;
  yield* rest;
}

async function* decoded(pieces: AsyncIterable<Uint8Array>, took: ((bytes: number) => void) | undefined): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const decode = (piece?: Uint8Array): string => {
    try {
      return piece === undefined ? decoder.decode() : decoder.decode(piece, { stream: true });
    } catch {
      throw new Unreadable(null, 'is not UTF-8');
    }
  };
  try {
    for await (const piece of pieces) {
      took?.(piece.length);
      yield decode(piece);
    }
  } catch (error) {
    if (error instanceof Unreadable) throw error;
    throw new Unreadable(null, `cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  yield decode();
  return undefined;
}

async function* lineRows(first: string, texts: AsyncIterable<string>, options: Options): AsyncGenerator<readonly ImportRow[]> {
  let file = first;
  const { longestLine = LONGEST_DOCUMENT } = options;
  const counts = new Map<WorldList, number>();
  let line = 0;
  let rest = '';
  let cutOff = false;
  const rowsOfLine = (source: string): readonly ImportRow[] => {
    line++;
    if (source.trim() === '') return NONE;
    const next = options.joined === true ? fileIn(source) : null;
    if (next !== null) {
      if (cutOff) throw new Unreadable(line, CUT_OFF, file);
      file = next;
      line = 0;
      counts.clear();
      return NONE;
    }
    const read = readLine(source);
    switch (read.is) {
      case 'problem':
        options.report.shape({ file, line, path: '', field: '', message: read.message, fix: '' });
        return NONE;
      case 'defaults':
        options.report.defaults(file);
        return NONE;
      case 'export':
        if (cutOff) throw new Unreadable(line, CUT_OFF, file); // another export begins, as `cat` puts them together
        cutOff = true;
        return NONE;
      case 'end':
        cutOff = false;
        return NONE;
      case 'row': {
        const i = counts.get(read.list) ?? 0;
        counts.set(read.list, i + 1);
        return readRow(read.list, read.fields, { file, line, path: `${read.list}[${i}]`, options });
      }
      default:
        return read satisfies never;
    }
  };
  for await (const text of texts) {
    if (text.includes('\0')) throw new Unreadable(null, 'is no text: there are zero bytes in it', file);
    const sources = (rest + text).split('\n');
    rest = sources.pop()!;
    yield sources.flatMap(rowsOfLine);
    if (rest.length > longestLine) throw new Unreadable(line + 1, `a line is longer than ${longestLine / 1e6} MB`, file);
  }
  yield rowsOfLine(rest);
  if (cutOff) throw new Unreadable(line, CUT_OFF, file);
}

/** What a person called a file, or null: it is no such line. */
function fileIn(source: string): string | null {
  if (!/^\s*\{\s*"kind"\s*:\s*"file"/.test(source)) return null;
  try {
    const { name } = JSON.parse(source) as { readonly name?: unknown };
    return typeof name === 'string' && name !== '' && name.length <= LONGEST_NAME ? name : null;
  } catch {
    return null;
  }
}
const LONGEST_NAME = 1_000;

function documentRows(file: string, text: string, options: Options): readonly ImportRow[] {
  const { parsed, lineOf, broken } = readDocument(text);
  for (const { line, message } of broken) options.report.shape({ file, line, path: '', field: '', message, fix: '' });
  if (broken.length > 0) return NONE;
  const { world, problems } = parseWorldFile(parsed);
  for (const problem of problems) options.report.shape(placed(file, problem, lineOf));
  if (problems.length > 0) return NONE;
  options.report.lines(file, lineOf);
  if (world.defaults) options.report.defaults(file);
  // As they stand in the file: what `world` has of defaults was left out there.
  const given = parsed as { readonly [L in WorldList]?: readonly unknown[] };
  return (['tenants', 'customers', 'groups', 'users', 'entities', 'roles', 'grants'] as const).flatMap((list) =>
    (given[list] ?? []).flatMap((fields, i) => {
      const path = `${list}[${i}]`;
      return readRow(list, fields, { file, line: lineOf(path), path, options });
    }),
  );
}

function readRow(list: WorldList, fields: unknown, at: ImportPlace & { readonly options: Options }): readonly ImportRow[] {
  const { options, ...place } = at;
  const { file, line, path } = place;
  const problems: Problem[] = [];
  const row = parseWorldRow(list, fields, { path, problems });
  const here = (): number | null => line;
  for (const problem of problems) options.report.shape(placed(file, problem, here));
  if (row === null) return NONE;
  const listed = { list, row } as ListedRow; // what `parseWorldRow` returns for this list, which TypeScript does not follow through a union
  if (options.unknownNames !== true) for (const problem of rowNameProblems(options.vocabulary, listed, path)) options.report.name(placed(file, problem, here));
  const made = importRow(listed, place);
  return made ? [made] : NONE;
}

/** Field by field, so that a million rows have one shape for each kind: [measured] spread from the parsed ones they took four times as long. */
function importRow(listed: ListedRow, { file, line, path }: ImportPlace): ImportRow | null {
  switch (listed.list) {
    case 'tenants': {
      const { id, name } = listed.row;
      return { file, line, path, kind: 'tenant', id, label: name };
    }
    case 'customers': {
      const { id, owner, groups, title, details } = listed.row;
      return { file, line, path, kind: 'customer', id, owner, groups, label: title, details };
    }
    case 'groups': {
      const { id, owner, type, name } = listed.row;
      return { file, line, path, kind: 'group', id, owner, type, label: name };
    }
    case 'users': {
      const { id, owner, groups, name, enabled, email, firstName, lastName, lastLogin } = listed.row;
      return { file, line, path, kind: 'user', id, owner, groups, label: name, enabled, email, firstName, lastName, lastLogin };
    }
    case 'entities': {
      const { id, owner, type, groups, name } = listed.row;
      return { file, line, path, kind: 'entity', id, owner, type, groups, label: name };
    }
    case 'roles': {
      const { id, owner, name } = listed.row;
      if (listed.row.type === 'GROUP') return { file, line, path, kind: 'role', id, owner, label: name, type: 'GROUP', permissions: listed.row.permissions };
      const { permissions, excluded } = listed.row;
      return { file, line, path, kind: 'role', id, owner, label: name, type: 'GENERIC', permissions, excluded };
    }
    case 'grants': {
      const { id = grantId(listed.row), userGroup, role, entityGroup, shared, name } = listed.row;
      return { file, line, path, kind: 'grant', id, userGroup, role, entityGroup, shared, label: name, derived: listed.row.id === undefined };
    }
    case 'checks':
      return null;
    default:
      return listed satisfies never;
  }
}
