// The same world and question under other ids.

import type { WorldFile } from 'policy-cache';
import type { Question } from './reference.ts';

export function renamedWorld(world: WorldFile, renamed: (id: string) => string): WorldFile {
  const row = <T extends { readonly id: string; readonly owner: string; readonly groups?: readonly string[] }>(old: T): T => ({
    ...old,
    id: renamed(old.id),
    owner: renamed(old.owner),
    ...(old.groups ? { groups: old.groups.map(renamed) } : {}),
  });
  return {
    ...world,
    tenants: world.tenants.map(({ id }) => ({ id: renamed(id) })),
    customers: world.customers.map(row),
    groups: world.groups.map(row),
    users: world.users.map(row),
    entities: world.entities.map(row),
    roles: world.roles.map(row),
    grants: world.grants.map((grant) => ({
      ...grant,
      id: renamed(grant.id),
      userGroup: renamed(grant.userGroup),
      role: renamed(grant.role),
      ...(grant.entityGroup === undefined ? {} : { entityGroup: renamed(grant.entityGroup) }),
    })),
  };
}

export function renamedQuestion(question: Question, renamed: (id: string) => string): Question {
  return {
    ...question,
    user: renamed(question.user),
    target: renamed(question.target),
    ...(question.owner === undefined ? {} : { owner: renamed(question.owner) }),
    ...(question.groups ? { groups: question.groups.map(renamed) } : {}),
  };
}
