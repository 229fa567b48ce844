// Which options say the fields of one thing, on the command line of the administration?

import { InputError } from 'policy-cache';
import { readDocument } from '../worldfiles.ts';

/** As the commands are called; the collection is its plural. */
export const KINDS = ['tenant', 'customer', 'user', 'group', 'role', 'grant', 'entity'] as const;
export type Kind = (typeof KINDS)[number];

export const COLLECTION: Readonly<Record<Kind, string>> = {
  tenant: 'tenants',
  customer: 'customers',
  user: 'users',
  group: 'groups',
  role: 'roles',
  grant: 'grants',
  entity: 'entities',
};

export interface Field {
  /** As commander takes it: `--first-name <text>`. */
  readonly option: string;
  readonly description: string;
  /** In the API. */
  readonly name: string;
  /** Of text into what the API takes; default: the text. */
  readonly read?: (text: string, option: string) => unknown;
  /** It may be said again. */
  readonly many?: true;
  /** Not of a change: it never changes, or by another verb. */
  readonly once?: true;
  /** An empty text takes it away. */
  readonly clears?: true;
}

const parsed = (text: string, option: string): unknown => {
  const { parsed: value, broken } = readDocument(text);
  if (broken.length > 0) throw new InputError(option, `must be YAML or JSON: ${broken[0]?.message ?? ''}`);
  return value;
};
const flag = (text: string, option: string): boolean => {
  if (text === 'true' || text === 'false') return text === 'true';
  throw new InputError(option, `must be true or false, got ${JSON.stringify(text)}`);
};

const owner: Field = { option: '--owner <id>', description: 'a tenant or a customer; your own when left out', name: 'owner', once: true };
const name: Field = { option: '--name <text>', description: 'what people call it', name: 'name', clears: true };
const groups: Field = { option: '--group <id>', description: 'that it is put into; may be repeated', name: 'groups', many: true, once: true };
const type: Field = { option: '--type <type>', description: 'DEVICE, ASSET, …', name: 'type', once: true };

export const FIELDS: Readonly<Record<Kind, readonly Field[]>> = {
  tenant: [name],
  customer: [
    owner,
    { option: '--title <text>', description: 'what people call it', name: 'title', clears: true },
    { option: '--details <yaml>', description: 'an object, YAML or JSON', name: 'details', read: parsed },
    groups,
  ],
  user: [
    owner,
    groups,
    name,
    { option: '--email <address>', description: 'where it gets mail, and by which it logs in', name: 'email', clears: true },
    { option: '--first-name <text>', description: 'of the person', name: 'firstName', clears: true },
    { option: '--last-name <text>', description: 'of the person', name: 'lastName', clears: true },
    { option: '--enabled <flag>', description: 'false: it may do nothing', name: 'enabled', read: flag },
  ],
  group: [{ ...type, description: 'of its members: USER, DEVICE, ASSET, CUSTOMER, …' }, owner, name],
  role: [
    owner,
    { option: '--type <type>', description: 'GENERIC: over everything; GROUP: over a group of entities', name: 'type', once: true },
    { option: '--permissions <yaml>', description: 'GENERIC: {DEVICE: [READ, WRITE]}; GROUP: [READ, WRITE]', name: 'permissions', read: parsed },
    { option: '--excluded <yaml>', description: 'GENERIC: what is taken off again, {DEVICE: [WRITE]}', name: 'excluded', read: parsed },
    name,
  ],
  grant: [
    { option: '--user-group <id>', description: 'whose users are given it', name: 'userGroup', once: true },
    { option: '--role <id>', description: 'what they are given', name: 'role', once: true },
    { option: '--entity-group <id>', description: 'over what, of a GROUP role', name: 'entityGroup', once: true },
    name,
  ],
  entity: [type, owner, groups, name],
};

type Filter = Pick<Field, 'option' | 'description' | 'many'>;
const q: Filter = { option: '--q <text>', description: 'whose name or id begins so' };
const ofOwner: Filter = { option: '--owner <id>', description: 'of this owner' };
const ofType: Filter = { option: '--type <type>', description: 'of this type' };
const inGroup: Filter = { option: '--group <id>', description: 'in this group', many: true };

/** What a list of them may be narrowed by. */
export const FILTERS: Readonly<Record<Kind, readonly Filter[]>> = {
  tenant: [],
  customer: [q, ofOwner, inGroup],
  user: [{ ...q, description: 'whose name, id or e-mail begins so' }, ofOwner, inGroup],
  group: [q, ofOwner, { ...ofType, description: 'of its members: USER, DEVICE, …' }],
  role: [q, ofOwner, { ...ofType, description: 'GENERIC or GROUP' }],
  grant: [q, ofOwner, { ...inGroup, description: 'given to the users of this group, or over it' }],
  entity: [q, ofOwner, ofType, inGroup],
};

/** What the options say, as a body. `change`: an empty text takes a field away. */
export function bodyOf(kind: Kind, options: Readonly<Record<string, unknown>>, change: boolean): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  for (const { option, name: field, read, many, clears } of FIELDS[kind]) {
    const [flagName = ''] = option.split(' ');
    const given = options[camel(flagName.slice(2))];
    if (given === undefined) continue;
    if (many) body[field] = given;
    else if (change && clears && given === '') body[field] = null;
    else body[field] = read && typeof given === 'string' ? read(given, flagName) : given;
  }
  return body;
}

function camel(text: string): string {
  return text.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
