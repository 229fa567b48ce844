// What is told of the peers? Names of figures: `peer.NAME.LANE.METRIC`; without a lane, the wide ring at sixteen at once.

import { percentile } from '../figures.mjs';
import { judge } from './goals.mjs';

const PLAIN = 'wide.16';
const MICRO = 'µs';
const LISTENER = 'floor: a bare listener and its one select';

/** @param {ReturnType<typeof import('../figures.mjs').benchmark>} bench */
export function results(bench) {
  const { figure, say } = bench;
  /** @type {Map<string, import('./client.mjs').Measured>} */ const lanes = new Map();
  /** Acknowledged a second, the least of a peer's lanes. @type {Map<string, number>} */ const written = new Map();
  /** @type {Map<string, import('./freshness.mjs').Found>} */ const fresh = new Map();
  /** @type {Map<string, readonly number[]>} */ const floors = new Map();
  const nothing = (/** @type {string} */ name, /** @type {string} */ note) => {
    figure(`peer.${name}.rate`, Number.NaN, { unit: '1/s', note });
    say(`        ${name}: ${note}`);
  };
  return {
    /** @param {string} name @param {{ command: string, why: string }} how */
    missing: (name, { command, why }) => nothing(name, `missing (${why}). It is installed by: \`${command}\``),
    /** Not all of it was measured. @param {string} name @param {string} problem */
    failed: (name, problem) => figure(`peer.${name}.failed`, Number.NaN, { unit: '', note: problem }),
    /** @param {string} name @param {number} minutes */
    late: (name, minutes) => nothing(name, `not measured: the run had taken ${minutes} minutes already`),
    /** @param {string} name @param {{ asked: number, mismatches: number, examples: readonly string[] }} answers */
    wrong(name, { asked, mismatches, examples }) {
      process.exitCode = 1;
      nothing(name, `not timed: ${mismatches} of ${asked} answers were wrong, as ${examples.join('; ')}`);
    },

    /** @param {string} name @param {string} lane @param {import('./client.mjs').Measured} measured */
    lane(name, lane, measured) {
      lanes.set(`${name} ${lane}`, measured);
      const at = `peer.${name}${lane === PLAIN ? '' : `.${lane}`}`;
      const { rate, p50, p99, cpu, database, client, undecided } = measured;
      figure(`${at}.rate`, rate, { unit: '1/s' });
      figure(`${at}.p50`, p50, { unit: 'ms' });
      figure(`${at}.p99`, p99, { unit: 'ms' });
      const bare = lanes.get(`${name.startsWith('grantgate.grpc') ? 'floor.http2' : 'floor.http'} ${lane}`);
      figure(`${at}.cpu`, cpu, { unit: MICRO, ...(name.startsWith('grantgate.') && bare ? { floor: bare.cpu } : {}) });
      if (database > 0) figure(`${at}.database`, database, { unit: MICRO });
      figure(`${at}.client`, client, { unit: MICRO });
      if (undecided > 0)
        figure(`${at}.undecided`, undecided, {
          unit: `of ${measured.checks}`,
          note: 'checks answered by "cannot decide now": their times and processor are counted, in the rate they are not',
        });
    },
    /** @param {string} name @param {readonly number[]} rates of acknowledged writes, in each lane beside them */
    writes(name, rates) {
      if (rates.length === 0) return;
      written.set(name, Math.min(...rates));
      figure(`peer.${name}.writes.done`, Math.min(...rates), { unit: '1/s' });
    },
    /** @param {string} name @param {{ load: number, memory: number }} server */
    server(name, { load, memory }) {
      figure(`peer.${name}.load`, load, { unit: 's' });
      figure(`peer.${name}.memory`, memory, { unit: 'MB' });
    },
    /** @param {string} name @param {{ rate: number, p50: number, p99: number, load: number, memory: number }} measured */
    library(name, { rate, p50, p99, load, memory }) {
      figure(`peer.${name}.rate`, rate, { unit: '1/s' });
      figure(`peer.${name}.p50`, p50, { unit: 'ms' });
      figure(`peer.${name}.p99`, p99, { unit: 'ms' });
      this.server(name, { load, memory });
    },
    /** @param {string} name @param {import('./freshness.mjs').Found} seen @param {readonly number[]} floor */
    freshness(name, seen, floor) {
      fresh.set(name, seen);
      if (floor.length > 0) floors.set(name, floor);
      const { late, cameBack, first, letIn, stale } = seen;
      const of = `of ${late.length} revokes`;
      figure(`peer.${name}.revoke`, percentile(late, 0.99), { unit: 'ms', note: `p99 ${of}: acknowledged to the first refusal` });
      figure(`peer.${name}.revoke.p50`, percentile(late, 0.5), { unit: 'ms', ...(floor.length > 0 ? { floor: percentile(floor, 0.5), note: LISTENER } : {}) });
      figure(`peer.${name}.revoke.max`, Math.max(...late), { unit: 'ms' });
      figure(`peer.${name}.stale`, stale, { unit: of });
      figure(`peer.${name}.cameback`, cameBack, { unit: of });
      figure(`peer.${name}.firsttimers`, letIn, { unit: `of ${first}` });
    },
    /** After the server's own proof. @param {string} name @param {import('./freshness.mjs').Found} seen */
    proof(name, { late, first, letIn, stale }) {
      if (letIn + stale > 0) process.exitCode = 1; // the server itself said that nobody would be
      figure(`peer.${name}.barrier.stale`, stale, { unit: `of ${late.length} revokes`, most: 0 });
      figure(`peer.${name}.barrier.firsttimers`, letIn, { unit: `of ${first}`, most: 0 });
    },

    goals: () => judge(figure, { lanes, fresh, floors, written }),
  };
}
