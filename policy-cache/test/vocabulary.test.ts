// Is the shipped vocabulary what the model says, and is a bad one told by the field that is wrong?

import { InputError, compileVocabulary } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { names, vocabulary } from './support.ts';

const bits = (mask: number): readonly string[] => vocabulary.operations.filter((_, i) => (mask & (1 << i)) !== 0);

describe('the shipped vocabulary', () => {
  test('has 20 operations and 53 resources, and each name finds its number', () => {
    expect([vocabulary.name, vocabulary.operations.length, vocabulary.resources.length]).toEqual(['thingsboard', 20, 53]);
    vocabulary.operations.forEach((name, i) => expect(vocabulary.operation(name)).toBe(i));
    vocabulary.resources.forEach((name, i) => expect(vocabulary.resource(name)).toBe(i));
    vocabulary.types.forEach((name, i) => expect(vocabulary.type(name)).toBe(i));
  });

  test.each(['ALL', 'read', '', '__proto__', 'constructor', 'NO_SUCH'])('%j is no operation, resource or type', (name) => {
    expect([vocabulary.operation(name), vocabulary.resource(name), vocabulary.type(name)]).toEqual([-1, -1, -1]);
  });

  test('has the sets that the rules name', () => {
    expect(bits(vocabulary.every)).toEqual(vocabulary.operations);
    expect(bits(vocabulary.groupRoleOperations)).toEqual(vocabulary.operations.filter((name) => !names.notInGroupRoles!.includes(name)));
    expect(bits(vocabulary.ownerOnlyOperations)).toEqual(['CREATE', 'DELETE']);
    expect(bits(vocabulary.ownerOnlyGroupOperations)).toEqual(['CREATE', 'DELETE', 'ADD_TO_GROUP', 'REMOVE_FROM_GROUP']);
    expect(bits(vocabulary.selfOperations)).toEqual(['READ', 'READ_ATTRIBUTES', 'READ_TELEMETRY']);
    for (const name of vocabulary.resources) {
      expect(vocabulary.closedToCustomerUsers[vocabulary.resource(name)] === 1).toBe(names.closedToCustomerUsers!.includes(name));
      expect(vocabulary.closedToTenantAdmins[vocabulary.resource(name)] === 1).toBe(name === 'TENANT_PROFILE');
    }
  });

  test('types belong to their resource, groups to the resource of their type', () => {
    const resourceOf = (type: string): string | undefined => vocabulary.resources[vocabulary.resourceOfType[vocabulary.type(type)]!];
    expect([resourceOf('DEVICE'), resourceOf('NOTIFICATION_RULE'), resourceOf('RULE_NODE'), resourceOf('TENANT')]).toEqual([
      'DEVICE',
      'NOTIFICATION',
      'RULE_CHAIN',
      'TENANT',
    ]);
    for (const [type, resource] of Object.entries(names.groupResource!)) {
      expect(vocabulary.resources[vocabulary.groupResourceOfType[vocabulary.type(type)]!]).toBe(resource);
      expect(vocabulary.types[vocabulary.typeOfGroupResource[vocabulary.resource(resource)]!]).toBe(type);
      expect(vocabulary.types[vocabulary.typeOfResource[vocabulary.resource(type)]!]).toBe(type);
    }
    expect([...vocabulary.groupableTypes]).toEqual(Object.keys(names.groupResource!));
    expect(['WHITE_LABELING', 'PROFILE', 'DEVICE_GROUP'].map((name) => vocabulary.type(name))).toEqual([-1, -1, -1]);
    expect(['DEVICE', 'USER', 'CUSTOMER', 'TENANT', 'ROLE', 'GROUP_PERMISSION'].map((name) => vocabulary.entityTypes.has(name))).toEqual([
      true,
      false,
      false,
      false,
      false,
      false,
    ]);
  });

  test('says which operations a role may name on a resource', () => {
    expect(bits(vocabulary.writable.get('ALARM')!)).toEqual(['CREATE', 'READ', 'WRITE', 'DELETE']);
    expect(bits(vocabulary.writable.get('AUDIT_LOG')!)).toEqual(['READ']);
    expect(bits(vocabulary.writable.get('DEVICE_GROUP')!)).toContain('ADD_TO_GROUP');
    expect(bits(vocabulary.writable.get('ALL')!)).toEqual(vocabulary.operations);
  });
});

describe('a bad vocabulary is refused, by the field', () => {
  const good = { operations: ['READ'], resources: ['USER', 'DEVICE', 'FLEET', 'CREW'], groupResource: { DEVICE: 'FLEET', USER: 'CREW' } };
  test('the good one is good', () => expect(compileVocabulary(good).operations).toEqual(['READ']));
  test.each<[string, unknown, string]>([
    ['null', null, 'vocabulary'],
    ['a list', [], 'vocabulary'],
    ['no operations', { ...good, operations: undefined }, 'operations'],
    ['an operation in small letters', { ...good, operations: ['read'] }, 'operations'],
    ['an operation that is no string', { ...good, operations: [1] }, 'operations'],
    ['an operation twice', { ...good, operations: ['READ', 'READ'] }, 'operations'],
    ['the wildcard as an operation', { ...good, operations: ['ALL'] }, 'operations'],
    ['32 operations', { ...good, operations: Array.from({ length: 32 }, (_, i) => `OP_${i}`) }, 'operations'],
    ['a resource twice', { ...good, resources: [...good.resources, 'USER'] }, 'resources'],
    ['the wildcard as a resource', { ...good, resources: [...good.resources, 'ALL'] }, 'resources'],
    ['an unknown operation in a set', { ...good, ownerOnlyOperations: ['FLY'] }, 'ownerOnlyOperations'],
    ['an unknown resource that is closed', { ...good, closedToCustomerUsers: ['NO_SUCH'] }, 'closedToCustomerUsers'],
    ['an unknown resource of groups', { ...good, groupResource: { DEVICE: 'NO_SUCH' } }, 'groupResource'],
    ['groups of an unknown type', { ...good, groupResource: { NO_SUCH: 'FLEET' } }, 'groupResource'],
    ['two types with one resource of groups', { ...good, groupResource: { DEVICE: 'FLEET', USER: 'FLEET' } }, 'groupResource'],
    [
      'two groupable types of one resource',
      { ...good, resources: [...good.resources, 'CARS'], entityResource: { CAR: 'DEVICE' }, groupResource: { DEVICE: 'FLEET', CAR: 'CARS' } },
      'groupResource',
    ],
    ['an entity type that is a resource too', { ...good, entityResource: { DEVICE: 'USER' } }, 'entityResource'],
    ['an entity type of an unknown resource', { ...good, entityResource: { ALARM: 'NO_SUCH' } }, 'entityResource'],
    ['an unknown resource without entities', { ...good, withoutEntity: ['NO_SUCH'] }, 'withoutEntity'],
    ['an unknown shape', { ...good, operationsByResource: { DEVICE: { shape: 'round' } } }, 'operationsByResource.DEVICE.shape'],
    ['operations of an unknown resource', { ...good, operationsByResource: { NO_SUCH: ['READ'] } }, 'operationsByResource'],
    ['nobody who asks', { ...good, resources: ['DEVICE', 'FLEET'], groupResource: { DEVICE: 'FLEET' } }, 'resources'],
  ])('%s', (_, file, field) => {
    let error: unknown;
    try {
      compileVocabulary(file);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).field).toBe(field);
    expect((error as InputError).message.length).toBeGreaterThan(field.length + 8);
  });
});
