// Which operations, resources and types are there, and which numbers stand for them?
//
// The vocabulary is data (semantics 2). It is compiled once from a parsed YAML or JSON object; after that a set of operations
// is one 32-bit mask, a resource or type an index. A rule whose name (CREATE, PROFILE, …) is not in the data never fires.

import { InputError } from './errors.ts';

/** The wildcard of stored roles. Flattening removes it; asked for, it is unknown vocabulary. */
export const ALL = 'ALL';

/** -1 stands for "unknown" in every lookup and table. */
export interface Vocabulary {
  readonly name: string;
  /** Index = operation number = bit. */
  readonly operations: readonly string[];
  readonly resources: readonly string[];
  /** Every type that a target may have: entities, tenants, customers, users, roles, grants. */
  readonly types: readonly string[];
  operation(name: string): number;
  resource(name: string): number;
  type(name: string): number;
  /** Mask of every operation: what the wildcard stands for, in GENERIC and GROUP roles alike. */
  readonly every: number;
  readonly groupRoleOperations: number;
  readonly ownerOnlyOperations: number;
  readonly ownerOnlyGroupOperations: number;
  readonly selfOperations: number;
  readonly createOperation: number;
  readonly profileResource: number;
  readonly tenantResource: number;
  readonly userType: number;
  /** By resource: 1 = closed. */
  readonly closedToCustomerUsers: Uint8Array;
  readonly closedToTenantAdmins: Uint8Array;
  /** By type: its resource. */
  readonly resourceOfType: Int32Array;
  /** By type: a dense number among the groupable types, or -1. */
  readonly groupable: Int32Array;
  readonly groupableCount: number;
  /** By type: the resource of its groups, or -1. */
  readonly groupResourceOfType: Int32Array;
  /** By resource: the groupable type whose resource it is, or -1. */
  readonly typeOfResource: Int32Array;
  /** By resource: the groupable type whose group resource it is, or -1. */
  readonly typeOfGroupResource: Int32Array;
  /** Names of the types that plain entities may have (semantics 1): the others have rows of their own. */
  readonly entityTypes: ReadonlySet<string>;
  /** Names of the groupable types. */
  readonly groupableTypes: ReadonlySet<string>;
  /** By resource name, and ALL: the operations that a role write may name (never read by a check). */
  readonly writable: ReadonlyMap<string, number>;
}

const OWN_ROWS = ['TENANT', 'CUSTOMER', 'USER', 'ROLE', 'GROUP_PERMISSION', 'PROFILE'];

/**
 * Compiles a parsed vocabulary file.
 * @throws InputError naming the field that is missing, repeated, unknown or too long
 */
export function compileVocabulary(parsed: unknown): Vocabulary {
  const file = record(parsed, 'vocabulary');
  const operations = names(file['operations'], 'operations');
  const resources = names(file['resources'], 'resources');
  if (operations.length > 31) throw new InputError('operations', `at most 31, so that a set is one 32-bit mask; got ${operations.length}`);

  const operationNumbers = numbered(operations, 'operations');
  const resourceNumbers = numbered(resources, 'resources');
  const resourceAt = (name: string, field: string): number => known(resourceNumbers, name, field, 'resource');
  const mask = (value: unknown, field: string): number =>
    value === undefined ? 0 : names(value, field).reduce((bits, name) => bits | (1 << known(operationNumbers, name, field, 'operation')), 0);
  const flags = (value: unknown, field: string): Uint8Array => {
    const table = new Uint8Array(resources.length);
    if (value !== undefined) for (const name of names(value, field)) table[resourceAt(name, field)] = 1;
    return table;
  };

  const groupResource = stringMap(file['groupResource'], 'groupResource');
  const entityResource = stringMap(file['entityResource'], 'entityResource');
  const typeless = new Set([...names(file['withoutEntity'] ?? [], 'withoutEntity'), 'PROFILE', ...groupResource.values()]);
  for (const name of names(file['withoutEntity'] ?? [], 'withoutEntity')) resourceAt(name, 'withoutEntity');
  const types = [...resources.filter((name) => !typeless.has(name)), ...entityResource.keys()];
  const typeNumbers = numbered(types, 'entityResource');
  if (!typeNumbers.has('USER')) throw new InputError('resources', 'USER is missing: whoever asks is one');

  const resourceOfType = new Int32Array(types.length);
  types.forEach((type, i) => (resourceOfType[i] = resourceAt(entityResource.get(type) ?? type, 'entityResource')));
  const groupable = new Int32Array(types.length).fill(-1);
  const groupResourceOfType = new Int32Array(types.length).fill(-1);
  const typeOfResource = new Int32Array(resources.length).fill(-1);
  const typeOfGroupResource = new Int32Array(resources.length).fill(-1);
  let groupableCount = 0;
  for (const [typeName, resourceName] of groupResource) {
    const type = known(typeNumbers, typeName, 'groupResource', 'type');
    const resource = resourceAt(resourceName, 'groupResource');
    // Step 3 of semantics 4 goes from a resource back to its type, so there is one.
    if (typeOfResource[resourceOfType[type]!] !== -1) throw new InputError('groupResource', `${typeName} and another groupable type have one resource`);
    if (typeOfGroupResource[resource] !== -1)
      throw new InputError('groupResource', `groups of ${typeName} and of another type have one resource, ${resourceName}`);
    groupable[type] = groupableCount++;
    groupResourceOfType[type] = resource;
    typeOfResource[resourceOfType[type]!] = type;
    typeOfGroupResource[resource] = type;
  }

  const every = operations.reduce((bits, _, i) => bits | (1 << i), 0);
  const lookup = (numbers: ReadonlyMap<string, number>) => (name: string) => numbers.get(name) ?? -1;
  return Object.freeze({
    name: typeof file['name'] === 'string' ? file['name'] : '',
    operations,
    resources,
    types,
    operation: lookup(operationNumbers),
    resource: lookup(resourceNumbers),
    type: lookup(typeNumbers),
    every,
    groupRoleOperations: every & ~mask(file['notInGroupRoles'], 'notInGroupRoles'),
    ownerOnlyOperations: mask(file['ownerOnlyOperations'], 'ownerOnlyOperations'),
    ownerOnlyGroupOperations: mask(file['ownerOnlyGroupOperations'], 'ownerOnlyGroupOperations'),
    selfOperations: mask(file['selfOperations'], 'selfOperations'),
    createOperation: operationNumbers.get('CREATE') ?? -1,
    profileResource: resourceNumbers.get('PROFILE') ?? -1,
    tenantResource: resourceNumbers.get('TENANT') ?? -1,
    userType: typeNumbers.get('USER') ?? -1,
    closedToCustomerUsers: flags(file['closedToCustomerUsers'], 'closedToCustomerUsers'),
    closedToTenantAdmins: flags(file['closedToTenantAdmins'], 'closedToTenantAdmins'),
    resourceOfType,
    groupable,
    groupableCount,
    groupResourceOfType,
    typeOfResource,
    typeOfGroupResource,
    entityTypes: new Set(types.filter((type) => !OWN_ROWS.includes(type))),
    groupableTypes: new Set(groupResource.keys()),
    writable: writableOperations(file, resources, { every, mask }),
  });
}

/** `operationsByResource`: a list of operations, a shape, or a list of resources under the name of a shape (`entityShape`). */
function writableOperations(
  file: Fields,
  resources: readonly string[],
  to: { every: number; mask: (value: unknown, field: string) => number },
): Map<string, number> {
  const rules = record(file['operationsByResource'] ?? { otherwise: 'every' }, 'operationsByResource');
  const shapes = record(file['shapes'] ?? {}, 'shapes');
  const shape = (name: unknown, field: string): number => {
    if (typeof name !== 'string' || shapes[name] === undefined) throw new InputError(field, `unknown shape ${JSON.stringify(name)}`);
    return to.mask(shapes[name], `shapes.${name}`);
  };
  const read = (rule: unknown, field: string): number => {
    if (rule === 'every') return to.every;
    if (Array.isArray(rule)) return to.mask(rule, field);
    const fields = record(rule, field);
    return shape(fields['shape'], `${field}.shape`) | to.mask(fields['plus'], `${field}.plus`);
  };
  const otherwise = read(rules['otherwise'] ?? 'every', 'operationsByResource.otherwise');
  const table = new Map<string, number>([ALL, ...resources].map((name) => [name, otherwise]));
  for (const [name, rule] of Object.entries(rules)) {
    const field = `operationsByResource.${name}`;
    if (name === 'otherwise') continue;
    if (name.endsWith('Shape')) for (const resource of names(rule, field)) table.set(resource, shape(name.slice(0, -'Shape'.length), field));
    else table.set(name, read(rule, field));
  }
  for (const name of table.keys()) if (name !== ALL && !resources.includes(name)) throw new InputError('operationsByResource', `unknown resource ${name}`);
  return table;
}

type Fields = Readonly<Record<string, unknown>>;

function record(value: unknown, field: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new InputError(field, 'expected an object');
  return value as Fields;
}

function names(value: unknown, field: string): readonly string[] {
  if (!Array.isArray(value) || value.some((name) => typeof name !== 'string' || !/^[A-Z][A-Z0-9_]*$/.test(name)))
    throw new InputError(field, 'expected a list of names in capitals (A-Z, 0-9, _)');
  return value as string[];
}

function stringMap(value: unknown, field: string): Map<string, string> {
  const entries = Object.entries(record(value ?? {}, field));
  names(entries.flat(), field);
  return new Map(entries as [string, string][]);
}

function numbered(list: readonly string[], field: string): Map<string, number> {
  const numbers = new Map(list.map((name, i) => [name, i]));
  if (numbers.size !== list.length) throw new InputError(field, `${list.find((name, i) => numbers.get(name) !== i)} stands there twice`);
  if (numbers.has(ALL)) throw new InputError(field, `${ALL} is the wildcard, not a name`);
  return numbers;
}

function known(numbers: ReadonlyMap<string, number>, name: string, field: string, what: string): number {
  const number = numbers.get(name);
  if (number === undefined) throw new InputError(field, `unknown ${what} ${name}`);
  return number;
}
