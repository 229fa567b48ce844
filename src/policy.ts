// Which vocabulary and which routes are in force?
//
// Both are files: the shipped ones, or those that the settings name. Read and compiled once, before anything listens.

import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { InputError, compileVocabulary, type Vocabulary } from 'policy-cache';
import { parserWords } from './parser-words.ts';
import { compileRoutes, type RouteTable } from './routes.ts';
import { shippedContent, yamlParser } from './yaml.ts';

export interface PolicyFiles {
  /** Paths; undefined: the shipped file. */
  readonly vocabulary?: string | undefined;
  readonly routes?: string | undefined;
  readonly readFile: (path: string) => string;
}

export interface Policy {
  readonly vocabulary: Vocabulary;
  readonly routes: RouteTable;
  /** Rows that answer, and yet a person should look at. */
  readonly warnings: readonly string[];
  /** Changes with either file: twelve hex digits. */
  readonly version: string;
}

/** @throws InputError naming the file and every problem in it */
export function loadPolicy(files: PolicyFiles): Policy {
  const { vocabulary, text } = readVocabulary(files);
  const path = files.routes ?? fileURLToPath(import.meta.resolve('policy-cache/vocabulary/thingsboard-routes.yaml'));
  const routes = read(path, files.readFile);
  const { table, warnings } = within(path, () => compileRoutes(vocabulary, routes.parsed));
  const version = createHash('sha256').update(text).update('\0').update(routes.text).digest('hex').slice(0, 12);
  return { vocabulary, routes: table, warnings: warnings.map((warning) => `${path}: ${warning}`), version };
}

/** @throws InputError */
export function loadVocabulary(files: PolicyFiles): Vocabulary {
  return readVocabulary(files).vocabulary;
}

function readVocabulary(files: PolicyFiles): { vocabulary: Vocabulary; text: string } {
  const path = files.vocabulary ?? fileURLToPath(import.meta.resolve('policy-cache/vocabulary/thingsboard.yaml'));
  const { parsed, text } = read(path, files.readFile);
  return { vocabulary: within(path, () => compileVocabulary(parsed)), text };
}

function read(path: string, readFile: PolicyFiles['readFile']): { parsed: unknown; text: string } {
  let text: string;
  try {
    text = readFile(path);
  } catch (error) {
    throw new InputError(path, `cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  const shipped = shippedContent(text, readFile);
  if (shipped !== undefined) return { parsed: shipped, text };
  const document = yamlParser().parseDocument(text);
  if (document.errors.length > 0)
    throw new InputError(
      path,
      document.errors.map(({ message, linePos }) => `${linePos ? `line ${linePos[0].line}: ` : ''}${parserWords(message)}`).join('; '),
    );
  try {
    return { parsed: document.toJS(), text };
  } catch (error) {
    // Aliases that multiply beyond measure.
    throw new InputError(path, `cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function within<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof InputError ? new InputError(path, error.message) : error;
  }
}
