// What does a configuration come to, of a file, an environment and flags that a test names?

import { ConfigError, loadConfig, type Config, type ConfigInput } from '../../src/config.ts';

export function load(parts: { file?: string; env?: Record<string, string>; sets?: string[]; files?: Record<string, string> }): Config {
  const files: Record<string, string> = { ...parts.files, ...(parts.file === undefined ? {} : { 'grantgate.yaml': parts.file }) };
  const input: ConfigInput = {
    env: parts.env ?? {},
    sets: parts.sets ?? [],
    file: parts.file === undefined ? undefined : 'grantgate.yaml',
    readFile: (path) => {
      if (files[path] === undefined) throw new Error('ENOENT');
      return files[path];
    },
  };
  return loadConfig(input);
}
export function problems(parts: Parameters<typeof load>[0]): readonly string[] {
  try {
    load(parts);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}
