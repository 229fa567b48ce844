// What is a line of a generated world?

import type { GivenRows, WorldList } from 'policy-cache';

type Listed = Exclude<WorldList, 'checks'>;

export type Row = { readonly kind: 'defaults' } | { [L in Listed]: { readonly kind: L } & GivenRows[L] }[Listed];
