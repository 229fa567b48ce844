// Is each file still there that is to run first?

import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { LONGEST } from '../support/sequencer.ts';

test('every file that is named is there', () => {
  expect(LONGEST.filter((path) => !existsSync(new URL(`../../${path}`, import.meta.url)))).toEqual([]);
});
