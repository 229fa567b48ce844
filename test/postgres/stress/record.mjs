// What does an answer leave behind? Forty bytes, written by the process that answered and read by the judge.

/**
 * @typedef {object} AnswerRecord
 * @property {number} decided reading of CLOCK_MONOTONIC, ms, in the turn that decided: the one its freshness was judged by
 * @property {number} asked the same when the question came
 * @property {number} version of the revision that the answer says it is true at
 * @property {number} id the first four bytes of that revision's id
 * @property {number} shown highest version that the sidecar had reported before it decided
 * @property {number} atLeast version of the token that came with the question; 0: none; `LATEST`
 * @property {number} bound the staleness allowed, ms
 * @property {number} user
 * @property {number} target
 * @property {number} operation
 * @property {number} decision its place among all decisions there are
 * @property {boolean} hit
 * @property {boolean} first asked by a user whom this sidecar had never seen
 */

export const RECORD_BYTES = 40;
export const LATEST = 0xffff_ffff;
export const ANY_TARGET = 0xffff;
export const OPERATIONS = /** @type {const} */ (['READ', 'WRITE']);
export const MAX_STALENESS = 2_000;

export const userId = (/** @type {number} */ user) => `u${user}`;
export const deviceId = (/** @type {number} */ device) => (device === ANY_TARGET ? '*' : `d${device}`);

/** A number below 2^27 for each question. */
export const questionNumber = (/** @type {{ user: number, target: number, operation: number }} */ { user, target, operation }) =>
  (user * 1_024 + (target & 1_023)) * 2 + operation;

/** CLOCK_MONOTONIC in ms: the same clock in every process, which `performance.now()` is not. */
export const monotonic = () => Number(process.hrtime.bigint()) / 1e6;

/** @param {DataView} view @param {number} at @param {AnswerRecord} record */
export function writeRecord(view, at, record) {
  view.setFloat64(at, record.decided);
  view.setFloat64(at + 8, record.asked);
  view.setUint32(at + 16, record.version);
  view.setUint32(at + 20, record.id);
  view.setUint32(at + 24, record.shown);
  view.setUint32(at + 28, record.atLeast);
  view.setUint16(at + 32, record.bound);
  view.setUint16(at + 34, record.user);
  view.setUint16(at + 36, record.target);
  view.setUint8(at + 38, record.decision);
  view.setUint8(at + 39, record.operation | (Number(record.hit) << 1) | (Number(record.first) << 2));
}

/** @param {DataView} view @param {number} at @returns {AnswerRecord} */
export function readRecord(view, at) {
  const flags = view.getUint8(at + 39);
  return {
    decided: view.getFloat64(at),
    asked: view.getFloat64(at + 8),
    version: view.getUint32(at + 16),
    id: view.getUint32(at + 20),
    shown: view.getUint32(at + 24),
    atLeast: view.getUint32(at + 28),
    bound: view.getUint16(at + 32),
    user: view.getUint16(at + 34),
    target: view.getUint16(at + 36),
    decision: view.getUint8(at + 38),
    operation: flags & 1,
    hit: (flags & 2) !== 0,
    first: (flags & 4) !== 0,
  };
}
