// What is a question that waits?

import { KEYS_ASKER, type Want } from './flights.ts';
import { lookUpKey } from './keys.ts';
import type { CheckOptions } from './options.ts';
import type { KeyEntry, World } from './world.ts';

export interface Question<T> {
  /** Decides if every piece is there and proved; null if something is missing. `waited`: not in the turn in which it was asked. */
  turn(world: World, waited: boolean): T | null;
  /** What a turn that gave null lacked. */
  missing(world: World): readonly Want[];
}

export interface Pending<T = unknown> extends Question<T> {
  readonly options: CheckOptions;
  /** Number of the newest pull that was out or done when it was asked. */
  readonly mark: number;
  readonly until: number;
  resolve(answer: T): void;
  reject(error: unknown): void;
  world: World | null;
  turns: number;
  waited: boolean;
  /** What it waits for: flights by name; both empty and false while it runs. */
  readonly names: Set<string>;
  pull: boolean;
  cancelDeadline: () => void;
}

/** Whose is the key with this hash? */
export function keyQuestion(hash: string, trace: object | undefined): Question<KeyEntry> {
  return { turn: (world) => lookUpKey(world, hash, false), missing: () => [{ kind: 'key', hash, asker: KEYS_ASKER, trace }] };
}
