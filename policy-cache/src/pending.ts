// What is a check that waits?

import type { AccessRequest, Decision } from './model.ts';
import type { CheckOptions, CheckStatus } from './options.ts';
import type { World } from './world.ts';

export interface Pending {
  readonly request: AccessRequest;
  readonly status: CheckStatus | undefined;
  readonly options: CheckOptions;
  /** Number of the newest pull that was out or done when the check came. */
  readonly mark: number;
  readonly until: number;
  resolve(decision: Decision): void;
  reject(error: unknown): void;
  world: World | null;
  turns: number;
  waited: boolean;
  /** What it waits for: flights by name; both empty and false while it runs. */
  readonly names: Set<string>;
  pull: boolean;
  cancelDeadline: () => void;
}
