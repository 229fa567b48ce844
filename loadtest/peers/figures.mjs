// What is told of the peers? Names of figures: `peer.NAME.LANE.METRIC`; without a lane, the wide ring at sixteen at once. And the goals, as ratios of one run.

import { percentile } from '../figures.mjs';

const PLAIN = 'wide.16';
/** All others are peers. */
const OURS = /^(?:grantgate|floor)\b/;
const MICRO = 'µs';

/** @param {ReturnType<typeof import('../figures.mjs').benchmark>} bench */
export function results(bench) {
  const { figure, say } = bench;
  /** @type {Map<string, import('./client.mjs').Measured>} */ const lanes = new Map();
  /** @type {Map<string, import('./freshness.mjs').Found>} */ const fresh = new Map();
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
    wrong: (name, { asked, mismatches, examples }) => nothing(name, `not timed: ${mismatches} of ${asked} answers were wrong, as ${examples.join('; ')}`),

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
          note: 'answers that say "cannot decide now": of an overloaded machine, not of a decision',
        });
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
    /** @param {string} name @param {import('./freshness.mjs').Found} seen */
    freshness(name, seen) {
      fresh.set(name, seen);
      const { late, cameBack, first, letIn, stale } = seen;
      const of = `of ${late.length} revokes`;
      figure(`peer.${name}.revoke`, percentile(late, 0.99), { unit: 'ms', note: `p99 ${of}: acknowledged to the first refusal` });
      figure(`peer.${name}.revoke.p50`, percentile(late, 0.5), { unit: 'ms' });
      figure(`peer.${name}.revoke.max`, Math.max(...late), { unit: 'ms' });
      figure(`peer.${name}.stale`, stale, { unit: of });
      figure(`peer.${name}.cameback`, cameBack, { unit: of });
      figure(`peer.${name}.firsttimers`, letIn, { unit: `of ${first}` });
    },
    /** After the server's own proof. @param {string} name @param {import('./freshness.mjs').Found} seen */
    proof(name, { late, first, letIn, stale }) {
      figure(`peer.${name}.barrier.stale`, stale, { unit: `of ${late.length} revokes`, most: 0 });
      figure(`peer.${name}.barrier.firsttimers`, letIn, { unit: `of ${first}`, most: 0 });
    },

    /** Once everybody was to be measured, a goal that could not be judged is told too. @param {boolean} everybody */
    goals(everybody) {
      /** @param {string} name @param {string} note @param {{ unit: string, value: number | undefined, floor?: number | undefined, most?: number, least?: number }} goal */
      const judge = (name, note, { unit, value, floor, most, least }) => {
        const whole = value !== undefined && !Number.isNaN(floor ?? 0);
        if (!whole && !everybody) return;
        const bound = { ...(most === undefined ? {} : { most }), ...(least === undefined ? {} : { least }) };
        if (whole) figure(name, value, { unit, note, ...(floor === undefined ? {} : { floor }), ...bound });
        else figure(name, Number.NaN, { unit, note: `${note}; one of them was not measured`, ...bound });
      };
      const of = (/** @type {string} */ name) => lanes.get(name);
      const ours = of(`grantgate.http ${PLAIN}`);
      judge('peers.cpu.opa', 'server CPU a check at the HTTP door; floor: OPA', {
        unit: MICRO,
        value: ours?.cpu,
        floor: of(`opa ${PLAIN}`)?.cpu ?? Number.NaN,
        most: 0.333,
      });
      for (const ring of ['hot', 'wide']) {
        const [mine, consistent] = ['grantgate.http', 'spicedb.full'].map((name) => of(`${name} ${ring}.16.writes`));
        const name = `peers.writes.spicedb${ring === 'hot' ? '' : '.wide'}`;
        judge(name, 'beside five writes a second; floor: SpiceDB, fully consistent', {
          unit: '1/s',
          value: mine?.rate,
          floor: consistent?.rate ?? Number.NaN,
          least: 20,
        });
      }
      const theirs = Array.from(lanes).filter(([name]) => name.endsWith(` ${PLAIN}`) && !OURS.test(name));
      const best = theirs.toSorted(([, a], [, b]) => a.p99 - b.p99)[0];
      judge('peers.p99', `floor: the best peer's${best ? `, ${best[0].split(' ')[0]}` : ''}`, {
        unit: 'ms',
        value: ours?.p99,
        floor: best?.[1].p99 ?? Number.NaN,
        most: 1,
      });
      const seen = fresh.get('grantgate.http');
      const commit = 'from the acknowledgement of the commit by the database';
      judge('peers.freshness.p99', commit, { unit: 'ms', value: seen && percentile(seen.late, 0.99), most: 2 });
      judge('peers.cameback', 'an allow after the first refusal', {
        unit: seen ? `of ${seen.late.length} revokes` : 'revokes',
        value: seen?.cameBack,
        most: 0,
      });
      judge('peers.firsttimers', `let in by their first check, ${commit}`, { unit: seen ? `of ${seen.first}` : 'users', value: seen?.letIn, most: 0 });
    },
  };
}
