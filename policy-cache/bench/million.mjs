// What does a world of millions look like to a cache, without a database? Rows made from the numbers in their ids, at the moment of asking.
//
// Customers hang in chains of the wanted depth below one tenant. Users belong to the top of a chain, entities to its foot, so that a check
// walks a whole chain. A third of the entities is in an entity group; grants are such that both steps 6a and 6b are met.

/** @typedef {import('policy-cache').ObjectRow} ObjectRow */
/** @typedef {{ users: number, entities: number, depth: number, chains: number }} Size */

/** Tenant, customer, user, entity, group of users, group of devices, role. */
const KINDS = { t: 1, c: 2, u: 3, e: 4, g: 5, d: 6, r: 7 };
export const STAMP = { version: 7, id: '0d9f5c1e-7a0b-4c7e-9f51-6f1f0c1d2e3f' };
const bytes = Buffer.alloc(36);
/** Rows of a turn, as the Postgres source hands them over. */
const PART = 1_000;
const TENANT = idOf('t', 0);

/** A UUID that says what it names: kind and number. Scattered in its first digits as random ones are. @param {keyof typeof KINDS} kind @param {number} number */
export function idOf(kind, number) {
  const scattered = (Math.imul(number + 1, 0x9e3779b1) ^ (KINDS[kind] * 0x85ebca6b)) >>> 0;
  // From a buffer, as the driver of a database makes its strings: what is put together by `+` is kept as its parts.
  bytes.write(`${scattered.toString(16).padStart(8, '0')}-${KINDS[kind]}000-4000-8000-${number.toString(16).padStart(12, '0')}`, 'latin1');
  return bytes.toString('latin1');
}

/** @param {string} id @returns {{ kind: string | undefined, number: number }} */
function parse(id) {
  const [kind] = Object.entries(KINDS).find(([, digit]) => digit === Number(id[9])) ?? [];
  return { kind, number: Number.parseInt(id.slice(24), 16) };
}

/** Node `level` (0 is the top) of a chain. @param {Size} size @param {number} chain @param {number} level */
const customer = ({ depth }, chain, level) => idOf('c', chain * depth + level);

/** Of things that thousands of rows name: to make the text of an id costs as much as to admit a row. @type {Map<string, string>} */
const named = new Map();
/** @param {keyof typeof KINDS} kind @param {number} number */
function sharedId(kind, number) {
  const key = kind + number;
  const id = named.get(key) ?? idOf(kind, number);
  named.set(key, id);
  return id;
}

/** @param {Size} size @param {number} number @returns {ObjectRow} */
export function userRow(size, number) {
  const chain = number % size.chains;
  return { id: idOf('u', number), kind: 'user', type: 'USER', owner: sharedId('c', chain * size.depth), enabled: true, groups: [sharedId('g', chain)] };
}

/** @param {Size} size @param {number} number @returns {ObjectRow} */
export function entityRow(size, number) {
  const chain = number % size.chains;
  const groups = number % 3 === 0 ? [sharedId('d', chain)] : [];
  return { id: idOf('e', number), kind: 'entity', type: 'DEVICE', owner: sharedId('c', (chain + 1) * size.depth - 1), enabled: true, groups };
}

/** A third of the chains may read all, the others what is in the group. @param {Size} size @param {string} userGroup @returns {readonly import('policy-cache').Grant[]} */
export function grantsOf(size, userGroup) {
  const { number: chain } = parse(userGroup);
  const operations = ['READ', 'READ_ATTRIBUTES', 'WRITE_ATTRIBUTES', 'RPC_CALL'];
  /** @type {import('policy-cache').Grant} */
  const generic = {
    kind: 'generic',
    role: idOf('r', 0),
    permissions: chain % 3 === 0 ? { DEVICE: operations, ASSET: operations, DASHBOARD: ['READ'] } : { ASSET: ['READ'] },
    excluded: {},
  };
  const owner = customer(size, chain, size.depth - 1);
  return [generic, { kind: 'group', role: idOf('r', 1), operations: ['READ'], shared: false, group: idOf('d', chain), type: 'DEVICE', owner }];
}

/** May the user read the device? By the rules of the world, and by nothing of the engine. @param {Size} size @param {number} user @param {number} entity */
export function mayRead(size, user, entity) {
  const chain = user % size.chains;
  return entity % size.chains === chain && (chain % 3 === 0 || entity % 3 === 0);
}

/** @param {Size} size @param {(rows: readonly import('policy-cache').TreeRow[]) => void} take */
export function tree(size, take) {
  /** @type {import('policy-cache').TreeRow[]} */
  let part = [[TENANT, [null]]];
  for (let chain = 0; chain < size.chains; chain++)
    for (let level = 0; level < size.depth; level++) {
      part.push([customer(size, chain, level), [level === 0 ? TENANT : customer(size, chain, level - 1)]]);
      if (part.length < PART) continue;
      take(part);
      part = [];
    }
  take(part);
}

/** A source of this world, in which nothing ever changes. @param {Size} size @returns {import('policy-cache').Source} */
export function millionSource(size) {
  return {
    attach: async () => ({
      async pull({ ask }) {
        return {
          ...{ pid: 1, timeline: null, head: STAMP, over: false, cursorId: STAMP.id, changes: [], tree: [] },
          ...{ answers: ask.map((version) => /** @type {const} */ ([version, null])), awaited: null, queueUsage: null, lagMs: null },
        };
      },
      async load(take) {
        tree(size, take);
        return STAMP;
      },
      async objects(ids) {
        const rows = ids.map(parse).flatMap(({ kind, number }) => (kind === 'u' ? [userRow(size, number)] : kind === 'e' ? [entityRow(size, number)] : []));
        return { stamp: STAMP, rows };
      },
      classes: async (keys) => ({ stamp: STAMP, grants: keys.map(({ groups }) => groups.flatMap((group) => grantsOf(size, group))) }),
      keys: async () => ({ stamp: STAMP, rows: [] }),
      close: () => undefined,
    }),
  };
}
