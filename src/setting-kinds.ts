// How is a value of a setting read, from text as from YAML, what is said of one that does not fit, and what is a setting's note?

import { z } from 'zod';

export interface SettingNote {
  readonly description: string;
  /** Never printed. May also come from a file, by the environment variable's name with `_FILE`. */
  readonly secret?: true;
  /** A time: shown with its unit. */
  readonly time?: true;
  /** A list of objects: a problem names the part that is wrong. */
  readonly parts?: true;
  /** An environment variable that other programs use too; read where ours is absent. */
  readonly alias?: string;
}

/** What is said about each leaf of the schema. */
export const notes = z.registry<SettingNote>();

export const text = z.string().min(1, 'must not be empty');
export const flag = z.preprocess((value) => (value === 'true' ? true : value === 'false' ? false : value), z.boolean('must be true or false'));
const number = (text: unknown): unknown => (typeof text === 'string' && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text);
export const integer = (min: number, max: number) => {
  const problem = `must be a whole number from ${min} to ${max}`;
  return z.preprocess(number, z.number(problem).int(problem).min(min, problem).max(max, problem));
};
const SHARE = 'must be a number from 0 to 1';
export const share = z.preprocess(number, z.number(SHARE).min(0, SHARE).max(1, SHARE));

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const milliseconds = (value: unknown): unknown => {
  if (typeof value !== 'string') return value;
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(value);
  return match ? Number(match[1]) * UNITS[match[2]!]! : number(value);
};
/** A time within bounds, in milliseconds once read. */
export const duration = (min: number, max: number) => {
  const problem = `must be a time from ${showDuration(min)} to ${showDuration(max)}, as 250ms, 2s or 1m`;
  return z.preprocess(milliseconds, z.number(problem).int(problem).min(min, problem).max(max, problem));
};
export const split = (value: unknown): unknown => (typeof value === 'string' ? value.split(',').map((item) => item.trim()) : value);
const LIST = "must be '*' or a list of ids";
export const list = z.preprocess(
  (value) => (value === '*' ? value : split(value)),
  z.union([z.literal('*'), z.array(z.string(LIST).min(1, LIST), LIST).min(1, LIST)], LIST),
);
const PORT = "must be a port from 0 (any free one) to 65535, or 'none'";
export const port = z.preprocess(number, z.union([z.literal('none'), z.number(PORT).int(PORT).min(0, PORT).max(65_535, PORT)], PORT));

/** Milliseconds in the largest unit that is a whole number. */
export function showDuration(ms: number): string {
  for (const unit of ['h', 'm', 's']) if (ms > 0 && ms % UNITS[unit]! === 0) return `${ms / UNITS[unit]!}${unit}`;
  return `${ms}ms`;
}

/** A list of objects, which text says as JSON. What is no JSON stays text, and is then refused as no list. */
export function partsOf(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}
