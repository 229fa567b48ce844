// What did a benchmark find, on which machine, and is the goal met? One shape for every benchmark, on the screen, as JSON, and kept.
//
// `-- --json` prints the object alone; `-- --save` writes it to `results/NAME.json`, from which `npm run bench:report` makes the tables of README.md.

import { writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/**
 * @typedef {object} Figure
 * @property {string} name
 * @property {number | null} value null: not to be had, and the note says why
 * @property {string} unit of the value and of the floor
 * @property {number | null} floor what nothing could beat here, measured in the same run
 * @property {number | null} ratio value by floor, or whatever else the goal is about
 * @property {string | null} goal in words: `ratio <= 2`, `value <= 0.5`
 * @property {boolean | null} met null: there is no goal, or it could not be measured
 * @property {readonly [number, number]} [spread] least and greatest of the value over the rounds
 * @property {string} [note] what costs, and what would be needed
 */

/** @typedef {{ machine: Readonly<Record<string, string | number>>, figures: Figure[] }} Report */

/** Everything that a figure of another day has to be held against. @param {Readonly<Record<string, string>>} versions of the programs measured */
export function machine(versions = {}) {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
    date: new Date().toISOString().slice(0, 10),
    ...versions,
  };
}

/** Options by which a run leaves figures out: it may not take the place of a whole one. */
const PARTS = ['only', 'through', 'quick'];

/**
 * Collects the figures of one benchmark.
 * @param {string} name of its file of results
 * @param {NonNullable<import('node:util').ParseArgsConfig['options']>} [options] of its own, beside `--json` and `--save`
 */
export function benchmark(name, options = {}) {
  const values = parsed({ ...options, json: { type: 'boolean' }, save: { type: 'boolean' } });
  const asked = Object.keys(options).filter((option) => values[option] !== undefined && `${values[option]}` !== `${options[option]?.default ?? ''}`);
  const parts = asked.filter((option) => PARTS.includes(option));
  if (values['save'] && parts.length > 0) refuse(`--save keeps a whole run, not one with --${parts.join(' and --')}`);
  // Where the run was another one than the one without options, whoever reads its figures is told.
  const run = asked.filter((option) => option !== 'directory').map((option) => (values[option] === true ? `--${option}` : `--${option} ${values[option]}`));
  /** @type {Figure[]} */
  const figures = [];
  const say = (/** @type {string} */ line) => void (values['json'] || process.stdout.write(`${line}\n`));
  return {
    /** What was said on the command line. @type {Readonly<Record<string, unknown>>} */
    given: values,
    /** A list of names; all of them where none is given. @param {string} option @param {readonly string[]} known */
    listed(option, known) {
      if (values[option] === undefined) return known;
      const names = String(values[option]).split(',');
      const unknown = names.filter((one) => !known.includes(one));
      if (unknown.length > 0) refuse(`--${option}: ${unknown.join(', ')} is none of ${known.join(', ')}`);
      return names;
    },
    /** @param {string} option @param {number} [least] */
    number(option, least = 1) {
      const value = values[option] === '' ? Number.NaN : Number(values[option]);
      if (!(value >= least && value < Infinity)) refuse(`--${option}: a number, ${least} or more, not ${values[option]}`);
      return value;
    },
    /** A line for whoever watches; nothing with `--json`. */
    say,
    /**
     * @param {string} figure name
     * @param {number} value NaN: not measured, and neither met nor not
     * @param {{ unit: string, floor?: number, ratio?: number, most?: number, least?: number, of?: 'value' | 'ratio', spread?: readonly [number, number], note?: string, costs?: string, fails?: string }} more
     * `ratio`: else value by floor; `most`, `least`: the goal, of the ratio where there is one unless `of` says otherwise; `costs`: a note if it is not met;
     * `fails`: why it is not met whatever the value
     */
    figure(figure, value, { unit, floor, ratio, most, least, of, spread, note, costs, fails }) {
      const against = ratio ?? (floor === undefined ? null : value / floor);
      const subject = of ?? (against === null ? 'value' : 'ratio');
      const judged = subject === 'ratio' ? (against ?? Number.NaN) : value;
      const goal = most !== undefined ? `${subject} <= ${most}` : least !== undefined ? `${subject} >= ${least}` : null;
      const within = judged <= (most ?? Infinity) && judged >= (least ?? -Infinity);
      const met = goal === null || Number.isNaN(judged) ? null : within && fails === undefined;
      const notes = [note, met === false ? costs : undefined, fails].filter((text) => text !== undefined).join('. ');
      figures.push({
        ...{ name: figure, value: orNull(value), unit, floor: orNull(floor), ratio: orNull(against), goal, met },
        ...(spread ? { spread: /** @type {const} */ ([rounded(spread[0]), rounded(spread[1])]) } : {}),
        ...(notes === '' ? {} : { note: notes }),
      });
      const beside = floor === undefined ? '' : `, floor ${rounded(floor)}`;
      const by = against === null ? '' : `, ratio ${rounded(against)}`;
      const verdict = met === null ? '       ' : met ? 'met    ' : 'NOT met';
      say(
        `${verdict} ${figure}: ${Number.isNaN(value) ? `not measured: ${notes}` : `${rounded(value)} ${unit}${beside}${by}`}${goal === null ? '' : `, goal ${goal}`}`,
      );
    },
    /** Prints and keeps what was asked for. @param {Readonly<Record<string, string>>} [versions] */
    finish(versions) {
      const report = { machine: machine({ ...versions, ...(run.length === 0 ? {} : { run: run.join(' ') }) }), figures };
      if (values['json']) process.stdout.write(`${JSON.stringify(report)}\n`);
      if (values['save']) writeFileSync(resultsOf(name), `${JSON.stringify(report, null, 2)}\n`);
    },
  };
}

/** @param {NonNullable<import('node:util').ParseArgsConfig['options']>} options @returns {Readonly<Record<string, unknown>>} */
function parsed(options) {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    const [problem = ''] = (error instanceof Error ? error.message : String(error)).split('. ');
    return refuse(`${problem}. There are: ${Object.keys(options).map((option) => `--${option}`).join(', ')}`); // prettier-ignore
  }
}

/** Of what cannot be run as it was asked for. @param {string} problem @returns {never} */
export function refuse(problem) {
  process.stderr.write(`${problem}\n`);
  return process.exit(2);
}

/** Where the figures of a benchmark are kept. @param {string} name */
export function resultsOf(name) {
  return fileURLToPath(new URL(`results/${name}.json`, import.meta.url));
}

/** @param {readonly number[]} values */
export function median(values) {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** @param {readonly number[]} values @param {number} share 0.99: one in a hundred is above */
export function percentile(values, share) {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN;
}

/** @param {number | null | undefined} value */
function orNull(value) {
  return value === null || value === undefined || Number.isNaN(value) ? null : rounded(value);
}

/** Four digits that count. @param {number} value */
function rounded(value) {
  return Number(value.toPrecision(4));
}
