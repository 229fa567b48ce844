// Are answers right and quick at a rate that does not depend on them? Also for hours (soak), and far beyond what can be answered, where
// to be turned away is right (SHED=yes) and a wrong answer is not.

import exec from 'k6/execution';
import { Trend } from 'k6/metrics';
import { askNumber, DECIDED, handleSummary, RIGHT, summaryTrendStats } from './ask.js';

export { handleSummary };

const users = Number(__ENV['CLIENTS'] ?? 50);

export const options = {
  summaryTrendStats: [...summaryTrendStats],
  discardResponseBodies: true,
  thresholds: { ...RIGHT, ...(__ENV['SHED'] === 'yes' ? {} : DECIDED) },
  scenarios: {
    crowd: {
      executor: 'constant-arrival-rate',
      exec: 'crowd',
      rate: Number(__ENV['RATE']),
      duration: `${__ENV['SECONDS']}s`,
      gracefulStop: '2s',
      preAllocatedVUs: users,
    },
  },
};

const first = new Trend('first_half_ms', true);
const second = new Trend('second_half_ms', true);

export function crowd() {
  const { permitted, ms } = askNumber(exec.scenario.iterationInTest);
  if (permitted !== null) (exec.scenario.progress < 0.5 ? first : second).add(ms);
}
