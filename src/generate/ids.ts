// What are the things of a generated world called?
//
// An id is made of numbers that are at hand where it is named, so that nobody has to remember one.

import { absorbed, finished } from './random.ts';
import type { Shape } from './shape.ts';

export interface Ids {
  owner(owner: number): string;
  user(user: number): string;
  entity(type: string, entity: number): string;
  /** One of the groups of a type that an owner has. */
  group(owner: number, type: string, group: number): string;
  role(owner: number, name: string): string;
  grant(grant: number): string;
}

export function idsOf(shape: Shape): Ids {
  return shape.ids === 'uuid' ? uuids(shape.seed) : names(shape);
}

function names({ tenants, owners, users, entities }: Shape): Ids {
  const numbered = (word: string, most: number): ((n: number) => string) => {
    const digits = Math.max(6, String(most).length);
    return (n) => `${word}-${String(n).padStart(digits, '0')}`;
  };
  const tenant = numbered('tenant', tenants);
  const customer = numbered('customer', owners);
  const owner = (n: number): string => (n < tenants ? tenant(n) : customer(n - tenants));
  const user = numbered('user', users);
  const entity = numbered('', entities);
  return {
    owner,
    user,
    entity: (type, n) => `${slug(type)}${entity(n)}`,
    group: (n, type, group) => `${owner(n)}-${type === 'USER' ? 'team' : `${slug(type)}s`}-${group}`,
    role: (n, name) => `${owner(n)}-${name}`,
    grant: numbered('grant', owners),
  };
}

const SLUGS = new Map<string, string>();

function slug(type: string): string {
  let found = SLUGS.get(type);
  if (found === undefined) SLUGS.set(type, (found = type.toLowerCase().replaceAll('_', '-')));
  return found;
}

/** Version 4 by its form: 122 bits of a hash of the seed, a word and up to two numbers. */
function uuids(seed: number): Ids {
  const uuid = (word: string, a: number, b: number): string => {
    const salt = spelled(word, seed);
    const words = [0, 1, 2, 3].map((i) => finished(absorbed(absorbed(absorbed(salt, i), a), b)));
    const hex = words.map((bits) => bits.toString(16).padStart(8, '0')).join('');
    const variant = '89ab'[words[2]! >>> 30]!;
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`;
  };
  return {
    owner: (owner) => uuid('owner', owner, 0),
    user: (user) => uuid('user', user, 0),
    entity: (_type, entity) => uuid('entity', entity, 0),
    group: (owner, type, group) => uuid(type, owner, group + 1),
    role: (owner, name) => uuid(name, owner, 0),
    grant: (grant) => uuid('grant', grant, 0),
  };
}

function spelled(word: string, seed: number): number {
  let state = seed;
  for (let i = 0; i < word.length; i++) state = absorbed(state, word.charCodeAt(i));
  return state;
}
