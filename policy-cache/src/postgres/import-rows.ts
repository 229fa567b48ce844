// What does an import take, and how does it say what is wrong?

import type { Permissions } from '../model.ts';

/** Where a row stands. A row that `defaults` made stands where its owner does. */
export interface ImportPlace {
  readonly file: string;
  /** From 1; null where the input has no lines. */
  readonly line: number | null;
  /** `users[3]`. */
  readonly path: string;
}

export type ImportRow = ImportPlace & { readonly id: string } & (
    | { readonly kind: 'tenant'; readonly label?: string }
    | { readonly kind: 'customer'; readonly owner: string; readonly label?: string; readonly groups: readonly string[] }
    | { readonly kind: 'group'; readonly owner: string; readonly type: string; readonly label?: string }
    | { readonly kind: 'user'; readonly owner: string; readonly enabled: boolean; readonly groups: readonly string[] }
    | { readonly kind: 'entity'; readonly owner: string; readonly type: string; readonly groups: readonly string[] }
    | { readonly kind: 'role'; readonly owner: string; readonly type: 'GENERIC'; readonly permissions: Permissions; readonly excluded: Permissions }
    | { readonly kind: 'role'; readonly owner: string; readonly type: 'GROUP'; readonly permissions: readonly string[] }
    | { readonly kind: 'grant'; readonly userGroup: string; readonly role: string; readonly entityGroup?: string; readonly shared: boolean }
  );

/** What is wrong (or, as a warning, odd) at one field of one row, and what to do about it. */
export interface ImportProblem extends ImportPlace {
  /** Below the row's path: `owner`, `groups[0]`. Empty: the row itself. */
  readonly field: string;
  readonly message: string;
  readonly fix: string;
}

/** `world.yaml:12: users[3].owner: there is no … (add it …)` */
export function formatImportProblem({ file, line, path, field, message, fix }: ImportProblem): string {
  const at = field === '' ? path : path === '' ? field : `${path}.${field}`;
  return `${file}${line === null ? '' : `:${line}`}: ${at === '' ? '' : `${at}: `}${message}${fix === '' ? '' : ` (${fix})`}`;
}
