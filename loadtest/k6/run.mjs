// What do people see of a service that is asked through a proxy: how quickly, and was any answer wrong?  npm run bench:k6 [-- --json --save]
//
//   --only floor,steady,churn,stampede,beyond,soak,load     --through direct,nginx,envoy,envoy-grpc     --seconds 3 (of each run; soak: three times that)
//   --rate 800 (checks a second)     --bound 250 (ms after which an old answer is a wrong one)     --users 1000 (who ask)
//   --customers 1000 (of the generated world beside)     --set path=value (of the service; may be repeated)
//
// An hour of soak: --only soak --seconds 1200. The world's answers are known by the way it is built (estate.mjs).

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { benchmark } from '../figures.mjs';
import { startControl } from './control.mjs';
import { k6 } from './drive.mjs';
import { estate, signer } from './estate.mjs';
import { findProgram, requireProgram } from './programs.mjs';
import { PROXIES, startProxy } from './proxies.mjs';
import { SCENARIOS } from './scenarios.mjs';
import { startWorld } from './service.mjs';

const THROUGH = ['direct', 'nginx', 'envoy', 'envoy-grpc'];
const MOVERS = 8;

/** @typedef {import('./service.mjs').Door} Door */

const bench = benchmark('k6', {
  only: { type: 'string' },
  through: { type: 'string' },
  seconds: { type: 'string', default: '3' },
  rate: { type: 'string', default: '800' },
  bound: { type: 'string', default: '250' },
  users: { type: 'string', default: '1000' },
  customers: { type: 'string', default: '1000' },
  set: { type: 'string', multiple: true, default: [] },
});
const only = bench.listed('only', Object.keys(SCENARIOS));
const through = bench.listed('through', THROUGH);
const [seconds, rate, bound] = [bench.number('seconds'), bench.number('rate'), bench.number('bound')];
const [users, customers] = [bench.number('users'), bench.number('customers', 0)];
const settings = Object.fromEntries(/** @type {string[]} */ (bench.given['set']).map((text) => text.split(/=(.*)/s, 2)));

/** The last first. @type {(() => Promise<unknown>)[]} */
const closing = [];
const closeAll = async () => {
  for (let end = closing.pop(); end; end = closing.pop()) await end();
};
try {
  const scene = await build();
  for (const [name, scenario] of Object.entries(SCENARIOS)) if (only.includes(name)) await scenario(scene);
  bench.finish(Object.fromEntries(Object.entries({ k6: 'version', nginx: '-v', envoy: '--version' }).flatMap(versionOf)));
} finally {
  await closeAll();
}

/** @typedef {Awaited<ReturnType<typeof build>>} Scene */

/** Everything but a service and what stands before it. */
async function build() {
  const begun = performance.now();
  const tokens = signer();
  const world = estate({ users, movers: MOVERS });
  const behind = await startWorld({ rows: world.rows, customers, key: tokens.key, closing });
  const { directory } = behind;
  const held = new Map(world.people.map((person) => [person, tokens.token(person)]));
  const questions = world.questions.map(({ user, ...rest }) => ({ user, token: user === null ? null : (held.get(user) ?? ''), ...rest }));
  const file = join(directory, 'questions.json');
  writeFileSync(file, JSON.stringify(questions));
  const application = await behind.application();
  closing.push(application.stop);
  const control = await startControl({ sql: behind.sql, movers: world.movers });
  closing.push(control.close);
  const floor = await behind.floor();
  closing.push(floor.stop);
  bench.say(`${world.rows.length} rows of the estate and ${customers} generated customers in ${((performance.now() - begun) / 1000).toFixed(1)} s`);

  const movers = JSON.stringify(world.movers.map(({ user, path }) => ({ user, path, token: tokens.token(user) })));
  const always = { QUESTIONS: file, SECONDS: seconds, RATE: rate, BOUND: bound, CONTROL: control.url, MOVERS: movers };
  return {
    ...{ bench, through, seconds, bound, directory, questions, control, floor, application: application.port },
    /** What its last floor was, by way: p99 in ms. @type {Map<string, number>} */
    floors: new Map(),
    /** k6 with a script, through a way, to a door. @param {string} way @param {Door} door @param {{ script: string, env?: Readonly<Record<string, string | number>> }} what */
    async k6(way, door, { script, env = {} }) {
      const proxy = PROXIES[way];
      const at = proxy ? await startProxy(proxy, { door, application: application.port, below: directory }) : { port: door.port, stop: async () => undefined };
      try {
        return await k6(script, { ...always, URL: `http://127.0.0.1:${at.port}`, DIRECT: proxy ? 'no' : 'yes', ...env }, directory);
      } finally {
        await at.stop();
      }
    },
    /** A service for this alone. @template T @param {Readonly<Record<string, number>>} own @param {(door: Door) => Promise<T>} use */
    async serving(own, use) {
      const service = await behind.serve({ ...settings, ...own });
      closing.push(service.stop);
      try {
        return await use(service);
      } finally {
        closing.splice(closing.indexOf(service.stop), 1);
        await service.stop();
      }
    },
  };
}

/** @param {[program: string, flag: string]} of */
function versionOf([program, flag]) {
  if (findProgram(program) === undefined) return [];
  const { stdout, stderr } = spawnSync(requireProgram(program), [flag], { encoding: 'utf8' });
  return [[program, /\d+\.\d+\.\d+/.exec(stdout + stderr)?.[0] ?? 'unknown']];
}
