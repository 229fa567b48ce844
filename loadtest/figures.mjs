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
 * @property {boolean | null} met null: there is no goal
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

/**
 * Collects the figures of one benchmark.
 * @param {string} name of its file of results
 * @param {import('node:util').ParseArgsConfig['options']} [options] of its own, beside `--json` and `--save`
 */
export function benchmark(name, options = {}) {
  const { values } = parseArgs({ options: { ...options, json: { type: 'boolean', default: false }, save: { type: 'boolean', default: false } } });
  /** @type {Figure[]} */
  const figures = [];
  const say = (/** @type {string} */ line) => void (values['json'] || process.stdout.write(`${line}\n`));
  return {
    /** What was said on the command line. @type {Readonly<Record<string, unknown>>} */
    given: values,
    /** A line for whoever watches; nothing with `--json`. */
    say,
    /**
     * @param {string} figure name
     * @param {number} value
     * @param {{ unit: string, floor?: number, ratio?: number, most?: number, least?: number, of?: 'value' | 'ratio', spread?: readonly [number, number], note?: string }} more
     * `ratio`: else value by floor; `most`, `least`: the goal, of the ratio where there is one unless `of` says otherwise
     */
    figure(figure, value, { unit, floor, ratio, most, least, of, spread, note }) {
      const against = ratio ?? (floor === undefined ? null : value / floor);
      const subject = of ?? (against === null ? 'value' : 'ratio');
      const judged = subject === 'ratio' ? (against ?? Number.NaN) : value;
      const goal = most !== undefined ? `${subject} <= ${most}` : least !== undefined ? `${subject} >= ${least}` : null;
      const met = most !== undefined ? judged <= most : least !== undefined ? judged >= least : null;
      figures.push({
        ...{
          name: figure,
          value: Number.isNaN(value) ? null : rounded(value),
          unit,
          floor: floor === undefined ? null : rounded(floor),
          ratio: against === null ? null : rounded(against),
        },
        ...{
          goal,
          met,
          ...(spread ? { spread: /** @type {const} */ ([rounded(spread[0]), rounded(spread[1])]) } : {}),
          ...(note === undefined ? {} : { note }),
        },
      });
      const beside = floor === undefined ? '' : `, floor ${rounded(floor)}`;
      const by = against === null ? '' : `, ratio ${rounded(against)}`;
      say(
        `${met === null ? '       ' : met ? 'met    ' : 'NOT met'} ${figure}: ${rounded(value)} ${unit}${beside}${by}${goal === null ? '' : `, goal ${goal}`}`,
      );
    },
    /** Prints and keeps what was asked for. @param {Readonly<Record<string, string>>} [versions] */
    finish(versions) {
      const report = { machine: machine(versions), figures };
      if (values['json']) process.stdout.write(`${JSON.stringify(report)}\n`);
      if (values['save']) writeFileSync(resultsOf(name), `${JSON.stringify(report, null, 2)}\n`);
    },
  };
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

/** Four digits that count. @param {number} value */
function rounded(value) {
  return Number(value.toPrecision(4));
}
