// What if everybody comes at once and nothing is in memory? When the service has just started, at the moment that a role of everybody is
// edited, and at the moment that everything cached is thrown away.

import exec from 'k6/execution';
import http from 'k6/http';
import { Trend } from 'k6/metrics';
import { askNumber, handleSummary, questions, RIGHT, summaryTrendStats } from './ask.js';

export { handleSummary };

const CLIENTS = 100;
const OF_EACH_USER = 8; // questions
const users = questions.length / OF_EACH_USER;
const gap = Number(__ENV['SECONDS']);
const control = __ENV['CONTROL'] ?? '';

/** One burst: each user asks one question. @param {string} exec @param {number} nth */
const burst = (exec, nth) => ({
  ...{ executor: /** @type {const} */ ('per-vu-iterations'), exec, vus: CLIENTS, iterations: Math.ceil(users / CLIENTS) },
  ...{ startTime: `${nth * gap}s`, maxDuration: `${gap}s`, gracefulStop: '0s' },
});

export const options = {
  summaryTrendStats: [...summaryTrendStats],
  thresholds: RIGHT,
  scenarios: { cold: burst('cold', 0), edit: burst('edit', 1), reset: burst('reset', 2) },
};

const times = { cold: new Trend('cold_ms', true), edit: new Trend('edit_ms', true), reset: new Trend('reset_ms', true) };

export function cold() {
  asked(times.cold, 0);
}

export function edit() {
  // The first to come has it done; the others do not wait for that.
  if (exec.scenario.iterationInTest === 0) http.post(`${control}/edit`);
  asked(times.edit, 0);
}

export function reset() {
  if (exec.scenario.iterationInTest === 0) http.post(`${control}/reset`);
  asked(times.reset, 0);
}

/** Of the user of this turn. @param {Trend} time @param {number} question */
function asked(time, question) {
  const turn = exec.scenario.iterationInTest;
  const { permitted, ms } = askNumber((turn % users) * OF_EACH_USER + ((turn + question) % 4));
  if (permitted !== null) time.add(ms);
}
