// What was true at each version, and from when on was it known to be?
//
// From the database's own log, the effects that its transactions recorded, and the acknowledgements that the writers had.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { openPool } from 'policy-cache/postgres';
import { parse } from 'yaml';
import { reference, type Answer, type Names, type Question, type World } from '../../../policy-cache/test/reference.ts';
import { ANY_TARGET, OPERATIONS, deviceId, questionNumber, userId } from './record.mjs';
import { NOTHING_YET, after, concerns, type Effect } from './world.ts';
import type { Acknowledged } from './writers.ts';

/** A question as a record has it. */
export interface Asked {
  readonly user: number;
  readonly target: number;
  readonly operation: number;
}

export interface History {
  /** Commits of the log, the genesis included. */
  readonly commits: number;
  /** Place in the log of the commit with this revision (the first four bytes of its id); undefined: the log has no such commit. */
  place(version: number, id: number): number | undefined;
  version(place: number): number;
  /** What the specification says in the state of that commit. */
  truth(place: number, asked: Asked): Answer;
  /** The commit, this one or an earlier one, from which on the truth about it has been the same. */
  since(place: number, asked: Asked): number;
  /** When the first commit after this one had been acknowledged; Infinity if none ever was. */
  missedSince(place: number): number;
  /** The newest commit acknowledged before that moment. */
  acknowledgedBefore(at: number): number;
  /** What the last state is, for comparison with the tables. */
  readonly last: World;
}

/** The tables of the run, beside the product's. */
export const SCHEMA = `create schema stress;
  create table stress.effect (n bigint generated always as identity primary key, xid xid8 not null default pg_current_xact_id(), effect json not null)`;

const names = parse(readFileSync(fileURLToPath(import.meta.resolve('policy-cache/vocabulary/thingsboard.yaml')), 'utf8')) as Names;

export async function readHistory(sql: ReturnType<typeof openPool>, acknowledged: readonly Acknowledged[]): Promise<History> {
  // Everything that a commit touched has a version of its own; the last of them is the commit's. A fresh server's xids fit in xmin.
  const log = await sql<{ version: string; id: string; xid: string }[]>`
    select distinct on (xmin::text) version, left(id::text, 8) id, xmin::text as xid from grantgate.change order by xmin::text, version desc`;
  const effects = await sql<{ xid: string; effect: Effect }[]>`select xid::text, effect from stress.effect order by n`;
  const byXid = new Map<string, Effect[]>();
  for (const { xid, effect } of effects) byXid.set(xid, [...(byXid.get(xid) ?? []), effect]);
  const at = new Map(acknowledged.map((one) => [one.xid, one.at]));
  const commits = log
    .map(({ version, id, xid }) => ({ version: Number(version), id: Number.parseInt(id, 16), xid, at: at.get(xid) ?? Infinity, effects: byXid.get(xid) ?? [] }))
    .sort((a, b) => a.version - b.version);
  const logged = new Set(commits.map(({ xid }) => xid));
  const unlogged = effects.filter(({ xid }) => !logged.has(xid));
  if (unlogged.length > 0) throw new Error(`the log lacks a commit that changed something: ${JSON.stringify(unlogged.slice(0, 3))}`);

  // The world at each place, and where something last happened: to one id, and to all.
  const worlds: World[] = [];
  const everywhere: number[] = [];
  const about = new Map<string, number[]>();
  let world = NOTHING_YET;
  commits.forEach((commit, place) => {
    let wide = everywhere.at(-1) ?? 0;
    for (const effect of commit.effects) {
      world = after(world, effect);
      const id = concerns(effect);
      if (id === null) wide = place;
      else if (about.get(id)?.push(place) === undefined) about.set(id, [place]);
    }
    worlds.push(world);
    everywhere.push(wide);
  });
  const missed = commits.map(() => Infinity);
  for (let place = commits.length - 2; place >= 0; place--) missed[place] = Math.min(missed[place + 1]!, commits[place + 1]!.at);
  const places = new Map(commits.map(({ version, id }, place) => [`${version}-${id}`, place]));
  const acks = commits.map(({ at }, place) => ({ at, place })).filter(({ at }) => at < Infinity);
  acks.sort((a, b) => a.at - b.at);
  const ackTimes = acks.map(({ at }) => at);
  let newest = 0;
  const ackPlaces = acks.map(({ place }) => (newest = Math.max(newest, place)));

  const asks = new Map<number, (question: Question) => Answer>();
  const answers = new Map<number, Answer>();
  const answer = (place: number, { user, target, operation }: Asked): Answer => {
    let ask = asks.get(place);
    if (!ask) {
      if (asks.size > 200) asks.clear();
      asks.set(place, (ask = reference(names, worlds[place]!)));
    }
    return ask({ user: userId(user), operation: OPERATIONS[operation]!, resource: 'DEVICE', target: deviceId(target) });
  };
  // A question is about its user, its target and what concerns everybody: where none of them changed, the answer is the same.
  const since = (place: number, { user, target }: Asked): number =>
    Math.max(
      everywhere[place]!,
      lastUpTo(about.get(userId(user)), place) ?? 0,
      (target === ANY_TARGET ? undefined : lastUpTo(about.get(deviceId(target)), place)) ?? 0,
    );
  return {
    commits: commits.length,
    last: world,
    place: (version, id) => places.get(`${version}-${id}`),
    version: (place) => commits[place]!.version,
    since,
    truth(place, asked) {
      const from = since(place, asked);
      const key = from * 2 ** 27 + questionNumber(asked);
      let known = answers.get(key);
      if (known === undefined) answers.set(key, (known = answer(from, asked)));
      return known;
    },
    missedSince: (place) => missed[place]!,
    acknowledgedBefore(at) {
      const found = countUpTo(ackTimes, at);
      return found === 0 ? 0 : ackPlaces[found - 1]!;
    },
  };
}

/** The largest of the ascending numbers that is not above the limit. */
function lastUpTo(numbers: readonly number[] | undefined, limit: number): number | undefined {
  return numbers?.[countUpTo(numbers, limit) - 1];
}

/** How many of the ascending numbers are not above the limit. */
function countUpTo(numbers: readonly number[], limit: number): number {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle]! <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
