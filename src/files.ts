// What may be believed of a file that says who may what: settings, keys, routes, a world?
//
// Whoever can write to it decides in our place, so one that every user of the machine can write to is refused. The files that came
// with this program are read as they are (a mount may show every mode as 0777): who can change them can change this line.

import { closeSync, createReadStream, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { resolve } from 'node:path';

const WRITABLE_BY_OTHERS = 0o002;

/**
 * Reads text. `shipped`: directories of files that came with this program.
 * @throws if it cannot be read, or is not to be believed; the message says what to do
 */
export function readTrusted(path: string, shipped: readonly string[]): string {
  // One descriptor for both, or the file that is judged need not be the file that is read.
  const file = openSync(path, 'r');
  try {
    believe(path, fstatSync(file), shipped);
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

/** As `readTrusted`, piece by piece; `size` in bytes, null where it has none (a pipe). */
export function openTrusted(path: string, shipped: readonly string[]): { readonly size: number | null; readonly pieces: AsyncIterable<Uint8Array> } {
  const file = openSync(path, 'r');
  try {
    const found = fstatSync(file);
    if (found.isDirectory()) throw new Error('it is a directory');
    believe(path, found, shipped);
    return { size: found.isFile() ? found.size : null, pieces: createReadStream(path, { fd: file, highWaterMark: 64 * 1024 }) };
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

/** Of a pipe that has no name nobody else can be the writer; one that has (mkfifo) has a mode as a file has. */
function believe(path: string, found: Stats, shipped: readonly string[]): void {
  if ((found.isFile() || found.isFIFO()) && (found.mode & WRITABLE_BY_OTHERS) !== 0 && !shipped.some((directory) => resolve(path).startsWith(directory)))
    throw new Error(`every user of this machine may write to it, and so decide in your place: chmod o-w ${path}`);
}
