// Who changed what, as whom, and when? The audit log, the newest first, to whoever may READ it: of its own part of the tenant.

import { ANY, NONE } from 'policy-cache';
import type { Held } from 'policy-cache';
import { readAuditRows, readOwnersBegun, scanAudit, type AuditFilter, type AuditRow } from 'policy-cache/postgres';
import { reply } from '../problems.ts';
import type { ListParts } from './listing.ts';
import type { Who } from './needs.ts';
import type { Routes } from './route.ts';
import * as schemas from './schemas.ts';

/** Rows that one request reads at the most: a page may be short, even empty, and have a next one. */
const MOST_READ = 8_000;
const NEWEST = '9223372036854775807';

interface AuditQuery extends schemas.PageQuery {
  readonly target?: string | undefined;
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
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
      actor: schemas.id.optional(),
      action: schemas.word.optional().openapi({ example: 'user.create' }),
      from: schemas.time.optional().openapi({ description: 'At or after.' }),
      to: schemas.time.optional().openapi({ description: 'Before.' }),
    }),
    answer: {
      status: 200,
      description:
        'Rows whose target was of your owner or below it. A page may be short, even empty, and have a `next`. Of a change of owners, the state at an owner that is not yours is the id alone.',
      schema: schemas.pageOf(schemas.auditRow),
    },
    async handle({ c, query: { limit, cursor, target = null, actor = null, action = null, from = null, to = null } }) {
      const who = c.get('who');
      await authority.require(who, [{ kind: 'may', operation: 'READ', resource: 'AUDIT_LOG', target: ANY }]);
      const filter: AuditFilter = { tenant: who.tenant, target, actor, action, from, to };
      const of = [who.caller.kind === 'user' ? who.caller.subject : '', 'audit', target, actor, action, from, to];
      const after = cursor === undefined ? NEWEST : (cursors.open(cursor, of) as string[])[0]!;
      const { items, next } = await page(parts, who, { filter, after, limit });
      return reply({ items, ...(next === null ? {} : { next: cursors.seal([next], of) }) });
    },
  });
}

async function page(
  { writer, authority }: ListParts,
  who: Who,
  { filter, after, limit }: { readonly filter: AuditFilter; readonly after: string; readonly limit: number },
): Promise<{ readonly items: readonly AuditRow[]; readonly next: string | null }> {
  const { tenant } = filter;
  const begun = new Map<string, bigint>();
  /** Of its owners; a tenant's own users see what was of owners that are gone, too. */
  const learn = async (owners: readonly string[]): Promise<void> => {
    const unknown = [...new Set(who.owner === tenant ? [] : owners)].filter((owner) => !begun.has(owner));
    if (unknown.length === 0) return;
    const found = await writer.read((db) => readOwnersBegun(db, tenant, unknown));
    for (const owner of unknown) begun.set(owner, found.get(owner) ?? 0n);
  };
  const isOfNow = (owner: string, id: string): boolean => BigInt(id) >= (begun.get(owner) ?? 0n);
  // Of another tenant that had the same id, nobody sees anything.
  const first = (await writer.read((db) => readOwnersBegun(db, tenant, [tenant]))).get(tenant) ?? 0n;

  const ids: string[] = [];
  let last: string | null = after;
  for (let left = MOST_READ; left > 0 && ids.length < limit && last !== null;) {
    const window = Math.min(left, Math.max(limit + 1, 500));
    left -= window;
    const scan = await writer.read((db) => scanAudit(db, filter, { after: last ?? '0', window }));
    const rows = scan.rows.filter(({ id }) => BigInt(id) >= first);
    const near = await authority.look(who, (held) => rows.filter(({ owner, matches }) => matches && isInScope(held, owner)));
    await learn(near.map(({ owner }) => owner));
    const seen = near.filter(({ owner, id }) => isOfNow(owner, id));
    const taken = seen.slice(0, limit - ids.length);
    ids.push(...taken.map(({ id }) => id));
    last = taken.length < seen.length ? (taken.at(-1)?.id ?? null) : rows.length < scan.rows.length ? null : scan.last;
  }

  const found = await writer.read((db) => readAuditRows(db, ids));
  await learn(found.flatMap(({ before, after: then }) => [...ownerOf(before), ...ownerOf(then)]));
  const items = await authority.look(who, (held) => {
    const isSeen = (id: string) => (owner: string) => isInScope(held, owner) && isOfNow(owner, id);
    return found.map((row) => ({ ...row, before: shown(row.before, isSeen(row.id)), after: shown(row.after, isSeen(row.id)) }));
  });
  return { items, next: last };
}

/** Of an owner that is gone nobody knows whose it was: a tenant's own users see its rows. */
function isInScope({ tree, scope }: Held, owner: string): boolean {
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
