// How do hundreds of figures of peers fit on a page? A row for each peer and lane, and one for each peer's freshness; the rest stays in the table of all benchmarks.

import { LIBRARIES } from './plan.mjs';

/** @typedef {import('../figures.mjs').Figure} Figure */

const LANE = /^peer\.(.+?)(?:\.((?:wide|hot)\.\d+(?:\.writes)?))?\.(rate|p50|p99|cpu|database|client)$/;
const SERVER = /^peer\.(.+?)\.(revoke\.p50|revoke\.max|revoke|writes\.done|stale|cameback|firsttimers|load|memory)$/;
const LANE_COLUMNS = { rate: 'checks/s', p50: 'p50 ms', p99: 'p99 ms', cpu: 'server µs', database: 'database µs', client: 'client µs' };
const SERVER_COLUMNS = {
  ...{ 'revoke.p50': 'revoke p50 ms', revoke: 'p99 ms', 'revoke.max': 'max ms', stale: 'stale', cameback: 'came back', firsttimers: 'first-timers let in' },
  ...{ 'writes.done': 'writes/s', load: 'load s', memory: 'memory MB' },
};

/** @param {readonly Figure[]} figures @returns {{ rest: Figure[], lines: string[] }} */
export function peerTables(figures) {
  /** @type {Map<string, Map<string, Figure>>} */ const lanes = new Map();
  /** @type {Map<string, Map<string, Figure>>} */ const servers = new Map();
  const rest = figures.filter((figure) => {
    if (figure.value === null || figure.goal !== null) return true;
    const [, peer = '', column] = SERVER.exec(figure.name) ?? [];
    if (column !== undefined) return !put(servers, { row: `\`${peer}\``, column, figure });
    const [, name = '', lane = LIBRARIES.includes(name) ? 'in process' : 'wide.16', metric] = LANE.exec(figure.name) ?? [];
    return metric === undefined || !put(lanes, { row: `\`${name}\` | ${lane}`, column: metric, figure });
  });
  return { rest, lines: [...tableOf('peer | lane', LANE_COLUMNS, lanes), ...tableOf('peer', SERVER_COLUMNS, servers)] };
}

/** @param {Map<string, Map<string, Figure>>} rows @param {{ row: string, column: string, figure: Figure }} cell */
function put(rows, { row, column, figure }) {
  const cells = rows.get(row) ?? new Map();
  rows.set(row, cells.set(column, figure));
  return true;
}

/** @param {string} first @param {Readonly<Record<string, string>>} columns @param {ReadonlyMap<string, ReadonlyMap<string, Figure>>} rows */
function tableOf(first, columns, rows) {
  if (rows.size === 0) return [];
  const head = `| ${first} | ${Object.values(columns).join(' | ')} |`;
  const body = Array.from(
    rows,
    ([row, cells]) =>
      `| ${row} | ${Object.keys(columns)
        .map((column) => cellOf(cells.get(column)))
        .join(' | ')} |`,
  );
  return ['', head, head.replaceAll(/[^|]+/g, ' --- '), ...body];
}

/** @param {Figure | undefined} figure */
function cellOf(figure) {
  if (figure === undefined) return '';
  return figure.unit.startsWith('of ') ? `${figure.value} ${figure.unit.replace(' revokes', '')}` : `${figure.value}`;
}
