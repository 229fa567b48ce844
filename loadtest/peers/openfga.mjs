// OpenFGA on Postgres, gRPC door. `plain`: at its defaults, no caches, every check reads the database. `caches`: query and iterator cache and the cache
// controller, as its production page wants: both for the same store, one server after the other.

import { start, until } from '../processes.mjs';
import { grpcFrame } from './client-grpc.mjs';
import { answers, freePort, sendJson } from './peer.mjs';
import { field, message, read } from './protobuf.mjs';
import { RELATIONS, membership, tuples } from './tuples.mjs';

/** Tuples that one write may hold. */
const BATCH = 100;
const CACHES = ['--check-query-cache-enabled', '--check-iterator-cache-enabled', '--cache-controller-enabled'];

/** What the first server made: the second goes on with it. @type {{ url: string, store: string, model: string, loadSeconds: number } | null} */
let stored = null;

/** @type {import('./peer.mjs').Peer} */
export const openfga = {
  async start({ subject, core, bin, database }, variant) {
    const begun = performance.now();
    const url = stored?.url ?? (await database('openfga'));
    const engine = ['--datastore-engine', 'postgres', '--datastore-uri', `${url}?sslmode=disable`, '--log-level', 'error'];
    if (stored === null) {
      const migration = start(bin('openfga'), ['migrate', ...engine]);
      await migration.exited;
      if (migration.child.exitCode !== 0) throw new Error(`openfga migrate: ${migration.said()}`);
    }
    const [http, grpc] = [await freePort(), await freePort()];
    const addresses = ['--http-addr', `127.0.0.1:${http}`, '--grpc-addr', `127.0.0.1:${grpc}`, '--playground-enabled=false', '--metrics-enabled=false'];
    const server = start(bin('openfga'), ['run', ...engine, ...addresses, ...(variant === 'caches' ? CACHES : [])], { core });
    const base = `http://127.0.0.1:${http}`;
    await until(() => answers(`${base}/healthz`), { what: 'OpenFGA answers', of: server });
    stored ??= { url, ...(await load(base, subject)), loadSeconds: (performance.now() - begun) / 1000 };
    const { store, model, loadSeconds } = stored;
    return { at: { base, grpc, store, model }, pid: server.pid, loadSeconds, version: '1.18.1', said: server.said, stop: server.stop };
  },
  asking({ grpc, store, model }) {
    const key = (/** @type {import('./peer.mjs').Question} */ { user, operation, device }) =>
      message(field(1, `user:${user}`), field(2, operation.toLowerCase()), field(3, `device:${device}`));
    return {
      door: 'grpc',
      port: Number(grpc),
      path: '/openfga.v1.OpenFGAService/Check',
      request: (question) => grpcFrame(message(field(1, String(store)), field(2, key(question)), field(4, String(model)))),
      allowed: (reply) => read(reply, 1) === 1,
    };
  },
  async writing({ base, store, model }, subject) {
    const write = (/** @type {'writes' | 'deletes'} */ which, /** @type {readonly import('./tuples.mjs').Tuple[]} */ list) =>
      sendJson(`${base}/stores/${store}/write`, { method: 'POST', body: { authorization_model_id: model, [which]: { tuple_keys: list.map(keyOf) } } });
    const { user, group } = subject.world.idle;
    const { ofGrantAlone } = tuples(subject);
    return {
      join: async () => void (await write('writes', [membership(user, group)])),
      leave: async () => void (await write('deletes', [membership(user, group)])),
      revoke: async ({ grant }) => void (await write('deletes', ofGrantAlone(grant))),
      restore: async ({ grant }) => void (await write('writes', ofGrantAlone(grant))),
      close: () => undefined,
    };
  },
};

/** @param {string} base @param {import('./peer.mjs').Subject} subject */
async function load(base, subject) {
  const { id: store } = /** @type {{ id: string }} */ (await sendJson(`${base}/stores`, { method: 'POST', body: { name: 'peers' } }));
  const { authorization_model_id: model } = /** @type {{ authorization_model_id: string }} */ (
    await sendJson(`${base}/stores/${store}/authorization-models`, { method: 'POST', body: MODEL })
  );
  const all = tuples(subject).all();
  for (let i = 0; i < all.length; i += BATCH)
    await sendJson(`${base}/stores/${store}/write`, {
      method: 'POST',
      body: { authorization_model_id: model, writes: { tuple_keys: all.slice(i, i + BATCH).map(keyOf) } },
    });
  return { store, model };
}

/** @param {import('./tuples.mjs').Tuple} tuple */
function keyOf({ type, id, relation, subjectType, subjectId, subjectRelation }) {
  return { user: `${subjectType}:${subjectId}${subjectRelation === '' ? '' : `#${subjectRelation}`}`, relation, object: `${type}:${id}` };
}

/** @param {string} relation @param {string} from */
const through = (relation, from) => ({ tupleToUserset: { tupleset: { object: '', relation: from }, computedUserset: { object: '', relation } } });
const own = (/** @type {string} */ relation) => ({ computedUserset: { object: '', relation } });
const MEMBERS = [{ type: 'user_group', relation: 'member' }];

/** @param {string} type @param {Readonly<Record<string, object>>} relations @param {Readonly<Record<string, readonly object[]>>} direct who may stand in a tuple */
function definition(type, relations, direct) {
  return {
    type,
    relations: { ...relations, ...Object.fromEntries(Object.keys(direct).map((relation) => [relation, { this: {} }])) },
    metadata: { relations: Object.fromEntries(Object.entries(direct).map(([relation, types]) => [relation, { directly_related_user_types: types }])) },
  };
}

const given = Object.fromEntries(RELATIONS.map((relation) => [`${relation}_by`, MEMBERS]));

/** `can_read: read_by or can_read from parent`; of a device `read: can_read from owner or read_by from grp`. */
const MODEL = {
  schema_version: '1.1',
  type_definitions: [
    { type: 'user' },
    definition('user_group', {}, { member: [{ type: 'user' }] }),
    definition(
      'customer',
      Object.fromEntries(RELATIONS.map((each) => [`can_${each}`, { union: { child: [own(`${each}_by`), through(`can_${each}`, 'parent')] } }])),
      {
        parent: [{ type: 'customer' }],
        ...given,
      },
    ),
    definition('entity_group', {}, given),
    definition(
      'device',
      Object.fromEntries(RELATIONS.map((each) => [each, { union: { child: [through(`can_${each}`, 'owner'), through(`${each}_by`, 'grp')] } }])),
      {
        owner: [{ type: 'customer' }],
        grp: [{ type: 'entity_group' }],
      },
    ),
  ],
};
