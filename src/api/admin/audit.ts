// Who changed what, as whom, and when? The audit log, the newest first, to whoever may READ it: of its own part of the tenant.

import { ANY, NONE } from 'policy-cache';
import { NEWEST, auditIdAt, readAuditRows, readOwnersBegun, scanAudit, type AuditFilter, type AuditRow } from 'policy-cache/postgres';
import { z } from 'zod';
import { reply } from '../problems.ts';
import type { ListParts } from './listing.ts';
import type { Sight, Who } from './needs.ts';
import type { Routes } from './route.ts';
import * as schemas from './schemas.ts';

/** Rows that one request reads at the most: a page may be short, even empty, and have a next one. */
const MOST_READ = 8_000;
/** A page is mostly found among the newest; whoever asks for what is rare is read to in fewer turns. */
const WINDOWS = [500, 2_000, 5_500] as const;
/** `1234-` and the epoch (policy-cache/src/model.ts). */
const REVISION = /^\d{1,19}-[\w-]{1,64}$/;

interface AuditQuery extends schemas.PageQuery {
  readonly target?: string | undefined;
  readonly actor?: string | undefined;
  readonly asUser?: string | undefined;
  readonly acting?: 'true' | undefined;
  readonly about?: string | undefined;
  readonly action?: string | undefined;
  readonly revision?: string | undefined;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}

export function auditRoutes(routes: Routes, parts: ListParts): void {
  const { authority, cursors } = parts;
  routes.add<unknown, AuditQuery, unknown>({
    method: 'get',
    path: '/v1/audit',
    summary: 'Read the audit log, the newest first',
    query: schemas.page.extend({
      target: schemas.id.optional(),
      actor: schemas.id.optional().openapi({ description: 'Who did it.' }),
      asUser: schemas.id.optional().openapi({ description: 'As whom: whose permissions were used.' }),
      acting: z.literal('true', 'must be true, or left out').optional().openapi({ description: 'What somebody did as another, who had logged in as that.' }),
      about: schemas.id.optional().openapi({ description: 'Target, actor or as whom; or a member that came into a group, or left it.' }),
      action: schemas.word.optional().openapi({ example: 'user.create' }),
      revision: z.string().max(100, 'is too long').regex(REVISION, 'must be a revision as an answer has it').optional(),
      from: schemas.time.optional().openapi({ description: 'At or after.' }),
      to: schemas.time.optional().openapi({ description: 'Before.' }),
    }),
    answer: {
      status: 200,
      description:
        'Rows whose target was of your owner or below it. A page may be short, even empty, and have a `next`. Of a change of owners, the state at an owner that is not yours is the id alone.',
      schema: schemas.pageOf(schemas.auditRow),
    },
    async handle({ c, query }) {
      const who = c.get('who');
      await authority.require(who, [{ kind: 'may', operation: 'READ', resource: 'AUDIT_LOG', target: ANY }]);
      const { limit, cursor, acting, target = null, actor = null, asUser = null, about = null, action = null, revision = null, from = null, to = null } = query;
      // Whoever has the database itself may ask of every tenant at once.
      const tenant = who.caller.kind === 'direct' && who.tenant === '' ? null : who.tenant;
      const filter: AuditFilter = { tenant, target, actor, asUser, acting: acting === 'true', about, action, revision, from, to };
      const of = [who.caller.kind === 'user' ? who.caller.subject : '', 'audit', filter];
      const after = cursor === undefined ? await newestOf(parts, filter) : (cursors.open(cursor, of) as string[])[0]!;
      const { items, next } = await page(parts, who, { filter, after, limit });
      return reply({ items, ...(next === null ? {} : { next: cursors.seal([next], of) }) });
    },
  });
}

function newestOf({ writer }: ListParts, { to }: AuditFilter): Promise<string> {
  return to === null ? Promise.resolve(NEWEST) : writer.read((db) => auditIdAt(db, to));
}

async function page(
  { writer, authority }: ListParts,
  who: Who,
  { filter, after, limit }: { readonly filter: AuditFilter; readonly after: string; readonly limit: number },
): Promise<{ readonly items: readonly AuditRow[]; readonly next: string | null }> {
  const { tenant } = filter;
  const begun = new Map<string, bigint>();
  /** Of its owners; a tenant's own users see what was of owners that are gone, too, and whoever has the database sees everything. */
  const learn = async (owners: readonly string[]): Promise<void> => {
    if (tenant === null || who.owner === tenant || who.caller.kind === 'direct') return;
    const unknown = [...new Set(owners)].filter((owner) => !begun.has(owner));
    if (unknown.length === 0) return;
    const found = await writer.read((db) => readOwnersBegun(db, tenant, unknown));
    for (const owner of unknown) begun.set(owner, found.get(owner) ?? 0n);
  };
  const isOfNow = (owner: string, id: string): boolean => BigInt(id) >= (begun.get(owner) ?? 0n);
  // Of another tenant that had the same id, nobody sees anything.
  const since = tenant === null || who.caller.kind === 'direct' ? 0n : ((await writer.read((db) => readOwnersBegun(db, tenant, [tenant]))).get(tenant) ?? 0n);

  const ids: string[] = [];
  let last: string | null = after;
  let left = MOST_READ;
  for (let round = 0; left > 0 && ids.length < limit && last !== null; round++) {
    const window = Math.min(left, Math.max(limit + 1, WINDOWS[round] ?? WINDOWS.at(-1)!));
    left -= window;
    const scan = await writer.read((db) => scanAudit(db, filter, { after: last ?? '0', since: since.toString(), window }));
    const near = await authority.look(who, (sight) => scan.rows.filter(({ owner }) => isInScope(sight, owner)));
    await learn(near.map(({ owner }) => owner));
    const seen = near.filter(({ owner, id }) => isOfNow(owner, id));
    const taken = seen.slice(0, limit - ids.length);
    ids.push(...taken.map(({ id }) => id));
    last = taken.length < seen.length ? (taken.at(-1)?.id ?? null) : scan.last;
  }

  const found = await writer.read((db) => readAuditRows(db, ids));
  // Rows of many members, or of much that is known of a customer.
  if (found.length < ids.length) last = found.at(-1)?.id ?? last;
  await learn(found.flatMap(({ before, after: then }) => [...ownerOf(before), ...ownerOf(then)]));
  const items = await authority.look(who, (sight) => {
    const isSeen = (id: string) => (owner: string) => isInScope(sight, owner) && isOfNow(owner, id);
    return found.map((row) => ({ ...row, before: shown(row.before, isSeen(row.id)), after: shown(row.after, isSeen(row.id)) }));
  });
  return { items, next: last };
}

/** Of an owner that is gone nobody knows whose it was: a tenant's own users see its rows. */
function isInScope(sight: Sight, owner: string): boolean {
  if (sight === 'everything') return true;
  const { tree, scope } = sight;
  const node = tree.node(owner);
  return node === NONE ? tree.isTenant(scope) : tree.inChain(scope, node);
}

/**
 * A state of a thing that was somebody else's is its id alone: where a thing has gone to, or come from, is as little said to the customer on the
 * one side as it could read it there itself, for the ids of owners and groups tell of other customers.
 */
function shown(state: unknown, isSeen: (owner: string) => boolean): unknown {
  return ownerOf(state).every(isSeen) ? state : { id: (state as { readonly id?: unknown }).id };
}

/** None of a grant, which is of its row's owner, nor of members that came and went. */
function ownerOf(state: unknown): readonly string[] {
  const owner = typeof state === 'object' && state !== null && 'owner' in state ? state.owner : undefined;
  return typeof owner === 'string' ? [owner] : [];
}
