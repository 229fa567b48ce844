// SpiceDB on Postgres, gRPC door, at its defaults. `fully_consistent`: every check of the newest revision. `minimize_latency`: of a revision up to five and
// a half seconds old, which its caches can keep.

import { start, until } from '../processes.mjs';
import { NO_MESSAGE, connectGrpc, grpcFrame } from './client-grpc.mjs';
import { freePort } from './peer.mjs';
import { field, message, read } from './protobuf.mjs';
import { RELATIONS, membership, tuples } from './tuples.mjs';

const KEY = 'a-key-of-the-benchmark';
/** Relationships in a write: fewer bytes than HTTP/2's first window, which the client does not wait to see widened. */
const BATCH = 300;
/** Of UpdateOperation. */
const TOUCH = 2;
const DELETE = 3;
/** Of Permissionship. */
const HAS_PERMISSION = 2;
/** Fields of Consistency. */
const CONSISTENCY = { minimize_latency: 1, fully_consistent: 4 };
const HEADERS = { authorization: `Bearer ${KEY}` };

/** @type {import('./peer.mjs').Peer} */
export const spicedb = {
  async start({ subject, core, bin, database }) {
    const begun = performance.now();
    const url = `${await database('spicedb')}?sslmode=disable`;
    const store = ['--datastore-engine', 'postgres', '--datastore-conn-uri', url, '--log-level', 'error', '--skip-release-check'];
    const migration = start(bin('spicedb'), ['datastore', 'migrate', 'head', ...store]);
    await migration.exited;
    if (migration.child.exitCode !== 0) throw new Error(`spicedb datastore migrate: ${migration.said()}`);
    const port = await freePort();
    const flags = [
      '--grpc-preshared-key',
      KEY,
      '--grpc-addr',
      `127.0.0.1:${port}`,
      '--metrics-enabled=false',
      '--telemetry-endpoint=',
      '--grpc-max-conn-age',
      '1h',
    ];
    const server = start(bin('spicedb'), ['serve', ...store, ...flags], { core });
    await until(() => writeSchema(port), { what: 'SpiceDB takes a schema', of: server });
    const { write, close } = await writer(port);
    const all = tuples(subject).all();
    for (let i = 0; i < all.length; i += BATCH) await write(TOUCH, all.slice(i, i + BATCH));
    close();
    return { at: { port }, pid: server.pid, loadSeconds: (performance.now() - begun) / 1000, version: '1.56.0', said: server.said, stop: server.stop };
  },
  asking({ port }, _, variant) {
    const consistency = field(1, field(variant === 'fully_consistent' ? CONSISTENCY.fully_consistent : CONSISTENCY.minimize_latency, 1));
    return {
      door: 'grpc',
      port: Number(port),
      path: '/authzed.api.v1.PermissionsService/CheckPermission',
      headers: HEADERS,
      request: ({ user, operation, device }) =>
        grpcFrame(message(consistency, field(2, object('device', device)), field(3, operation.toLowerCase()), field(4, field(1, object('user', user))))),
      allowed: (reply) => read(reply, 2) === HAS_PERMISSION,
    };
  },
  async writing({ port }, subject) {
    const { write, close } = await writer(Number(port));
    const { user, group } = subject.world.idle;
    const { ofGrantAlone } = tuples(subject);
    return {
      join: () => write(TOUCH, [membership(user, group)]),
      leave: () => write(DELETE, [membership(user, group)]),
      revoke: ({ grant }) => write(DELETE, ofGrantAlone(grant)),
      restore: ({ grant }) => write(TOUCH, ofGrantAlone(grant)),
      close,
    };
  },
};

/** @param {number} port */
async function writer(port) {
  const { call, close } = await caller(port, '/authzed.api.v1.PermissionsService/WriteRelationships');
  return {
    close,
    /** @param {number} operation @param {readonly import('./tuples.mjs').Tuple[]} list */
    async write(operation, list) {
      const updates = list.map((tuple) => field(1, message(field(1, operation), field(2, relationship(tuple)))));
      if (isNothing(await call(message(...updates)))) throw new Error('SpiceDB refused a write');
    },
  };
}

const isNothing = (/** @type {Buffer | null} */ reply) => reply === null || reply === NO_MESSAGE;

/** One call after the other. @param {number} port @param {string} path */
async function caller(port, path) {
  const { ask, close } = await connectGrpc(port, { path, headers: HEADERS });
  return {
    close,
    call: (/** @type {Buffer} */ bytes) => new Promise((/** @type {(reply: Buffer | null) => void} */ resolve) => ask(grpcFrame(bytes), resolve)),
  };
}

/** @param {number} port */
async function writeSchema(port) {
  try {
    const { call, close } = await caller(port, '/authzed.api.v1.SchemaService/WriteSchema');
    const reply = await call(field(1, SCHEMA));
    close();
    return !isNothing(reply);
  } catch {
    return false; // does not listen yet
  }
}

/** @param {string} type @param {string} id */
const object = (type, id) => message(field(1, type), field(2, id));

/** @param {import('./tuples.mjs').Tuple} tuple */
function relationship({ type, id, relation, subjectType, subjectId, subjectRelation }) {
  const of = subjectRelation === '' ? Buffer.alloc(0) : field(2, subjectRelation);
  return message(field(1, object(type, id)), field(2, relation), field(3, message(field(1, object(subjectType, subjectId)), of)));
}

const lines = (/** @type {(relation: string) => string} */ line) => RELATIONS.map((relation) => `  ${line(relation)}\n`).join('');
const GIVEN = lines((relation) => `relation ${relation}_by: user_group#member`);
const SCHEMA = `definition user {}
definition user_group {
  relation member: user
}
definition customer {
  relation parent: customer
${GIVEN}${lines((relation) => `permission can_${relation} = ${relation}_by + parent->can_${relation}`)}}
definition entity_group {
${GIVEN}}
definition device {
  relation owner: customer
  relation grp: entity_group
${lines((relation) => `permission ${relation} = owner->can_${relation} + grp->${relation}_by`)}}
`;
