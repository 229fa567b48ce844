// Who changed what, as whom, and when? The audit log, the newest first, to whoever may READ it: of its own part of the tenant.

import { ANY, NONE } from 'policy-cache';
import type { Held } from 'policy-cache';
import { readAuditRows, scanAudit, type AuditFilter, type AuditRow } from 'policy-cache/postgres';
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
      description: 'Rows whose target was of your owner or below it. A page may be short, even empty, and have a `next`.',
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
  const ids: string[] = [];
  let last: string | null = after;
  for (let left = MOST_READ; left > 0 && ids.length < limit && last !== null;) {
    const window = Math.min(left, Math.max(limit + 1, 500));
    left -= window;
    const scan = await writer.read((db) => scanAudit(db, filter, { after: last ?? '0', window }));
    const seen = await authority.look(who, (held) => scan.rows.filter(({ owner, matches }) => matches && isSeen(held, owner)));
    const taken = seen.slice(0, limit - ids.length);
    ids.push(...taken.map(({ id }) => id));
    last = taken.length < seen.length ? (taken.at(-1)?.id ?? null) : scan.last;
  }
  return { items: await writer.read((db) => readAuditRows(db, ids)), next: last };
}

/** Of an owner that is gone nobody knows whose it was: a tenant's own users see its rows. */
function isSeen({ tree, scope }: Held, owner: string): boolean {
  const node = tree.node(owner);
  return node === NONE ? tree.isTenant(scope) : tree.inChain(scope, node);
}
