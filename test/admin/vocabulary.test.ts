// Does the administration keep to somebody's own vocabulary?

import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { compileVocabulary } from 'policy-cache';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OPERATOR, startTestAdministration, type TestAdministration } from '../support/admin.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';

const file = parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')) as {
  closedToCustomerUsers: readonly string[];
};

let server: TestServer;
let admin: TestAdministration;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  const vocabulary = compileVocabulary({ ...file, closedToCustomerUsers: [...file.closedToCustomerUsers, 'DEVICE'] });
  admin = await startTestAdministration(await server.database(), { vocabulary });
});
afterAll(async () => {
  admin?.close();
  await server?.close();
});

test('whom a resource is closed to puts nothing of it into a group, nor takes it out', async () => {
  const made = async (by: string, path: string, body: object): Promise<void> =>
    expect(await admin.ask(by, `POST /v1/${path}`, body), path).toMatchObject({ status: 201 });
  await made(OPERATOR, 'tenants', { id: 'acme' });
  await made(OPERATOR, 'tenants/acme/administrator', { id: 'ada' });
  await made('ada', 'customers', { id: 'tower' });
  await made('ada', 'users', { id: 'tom', owner: 'tower', groups: ['admins:tower'] });
  await made('ada', 'entities', { id: 'meter', type: 'DEVICE', owner: 'tower' });
  await made('ada', 'entities', { id: 'hall', type: 'ASSET', owner: 'tower' });
  await made('tom', 'groups', { id: 'meters', type: 'DEVICE' });
  await made('tom', 'groups', { id: 'halls', type: 'ASSET' });
  const closed = { status: 403, body: { reason: 'authority', rule: '2' } };
  const put = { add: ['meter'] };
  expect(await admin.ask('tom', 'GET /v1/entities/meter')).toMatchObject(closed);
  expect(await admin.ask('tom', 'POST /v1/groups/meters/members', put)).toMatchObject(closed);
  expect(await admin.ask('ada', 'POST /v1/groups/meters/members', put)).toMatchObject({ status: 200, body: { added: 1 } });
  expect(await admin.ask('tom', 'POST /v1/groups/meters/members', { remove: ['meter'] })).toMatchObject(closed);
  expect(await admin.ask('tom', 'POST /v1/groups/halls/members', { add: ['hall'] })).toMatchObject({ status: 200, body: { added: 1 } });
});
