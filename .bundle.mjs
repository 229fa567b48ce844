// How do the program and its packages become few files? The second half of the build, after tsc, which keeps every module of ours in dist, for tests and benches.
//
// [measured] A start loads 280 modules of ours and of packages, each found, read and linked by itself: a quarter to a third of the time to ready
// (`npm run bench:scale -- --only start`). What is loaded late is a file of its own, as before. Nothing is minified: a stack trace is read as it stands.
//
// A file beside ours is found by its place (`import.meta.url`) from src/main.ts, src/worker.ts and src/commands/ alone: dist/main.js, dist/worker.js and
// dist/program/ lie as deep. From elsewhere by the name of its package.

import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';

const at = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));

rmSync(at('dist/program'), { recursive: true, force: true }); // files of an older build, under other names
await build({
  cwd: at('.'),
  input: ['src/main.ts', 'src/worker.ts'],
  platform: 'node',
  external: ['@node-rs/argon2'], // it finds its binary beside itself
  resolve: { mainFields: ['module', 'main'] }, // OpenTelemetry's modules for bundlers: of the others nothing can be left out
  output: { dir: 'dist', format: 'esm', sourcemap: true, entryFileNames: '[name].js', chunkFileNames: 'program/[name].js' },
});
