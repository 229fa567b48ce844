// Of which modules was a process made that a test has run? V8 lists each file that it loaded (NODE_V8_COVERAGE), and the map of each says what the build put
// together in it.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** By path, those of Node apart. @param coverage the directory that its variable named; it has ended */
export function loadedModules(coverage: string): readonly string[] {
  const reports = readdirSync(coverage).map((file) => JSON.parse(readFileSync(join(coverage, file), 'utf8')) as { result: readonly { url: string }[] });
  const files = reports.flatMap(({ result }) => result.flatMap(({ url }) => (url.startsWith('file:') ? [fileURLToPath(url)] : [])));
  return files.flatMap((file) => {
    const map = `${file}.map`;
    if (file.includes('/node_modules/') || !existsSync(map)) return [file]; // as it came, or the builder's own
    const { sources } = JSON.parse(readFileSync(map, 'utf8')) as { sources: readonly string[] };
    return sources.map((source) => resolve(dirname(file), source));
  });
}
