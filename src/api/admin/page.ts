// What is on the next page of a list? Only what a check would allow, in order, for a bounded amount of work.
//
// Candidates come in the order of an index of the whole tenant (listing.ts), or, if that is little, all that the caller's part of it has is
// gathered and sorted. About those that may be the caller's (reach.ts) the decision point is asked. A page ends when it is full or its
// work is done: it may be short, even empty, and have a next one.

import type { Vocabulary } from 'policy-cache';
import {
  gatherObjects,
  lowerCased,
  readRows,
  scanObjects,
  type Candidate,
  type ListPlace,
  type ListSources,
  type Listing,
  type Statements,
  type Writer,
} from 'policy-cache/postgres';
import type { Collection } from './collections.ts';
import { resourceOf } from './model.ts';
import type { Authority, Who } from './needs.ts';
import { isReached, reachOf } from './reach.ts';

export interface PageParts {
  readonly vocabulary: Vocabulary;
  readonly writer: Pick<Writer, 'read'>;
  readonly authority: Authority;
  readonly bounds: ListBounds;
}

/** What one request reads at the most. */
export interface ListBounds {
  /** Rows of an index, in windows that grow. */
  readonly scanned: number;
  readonly windows: readonly [number, ...number[]];
  /** All that a part of a tenant has, of whatever kind. */
  readonly gathered: number;
}

/** [measured] 12 ms of a database, and 10 ms. */
export const BOUNDS: ListBounds = { scanned: 10_000, windows: [2_000, 8_000], gathered: 4_000 };

export interface ListQuestion {
  readonly list: Collection;
  readonly types: readonly string[];
  readonly owner: string | null;
  /** A group: its members; of grants: those of its users, and those over it. */
  readonly group: string | null;
  /** Beginning of a name, an id or an e-mail. */
  readonly search: string | null;
  /** Of roles: GENERIC or GROUP ones; absent: both. */
  readonly role?: string;
  readonly limit: number;
}

/** What a cursor says. */
export interface PagePlace extends ListPlace {
  readonly section: number;
  /** What the caller's part of the tenant has is little enough to be gathered (it was), or too much. Null: nobody has looked. */
  readonly gathers: boolean | null;
}

export interface Page {
  readonly items: readonly Readonly<Record<string, unknown>>[];
  readonly next: PagePlace | null;
}

/** One index that a list is read from: all names, or what a search may mean. */
interface Section {
  readonly order: Listing['order'];
  readonly from: ListPlace;
  readonly until: string | null;
  /** Of the earlier sections. */
  readonly isSeen: (candidate: Candidate) => boolean;
}

export async function readPage(
  parts: PageParts,
  who: Who,
  { question, place }: { readonly question: ListQuestion; readonly place: PagePlace | null },
): Promise<Page> {
  const { vocabulary, authority, writer, bounds } = parts;
  const { list, types, limit } = question;
  const reach = await authority.look(who, (sight) => reachOf(vocabulary, sight, { tenant: who.tenant, list, types }));
  if (reach.types.length === 0) return { items: [], next: null };
  const sections = await writer.read((db) => sectionsOf(db, question));
  const items: Readonly<Record<string, unknown>>[] = [];
  let gathers = place?.gathers ?? null;
  let left = bounds.scanned;
  for (let section = place?.section ?? 0; section < sections.length; section++) {
    const { order, from, until, isSeen } = sections[section]!;
    let after: ListPlace | null = place?.section === section ? { key: place.key, id: place.id } : from;
    for (let round = 0; after !== null; round++) {
      if (left <= 0) return { items, next: { section, ...after, gathers } };
      // Who may read all of the tenant finds a page at the head of the index, and a search is mostly told apart by what it asks for.
      const sources = sourcesOf(question, reach.sources);
      const isNear = question.search !== null || sources?.scope === who.tenant;
      const step = isNear ? round - 1 : round;
      const listing: Listing = {
        ...{ tenant: who.tenant, kind: KINDS[list], types: reach.types, order, after, until, groups: reach.sources.groups },
        ...{ within: question.group, wanted: question.group !== null || reach.sources.scope === who.tenant ? null : reach.sources },
      };
      const tries = sources !== null && sources.scope !== who.tenant && (gathers === true || (gathers === null && step === 0));
      const gathered = tries ? await writer.read((db) => gatherObjects(db, listing, { sources, most: bounds.gathered, window: limit + 1 })) : null;
      if (tries) gathers = gathered !== null;
      const wide = step < 0 ? 0 : (bounds.windows[step] ?? bounds.windows.at(-1)!);
      const window = Math.min(left, Math.max(wide, limit + 1));
      const batch = gathered ?? (await writer.read((db) => scanObjects(db, listing, window)));
      left -= gathered === null ? window : bounds.gathered / 2;
      const worth = await authority.look(who, (sight) =>
        batch.rows.filter(
          (candidate) =>
            candidate.inside &&
            (question.owner === null || candidate.owner === question.owner) &&
            !isSeen(candidate) &&
            isReached(vocabulary, sight, { list, sources: reach.sources, candidate }),
        ),
      );
      let asked = 0;
      while (asked < worth.length && items.length < limit) {
        const some = worth.slice(asked, asked + limit - items.length);
        const { rows, looked } = await shown(parts, who, { list, candidates: some });
        items.push(...(question.role === undefined ? rows : rows.filter((row) => row['type'] === question.role)));
        asked += looked;
        if (looked < some.length) break;
      }
      const last = worth[asked - 1];
      if (asked < worth.length && last !== undefined) return { items, next: { section, key: last.key, id: last.id, gathers } };
      after = batch.last;
      if (items.length >= limit) {
        if (after !== null) return { items, next: { section, ...after, gathers } };
        const following = sections[section + 1];
        return { items, next: following === undefined ? null : { section: section + 1, ...following.from, gathers } };
      }
    }
  }
  return { items, next: null };
}

const KINDS = { customers: 'customer', users: 'user', groups: 'group', roles: 'role', grants: 'grant', entities: 'entity' } as const;

/** Null: what a filter leaves is not to be found by owner or group. */
function sourcesOf({ list, owner, group }: ListQuestion, reached: ListSources): ListSources | null {
  const none = { scope: null, owners: [], groups: [], ids: [] };
  if (group !== null) return list === 'grants' && group.startsWith('all:') ? null : { ...none, groups: list === 'grants' ? [] : [group] };
  return owner === null ? reached : { ...none, owners: [owner] };
}

/** Rows that may be read, of the first ones, if all are too much: as they are before it is asked whether they may, like a single one. */
async function shown(
  { vocabulary, writer, authority }: PageParts,
  who: Who,
  { list, candidates }: { readonly list: Collection; readonly candidates: readonly Candidate[] },
): Promise<{ readonly rows: Page['items']; readonly looked: number }> {
  const { rows, looked } = await writer.read((db) =>
    readRows(
      db,
      list,
      candidates.map(({ id }) => id),
    ),
  );
  const there = candidates.filter(({ id }) => rows.has(id));
  const asked = there.map(({ id, type }) => ({ resource: resourceOf(vocabulary, { list, type }), target: id }));
  const allowed = await authority.readable(who, asked);
  return { rows: there.flatMap(({ id }, i) => (allowed[i] === true ? [rows.get(id)!] : [])), looked };
}

async function sectionsOf(db: Statements, { list, search }: ListQuestion): Promise<readonly Section[]> {
  if (search === null) return [{ order: 'name', from: { key: '', id: '' }, until: null, isSeen: () => false }];
  const lower = await lowerCased(db, search);
  const isNamed = ({ name }: Candidate): boolean => name.startsWith(lower);
  // Ids are compared byte by byte: as it was written, and as people write ids.
  const spellings = [...new Set([search, lower, search.toUpperCase()])];
  return [
    { order: 'name', from: { key: lower, id: '' }, until: behind(lower), isSeen: () => false },
    ...spellings.map((spelling, i): Section => ({
      order: 'id',
      from: { key: spelling, id: '' },
      until: behind(spelling),
      isSeen: (candidate) => isNamed(candidate) || spellings.slice(0, i).some((other) => candidate.id.startsWith(other)),
    })),
    ...(list === 'users'
      ? [
          {
            order: 'email',
            from: { key: lower, id: '' },
            until: behind(lower),
            isSeen: (candidate: Candidate) => isNamed(candidate) || spellings.some((spelling) => candidate.id.startsWith(spelling)),
          } as const,
        ]
      : []),
  ];
}

/** The least text that is behind all that begin so, byte by byte in UTF-8; null: there is none. */
export function behind(beginning: string): string | null {
  const points = Array.from(beginning, (character) => character.codePointAt(0) ?? 0);
  while (points.at(-1) === 0x10ffff) points.pop();
  const last = points.pop();
  if (last === undefined) return null;
  return String.fromCodePoint(...points, last === 0xd7ff ? 0xe000 : last + 1);
}
