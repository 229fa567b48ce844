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

/** `label`: name or title. What is left out or undefined has its default in a new row, and stays as it is in one that is there. */
export type ImportRow = ImportPlace & {
  readonly id: string;
  readonly label?: string | undefined;
  /** One that `defaults` adds: it gives way to one that is given, or there. */
  readonly implied?: true | undefined;
} & (
    | { readonly kind: 'tenant' }
    | {
        readonly kind: 'customer';
        readonly owner: string;
        readonly groups?: readonly string[] | undefined;
        readonly details?: Readonly<Record<string, unknown>> | undefined;
      }
    | { readonly kind: 'group'; readonly owner: string; readonly type: string }
    | {
        readonly kind: 'user';
        readonly owner: string;
        readonly enabled?: boolean | undefined;
        readonly groups?: readonly string[] | undefined;
        readonly email?: string | undefined;
        readonly firstName?: string | undefined;
        readonly lastName?: string | undefined;
        readonly lastLogin?: string | undefined;
      }
    | { readonly kind: 'entity'; readonly owner: string; readonly type: string; readonly groups?: readonly string[] | undefined }
    | {
        readonly kind: 'role';
        readonly owner: string;
        readonly type: 'GENERIC';
        readonly permissions: Permissions;
        readonly excluded?: Permissions | undefined;
      }
    | { readonly kind: 'role'; readonly owner: string; readonly type: 'GROUP'; readonly permissions: readonly string[] }
    | {
        readonly kind: 'grant';
        readonly userGroup: string;
        readonly role: string;
        readonly entityGroup?: string | undefined;
        readonly shared?: boolean | undefined;
        /** The id was made from the other three: the same grant under another id is this one. */
        readonly derived?: boolean | undefined;
      }
  );

/** What is wrong (or, as a warning, odd) at one field of one row, and what to do about it. */
export interface ImportProblem extends ImportPlace {
  /** Below the row's path: `owner`, `groups[0]`. Empty: the row itself. */
  readonly field: string;
  readonly message: string;
  readonly fix: string;
  /** An id that is there already: what is stored under it and what was given for it, as rows of a file. */
  readonly stored?: string;
  readonly given?: string;
}

/** As many problems as anybody reads, in the order of the files. */
export const MOST_PROBLEMS = 100;

/** `world.yaml:12: users[3].owner: there is no … (add it …)` */
export function formatImportProblem({ file, line, path, field, message, fix, stored, given }: ImportProblem): string {
  const at = field === '' ? path : path === '' ? field : `${path}.${field}`;
  const versions = stored === undefined ? '' : `\n  stored: ${stored}\n  given:  ${given}`;
  return `${file}${line === null ? '' : `:${line}`}: ${at === '' ? '' : `${at}: `}${message}${fix === '' ? '' : ` (${fix})`}${versions}`;
}
