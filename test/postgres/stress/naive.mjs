// What would a cache do that just deletes what it is told of? The control: if this one passes, the harness is broken.
//
// Over the same source, log and rules: a map, a load on a miss, a delete for each key that a notification announces, and everything
// dropped after a reconnect, as careful people do. What it lacks is the protocol: no stamp on a load, no beat, no lease.

import { compileRows, formatAllGroup } from 'policy-cache';

/** @typedef {import('policy-cache').Attachment} Attachment */
/** @typedef {import('policy-cache').AccessRequest} AccessRequest */
/** @typedef {import('policy-cache').Decision} Decision */

const REATTACH_MS = 50;

export class NaiveCache {
  /** @readonly @type {import('policy-cache').Vocabulary} */
  #vocabulary;
  /** @readonly @type {import('policy-cache').Source} */
  #source;
  /** @type {Attachment | null} */
  #attachment = null;
  /** @readonly @type {Map<string, import('policy-cache').ObjectRow | null>} */
  #objects = new Map();
  /** @readonly @type {Map<string, { readonly groups: readonly string[]; readonly grants: readonly import("policy-cache").Grant[] }>} */
  #classes = new Map();
  /** @type {Map<string, import('policy-cache').TreeRow>} */
  #tree = new Map();
  /** @type {import('policy-cache').Revision | null} */
  #cursor = null;
  /** @type {import('policy-cache').CompiledWorld | null} What is cached, ready to decide; null after a change. */
  #ready = null;
  /** @readonly @type {Map<string, Promise<unknown>>} */
  #loading = new Map();
  #pulling = false;
  #rung = false;
  #closed = false;

  /** @param {{ vocabulary: import('policy-cache').Vocabulary, source: import('policy-cache').Source }} settings */
  constructor({ vocabulary, source }) {
    this.#vocabulary = vocabulary;
    this.#source = source;
  }

  start() {
    void this.#attach(); // it catches its own failures
  }

  state() {
    return { revision: this.#cursor === null ? null : `${this.#cursor.version}-${this.#cursor.id}` };
  }

  /**
   * It knows no tokens and no bounds.
   * @param {AccessRequest} request
   * @param {import("policy-cache").CheckStatus} status
   * @param {import("policy-cache").CheckOptions} [_options]
   * @returns {Decision | Promise<Decision>}
   */
  check(request, status, _options) {
    return this.#decide(request, status, true) ?? this.#slowly(request, status);
  }

  close() {
    this.#closed = true;
    this.#attachment?.close();
  }

  /** @param {AccessRequest} request @param {import('policy-cache').CheckStatus} status @param {boolean} hit @returns {Decision | null} */
  #decide(request, status, hit) {
    if (this.#cursor === null) throw new Error('not attached yet');
    if (this.#missing(request).length > 0) return null;
    this.#ready ??= compileRows(this.#vocabulary, {
      object: (id) => this.#objects.get(id) ?? null,
      grants: (key) => this.#classes.get(className(key))?.grants ?? [],
      tree: () => [...this.#tree.values()],
    });
    const decision = this.#ready.decide(request);
    status.hit = hit;
    status.revision = this.#cursor;
    return decision;
  }

  /** @param {AccessRequest} request @param {import('policy-cache').CheckStatus} status @returns {Promise<Decision>} */
  async #slowly(request, status) {
    for (let turns = 0; turns < 10; turns++) {
      await Promise.all(this.#missing(request).map((one) => this.#load(one.name, one.load)));
      const decision = this.#decide(request, status, false);
      if (decision) return decision;
    }
    throw new Error('it changes faster than it can be read');
  }

  /** @param {AccessRequest} request @returns {{ name: string, load: () => Promise<unknown> }[]} */
  #missing({ subject, target }) {
    const object = (/** @type {string} */ id) => ({
      name: id,
      load: async () => {
        const { rows } = await this.#use().objects([id]);
        this.#objects.set(id, rows[0] ?? null);
      },
    });
    const wants = [subject, target].filter((id) => id !== '*' && !this.#objects.has(id)).map(object);
    const user = this.#objects.get(subject);
    if (user?.kind !== 'user' || user.owner === null) return wants;
    const key = { owner: user.owner, groups: user.groups };
    if (!this.#classes.has(className(key)))
      wants.push({
        name: className(key),
        load: async () => {
          const { grants } = await this.#use().classes([key]);
          this.#classes.set(className(key), { groups: [...key.groups, formatAllGroup('USER', key.owner)], grants: grants[0] ?? [] });
        },
      });
    return wants;
  }

  /** @param {string} name @param {() => Promise<unknown>} load */
  #load(name, load) {
    const known = this.#loading.get(name);
    if (known) return known;
    const loading = load().finally(() => {
      this.#loading.delete(name);
      this.#ready = null;
    });
    this.#loading.set(name, loading);
    return loading;
  }

  #use() {
    if (this.#attachment === null) throw new Error('detached');
    return this.#attachment;
  }

  async #attach() {
    while (!this.#closed) {
      try {
        const attachment = await this.#source.attach({ ring: () => void this.#pull(), closed: () => void this.#attach() });
        /** @type {import('policy-cache').TreeRow[]} */
        const tree = [];
        const stamp = await attachment.load((rows) => tree.push(...rows));
        this.#attachment = attachment;
        this.#objects.clear();
        this.#classes.clear();
        this.#tree = new Map(tree.map((row) => [row[0], row]));
        this.#cursor = stamp;
        this.#ready = null;
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, REATTACH_MS));
      }
    }
  }

  async #pull() {
    this.#rung = true;
    if (this.#pulling || this.#attachment === null || this.#cursor === null) return;
    this.#pulling = true;
    try {
      while (this.#rung) {
        this.#rung = false;
        this.#apply(await this.#attachment.pull({ cursor: this.#cursor.version, limit: 1_000_000, ask: [] }));
      }
    } catch {
      this.#attachment?.close();
      this.#attachment = null;
      void this.#attach();
    } finally {
      this.#pulling = false;
    }
  }

  /** @param {import('policy-cache').PullReply} reply */
  #apply(reply) {
    for (const [, , tag, keys] of reply.changes) {
      if (tag === 'o' && keys.length > 0) for (const key of keys) this.#objects.delete(key);
      else if (tag === 'o' || tag === '*') this.#objects.clear();
      if (tag === 'g' && keys.length > 0) {
        for (const [name, { groups }] of this.#classes) if (groups.some((group) => keys.includes(group))) this.#classes.delete(name);
      } else if (tag === 'g' || tag === 'r' || tag === '*') this.#classes.clear();
    }
    for (const row of reply.tree) this.#tree.set(row[0], row);
    this.#cursor = reply.head;
    this.#ready = null;
  }
}

/** @param {import('policy-cache').ClassKey} key */
function className({ owner, groups }) {
  return `${owner}|${groups.join()}`;
}
