// How do files of worlds become one text of lines, for a service that reads it as it comes?
//
// Each begins with a line that names it, so that problems come back with its name and its lines. Lines go as they are; a document of YAML or
// JSON is read here, for a service that reads one answers nobody else meanwhile.

import { parseWorldFile } from 'policy-cache';
import type { ImportProblem } from 'policy-cache/postgres';
import { LONGEST_DOCUMENT, firstOf, isLines, placed, readDocument, type Reading } from './worldfiles.ts';
import type { WorldInput } from './worldstream.ts';

/** A file that cannot be sent, and why. */
export class Unsendable extends Error {
  override readonly name = 'Unsendable';
  readonly problems: readonly ImportProblem[];
  readonly omitted: number;
  constructor(all: readonly ImportProblem[]) {
    super('not a world');
    ({ problems: this.problems, omitted: this.omitted } = firstOf(all));
  }
}

export interface SentLines {
  /** To be read once. @throws Unsendable */
  readonly pieces: AsyncIterable<Uint8Array | string>;
  /** Problems that came back, with the lines of what was a document. */
  withLines(problems: readonly ImportProblem[]): readonly ImportProblem[];
}

export function sentLines(inputs: readonly WorldInput[], took: (bytes: number) => void): SentLines {
  const documents = new Map<string, Reading['lineOf']>();
  return {
    pieces: all(inputs, { took, document: (file, lineOf) => void documents.set(file, lineOf) }),
    withLines: (problems) =>
      problems.map((problem) => {
        const lineOf = documents.get(problem.file);
        return lineOf === undefined ? problem : { ...problem, line: lineOf(problem.field === '' ? problem.path : `${problem.path}.${problem.field}`) };
      }),
  };
}

interface Options {
  readonly took: (bytes: number) => void;
  readonly document: (file: string, lineOf: Reading['lineOf']) => void;
}

async function* all(inputs: readonly WorldInput[], { took, document }: Options): AsyncGenerator<Uint8Array | string> {
  for (const { file, pieces } of inputs) {
    yield `${JSON.stringify({ kind: 'file', name: file })}\n`;
    const rest = pieces[Symbol.asyncIterator]();
    const next = async (): Promise<Uint8Array | null> => {
      const got: IteratorResult<Uint8Array, unknown> = await rest.next();
      if (got.done === true) return null;
      took(got.value.length);
      return got.value;
    };
    let head = Buffer.alloc(0);
    let more = await next();
    for (; more !== null && head.toString().trimStart().length <= 100; more = await next()) head = Buffer.concat([head, more]);
    if (!isLines(file, head.toString())) {
      const parts = [head];
      for (let size = head.length; more !== null && size <= LONGEST_DOCUMENT; size += more.length, more = await next()) parts.push(Buffer.from(more));
      yield documentLines(file, Buffer.concat(parts), document);
      continue;
    }
    // A mark of the byte order is one at the beginning alone, which is no more the file's.
    yield head.subarray(head.indexOf(BYTE_ORDER_MARK) === 0 ? BYTE_ORDER_MARK.length : 0);
    let last = head.at(-1);
    for (; more !== null; more = await next()) {
      yield more;
      last = more.at(-1) ?? last;
    }
    if (last !== LINE_FEED) yield '\n';
  }
}

const BYTE_ORDER_MARK = Buffer.from('\ufeff');
const LINE_FEED = 10;

function documentLines(file: string, bytes: Uint8Array, document: Options['document']): string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Unsendable([{ file, line: null, path: '', field: '', message: 'is not UTF-8', fix: '' }]);
  }
  const { parsed, lineOf, broken } = readDocument(text);
  if (broken.length > 0) throw new Unsendable(broken.map(({ line, message }) => ({ file, line, path: '', field: '', message, fix: '' })));
  const { world, problems } = parseWorldFile(parsed);
  if (problems.length > 0) throw new Unsendable(problems.map((problem) => placed(file, problem, lineOf)));
  document(file, lineOf);
  const lines: object[] = world.defaults ? [{ kind: 'defaults' }] : [];
  // As they stand in the file: what `world` has of defaults was left out there.
  const given = parsed as Readonly<Record<string, readonly object[] | undefined>>;
  for (const kind of ['tenants', 'customers', 'groups', 'users', 'entities', 'roles', 'grants'])
    for (const row of given[kind] ?? []) lines.push({ kind, ...row });
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}
