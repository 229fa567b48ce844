// Who sees which rows of the audit log, and what does the decision log hear of those who ask?

import { afterAll, beforeAll, expect, test } from 'vitest';
import { hostClock } from '../../src/clock.ts';
import type { CheckReport } from '../../src/report.ts';
import { OPERATOR, startTestAdministration, type TestAdministration } from '../support/admin.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';

let server: TestServer;
let admin: TestAdministration;
const reports: CheckReport[] = [];
beforeAll(async () => {
  server = await startPostgres('embedded18');
  let id = 0;
  const decisions = { clock: hostClock(), nextId: () => String(id++), report: (check: CheckReport) => void reports.push(check) };
  admin = await startTestAdministration(await server.database(), { decisions });
  for (const tenant of ['acme', 'other']) {
    await made(OPERATOR, 'tenants', { id: tenant });
    await made(OPERATOR, `tenants/${tenant}/administrator`, { id: `admin-of-${tenant}` });
  }
  await made('admin-of-acme', 'customers', { id: 'tower' });
  await made('admin-of-acme', 'customers', { id: 'annex', owner: 'tower' });
  await made('admin-of-acme', 'customers', { id: 'mill' });
  await made('admin-of-acme', 'users', { id: 'bob', owner: 'tower', groups: ['admins:tower'] });
  await made('admin-of-acme', 'users', { id: 'cy', owner: 'tower' });
  await made('bob', 'entities', { id: 'm1', type: 'DEVICE' });
  await made('bob', 'entities', { id: 'm2', type: 'DEVICE', owner: 'annex', name: 'Meter' });
  await made('admin-of-acme', 'entities', { id: 'm3', type: 'DEVICE', owner: 'mill' });
});
afterAll(async () => {
  admin.close();
  await server.close();
});

async function made(by: string, path: string, body: object): Promise<void> {
  expect(await admin.ask(by, `POST /v1/${path}`, body)).toMatchObject({ status: 201 });
}

interface Row {
  readonly id: string;
  readonly at: string;
  readonly revision: string;
  readonly target: string;
}

async function rowsOf(user: string, query = '', limit = 2): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (let cursor = ''; ;) {
    const answer = await admin.ask(user, `GET /v1/audit?limit=${limit}${query}${cursor}`);
    expect(answer.status, JSON.stringify(answer.body)).toBe(200);
    const { items, next } = answer.body as { items: Row[]; next?: string };
    rows.push(...items);
    if (next === undefined) return rows;
    cursor = `&cursor=${next}`;
  }
}
const targetsOf = async (user: string, query = ''): Promise<readonly string[]> => (await rowsOf(user, query)).map(({ target }) => target);

test('an administrator sees what happened in its own part of the tenant, the newest first, and nothing else', async () => {
  // A new customer is a thing of whoever is above it; what is in it is its own.
  expect(await targetsOf('admin-of-acme')).toEqual(['m3', 'm2', 'm1', 'cy', 'bob', 'mill', 'annex', 'tower', 'admin-of-acme', 'acme']);
  expect(await targetsOf('bob')).toEqual(['m2', 'm1', 'cy', 'bob', 'annex']);
  expect(await targetsOf('admin-of-other')).toEqual(['admin-of-other', 'other']);
  for (const nobody of ['cy', OPERATOR]) expect(await admin.ask(nobody, 'GET /v1/audit')).toMatchObject({ status: 403 });
});

test('a row has who, as whom, what, when and at which revision', async () => {
  const [row] = await rowsOf('bob', '&target=m2');
  expect(row?.id).toMatch(/^\d+$/);
  expect(row?.at).toMatch(/^\d{4}-.*\.\d{6}Z$/);
  expect(row?.revision).toMatch(/^\d+-/);
  expect(row).toMatchObject({
    ...{ tenant: 'acme', owner: 'annex', actorKind: 'user', actor: 'bob', asUser: 'bob', action: 'entity.create', target: 'm2', before: null, requestId: '' },
    after: { id: 'm2', type: 'DEVICE', owner: 'annex', groups: [], name: 'Meter' },
  });
});

test('filters take away, and show nobody more', async () => {
  expect(await targetsOf('admin-of-acme', '&actor=bob')).toEqual(['m2', 'm1']);
  expect(await targetsOf('admin-of-acme', '&action=customer.create')).toEqual(['mill', 'annex', 'tower']);
  expect(await targetsOf('bob', '&target=m3')).toEqual([]);
  expect(await targetsOf('admin-of-other', '&target=m2')).toEqual([]);
  const [m2] = await rowsOf('bob', '&target=m2');
  const at = encodeURIComponent(m2!.at);
  expect(await targetsOf('bob', `&from=${at}`)).toEqual(['m2']);
  expect(await targetsOf('bob', `&to=${at}`)).toEqual(['m1', 'cy', 'bob', 'annex']);
  expect(await targetsOf('bob', `&revision=${m2!.revision}`)).toEqual(['m2']);
  expect(await targetsOf('admin-of-acme', '&about=bob')).toEqual(['m2', 'm1', 'bob']);
  expect(await targetsOf('admin-of-acme', '&asUser=bob')).toEqual(['m2', 'm1']);
  expect(await targetsOf('admin-of-acme', '&acting=true')).toEqual([]);
  expect(await targetsOf('admin-of-other', '&about=bob')).toEqual([]);
  for (const wrong of ['from=yesterday', 'limit=0', 'target=', 'cursor=x', 'sort=at', 'acting=false', 'revision=5', 'about='])
    expect(await admin.ask('bob', `GET /v1/audit?${wrong}`), wrong).toMatchObject({ status: 400 });
});

test('what an owner that is gone had done to it, the tenant alone sees', async () => {
  expect(await admin.ask('bob', 'DELETE /v1/entities/m2')).toMatchObject({ status: 200 });
  expect(await targetsOf('bob', '&target=m2')).toEqual(['m2', 'm2']);
  expect(await admin.ask('bob', 'DELETE /v1/customers/annex')).toMatchObject({ status: 200 });
  expect(await targetsOf('bob', '&target=m2')).toEqual([]);
  expect(await targetsOf('admin-of-acme', '&target=m2')).toEqual(['m2', 'm2']);
});

test('the decision log hears of every request: who, what was decided and by which rule', async () => {
  const heard = async (by: string, request: string, body?: object): Promise<CheckReport> => {
    reports.length = 0;
    await admin.ask(by, request, body);
    expect(reports).toHaveLength(1);
    return reports[0]!;
  };
  expect(await heard('bob', 'GET /v1/entities/m1')).toMatchObject({
    ...{ verdict: 'permit', reason: 'generic', rule: '6a', operation: 'READ', resource: 'DEVICE', target: 'm1' },
    ...{ subject: 'bob', tenant: 'acme', protocol: 'admin', method: 'GET' },
  });
  expect(reports[0]?.revision?.version).toBeGreaterThan(0);
  expect(await heard('cy', 'DELETE /v1/entities/m1')).toMatchObject({ verdict: 'deny', reason: 'no-grant', rule: '6e', operation: 'DELETE', target: 'm1' });
  expect(await heard('bob', 'GET /v1/entities')).toMatchObject({ verdict: 'permit', operation: 'READ', resource: 'DEVICE', target: 'm1' });
  expect(await heard('bob', 'POST /v1/entities', { id: 'm1', type: 'DEVICE' })).toMatchObject({ verdict: 'permit', operation: 'CREATE' });
  expect(await heard('bob', 'POST /v1/entities', {})).toMatchObject({ verdict: 'unmapped', reason: 'bad-request', subject: 'bob' });
  expect(await heard('bob', 'GET /v1/entities/nothing')).toMatchObject({ verdict: 'unmapped', reason: 'not-found' });
  expect(await heard('nobody', 'GET /v1/me')).toMatchObject({ verdict: 'unauthenticated', reason: 'unknown-subject', subject: '' });
  expect(await heard('bob', 'POST /v1/tenants', {})).toMatchObject({ verdict: 'deny', reason: 'operator-only', rule: '1.6' });
  expect(await heard(OPERATOR, 'GET /v1/tenants/acme')).toMatchObject({ verdict: 'permit', reason: 'operator', subject: '' });
});

test('the operator lists tenants, and nobody else does', async () => {
  const { items, next } = (await admin.ask(OPERATOR, 'GET /v1/tenants?limit=1')).body as { items: object[]; next: string };
  expect(items).toEqual([{ id: 'acme' }]);
  expect((await admin.ask(OPERATOR, `GET /v1/tenants?cursor=${next}`)).body).toEqual({ items: [{ id: 'other' }] });
  expect(await admin.ask('admin-of-acme', 'GET /v1/tenants')).toMatchObject({ status: 403, body: { reason: 'operator-only' } });
  expect(await admin.ask(OPERATOR, 'GET /v1/users')).toMatchObject({ status: 403, body: { reason: 'users-only', rule: '1.6' } });
});

test('lists and the audit log are in the OpenAPI document', async () => {
  const answer = await admin.ask('bob', 'GET /v1/openapi.json');
  const { paths } = answer.body as { paths: Record<string, { get?: { parameters?: { name: string }[] } }> };
  const parameters = (path: string): unknown => paths[path]?.get?.parameters?.map(({ name }) => name);
  expect(parameters('/v1/entities')).toEqual(['limit', 'cursor', 'owner', 'q', 'group', 'type']);
  expect(parameters('/v1/audit')).toEqual([...['limit', 'cursor', 'target', 'actor', 'asUser', 'acting', 'about', 'action', 'revision', 'from', 'to']]);
  expect(parameters('/v1/groups/{id}/members')).toEqual(['id', 'limit', 'cursor']);
});
