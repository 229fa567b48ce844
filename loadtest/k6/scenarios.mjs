// Which loads are put on a service, and what is found of each? By name, in this order; the goals stand where the figures are made.

import { median } from '../figures.mjs';
import { anonymousMb, family } from '../processes.mjs';
import { HOT, reportOf } from './load.mjs';
import { findProgram } from './programs.mjs';
import { PROXIES } from './proxies.mjs';
import { warm } from './warm.mjs';

/** @typedef {import('./run.mjs').Scene} Scene */
/** @typedef {import('./service.mjs').Door} Door */
/** @typedef {Awaited<ReturnType<Scene['k6']>>} Found */

/** The least that caches keep: every check of this world is read from the database. */
const SMALL = { 'cache.subjects': 100, 'cache.targets': 100, 'cache.classes': 100 };
const WRITES = 10; // a second
const JUDGES = 25; // a second, of four asks each
/** More clients than can be answered from the database in time. */
const BEYOND = { SHED: 'yes', RATE: 4_000, CLIENTS: 150 };
/** Seconds from which on a figure means something. */
const SOAK = { longer: 3, rate: 400, meaningful: 600, sloping: 3_600 };
const LOAD = ['direct', 'nginx', 'nginx-tcp', 'haproxy', 'caddy', 'traefik', 'envoy', 'envoy-grpc', 'grpc'];

/** @type {Readonly<Record<string, (scene: Scene) => Promise<void>>>} */
export const SCENARIOS = { floor, steady, churn, stampede, beyond, soak, load };

/**
 * The same questions by the same script behind the same proxies, answered by a stub: what `steady` is held against. It lets everybody in as the same
 * person, so this is also where wrong answers must be found.
 * @param {Scene} scene
 */
async function floor({ through, k6, floor, floors }) {
  for (const way of through) {
    const found = await k6(way, floor, { script: 'steady.js' });
    for (const kind of ['let_in', 'mixed_up'])
      if (found.value(kind) === 0) throw new Error(`${way}: ${kind} is nought where everybody is let in as the same person`);
    floors.set(way, found.value('check_ms', 'p(99)'));
  }
}

/** @param {Scene} scene */
async function steady({ bench, through, k6, serving, floors, questions }) {
  await serving({}, async (door) => {
    await warm(door, questions);
    for (const way of through) {
      const name = `k6.steady.${way}`;
      const found = await k6(way, door, { script: 'steady.js' });
      const least = floors.get(way);
      bench.figure(`${name}.p99`, found.value('check_ms', 'p(99)'), { unit: 'ms', ...(least === undefined ? {} : { floor: least, most: 2 }) });
      answers(bench, name, found);
    }
  });
}

/** @param {Scene} scene */
async function churn({ bench, through, bound, k6, serving, control, questions }) {
  await serving({}, async (door) => {
    await warm(door, questions);
    for (const way of through) {
      const name = `k6.churn.${way}`;
      const { found, writes } = await control.churn(WRITES, () => k6(way, door, { script: 'churn.js', env: { JUDGES } }));
      bench.figure(`${name}.p99`, found.value('check_ms', 'p(99)'), { unit: 'ms' });
      bench.figure(`${name}.late`, found.value('late_ms', 'max'), { unit: 'ms', most: bound });
      answers(bench, name, found);
      const [standing, late, moving] = [found.value('standing'), found.value('late_ms'), found.value('moving')];
      if (standing === 0) throw new Error(`${name}: no answer about a permission that comes and goes was judged`);
      bench.figure(`${name}.judged`, standing / (standing + moving), { unit: 'share' });
      bench.say(`          ${writes} writes; ${standing} asks of movers judged, ${late} of them old; ${moving} met a write under way`);
    }
  });
}

/** @param {Scene} scene */
async function stampede({ bench, through, k6, serving }) {
  for (const way of through.filter((way) => way === 'nginx' || way === 'envoy'))
    await serving({}, async (door) => {
      const name = `k6.stampede.${way}`;
      const found = await k6(way, door, { script: 'stampede.js', env: { SECONDS: 3 } });
      for (const burst of ['cold', 'edit', 'reset']) bench.figure(`${name}.${burst}.p99`, found.value(`${burst}_ms`, 'p(99)'), { unit: 'ms' });
      wrong(bench, name, found);
      bench.figure(`${name}.undecided`, found.value('undecided') / asked(found), { unit: 'share' });
    });
}

/** @param {Scene} scene */
async function beyond({ bench, seconds, k6, serving }) {
  await serving(SMALL, async (door) => {
    const name = 'k6.beyond.nginx';
    const found = await k6('nginx', door, { script: 'steady.js', env: BEYOND });
    wrong(bench, name, found);
    bench.figure(`${name}.rate`, asked(found) / seconds, { unit: '1/s' });
    bench.figure(`${name}.shed`, found.value('undecided') / asked(found), { unit: 'share' });
    bench.figure(`${name}.p99`, found.value('check_ms', 'p(99)'), { unit: 'ms' });
  });
}

/** Do memory and times stay as they are? @param {Scene} scene */
async function soak({ bench, through, seconds: each, k6, serving, questions }) {
  const way = through.includes('nginx') ? 'nginx' : (through[0] ?? 'direct');
  const seconds = SOAK.longer * each;
  await serving({}, async (door) => {
    await warm(door, questions);
    /** @type {[hours: number, mb: number][]} */
    const memory = [];
    const begun = performance.now();
    const used = () => family(door.pid).reduce((sum, pid) => sum + anonymousMb(pid), 0);
    const watch = setInterval(() => memory.push([(performance.now() - begun) / 3_600_000, used()]), 500);
    const found = await k6(way, door, { script: 'steady.js', env: { SECONDS: seconds, RATE: SOAK.rate } }).finally(() => clearInterval(watch));
    const name = `k6.soak.${way}`;
    const [first = NaN, second = NaN] = ['first_half_ms', 'second_half_ms'].map((half) => found.value(half, 'p(99)'));
    const long = seconds >= SOAK.meaningful;
    bench.figure(`${name}.p99`, second, { unit: 'ms', floor: first, ...(long ? { most: 2 } : {}) });
    answers(bench, name, found);
    // The first quarter is warm-up: code being compiled, a heap that finds its size. Medians, for collections make a saw of the rest.
    const quarter = (/** @type {number} */ nth) => memory.slice((memory.length * (nth - 1)) >> 2, (memory.length * nth) >> 2);
    const [early, late] = [quarter(2), quarter(4)].map((part) => median(part.map(([, mb]) => mb)));
    const note = `last quarter of ${seconds} s beside the second; from ten minutes on it has a goal`;
    bench.figure(`${name}.memory`, late ?? NaN, { unit: 'MB', floor: early ?? NaN, note, ...(long ? { most: 1.1 } : {}) });
    bench.figure(`${name}.slope`, slope(memory.slice(memory.length >> 1)), { unit: 'MB/h', ...(seconds >= SOAK.sloping ? { most: 20 } : {}) });
  });
}

/** What each proxy gives, by wrk and h2load: k6 itself takes more of a processor than what it asks. @param {Scene} scene */
async function load({ bench, seconds, serving, questions, ...rest }) {
  const permitted = questions.flatMap(({ token, method, path, permit }) => (token !== null && permit ? [{ token, method, path, permit }] : []));
  await serving({}, async (hot) => {
    await warm(hot, permitted.slice(0, HOT));
    await serving(SMALL, async (cold) => {
      for (const way of LOAD) {
        const name = `k6.load.${way}`;
        const program = PROXIES[way]?.program ?? 'wrk';
        if (findProgram(program) === undefined) {
          bench.say(`        ${name}: no ${program} here`);
          continue;
        }
        const { least, best, read, spread } = await reportOf(way, { ...rest, hot, cold, questions: permitted, seconds: Math.max(1, Math.floor(seconds / 3)) });
        bench.figure(`${name}.rate`, best.rate, { unit: '1/s', floor: least.rate, spread });
        bench.figure(`${name}.p50`, best.p50, { unit: 'ms' });
        bench.figure(`${name}.p99`, best.p99, { unit: 'ms', floor: least.p99 });
        bench.figure(`${name}.p999`, best.p999, { unit: 'ms' });
        bench.figure(`${name}.door`, best.doorUs, { unit: 'µs', floor: least.doorUs });
        if (program !== 'wrk') bench.figure(`${name}.proxy`, best.proxyUs, { unit: 'µs', floor: least.proxyUs });
        bench.figure(`${name}.connections`, best.connections, { unit: 'open' });
        bench.figure(`${name}.renewed`, best.renewed, { unit: 'open' });
        bench.figure(`${name}.refused`, best.refused + best.broken, { unit: 'checks', most: 0 });
        if (way === 'grpc') continue; // h2load asks one question again and again, which is in memory
        // What is turned away is answered, too, and sooner.
        const turnedAway = read.refused / read.requests;
        bench.figure(`${name}.uncached.rate`, read.rate * (1 - turnedAway), { unit: '1/s' });
        bench.figure(`${name}.uncached.shed`, turnedAway, { unit: 'share' });
        bench.figure(`${name}.uncached.p99`, read.p99, { unit: 'ms' });
      }
    });
  });
}

/** @param {Found} found */
function asked(found) {
  return found.value('judged') + found.value('undecided');
}

/** @param {Scene['bench']} bench @param {string} name @param {Found} found */
function answers(bench, name, found) {
  wrong(bench, name, found);
  bench.figure(`${name}.errors`, found.value('undecided'), { unit: 'checks', most: 0 });
  // What k6 did not even ask, for all of its users were waiting, is in no other figure.
  bench.figure(`${name}.dropped`, found.value('dropped_iterations'), { unit: 'checks', most: 0 });
  bench.figure(`${name}.rate`, found.value('iterations', 'rate'), { unit: '1/s' });
}

/** @param {Scene['bench']} bench @param {string} name @param {Found} found */
function wrong(bench, name, found) {
  if (found.value('judged') === 0) throw new Error(`${name}: no answer was judged\n${found.said}`);
  const kinds = ['let_in', 'mixed_up', 'kept_out'].map((kind) => /** @type {const} */ ([kind, found.value(kind)]));
  const sum = kinds.reduce((sum, [, count]) => sum + count, 0);
  if (sum > 0) process.exitCode = 1;
  const note = sum === 0 ? {} : { note: kinds.map(([kind, count]) => `${kind} ${count}`).join(', ') };
  bench.figure(`${name}.wrong`, sum, { unit: 'answers', most: 0, ...note });
}

/** Of the line that fits best. @param {readonly (readonly [number, number])[]} points */
function slope(points) {
  const mean = (/** @type {0 | 1} */ of) => points.reduce((sum, point) => sum + point[of], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  return points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0) / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
}
