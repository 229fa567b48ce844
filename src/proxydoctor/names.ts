// Which headers does a client forge, and in which spellings?

/** By each of these some sidecar or some proxy is told which request is meant. */
export const ORIGINAL = ['X-Original-URI', 'X-Original-URL', 'X-Forwarded-Uri', 'X-Envoy-Original-Path', 'X-Rewrite-URL', 'X-Forwarded-Prefix'] as const;
export const ORIGINAL_METHOD = ['X-Original-Method', 'X-Forwarded-Method'] as const;
export const OVERRIDES = ['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override'] as const;

/** `-`, `_` and `.` are the same to some server between a client and an application. */
export const SPELLINGS: Readonly<Record<string, (name: string) => string>> = {
  'as it is': (name) => name,
  'in lower case': (name) => name.toLowerCase(),
  'with underscores': (name) => name.replaceAll('-', '_'),
  'with dots': (name) => name.replaceAll('-', '.'),
  'half and half': (name) => name.replace('-', '_'),
  'the other half': (name) => name.replace(/-([^-]*)$/, '_$1'),
};

export function plain(name: string): string {
  return name.toLowerCase().replace(/[_.]/g, '-');
}
