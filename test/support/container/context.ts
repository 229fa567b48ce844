// Which files does `docker build .` send? Those of a clone, less what .dockerignore leaves out: no dist, no packages, nothing of one's own.

import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import dockerignore from '@balena/dockerignore';

/** Copies them into a directory; returns their paths. */
export function copyContext(repository: string, directory: string): string[] {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: repository, encoding: 'utf8' });
  const present = listed.split('\0').filter((path) => path !== '' && existsSync(join(repository, path)));
  const ignore = dockerignore.default().add(readFileSync(join(repository, '.dockerignore'), 'utf8'));
  const sent = ignore.filter(present);
  for (const path of sent) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    copyFileSync(join(repository, path), join(directory, path));
  }
  return sent;
}
