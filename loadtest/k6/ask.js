// How does k6 ask, and was the answer right? For all scenarios.
//
// Right is what the questions say, which were made together with the world. Four ways to be wrong are counted apart, the worst first: somebody
// was let in who must not be, somebody was taken for somebody else, somebody was kept out. What was not decided at all is no wrong answer.

import { SharedArray } from 'k6/data';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

/** @typedef {{ token: string | null, user: string | null, method: string, path: string, permit: boolean }} Question */

/** @type {Question[]} */
export const questions = new SharedArray('questions', () => JSON.parse(open(__ENV['QUESTIONS'] ?? '')));
const url = __ENV['URL'] ?? '';
/** The door itself, asked as nginx does, says in its answer what a proxy tells the application. */
const direct = __ENV['DIRECT'] === 'yes';

const letIn = new Counter('let_in');
const mixedUp = new Counter('mixed_up');
const keptOut = new Counter('kept_out');
const judged = new Counter('judged');
const undecided = new Counter('undecided');
const time = new Trend('check_ms', true);

export const summaryTrendStats = /** @type {const} */ (['count', 'med', 'p(99)', 'max']);

/** A wrong answer fails the run, whatever else it is about; and so does one in which nothing was judged. @type {Record<string, string[]>} */
export const RIGHT = { let_in: ['count==0'], mixed_up: ['count==0'], kept_out: ['count==0'], judged: ['count>0'] };
/** @type {Record<string, string[]>} */
export const DECIDED = { undecided: ['count==0'] };

/**
 * Whether it was permitted; null if that was not decided.
 * @param {Pick<Question, 'token' | 'user' | 'method' | 'path'>} question
 */
export function ask({ token, user, method, path }) {
  /** @type {Record<string, string>} */
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const response = direct
    ? http.get(`${url}/auth/nginx`, { headers: { ...headers, 'X-Original-Method': method, 'X-Original-URI': path } })
    : http.request(method, url + path, null, { headers });
  const { status, timings } = response;
  if (status === 200) {
    time.add(timings.duration);
    const seen = response.headers[direct ? 'X-Auth-User' : 'X-Seen-User'];
    mixedUp.add(seen === user ? 0 : 1);
    return { permitted: true, ms: timings.duration };
  }
  const refused = status === 401 || status === 403;
  if (refused) time.add(timings.duration);
  undecided.add(refused ? 0 : 1, { status: `${status}` });
  return { permitted: refused ? false : null, ms: timings.duration };
}

/** @param {boolean} permitted @param {boolean} permit what is right */
export function judge(permitted, permit) {
  judged.add(1);
  letIn.add(permitted && !permit ? 1 : 0);
  keptOut.add(!permitted && permit ? 1 : 0);
}

/** Asks the question of this number, round and round, and judges the answer. @param {number} number */
export function askNumber(number) {
  const question = questions[number % questions.length];
  if (!question) throw new Error('no questions');
  const answer = ask(question);
  if (answer.permitted !== null) judge(answer.permitted, question.permit);
  return answer;
}

/** For whoever started k6. @param {object} summary */
export function handleSummary(summary) {
  return { [__ENV['SUMMARY'] ?? 'stdout']: JSON.stringify(summary) };
}
