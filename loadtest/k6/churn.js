// Is a permission refused as soon as it is revoked, and given as soon as it is granted, while many others ask?
//
// Whoever started k6 takes permissions away and gives them back, and says at CONTROL how each of them stands: an `epoch` that is another one
// from the moment a write begins. A judge looks, asks, and looks again. The same epoch twice, and the write acknowledged before the first
// look: then there is one right answer, by nobody's clock. An old answer is *late* by as much as the acknowledgement was ago when it was
// asked for; beyond the bound it is wrong.

import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';
import { ask, askNumber, DECIDED, handleSummary, judge, RIGHT, summaryTrendStats } from './ask.js';

export { handleSummary };

/** @typedef {{ epoch: number, acknowledged: boolean, permit: boolean, age: number }} Standing `age`: ms since the acknowledgement */

const ASKS = 4;
const BOUND = Number(__ENV['BOUND']);
const control = __ENV['CONTROL'] ?? '';
const movers = /** @type {{ user: string, token: string, path: string }[]} */ (JSON.parse(__ENV['MOVERS'] ?? '[]'));

const moving = new Counter('moving');
const standing = new Counter('standing');
const late = new Trend('late_ms', true);

const arrivals = { executor: /** @type {const} */ ('constant-arrival-rate'), duration: `${__ENV['SECONDS']}s`, gracefulStop: '2s' };
export const options = {
  summaryTrendStats: [...summaryTrendStats],
  thresholds: { ...RIGHT, ...DECIDED, standing: ['count>0'] },
  scenarios: {
    crowd: { ...arrivals, exec: 'crowd', rate: Number(__ENV['RATE']), preAllocatedVUs: 50 },
    judges: { ...arrivals, exec: 'judges', rate: Number(__ENV['JUDGES']), preAllocatedVUs: 20 },
  },
};

export function crowd() {
  askNumber(exec.scenario.iterationInTest);
}

export function judges() {
  const number = exec.scenario.iterationInTest % movers.length;
  const mover = movers[number];
  if (!mover) throw new Error('no movers');
  let before = look(number);
  for (let i = 0; i < ASKS; i++) {
    const { permitted } = ask({ ...mover, method: 'GET' });
    const after = look(number);
    if (before.epoch !== after.epoch || !before.acknowledged) moving.add(1);
    else if (permitted !== null) {
      standing.add(1);
      const old = permitted !== before.permit;
      if (old) late.add(before.age);
      judge(old && before.age <= BOUND ? before.permit : permitted, before.permit);
    }
    before = after;
  }
}

/** @param {number} number @returns {Standing} */
function look(number) {
  return /** @type {Standing} */ (/** @type {unknown} */ (http.get(`${control}/${number}`).json()));
}
