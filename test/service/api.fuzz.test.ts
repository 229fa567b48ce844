// Can any bytes at all make the api say something that is not the model's own answer? `GRANTGATE_FUZZ` lengthens the run; a failure
// prints its seed.

import fc from 'fast-check';
import { compileWorld, expandDefaults, parseWorldFile, requestOf } from 'policy-cache';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startApi, type Api } from '../support/api.ts';
import { WORLD, sidecar, vocabulary, type Sidecar } from '../support/doors.ts';

const numRuns = Number(process.env['GRANTGATE_FUZZ'] ?? 250);
const compiled = compileWorld(vocabulary, expandDefaults(parseWorldFile(WORLD).world));

let side: Sidecar;
let api: Api;
beforeAll(async () => {
  side = await sidecar();
  api = await startApi({ cache: side.cache });
});
afterAll(async () => {
  await api?.close();
  await side?.close();
});

const ids = fc.oneof(
  fc.constantFrom(
    'admin',
    'reader',
    'clerk',
    'Zoë 100%',
    'nobody',
    'off',
    'stranger',
    'd1',
    'd2',
    'd3',
    'x1',
    't1',
    'c1',
    'Büro %1',
    'admins:t1',
    'all:DEVICE:c1',
    '*',
  ),
  fc.string({ maxLength: 5 }),
);
const types = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom('DEVICE', 'CUSTOMER', 'DEVICE_GROUP', 'PROFILE', 'USER') },
  { weight: 1, arbitrary: fc.string({ maxLength: 5 }) },
);
const names = fc.oneof({ weight: 5, arbitrary: fc.constantFrom('READ', 'WRITE', 'CREATE', 'DELETE') }, { weight: 1, arbitrary: fc.string({ maxLength: 5 }) });

test('a question is answered as the library answers it', async () => {
  const questions = fc.record(
    {
      user: ids,
      operation: names,
      resource: types,
      target: ids,
      owner: fc.option(ids, { nil: undefined }),
      groups: fc.option(fc.array(ids, { maxLength: 3 }), { nil: undefined }),
    },
    { requiredKeys: ['user', 'operation', 'resource', 'target'] },
  );
  let allows = 0;
  await fc.assert(
    fc.asyncProperty(questions, async ({ user, operation, resource, target, owner, groups }) => {
      const placed = { ...(owner === undefined ? {} : { owner }), ...(groups === undefined ? {} : { groups }) };
      const answer = await api.evaluate({
        subject: { type: 'user', id: user },
        action: { name: operation },
        resource: { type: resource, id: target, properties: placed },
      });
      const { allow, reason, rule } = compiled.decide(requestOf(vocabulary, { user, operation, resource, target, ...placed }));
      expect(answer.status).toBe(200);
      expect(JSON.parse(answer.body)).toMatchObject({ decision: allow, context: { reason, rule } });
      if (allow) allows++;
    }),
    // Of 250 at random it may be that none is allowed.
    { numRuns, examples: [[{ user: 'admin', operation: 'READ', resource: 'DEVICE', target: 'd1', owner: undefined, groups: undefined }]] },
  );
  expect(allows).toBeGreaterThan(0);
});

test('any JSON, and a question with any JSON in it: a decision or 400, never a fault', async () => {
  const question = {
    subject: { type: 'user', id: 'admin' },
    action: { name: 'CREATE' },
    resource: { type: 'DEVICE', id: '*', properties: { owner: 'c1' } },
    context: {},
  };
  const paths = [
    'subject',
    'subject.type',
    'subject.id',
    'subject.properties',
    'action',
    'action.name',
    'resource',
    'resource.type',
    'resource.id',
    'resource.properties',
    'resource.properties.owner',
    'resource.properties.groups',
    'context',
  ];
  const spoilt = fc.tuple(fc.constantFrom(...paths), fc.jsonValue()).map(([path, value]) => {
    const copy = structuredClone(question) as Record<string, unknown>;
    const parts = path.split('.');
    const last = parts.pop()!;
    const at = parts.reduce((object, part) => object[part] as Record<string, unknown>, copy);
    at[last] = value;
    return JSON.stringify(copy);
  });
  const cut = fc.nat(200).map((length) => JSON.stringify(question).slice(0, length));
  const statuses = new Map<number, number>();
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        spoilt,
        cut,
        fc.json(),
        fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes)),
      ),
      async (body) => {
        const { status, body: text } = await api.evaluate(body);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        const answer = JSON.parse(text) as { decision?: unknown; code?: unknown };
        if (status === 200) expect(typeof answer.decision).toBe('boolean');
        else expect([status, answer.code, answer.decision]).toEqual([400, 'bad-request', undefined]);
      },
    ),
    { numRuns: 2 * numRuns },
  );
  expect([...statuses.keys()].sort()).toEqual([200, 400]);
  expect(api.failures).toEqual([]);
});
