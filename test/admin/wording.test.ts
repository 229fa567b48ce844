// Does a refusal say which field it is, what was given, and what to give instead? And is nothing taken in two ways?

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OPERATOR, startTestAdministration, type AdminAnswer, type TestAdministration } from '../support/admin.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';

let server: TestServer;
let admin: TestAdministration;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  admin = await startTestAdministration(await server.database());
  await made('POST /v1/tenants', { id: 'acme' }, OPERATOR);
  await made('POST /v1/tenants/acme/administrator', { id: 'ada' }, OPERATOR);
  await made('POST /v1/customers', { id: 'tower' });
  await made('POST /v1/customers', { id: 'floor', owner: 'tower' });
  await made('POST /v1/groups', { id: 'meters', type: 'DEVICE' });
  await made('POST /v1/entities', { id: 'm1', type: 'DEVICE' });
  await made('POST /v1/roles', { id: 'look', type: 'GROUP', permissions: ['READ'] });
});
afterAll(async () => {
  admin?.close();
  await server?.close();
});

const ask = (request: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<AdminAnswer> => admin.ask('ada', request, body, headers);
async function made(request: string, body: unknown, by = 'ada'): Promise<void> {
  const answer = await admin.ask(by, request, body);
  expect(answer.status, `${request}: ${JSON.stringify(answer.body)}`).toBe(201);
}

describe('malformed', () => {
  test.each([
    ['POST /v1/users', { phone: '1' }, 'phone', /^phone: is not known here; there are id, owner, enabled,/],
    ['POST /v1/users', { enabled: 'yes' }, 'enabled', /must be true or false, got a string$/],
    ['POST /v1/users', { groups: ['a', 1] }, 'groups[1]', /must be a string, got a number$/],
    ['POST /v1/users', { email: 'nobody' }, 'email', /must be an address, as ada@acme\.example$/],
    ['PATCH /v1/users/ada', { email: '' }, 'email', /must be an address/],
    ['POST /v1/users/bulk', { items: [{}, { id: 'all:x' }] }, 'items[1].id', /is reserved to the server/],
    ['POST /v1/users/bulk', { items: [] }, 'items', /must be 1 at least, got 0$/],
    ['POST /v1/entities', {}, 'type', /^type: is missing: must be a string$/],
    ['POST /v1/roles', {}, 'type', /is missing: must be GENERIC or GROUP$/],
    ['POST /v1/roles', { type: 'group', permissions: [] }, 'type', /must be GENERIC or GROUP, got "group"$/],
    ['POST /v1/roles', { type: 'GENERIC', permissions: { DEVICE: 'READ' } }, 'permissions.DEVICE', /must be a list, got a string$/],
    ['PATCH /v1/roles/look', { permissions: 3 }, 'permissions', /must be an object or a list, got a number$/],
    ['PATCH /v1/roles/look', { permissions: { DEVICE: [1] } }, 'permissions.DEVICE[0]', /must be a string, got a number$/],
    ['GET /v1/users?type=X', undefined, 'type', /^type: is not known here; there are limit, cursor, owner, q, group$/],
    ['GET /v1/groups?type=device', undefined, 'type', /must be CUSTOMER, DEVICE, .* or EDGE, got "device"$/],
    ['GET /v1/users?limit=0', undefined, 'limit', /must be 1 at least, got 0$/],
    ['GET /v1/users?limit=many', undefined, 'limit', /must be a number$/],
    ['GET /v1/users?cursor=x', undefined, 'cursor', /begin anew without it$/],
    ['GET /v1/users?limit=1&limit=2', undefined, 'limit', /is there 2 times: say it once$/],
  ])('%s %j', async (request, body, field, words) => {
    const answer = await ask(request, body);
    expect(answer).toMatchObject({ status: 400, body: { code: 'bad-request', field, detail: expect.stringMatching(words) as string } });
  });

  test('a secret that is no text is not repeated', async () => {
    expect(JSON.stringify((await ask('POST /v1/users', { email: 1234567 })).body)).not.toContain('1234567');
  });
  test('If-Match', async () => {
    const change = (tag: string): Promise<AdminAnswer> => ask('PATCH /v1/groups/meters', { name: 'x' }, { 'if-match': tag });
    expect(await change('abc')).toMatchObject({ status: 400, body: { field: 'If-Match' } });
    expect(await change('"a, b"')).toMatchObject({ status: 412 });
  });
  test('a path that is not percent-encoded, and an id that no path can name', async () => {
    await made('POST /v1/entities', { id: '%', type: 'DEVICE' });
    for (const path of ['%', '%zz', '%ff', 'm1?q=%ff']) expect(await ask(`GET /v1/entities/${path}`), path).toMatchObject({ status: 400 });
    expect(await ask('GET /v1/entities/%25')).toMatchObject({ status: 200, body: { id: '%' } });
    for (const id of ['.', '..'])
      for (const list of ['entities', 'customers', 'users', 'groups'])
        expect(await ask(`POST /v1/${list}`, { id, ...(list === 'entities' || list === 'groups' ? { type: 'DEVICE' } : {}) })).toMatchObject({
          status: 400,
          body: { field: 'id', detail: 'id: cannot be named in a path: choose another id' },
        });
  });
  test('a body that says a thing twice', async () => {
    for (const body of ['{"type":"DEVICE","id":"a","id":"b"}', '{"type":"DEVICE","id":"a","\\u0069d":"b"}', '{"type":"DEVICE","name":"{\\"","name" :"x"}'])
      expect(await ask('POST /v1/entities', body), body).toMatchObject({
        status: 400,
        body: { detail: expect.stringContaining('twice in one object') as string },
      });
    expect(await ask('POST /v1/customers', '{"id":"deep","details":{"a":[{"b":1,"c":1},{"b":2}],"b":{"a":1}}}')).toMatchObject({ status: 201 });
  });
  test('a form is no JSON', async () => {
    expect(await ask('POST /v1/entities', 'type=DEVICE', { 'content-type': 'application/x-www-form-urlencoded' })).toMatchObject({
      status: 415,
      body: { code: 'media-type', field: 'Content-Type' },
    });
  });
});

test('a method that a path has not is told which it has', async () => {
  for (const [request, allow] of [
    ['PUT /v1/users', 'GET, HEAD, POST'],
    ['OPTIONS /v1/users/ada', 'DELETE, GET, HEAD, PATCH'],
    ['DELETE /v1/me', 'GET, HEAD'],
  ] as const) {
    const answer = await ask(request, request.startsWith('PUT') ? {} : undefined);
    expect(answer, request).toMatchObject({ status: 405, body: { code: 'method' } });
    expect(answer.headers.get('allow')).toBe(allow);
  }
  expect(await ask('GET /v1/entities/bulk')).toMatchObject({ status: 404, body: { detail: 'there is no entity "bulk"' } });
  expect((await ask('GET /v1/openapi.json')).status).toBe(200);
});

test('each operation of the document has a name of its own, for clients that are made of it', async () => {
  const { paths } = (await ask('GET /v1/openapi.json')).body as {
    readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly operationId: string }>>>>;
  };
  const ids = Object.values(paths).flatMap((path) => Object.values(path).map(({ operationId }) => operationId));
  expect(ids).toEqual([...new Set(ids)]);
  expect(ids).toEqual(expect.arrayContaining(['getMe', 'postUsersBulkDelete', 'patchCustomersById', 'putEntitiesByIdOwner', 'deleteUsersByIdKeysByKey']));
});

describe('against a rule', () => {
  test('of members: which one', async () => {
    const words = '"tower" is not of the type and the owner of the group, which holds nothing else';
    expect(await ask('POST /v1/groups/meters/members', { add: ['m1', 'tower', 'nobody'] })).toMatchObject({
      status: 422,
      body: { rule: '1.3', field: 'add[1]', detail: `add[1]: ${words}` },
    });
    expect(await ask('GET /v1/groups/meters/members')).toMatchObject({ body: { items: [] } });
  });
  test('of owners', async () => {
    for (const owner of ['tower', 'floor']) {
      const answer = await ask('PUT /v1/customers/tower/owner', { owner });
      const detail = expect.stringMatching(/its own owner|above itself/) as string;
      expect(answer, owner).toMatchObject({ status: 422, body: { rule: '1', field: 'owner', detail } });
    }
  });
  test('of types: which there are', async () => {
    expect(await ask('POST /v1/entities', { type: 'device' })).toMatchObject({
      status: 422,
      body: { rule: '2', field: 'type', detail: expect.stringMatching(/"device" is no type of entity; there are .*DEVICE/) as string },
    });
  });
  test('an All group is not taken for one that is missing', async () => {
    for (const request of ['GET /v1/groups/all:DEVICE:acme', 'DELETE /v1/groups/all:DEVICE:nobody', 'POST /v1/groups/all:DEVICE:acme/members']) {
      const answer = await ask(request, request.startsWith('POST') ? { add: ['m1'] } : undefined);
      expect(answer).toMatchObject({ status: 404, body: { detail: expect.stringContaining('holds everything of its type and owner') as string } });
    }
  });
});

test('roles by their type, page by page', async () => {
  const all: string[] = [];
  for (let cursor: string | undefined = ''; cursor !== undefined;) {
    const answer = await ask(`GET /v1/roles?type=GROUP&limit=1${cursor === '' ? '' : `&cursor=${cursor}`}`);
    const { items, next } = answer.body as { readonly items: readonly { readonly id: string }[]; readonly next?: string };
    all.push(...items.map(({ id }) => id));
    cursor = next;
  }
  expect(all).toEqual(['look']);
  expect(await ask('GET /v1/roles?type=GENERIC&owner=acme')).toHaveProperty('body.items.length', 2);
});
