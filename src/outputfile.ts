// How does a file come to be there whole, or not at all?
//
// It is written under another name beside its place, and takes its place when all of it is on the disk: whoever reads it meanwhile has the old one.

import { lstatSync, rmSync, type Stats } from 'node:fs';
import { lstat, open, realpath, rename, unlink, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { InputError } from 'policy-cache';

export interface OutputFile {
  write(bytes: Uint8Array | string): Promise<void>;
  /** Puts it in its place. */
  commit(): Promise<void>;
  /** Takes away what was written so far, in this turn: for the end of the process, too. Nothing happens after `commit`. */
  discard(): void;
}

/**
 * For its owner alone. `part`: of its name until then. What has this name already was left by a process that was killed, and is replaced; should
 * it be another one's that runs, that one finds out, and gives up.
 * @throws InputError naming the flag
 */
export async function openOutput(path: string, { flag, part }: { readonly flag: string; readonly part: string }): Promise<OutputFile> {
  const refused = (error: unknown): InputError => new InputError(flag, `${path} cannot be written: ${error instanceof Error ? error.message : String(error)}`);
  const place = await placeOf(path).catch((error: unknown) => Promise.reject(refused(error)));
  const partial = `${place}.${part}.partial`;
  // Never what is there, nor where a link leads: a new file, or none.
  const create = (): Promise<FileHandle> => open(partial, 'wx', 0o600);
  const file = await create()
    .catch((error: NodeJS.ErrnoException) => (error.code === 'EEXIST' ? unlink(partial).then(create) : Promise.reject(error)))
    .catch((error: unknown) => Promise.reject(refused(error)));
  const own = await file.stat();
  const isOwn = (found: Stats | undefined): boolean => found?.ino === own.ino && found.dev === own.dev;
  let there = true;
  const discard = (): void => {
    if (!there) return;
    there = false;
    if (isOwn(lstatSync(partial, { throwIfNoEntry: false }))) rmSync(partial);
    void file.close().catch(() => undefined); // what is in it is gone
  };
  return {
    async write(bytes) {
      try {
        // writeFile goes on where a write ends short.
        await file.writeFile(bytes);
      } catch (error) {
        throw refused(error);
      }
    },
    async commit() {
      try {
        await file.sync();
        if (!isOwn(await lstat(partial))) throw new Error('another process writes it at the same time');
        await file.close();
        await rename(partial, place);
        there = false;
        await syncDirectory(dirname(place));
      } catch (error) {
        throw refused(error);
      }
    },
    discard,
  };
}

/** The new name is on the disk, too. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Where a link leads; a device or a pipe would be replaced by a file. */
async function placeOf(path: string): Promise<string> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? null : Promise.reject(error)));
  if (found === null) return path;
  const place = found.isSymbolicLink() ? await realpath(path) : path;
  if (!(await lstat(place)).isFile()) throw new Error('it is there, and no file');
  return place;
}
