// What lists are there to be asked for? Every collection, the members of a group, and the operator's tenants.

import type { Vocabulary } from 'policy-cache';
import { readTenants } from 'policy-cache/postgres';
import { z } from 'zod';
import { reply } from '../problems.ts';
import { COLLECTIONS, type Collection } from './collections.ts';
import type { Cursors } from './cursor.ts';
import { besides, groupSide, readOwn, resourceOf, rowIdsOf, type GroupSide } from './model.ts';
import type { Who } from './needs.ts';
import { readPage, type ListQuestion, type PageParts, type PagePlace } from './page.ts';
import { typesOf } from './reach.ts';
import { Forbidden, NotFound, Violation } from './refusals.ts';
import type { Routes } from './route.ts';
import * as schemas from './schemas.ts';

export interface ListParts extends PageParts {
  readonly cursors: Cursors;
}

interface ListQuery extends schemas.PageQuery {
  readonly owner?: string | undefined;
  readonly group?: string | undefined;
  readonly type?: string | undefined;
  readonly q?: string | undefined;
}

export function listRoutes(routes: Routes, parts: ListParts): void {
  for (const list of COLLECTIONS) collectionList(routes, list, parts);
  memberList(routes, parts);
  tenantList(routes, parts);
}

function collectionList(routes: Routes, list: Collection, parts: ListParts): void {
  routes.add<unknown, ListQuery, unknown>({
    method: 'get',
    path: `/v1/${list}`,
    summary: `List ${list} that you may read, by name`,
    query: queryOf(parts.vocabulary, list),
    answer: { status: 200, description: PAGE, schema: schemas.pageOf(schemas.objects[list]) },
    async handle({ c, query: { limit, cursor, owner = null, group = null, type, q: search = null } }) {
      const who = c.get('who');
      // A role's type is not that of a thing: it says what its permissions are.
      const role = list === 'roles' ? type : undefined;
      const types = typesOf(parts.vocabulary, list).filter((one) => role !== undefined || type === undefined || one === type);
      const question = { list, types, owner, group, search, limit, ...(role === undefined ? {} : { role }) };
      const inside = await inTenantOf(parts, who, group ?? owner);
      return answered(parts, inside, { question: group === null ? question : await ofOneGroup(parts, inside, question, group), cursor });
    },
  });
}

const PAGE =
  'In the order of lower-cased names, then of ids; of a search, first by name, then by id, then by e-mail. A page may be short, even empty, and have a `next`: it is the end when there is none.';

function queryOf(vocabulary: Vocabulary, list: Collection): z.ZodObject & z.ZodType<ListQuery> {
  const owner = schemas.id.optional().openapi({ description: 'Of this owner itself.' });
  const group = schemas.id.optional().openapi({ description: 'In this group, which you may READ; it may be an All group.' });
  const given = schemas.id.optional().openapi({ description: 'Given to the users of this group, or over it; you may READ it.' });
  const type = z.enum(typesOf(vocabulary, list)).optional();
  const query = schemas.page.extend({ owner, q: schemas.search.optional() });
  switch (list) {
    case 'customers':
    case 'users':
      return query.extend({ group });
    case 'entities':
      return query.extend({ group, type });
    case 'groups':
      return query.extend({ type });
    case 'grants':
      return query.extend({ group: given });
    case 'roles':
      return query.extend({ type: z.enum(['GENERIC', 'GROUP']).optional() });
    default:
      return list satisfies never;
  }
}

function memberList(routes: Routes, parts: ListParts): void {
  const { vocabulary, writer } = parts;
  routes.add<{ id: string }, schemas.PageQuery, unknown>({
    method: 'get',
    path: '/v1/groups/{id}/members',
    summary: 'List the members of a group that you may read, by name',
    params: schemas.inPath,
    query: schemas.page,
    answer: {
      status: 200,
      description: PAGE,
      schema: schemas.pageOf(z.union([schemas.objects.customers, schemas.objects.users, schemas.objects.entities])),
    },
    async handle({ c, params: { id }, query: { limit, cursor } }) {
      const who = await inTenantOf(parts, c.get('who'), id);
      const { type } = await writer.read(async (db) => {
        const known = await readOwn(db, who, rowIdsOf([id]));
        return sideOf(id, known);
      });
      const list = type === 'USER' ? 'users' : type === 'CUSTOMER' ? 'customers' : 'entities';
      const types = typesOf(vocabulary, list).filter((one) => one === type);
      const question = await ofOneGroup(parts, who, { list, types, owner: null, group: id, search: null, limit }, id);
      return answered(parts, who, { question, cursor });
    },
  });
}

/** A list is of one tenant: where the caller has every one, of that of what it names. @throws Violation if it names nothing */
async function inTenantOf({ writer }: ListParts, who: Who, id: string | null): Promise<Who> {
  if (who.caller.kind !== 'direct' || who.tenant !== '') return who;
  if (id === null) throw new Violation('owner', '1', 'must be said, or a group: a list is of one tenant');
  const [row = id] = rowIdsOf([id]);
  const named = (await writer.read((db) => readOwn(db, who, [row]))).get(row);
  return named === undefined ? who : besides(who, named);
}

/** @throws NotFound */
function sideOf(id: string, known: Parameters<typeof groupSide>[1]): GroupSide {
  try {
    return groupSide(id, known, { field: '' });
  } catch (error) {
    if (error instanceof Violation) throw new NotFound(error.message);
    throw error;
  }
}

/** Who its members are is said to whoever may READ the group. Those of an All group are those of its owner and type. @throws NotFound, Forbidden */
async function ofOneGroup({ vocabulary, writer, authority }: ListParts, who: Who, question: ListQuestion, id: string): Promise<ListQuestion> {
  const { type, owner, all } = sideOf(id, await writer.read((db) => readOwn(db, who, rowIdsOf([id]))));
  await authority.require(who, [{ kind: 'may', operation: 'READ', resource: resourceOf(vocabulary, { list: 'groups', type }), target: id }]);
  if (question.list === 'grants') return question;
  const types = question.types.filter((one) => one === type);
  if (!all) return { ...question, types };
  return { ...question, types: question.owner === null || question.owner === owner ? types : [], owner, group: null };
}

async function answered(
  parts: ListParts,
  who: Who,
  { question, cursor }: { readonly question: ListQuestion; readonly cursor: string | undefined },
): Promise<Response> {
  const { cursors } = parts;
  const { list, types, owner, group, search, role = null } = question;
  const of = [who.caller.kind === 'user' ? who.caller.subject : '', list, types, owner, group, search, role];
  const place = cursor === undefined ? null : (cursors.open(cursor, of) as PagePlace);
  const { items, next } = await readPage(parts, who, { question, place });
  return reply({ items, ...(next === null ? {} : { next: cursors.seal(next, of) }) });
}

function tenantList(routes: Routes, { writer, cursors }: ListParts): void {
  routes.add<unknown, schemas.PageQuery, unknown>({
    method: 'get',
    path: '/v1/tenants',
    summary: 'List tenants by id (operator)',
    query: schemas.page,
    answer: { status: 200, description: 'In the order of ids.', schema: schemas.pageOf(schemas.objects.tenants) },
    async handle({ c, query: { limit, cursor } }) {
      if (c.get('who').caller.kind === 'user') throw new Forbidden('operator-only', '1.6', "the list of tenants is the operator's");
      const after = cursor === undefined ? '' : (cursors.open(cursor, ['tenants']) as string[])[0]!;
      const items = await writer.read((db) => readTenants(db, after, limit));
      const last = items.length < limit ? undefined : items.at(-1);
      return reply({ items, ...(last === undefined ? {} : { next: cursors.seal([last.id], ['tenants']) }) });
    },
  });
}
