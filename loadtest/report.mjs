// Which figures were found? Makes the tables of README.md from `results/*.json`.  npm run bench:report
//
// `--check` changes nothing and fails if they are out of step.

import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { resultsOf } from './figures.mjs';
import { peerTables } from './peers/table.mjs';

const README = fileURLToPath(new URL('README.md', import.meta.url));
const BEGIN = '<!-- results: made by npm run bench:report -->';
const END = '<!-- end of results -->';

/** In this order; whatever else is there comes after. */
const FIRST = ['bench', 'door', 'scale', 'peers', 'k6'];
const found = readdirSync(fileURLToPath(new URL('results', import.meta.url)))
  .filter((file) => file.endsWith('.json'))
  .map((file) => file.slice(0, -5));
const names = [...FIRST.filter((name) => found.includes(name)), ...found.filter((name) => !FIRST.includes(name)).toSorted()];

const readme = existsSync(README) ? readFileSync(README, 'utf8') : '';
const [before, rest] = readme.split(BEGIN);
const after = rest?.split(END)[1];
if (before === undefined || after === undefined) throw new Error(`${README} has no place for the tables: ${BEGIN} … ${END}`);
const wanted = `${before}${BEGIN}\n\n${names.map(section).join('\n')}\n${END}${after}`;
if (process.argv.includes('--check')) {
  if (wanted !== readme) {
    console.error('loadtest/README.md does not show what is in loadtest/results: npm run bench:report');
    process.exitCode = 1;
  }
} else writeFileSync(README, wanted);

/** @param {string} name */
function section(name) {
  /** @type {import('./figures.mjs').Report} */
  const { machine, figures } = JSON.parse(readFileSync(resultsOf(name), 'utf8'));
  const { rest, lines } = name === 'peers' ? peerTables(figures) : { rest: figures, lines: [] };
  const { cpu, cores, memoryGiB, kernel, node, load, date, run, ...versions } = machine;
  const programs = Object.entries(versions).map(([program, version]) => `${program} ${version}`);
  const on = [
    `${cpu}, ${cores} cores, ${memoryGiB} GiB`,
    `Linux ${kernel}`,
    `Node ${node}`,
    ...programs,
    `load before the end ${load}`,
    date,
    ...(run === undefined ? [] : [`run with \`${run}\``]),
  ].join('; ');
  const notes = rest.flatMap(({ name: figure, note }) => (note === undefined ? [] : [`- \`${figure}\`: ${note}`]));
  return [
    `### \`npm run ${name === 'bench' ? 'bench' : `bench:${name}`}\``,
    '',
    `${on}.`,
    '',
    ...(name === 'k6' ? scenarios(rest) : ['| figure | value | floor | ratio | goal | met |', '| --- | --- | --- | --- | --- | --- |', ...rest.map(row)]),
    ...lines,
    '',
    ...(notes.length > 0 ? [...notes, ''] : []),
  ].join('\n');
}

/** @param {import('./figures.mjs').Figure} figure */
function row({ name, value, unit, floor, ratio, goal, met, spread }) {
  const range = spread === undefined ? '' : ` (${spread[0]}–${spread[1]})`;
  const verdict = met === null ? (goal === null ? '' : 'not measured') : met ? 'yes' : '**no**';
  return `| \`${name}\` | ${value === null ? '–' : `${value} ${unit}`}${range} | ${floor ?? ''} | ${ratio ?? ''} | ${goal ?? ''} | ${verdict} |`;
}

/**
 * Figures named k6.SCENARIO.WAY.COLUMN as one table for each scenario: as one list they are 150 rows, in which nobody compares one proxy with another.
 * @param {readonly import('./figures.mjs').Figure[]} figures
 */
function scenarios(figures) {
  const split = figures.map((figure) => {
    const [, scenario = '', way = '', ...column] = figure.name.split('.');
    return { scenario, way, column: column.join('.'), figure };
  });
  return [...new Set(split.map(({ scenario }) => scenario))].flatMap((scenario) => {
    const own = split.filter((one) => one.scenario === scenario);
    const columns = [...new Map(own.map(({ column, figure }) => [column, figure]))];
    const goals = columns.flatMap(([column, { goal }]) => (goal === null ? [] : [`${column}: ${goal}`]));
    const cells = (/** @type {string} */ way) => columns.map(([column]) => cell(own.find((one) => one.way === way && one.column === column)?.figure));
    return [
      `| ${scenario} | ${columns.map(([column, { unit }]) => `${column}, ${unit}`).join(' | ')} |`,
      `| --- |${' --- |'.repeat(columns.length)}`,
      ...[...new Set(own.map(({ way }) => way))].map((way) => `| ${way} | ${cells(way).join(' | ')} |`),
      '',
      ...(goals.length > 0 ? [`Goals: ${goals.join('; ')}.`, ''] : []),
    ];
  });
}

/** @param {import('./figures.mjs').Figure | undefined} figure */
function cell(figure) {
  if (figure === undefined) return '';
  const { value, floor, met } = figure;
  return `${value ?? '–'}${floor === null ? '' : ` (floor ${floor})`}${met === false ? ' **not met**' : ''}`;
}
