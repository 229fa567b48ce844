// What is wrong with a request, said so that whoever made it can mend it: the field, what was given, and what it must be.

import { z } from 'zod';

export interface Mistake {
  readonly field: string;
  readonly message: string;
}

type Issue = z.core.$ZodIssue;

/** Of each field the first mistake. `whole`: what a mistake of no field is said of. Repeated are words out of a few, and numbers out of bounds: never what may be a secret. */
export function checkedBy<T>(schema: z.ZodType<T>, given: unknown, whole: string): { readonly value: T } | { readonly mistakes: readonly Mistake[] } {
  const { success, data, error } = schema.safeParse(given, { reportInput: true, error: words });
  if (success) return { value: data };
  const known = schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
  const all = error.issues.flatMap((issue) => mistakes(issue, [], { whole, known }));
  return { mistakes: all.filter(({ field }, i) => all.findIndex((other) => other.field === field) === i) };
}

interface At {
  readonly whole: string;
  /** Names that there are at the top, where it has those alone. */
  readonly known: readonly string[];
}

function mistakes(issue: Issue, above: readonly PropertyKey[], at: At): readonly Mistake[] {
  const path = [...above, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    const there = path.length === 0 && at.known.length > 0 ? `; there are ${at.known.join(', ')}` : '';
    return issue.keys.map((key) => ({ field: fieldOf([...path, key], at.whole), message: `is not known here${there}` }));
  }
  // Of several shapes the one that was meant is the one that is wrong further in.
  const [meant] = issue.code === 'invalid_union' ? issue.errors.filter(([first]) => first !== undefined && first.path.length > 0) : [];
  if (meant !== undefined) return meant.flatMap((inner) => mistakes(inner, path, at));
  return [{ field: fieldOf(path, at.whole), message: issue.message }];
}

/** `items[3].groups[0]` */
function fieldOf(path: readonly PropertyKey[], whole: string): string {
  const text = path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? String(part) : `.${String(part)}`)).join('');
  return text === '' ? whole : text;
}

function words(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return wanted(kindWords(issue.expected), issue.input === undefined ? null : kindOf(issue.input));
    case 'invalid_key':
      return 'has a name that cannot be one: 1 to 63 characters';
    case 'invalid_value':
      return wanted(alternatives(issue.values.map(String)), said(issue.input));
    case 'invalid_union':
      if (Array.isArray(issue['options'])) {
        const { input, path } = issue;
        const told: unknown = typeof input === 'object' && input !== null ? Reflect.get(input, path?.at(-1) ?? '') : input;
        return wanted(alternatives(issue['options'].map(String)), said(told));
      }
      return wanted(alternatives(issue.errors.flatMap(([first]) => (first?.code === 'invalid_type' ? [kindWords(first.expected)] : []))), kindOf(issue.input));
    case 'too_small':
    case 'too_big': {
      const [bound, side] = issue.code === 'too_small' ? [issue.minimum, 'at least'] : [issue.maximum, 'at the most'];
      const number = bound.toLocaleString('en-US');
      if (issue.origin === 'array') return `must be ${number} ${side}, got ${Array.isArray(issue.input) ? issue.input.length : 0}`;
      if (issue.origin === 'string' && bound === 1) return 'is never empty';
      if (issue.origin === 'string') return `has ${number} characters ${side}`;
      return `must be ${number} ${side}, got ${String(issue.input)}`;
    }
    default:
      return undefined;
  }
}

/** `given`: how that is told; null: there is nothing. */
function wanted(what: string, given: string | null): string {
  if (given === null) return `is missing: must be ${what}`;
  // A number that is none: what was a text before it was read as one.
  return given === what ? `must be ${what}` : `must be ${what}, got ${given}`;
}

const KINDS: Readonly<Record<string, string>> = {
  string: 'a string',
  boolean: 'true or false',
  array: 'a list',
  record: 'an object',
  object: 'an object',
  int: 'a whole number',
  number: 'a number',
};
function kindWords(kind: string): string {
  return KINDS[kind] ?? kind;
}

function kindOf(given: unknown): string {
  if (given === null) return 'null';
  if (Array.isArray(given)) return 'a list';
  return typeof given === 'boolean' ? String(given) : kindWords(typeof given);
}

/** One of a few words was asked for: it is none of them that anybody keeps to himself. */
function said(given: unknown): string | null {
  if (given === undefined) return null;
  if (typeof given !== 'string') return kindOf(given);
  return JSON.stringify(given.length > 80 ? `${given.slice(0, 80)}…` : given);
}

function alternatives(each: readonly string[]): string {
  const all = [...new Set(each)];
  return all.length < 2 ? all.join('') : `${all.slice(0, -1).join(', ')} or ${all.at(-1)}`;
}
