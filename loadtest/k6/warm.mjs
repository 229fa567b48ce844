// Are all answers right before anything is timed? Asks the door every question, which also brings what it needs into memory.

import { Agent, get } from 'node:http';

const AT_ONCE = 16;
const PASSES = 5;

/** @typedef {{ token: string | null, method: string, path: string, permit: boolean }} Question */

/** @param {import('./service.mjs').Door} door @param {readonly Question[]} questions @throws where one is answered otherwise, or never decided */
export async function warm(door, questions) {
  const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });
  try {
    // A door turns away what it cannot read in time; the next time it has been read.
    for (let pass = 0, left = questions; left.length > 0; pass++) {
      if (pass === PASSES) throw new Error(`the door leaves ${left.length} questions undecided, as ${JSON.stringify(left[0])}`);
      left = await askAll(door, left, agent);
    }
  } finally {
    agent.destroy();
  }
}

/** Those that were not decided. @param {import('./service.mjs').Door} door @param {readonly Question[]} questions @param {Agent} agent */
async function askAll(door, questions, agent) {
  /** @type {Question[]} */
  const undecided = [];
  const asking = questions.values();
  const ask = async () => {
    for (const question of asking) {
      const status = await statusOf(door, question, agent);
      if (status === 503) undecided.push(question);
      else if ((status === 200) !== question.permit || ![200, 401, 403].includes(status)) throw new Error(`${status} for ${JSON.stringify(question)}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, ask));
  return undecided;
}

/** @param {import('./service.mjs').Door} door @param {Question} question @param {Agent} agent @returns {Promise<number>} */
function statusOf({ port }, { token, method, path }, agent) {
  const headers = { 'X-Original-Method': method, 'X-Original-URI': path, ...(token === null ? {} : { Authorization: `Bearer ${token}` }) };
  return new Promise((resolve, reject) => {
    get({ agent, port, host: '127.0.0.1', path: '/auth/nginx', headers }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0));
    }).on('error', reject);
  });
}
