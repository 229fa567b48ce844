// Is the memory source a source?

import { randomUUID } from 'node:crypto';
import { describe } from 'vitest';
import { MemorySource } from '../src/memory.ts';
import { insertWhole, type Tables } from '../src/tables.ts';
import type { WorldFile } from '../src/worldfile.ts';
import { sourceConformance, type Write } from './source.conformance.ts';

function apply(tables: Tables, write: Write): void {
  switch (write.do) {
    case 'insert':
      return write.world.tenants.length > 0 ? insertWhole(tables, write.world) : insertBelow(tables, write.world);
    case 'addMember':
      return tables.addMember(write.member, write.group);
    case 'removeMember':
      return tables.removeMember(write.member, write.group);
    case 'changeOwner':
      return tables.changeOwner(write.id, write.owner);
    case 'setEnabled':
      return tables.setEnabled(write.user, write.enabled);
    case 'editRole':
      return tables.editRole(write.id, { permissions: write.permissions, excluded: {} });
    case 'setShared':
      return tables.setShared(write.grant, write.shared);
    case 'remove':
      return tables.remove(write.id);
    case 'insertKey':
    case 'updateKey':
      return tables.setKey(write.key);
    case 'removeKey':
      return tables.removeKey(write.hash);
    case 'touchEverything':
      throw new Error('not a write to tables');
    default:
      return write satisfies never;
  }
}

/** Rows below owners that are there. */
function insertBelow(tables: Tables, { customers, users, entities }: WorldFile): void {
  for (const customer of customers) tables.addCustomer(customer);
  for (const user of users) tables.addUser(user);
  for (const entity of entities) tables.addEntity(entity);
}

describe('memory', () => {
  sourceConformance(async () => {
    const memory = new MemorySource({ newId: randomUUID });
    return {
      source: memory,
      commit: async (...writes) =>
        writes[0]?.do === 'touchEverything' ? memory.touch('*') : memory.commit((tables) => writes.forEach((write) => apply(tables, write))),
      trim: async () => memory.trim(memory.revision.version),
      async endSessions() {
        memory.stop();
        memory.restart();
      },
      close: async () => undefined,
    };
  });
});
