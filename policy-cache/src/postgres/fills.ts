// How are entries and the tree read? Over connections that belong to the attachment, each fill in one statement with its stamp.
//
// A fill connection that stalls is left out while it does, and replaced when it does not come back; a slow fill never ends an
// attachment (coherence 3.5). Every look-up is a lateral subquery with `limit`: the planner has nothing to turn into a join.

import { PolicyError } from '../errors.ts';
import type { Revision } from '../model.ts';
import type { ClassesReply, ClassKey, KeysReply, ObjectsReply, TreeRow } from '../source.ts';
import type { Address } from './address.ts';
import { failure, within, type DialOptions } from './dial.ts';
import { openLink, type Link, type Parameter, type Statement } from './link.ts';
import { parseClasses, parseKeys, parseNode, parseObjects, parseSchema, parseStamp } from './rows.ts';

export interface FillOptions extends DialOptions {
  /** Fill connections; default 4. */
  readonly connections: number;
  /** Milliseconds for a fill; default 250, the life of a flight. */
  readonly fillMs: number;
  /** Milliseconds for the whole tree; default 30,000. */
  readonly loadMs: number;
}

/** One connection with what is asked on it. */
interface Lane {
  readonly link: Link;
  pending: number;
  /** Statements whose asker has given up and that are not answered yet. */
  late: number;
}

/** A link that owes an answer for so many times its limit is not slow but gone. */
const GONE_AFTER = 20;
const REOPEN_MS = 1_000;
const PART_ROWS = 1_000;
const STAMP = '(select json_build_array(version, id) from grantgate.change order by version desc limit 1)';

export class Fills {
  readonly #address: Address;
  readonly #options: FillOptions;
  readonly #lanes = new Set<Lane>();
  readonly #opening = new Set<Promise<Lane>>();
  /** Every connection that is open: of a lane, of a lane being warmed, of a load. */
  readonly #links = new Set<Link>();
  #reopenAt = 0;
  #closed = false;
  #hasSessions = false;

  constructor(address: Address, options: FillOptions) {
    this.#address = address;
    this.#options = options;
  }

  /** Opens and warms the connections; rejects if not one of them can be had. */
  async open(): Promise<void> {
    const opened = await Promise.allSettled(Array.from({ length: this.#options.connections }, () => this.#open()));
    const failed = opened.find((one) => one.status === 'rejected');
    if (failed && this.#lanes.size === 0) throw failed.reason;
  }

  /** What each connection answers; rejects if none does. */
  async everyLane(statement: Statement, limitMs: number): Promise<readonly unknown[]> {
    const answers = await Promise.allSettled([...this.#lanes].map(({ link }) => link.rows(statement, [], limitMs)));
    const failed = answers.find((one) => one.status === 'rejected');
    const rows = answers.flatMap((one) => (one.status === 'fulfilled' ? [one.value[0]] : []));
    if (rows.length === 0) throw failed?.reason ?? new PolicyError('source', 'no fill connection');
    return rows;
  }

  async objects(ids: readonly string[]): Promise<ObjectsReply> {
    // Text in Postgres has no zero byte, so such an id is absent; asked for, it would fail every other id of its statement.
    return parseObjects(await this.#fill(OBJECTS, [arrayLiteral(ids.filter((id) => !id.includes('\0')))]));
  }

  async classes(keys: readonly ClassKey[]): Promise<ClassesReply> {
    return parseClasses(await this.#fill(CLASSES, [JSON.stringify(keys)]));
  }

  /**
   * Before version 7 of the schema there was no key, before 8 no session. It is looked at again each time, for it may be migrated while this
   * process follows it.
   */
  async keys(hashes: readonly string[]): Promise<KeysReply> {
    if (!this.#hasSessions) {
      const answer = await this.#fill(NO_KEYS, []);
      const schema = parseSchema(answer);
      if (schema < KEYS_SINCE) return parseKeys(answer);
      if (schema < SESSIONS_SINCE) return parseKeys(await this.#fill(KEYS_ALONE, [arrayLiteral(hashes)]));
      this.#hasSessions = true;
    }
    return parseKeys(await this.#fill(KEYS, [arrayLiteral(hashes)]));
  }

  /** On a connection of its own: it may take as long as all fills of that time together. */
  async load(take: (rows: readonly TreeRow[]) => void): Promise<Revision> {
    if (this.#closed) throw new PolicyError('source', 'the attachment was closed');
    const link = await this.#connect();
    try {
      return await within(this.#options.loadMs, 'loading the owner tree', () => Promise.race([loadTree(link, take), link.ended]));
    } catch (error) {
      throw failure('loading the owner tree', error);
    } finally {
      link.destroy();
    }
  }

  /** Takes versions older than this out of the log, on a connection of its own: no fill may have to wait for it. @returns how many */
  async trim(keepMs: number): Promise<number> {
    const link = await this.#connect();
    try {
      const [row] = await link.rows(TRIM, [keepMs], this.#options.loadMs);
      return Number((row as { r?: unknown } | undefined)?.r);
    } finally {
      link.destroy();
    }
  }

  close(): void {
    this.#closed = true;
    for (const link of this.#links) link.destroy();
    this.#lanes.clear();
  }

  async #fill(statement: Statement, parameters: readonly Parameter[]): Promise<unknown> {
    if (this.#closed) throw new PolicyError('source', 'the attachment was closed');
    const lane = this.#best() ?? (await this.#next());
    const answer = lane.link.rows(statement, parameters, this.#options.fillMs * GONE_AFTER);
    let state: 'waiting' | 'late' | 'over' = 'waiting';
    lane.pending++;
    const over = (): void => {
      lane.pending--;
      if (state === 'late') lane.late--;
      state = 'over';
    };
    void answer.then(over, () => {
      if (state === 'late') this.#drop(lane);
      over();
    });
    try {
      const [row] = await within(this.#options.fillMs, statement.name, () => answer);
      return (row as { r?: unknown } | undefined)?.r;
    } catch (error) {
      if ((state as string) === 'waiting') {
        state = 'late';
        lane.late++;
      }
      throw error;
    }
  }

  /** The lane with the least to do, stalled ones last. Lanes that are missing are opened again beside it. */
  #best(): Lane | undefined {
    if (this.#lanes.size + this.#opening.size < this.#options.connections && performance.now() >= this.#reopenAt) void this.#open().catch(() => undefined); // tried again by a later fill
    let best: Lane | undefined;
    for (const lane of this.#lanes) if (!best || lane.late < best.late || (lane.late === best.late && lane.pending < best.pending)) best = lane;
    return best;
  }

  async #next(): Promise<Lane> {
    const [opening] = this.#opening;
    if (!opening) throw new PolicyError('source', 'no fill connection: they are opened again within a second');
    return within(this.#options.fillMs, 'fill connection', () => opening);
  }

  #open(): Promise<Lane> {
    const opening = this.#connect()
      .then(async (link) => {
        const lane = { link, pending: 0, late: 0 };
        // The first use of a statement costs one more round trip.
        await Promise.all([link.rows(OBJECTS, [arrayLiteral([''])], this.#options.connectMs), link.rows(CLASSES, ['[]'], this.#options.connectMs)]).catch(
          (error: unknown) => {
            link.destroy();
            throw error;
          },
        );
        this.#lanes.add(lane);
        void link.ended.catch(() => this.#drop(lane));
        return lane;
      })
      .catch((error: unknown) => {
        this.#reopenAt = performance.now() + REOPEN_MS;
        throw failure('fill connection', error);
      })
      .finally(() => this.#opening.delete(opening));
    this.#opening.add(opening);
    return opening;
  }

  #drop(lane: Lane): void {
    lane.link.destroy();
    this.#lanes.delete(lane);
  }

  async #connect(): Promise<Link> {
    const link = await openLink(this.#address, this.#options);
    if (this.#closed) {
      link.destroy();
      throw new PolicyError('source', 'the attachment was closed');
    }
    this.#links.add(link);
    void link.ended.catch(() => this.#links.delete(link));
    return link;
  }
}

/**
 * In a transaction that ends with its link. Not by `sql.begin`: on a link that was lost it would send its rollback all the same, and the
 * client throws that from a timer of its own, where it ends the process [measured with 3.4.9]. Row by row as they come, and no cursor: half
 * the processor time [measured: 5 µs a row and 10], no round trip for each part, and never more of them in memory than a packet has.
 */
async function loadTree({ sql }: Link, take: (rows: readonly TreeRow[]) => void): Promise<Revision> {
  await sql.unsafe('begin isolation level repeatable read read only');
  const [first] = await sql.unsafe(`select ${STAMP} r`);
  const stamp = parseStamp((first as { r?: unknown } | undefined)?.r);
  let part: TreeRow[] = [];
  const flush = (): void => {
    take(part);
    part = [];
  };
  await sql
    .unsafe("select id, owner from grantgate.object where kind in ('tenant', 'customer')")
    .values()
    .forEach((row: unknown) => {
      part.push(parseNode(row));
      if (part.length === PART_ROWS) flush();
    });
  flush();
  return stamp;
}

const TRIM: Statement = { name: 'trim', text: "select grantgate.trim($1::float8 * interval '1 millisecond')::text r" };

/** A text[] as Postgres writes it: each element quoted, so that none is a null, a brace or a comma. */
function arrayLiteral(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replace(/["\\]/g, '\\$&')}"`).join()}}`;
}

/** Users, targets and absent ids. A membership counts only while type and owner of group and member are equal (semantics 1.3). */
const OBJECTS: Statement = {
  name: 'fill of objects',
  text: `
select json_build_object('stamp', ${STAMP}, 'rows', (
  select json_agg(r.entry) from unnest($1::text[]) k (id) cross join lateral (
    select json_build_array(o.id, o.kind, o.type, o.owner,
      case o.kind when 'user' then coalesce((select u.enabled from grantgate.user_account u where u.id = o.id limit 1), false) else true end,
      case when o.kind in ('user', 'customer', 'entity') then (
        select json_agg(m.group_id) from grantgate.membership m where m.member_id = o.id and (
          select g.kind = 'group' and g.type = o.type and g.owner = o.owner from grantgate.object g where g.id = m.group_id limit 1)) end) entry
    from grantgate.object o where o.id = k.id limit 1) r)) r`,
};

const KEYS_SINCE = 7;
const SESSIONS_SINCE = 8;
const API_KEY = "(select a.hash, a.user_id, '' actor, a.expires from grantgate.api_key a where a.hash = k.hash limit 1)";
const SESSION = "(select s.hash, s.user_id, coalesce(s.actor, '') actor, s.expires from grantgate.session s where s.hash = k.hash limit 1)";

/** By their hashes. What is hashed begins otherwise for each kind, so none is both. */
const keys = (name: string, found: string): Statement => ({
  name,
  text: `
select json_build_object('stamp', ${STAMP}, 'rows', (
  select json_agg(json_build_array(r.hash, r.user_id, r.actor, floor(extract(epoch from r.expires) * 1000)::bigint))
  from unnest($1::text[]) k (hash) cross join lateral (${found}) r)) r`,
});
const KEYS = keys('fill of keys', `${API_KEY} union all ${SESSION}`);
const KEYS_ALONE = keys('fill of API keys', API_KEY);

const NO_KEYS: Statement = {
  name: 'look for keys',
  text: `select json_build_object('stamp', ${STAMP}, 'rows', null, 'schema', (select max(version) from grantgate.migration)) r`,
};

/** Per class, grants of its explicit groups and of its owner's All group of users (null). */
const CLASSES: Statement = {
  name: 'fill of classes',
  text: `
select json_build_object('stamp', ${STAMP}, 'grants', (
  select json_agg((
    select json_agg((
      select json_build_array(p.role, r.type, r.permissions, r.excluded, p.shared, p.entity_group, p.entity_type, p.entity_owner)
      from grantgate.role r where r.id = p.role limit 1))
    from (
      select p.* from json_array_elements_text(k.value -> 'groups') g cross join lateral (
        select * from grantgate.group_permission p where p.user_group = g.value offset 0) p
      union all
      select * from grantgate.group_permission p where p.user_owner = k.value ->> 'owner' and p.user_group is null) p
  ) order by k.ordinality)
  from json_array_elements($1::text::json) with ordinality k)) r`,
};
