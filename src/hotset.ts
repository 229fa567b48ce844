// Which ids should be in memory before a process says that it is ready? Those that the one before it was asked about.
//
// They are in a file, one a line, and nothing else is: what they may do is read from the database, as ever. So whoever changes the file causes
// reads, and no decision. It is written at the end and every few minutes, for its owner alone, whole or not at all; one that is missing or broken
// is a line in the log. What is written is added to what is there: a process whose warm-up ended early, whose world was thrown away, or that is
// one of several has few ids in memory, and they would take the place of 20,000.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { InputError, parseId, type Clock, type HotIds, type PolicyCache, type Vocabulary } from 'policy-cache';
import type { Log } from './log.ts';
import { openOutput } from './outputfile.ts';
import { warmUp } from './warmup.ts';

export interface HotSetParts {
  readonly path: string;
  /** Milliseconds for the warm-up. */
  readonly ms: number;
  readonly cache: Pick<PolicyCache, 'check' | 'hot' | 'ready'>;
  readonly vocabulary: Vocabulary;
  readonly clock: Clock;
  readonly log: Log;
  /** Of the file while it is written: of no other process that writes this hot set. */
  readonly part: string;
}

export interface HotSet {
  /** Not ready yet because of it. */
  readonly warming: boolean;
  /** Reads the file, and asks about its ids as soon as there is a world. Never rejects; resolves when it is no reason any more not to be ready. */
  start(): Promise<void>;
  /** Writes it a last time, unless nothing was learned. Never rejects. */
  close(): Promise<void>;
}

/** More would take longer than anybody waits for a start: 10,000 or more are read in a second. */
export const MOST: HotIds<number> = { subjects: 20_000, targets: 80_000 };
const MOST_BYTES = (MOST.subjects + MOST.targets) * 260;
const EVERY_MS = 300_000;
/** The longest that a timer of Node takes. */
const FOREVER_MS = 0x7fff_ffff;
const FIRST_LINE = 'grantgate: ids that were asked about';
/** Lines of one write: some 64 KiB. */
const PART = 1_000;

export function createHotSet({ path, ms, cache, vocabulary, clock, log, part }: HotSetParts): HotSet {
  let warming = true;
  let closed = false;
  let cancel = (): void => undefined;
  const warm = async (): Promise<void> => {
    const ids = await readHotSet(path).catch((error: unknown) => {
      log('warn', 'hot-set', `cache.hotSet: ${path} cannot be read, so nothing is in memory yet: ${messageOf(error)}`);
      return null;
    });
    if (ids === null || ids.subjects.length === 0) return;
    await cache.ready(FOREVER_MS);
    const begun = clock.now();
    const { subjects, targets, cause } = await warmUp(ids, { cache, vocabulary, clock, ms });
    const done = `${subjects} of ${ids.subjects.length} users and ${targets} of ${ids.targets.length} targets in ${Math.round(clock.now() - begun)} ms`;
    log(cause === null ? 'info' : 'warn', 'warmed', cause === null ? done : `${done}: ${cause}`);
  };
  /** What is wrong with the writing, said once. */
  let told: string | null = null;
  const write = async (): Promise<void> => {
    const own = cache.hot(MOST);
    // Without a world, or before the first check, the file that is there says more.
    if (warming || own.subjects.length === 0) return;
    const isFull = own.subjects.length >= MOST.subjects && own.targets.length >= MOST.targets;
    const ids = isFull ? own : await readHotSet(path, own).catch(() => own); // start has told of it; it is replaced
    const problem = await writeHotSet(path, ids, part).then(() => null, messageOf);
    if (problem !== null && problem !== told) log('warn', 'hot-set', problem);
    told = problem;
  };
  /** One after the other: the newest is the one that stays. */
  let written = Promise.resolve();
  const writeNext = (): Promise<void> => (written = written.then(write));
  const later = (): void => {
    cancel = clock.after(EVERY_MS, () => void writeNext().then(() => (closed ? undefined : later()))); // never rejects
  };
  return {
    get warming() {
      return warming;
    },
    async start() {
      // Closed before there was a world: nobody asks any more.
      await warm().catch((error: unknown) => (closed ? undefined : log('warn', 'hot-set', messageOf(error))));
      warming = false;
      if (!closed) later();
    },
    async close() {
      closed = true;
      cancel();
      await writeNext();
    },
  };
}

const NONE: HotIds = { subjects: [], targets: [] };

/** `first`, and then those of the file. No file is no id. @throws Error if it is no hot set, or too large for one */
export async function readHotSet(path: string, first = NONE): Promise<HotIds> {
  // Not to wait for the writer of a pipe.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: NodeJS.ErrnoException) =>
    error.code === 'ENOENT' ? null : Promise.reject(error),
  );
  if (file === null) return first;
  try {
    const found = await file.stat();
    if (!found.isFile()) throw new Error('it is no file');
    if (found.size > MOST_BYTES) throw new Error(`it has ${found.size} bytes, and ${MOST_BYTES} at the most are read`);
    return await parseHotSet(await file.readFile('utf8'), first);
  } finally {
    await file.close();
  }
}

/** What is no id, or one too many, is passed over. @throws Error if it is something else */
export async function parseHotSet(text: string, first = NONE): Promise<HotIds> {
  const lines = text.split('\n');
  if (lines[0] !== FIRST_LINE) throw new Error('it is no such file: the first line is another one');
  const found = { subjects: new Set(first.subjects), targets: new Set(first.targets) };
  for (const [at, line] of lines.entries()) {
    if (at % PART === 0) await setImmediate(); // measured: 50 to 140 ms for a full one, and checks wait
    const of = line.startsWith('u ') ? 'subjects' : line.startsWith('t ') ? 'targets' : null;
    const id = line.slice(2);
    if (of !== null && found[of].size < MOST[of] && isId(id)) found[of].add(id);
  }
  return { subjects: [...found.subjects], targets: [...found.targets] };
}

/** Takes the place of the file that is there when all of it is on the disk. */
export async function writeHotSet(path: string, { subjects, targets }: HotIds, part: string): Promise<void> {
  const file = await openOutput(path, { flag: 'cache.hotSet', part });
  try {
    await file.write(`${FIRST_LINE}\n`);
    for (const [kind, ids] of [
      ['u', subjects],
      ['t', targets],
    ] as const)
      // In parts, with checks in between.
      for (let at = 0; at < ids.length; at += PART)
        await file.write(
          ids
            .slice(at, at + PART)
            .map((id) => `${kind} ${id}\n`)
            .join(''),
        );
    await file.commit();
  } finally {
    file.discard();
  }
}

function isId(id: string): boolean {
  try {
    return parseId(id) === id;
  } catch (error) {
    if (error instanceof InputError) return false;
    throw error;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
