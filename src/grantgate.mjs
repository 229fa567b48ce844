#!/usr/bin/env node
// What is `npx grantgate` in a checkout? The built program, after bringing the build in step. (npx links a package's own command
// when it is first used, and not at all if its file is missing then: so the command cannot be a built file.)

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

if (existsSync(new URL('../tsconfig.json', import.meta.url))) {
  const { build, install } = await import('./ready.mjs');
  install();
  build();
}
const program = new URL('../dist/main.js', import.meta.url);
process.argv[1] = fileURLToPath(program);
await import(program.href);
