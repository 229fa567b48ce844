// What is a rule taken away?

import type { Patch } from './coherence.code.ts';
import type { Faults } from './coherence.database.ts';
import type { Configuration } from './coherence.steps.ts';

export interface Mutation {
  readonly rule: string;
  /** What takes it out of the code. */
  readonly patches?: readonly Patch[];
  /** What breaks it in the database. */
  readonly faults?: Faults;
  /** A small world in which that shows. */
  readonly in: Configuration;
  /** The promise that breaks first; or why none does, and the rule is there all the same. */
  readonly breaks: 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'I6' | 'I7' | { readonly none: string };
}

export const patch = (file: string, find: string, put: string): Patch => ({ file: `${file}.ts`, find, put });

/** Nothing fails and no time passes. */
export const QUIET: Configuration = { kinds: ['x'], commits: 2, without: ['tick', 'close'] };
/** Three commits, so that one key pushes another out of `touched`. */
export const THREE: Configuration = { kinds: ['x', 'u'], commits: 3, without: ['tick', 'close'] };
export const TREE: Configuration = { kinds: ['n', 'x'], commits: 2, without: ['tick', 'close'] };
export const WITH_TIME: Configuration = { kinds: ['x'], commits: 1, without: ['close', 'loss'] };
export const NO_TIME: Configuration = { kinds: ['x'], commits: 2, failOver: 'both', without: ['tick', 'loss'] };
export const LOSES: Configuration = { kinds: ['x'], commits: 2, failOver: 'loses', without: ['loss'] };
