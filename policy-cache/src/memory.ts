// How does a source behave, without a database?
//
// The second implementation of the port (source.ts): the tables of the model with a change log as coherence 3.3 and 3.6 ask
// for, in memory. For tests, and for deciding over a world file. Every commit and every answer is one synchronous turn, hence
// one snapshot; a test may hold a finished answer back, as a slow network would.

import { PolicyError } from './errors.ts';
import { Tables, insertWhole } from './tables.ts';
import type { Revision } from './model.ts';
import type { Attachment, Change, ClassKey, ClassesReply, FollowerReport, KeysReply, ObjectsReply, PullReply, PullRequest, Source } from './source.ts';
import type { WorldFile } from './worldfile.ts';

/** What a test may hold back: the notification of a commit, or a computed answer on its way. */
export type Held = 'ring' | 'pull' | 'load' | 'objects' | 'classes' | 'keys';

export interface MemorySettings {
  /** A fresh UUID for every commit (randomness is a parameter). */
  readonly newId: () => string;
  readonly world?: WorldFile;
  /** Called when an answer is computed or a ring is due; it goes out when the promise resolves, at once if there is none. */
  readonly hold?: (what: Held) => Promise<void> | undefined;
}

/** As many keys as one row of the log carries, and as many as one commit names before it says "every key" (coherence 3.6). */
const ROW_KEYS = 10_000;
const COMMIT_KEYS = 100_000;

interface Session {
  readonly on: { ring(): void; closed(cause: Error): void };
  readonly closed: Promise<never>;
  end(cause: Error): void;
  open: boolean;
}

export class MemorySource implements Source {
  readonly #settings: MemorySettings;
  #tables = new Tables();
  #log: Change[] = [];
  #refusal: Error | null = null;
  readonly #sessions = new Set<Session>();
  #pids = 0;
  /** The newest report of each follower. */
  readonly reports = new Map<string, FollowerReport>();
  #awaited: number | null = null;

  /** @throws InputError if the world cannot be: its first problem, and how many more there are */
  constructor(settings: MemorySettings) {
    this.#settings = settings;
    this.#log.push([0, settings.newId(), 'genesis', []]);
    if (settings.world) this.commit((tables) => insertWhole(tables, settings.world!));
  }

  /** The newest revision. */
  get revision(): Revision {
    const [version, id] = this.#log.at(-1)!;
    return { version, id };
  }

  /** Does all of `writes` or, if it throws, nothing. @returns the revision at which it is true */
  commit(writes: (tables: Tables) => void): Revision {
    const tables = new Tables(this.#tables);
    writes(tables);
    this.#tables = tables;
    const { version } = this.revision;
    for (const tag of ['o', 'g', 'r', 'n', 'k'] as const) {
      const keys = [...tables.touched[tag]];
      if (keys.length > COMMIT_KEYS) this.#append(tag, []);
      else for (let at = 0; at < keys.length; at += ROW_KEYS) this.#append(tag, keys.slice(at, at + ROW_KEYS));
    }
    if (this.revision.version > version) this.#ring();
    return this.revision;
  }

  /** By hand: these keys of a tag, all of them if none is named, or everything (`*`) may have changed. */
  touch(tag: string, keys: readonly string[] = []): Revision {
    this.#append(tag, keys);
    this.#ring();
    return this.revision;
  }

  /** Forgets the log below a version; the newest row always stays. */
  trim(below: number): void {
    this.#log = this.#log.filter(([version], i) => version >= below || i === this.#log.length - 1);
  }

  /** As a barrier does: asks every follower that is behind this version to report; null: nobody waits any more. */
  awaitReports(version: number | null): void {
    this.#awaited = version;
    if (version !== null) this.#ring();
  }

  /** Ends every session and refuses new ones until `restart`. */
  stop(cause: Error = new Error('the memory source was stopped')): void {
    this.#refusal = cause;
    for (const session of [...this.#sessions]) {
      session.end(cause);
      session.on.closed(cause);
    }
  }

  restart(): void {
    this.#refusal = null;
  }

  async attach(on: { ring(): void; closed(cause: Error): void }): Promise<Attachment> {
    if (this.#refusal) throw new PolicyError('source', this.#refusal.message, { cause: this.#refusal });
    const session = this.#open(on);
    const pid = ++this.#pids;
    const deliver = async <R>(what: Held, answer: () => R): Promise<R> => {
      if (!session.open) return session.closed;
      const reply = answer();
      const held = this.#settings.hold?.(what);
      if (held) await Promise.race([held, session.closed]);
      return session.open ? reply : session.closed;
    };
    return {
      pull: (request) => deliver('pull', () => this.#pull(request, pid)),
      load: (take) =>
        deliver('load', () => {
          take(this.#tables.tree());
          return this.revision;
        }),
      objects: (ids) => deliver('objects', () => this.#objects(ids)),
      classes: (keys) => deliver('classes', () => this.#classes(keys)),
      keys: (hashes) => deliver('keys', () => this.#keys(hashes)),
      close: () => session.end(new PolicyError('source', 'the attachment is closed')),
    };
  }

  #open(on: Session['on']): Session {
    let reject: (cause: Error) => void = () => undefined;
    const closed = new Promise<never>((_, refuse) => (reject = refuse));
    closed.catch(() => undefined); // nobody may be waiting when it ends
    const end = (cause: Error): void => {
      session.open = false;
      this.#sessions.delete(session);
      reject(cause);
    };
    const session: Session = { on, closed, end, open: true };
    this.#sessions.add(session);
    return session;
  }

  #append(tag: string, keys: readonly string[]): void {
    this.#log.push([this.revision.version + 1, this.#settings.newId(), tag, keys]);
  }

  /** A notification arrives in a later turn than the commit, never inside it. */
  #ring(): void {
    for (const session of this.#sessions) {
      // Not awaited: a commit does not wait for who listens.
      void (this.#settings.hold?.('ring') ?? Promise.resolve()).then(() => {
        if (session.open) session.on.ring();
      });
    }
  }

  #pull({ cursor, limit, ask, report }: PullRequest, pid: number): PullReply {
    if (report) this.reports.set(report.follower, report);
    const idOf = (version: number): string | null => this.#log.findLast(([other]) => other === version)?.[1] ?? null;
    const newer = this.#log.filter(([version]) => version > cursor).slice(0, limit ?? undefined);
    const keys = newer.reduce((sum, change) => sum + change[3].length, 0);
    const over = limit !== null && (newer.length >= limit || keys > COMMIT_KEYS);
    const changes = over ? [] : newer.filter(([, , tag]) => limit !== null || tag === 'n' || tag === '*');
    const nodes = new Set(changes.filter(([, , tag]) => tag === 'n').flatMap((change) => change[3]));
    return {
      pid,
      timeline: '00000001',
      head: this.revision,
      over,
      cursorId: idOf(cursor),
      changes,
      tree: [...nodes].map((id) => this.#tables.treeRow(id)),
      answers: ask.map((version) => [version, idOf(version)] as const),
      awaited: this.#awaited,
      queueUsage: report ? 0 : null,
      lagMs: null,
    };
  }

  #objects(ids: readonly string[]): ObjectsReply {
    return { stamp: this.revision, rows: [...new Set(ids)].map((id) => this.#tables.object(id)).filter((row) => row !== null) };
  }

  #keys(hashes: readonly string[]): KeysReply {
    return { stamp: this.revision, rows: [...new Set(hashes)].map((hash) => this.#tables.key(hash)).filter((row) => row !== null) };
  }

  #classes(keys: readonly ClassKey[]): ClassesReply {
    return { stamp: this.revision, grants: keys.map((key) => this.#tables.grants(key)) };
  }
}
