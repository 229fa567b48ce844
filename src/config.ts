// What are the settings of this process, where does each one come from, and what is wrong with them?
//
// File < environment < flags. Nothing is guessed: an unknown key, an unknown GRANTGATE_ variable or a value that does not fit stops
// the start, and every problem is told at once with its place. The result is frozen.

import type { YAMLMap } from 'yaml';
import { isLoopback } from './loopback.ts';
import { parserWords } from './parser-words.ts';
import { partsOf, showDuration } from './setting-kinds.ts';
import { leaves, settings, type Leaf, type Settings } from './settings.ts';
import { yamlParser } from './yaml.ts';

export interface ConfigInput {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** From `--config`; else `GRANTGATE_CONFIG` of the environment. */
  readonly file?: string | undefined;
  /** From `--set`, each `path=value`. */
  readonly sets?: readonly string[];
  /** By path, below everything else: what a command would rather have as default. */
  readonly presets?: Readonly<Record<string, string>>;
  /** By path, above everything else: what a command brings itself. */
  readonly overrides?: Readonly<Record<string, string>>;
  /** @throws if there is no such file */
  readonly readFile: (path: string) => string;
}

export interface Config {
  readonly settings: DeepReadonly<Settings>;
  /** Path of a leaf → where its value came from: `default`, `preset`, `file.yaml:7`, `env NAME`, `--set`, `override`. */
  readonly sources: ReadonlyMap<string, string>;
}

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;

/** All that is wrong with the configuration, one line each. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.length === 1 ? problems[0]! : `${problems.length} problems:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.problems = problems;
  }
}

interface Found {
  readonly value: unknown;
  readonly source: string;
}
type Values = Map<string, Found>;

const LEAF: ReadonlyMap<string, Leaf> = new Map(leaves.map((leaf) => [leaf.path, leaf]));
const BRANCHES: ReadonlySet<string> = new Set(
  leaves.flatMap(({ path }) =>
    path
      .split('.')
      .slice(0, -1)
      .map((_, i, parts) => parts.slice(0, i + 1).join('.')),
  ),
);
const PREFIX = 'GRANTGATE_';
const CONFIG_VARIABLE = 'GRANTGATE_CONFIG';
/** Variables of the project's own tests, which a process that a test starts inherits. */
const OF_THE_TESTS = /^GRANTGATE_(?:REQUIRE|MODEL_STATES|STRESS_SECONDS|ABUSE_SECONDS|TEST_[A-Z_]+)$/;

/** @throws ConfigError with every problem */
export function loadConfig(input: ConfigInput): Config {
  const problems: string[] = [];
  const values: Values = new Map();
  for (const [path, value] of Object.entries(input.presets ?? {})) values.set(path, { value, source: 'preset' });
  const file = input.file ?? (input.env[CONFIG_VARIABLE] || undefined);
  if (file !== undefined) readConfigFile(file, { input, values, problems });
  readEnvironment(input, values, problems);
  readSets(input.sets ?? [], values, problems);
  for (const [path, value] of Object.entries(input.overrides ?? {})) values.set(path, { value, source: 'override' });

  const good = new Map<string, unknown>();
  for (const { path, note, schema } of leaves) {
    const found = values.get(path);
    const parsed = schema.safeParse(found?.value);
    if (parsed.success) good.set(path, parsed.data);
    else problems.push(...leafProblems({ path, note, found }, parsed.error.issues));
  }
  problems.push(...conflicts(good, (path) => values.get(path)?.source ?? 'default'));
  if (problems.length > 0) throw new ConfigError(problems);

  const sources = new Map(leaves.map(({ path }) => [path, values.get(path)?.source ?? 'default']));
  return { settings: freeze(settings.parse(nested(values))), sources };
}

interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** One line, or of a list of objects one for each part that is wrong: `identity.oidc[2].audience (…): must be …, got …`. */
function leafProblems({ path, note, found }: { path: string; note: Leaf['note']; found: Found | undefined }, issues: readonly Issue[]): string[] {
  const line = (name: string, message: string, value: unknown): string =>
    `${name} (${found?.source ?? 'default'}): ${message}${note.secret ? '' : `, got ${show(value)}`}`;
  if (!note.parts) return [line(path, issues[0]!.message, found?.value)];
  return issues.map((issue) => {
    const name = issue.path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
    return line(path + name, issue.message, partAt(partsOf(found?.value), issue.path));
  });
}

function partAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (at, key) => (typeof at === 'object' && at !== null && Object.hasOwn(at, key) ? (at as Record<PropertyKey, unknown>)[key] : undefined),
    value,
  );
}

/** What is wrong between settings that are each good. A setting that is not good itself is not looked at. */
function conflicts(good: ReadonlyMap<string, unknown>, source: (path: string) => string): string[] {
  const problems: string[] = [];
  const say = (path: string, problem: string): number => problems.push(`${path} (${source(path)}): ${problem}`);
  if (good.get('doors.port') === 'none' && good.has('doors.socket') && good.get('doors.socket') === undefined) {
    say('doors.port', "'none' leaves no door at all; set doors.socket");
  }
  for (const listener of ['doors', 'grpc', 'api'] as const) {
    const host = good.get(`${listener}.host`);
    if (typeof host === 'string' && good.get(`${listener}.insecurePublicListen`) === false && !isLoopback(host)) {
      say(
        `${listener}.host`,
        `${host} is not a loopback address; whoever reaches it is believed. Use a loopback address${listener === 'api' ? '' : ` or ${listener}.socket`}, or set ${listener}.insecurePublicListen: true`,
      );
    }
  }
  for (const [listener, other, name] of [
    ['api', 'doors', 'the doors'],
    ['grpc', 'doors', 'the doors'],
    ['api', 'grpc', 'the gRPC door'],
  ] as const) {
    const port = good.get(`${listener}.port`);
    if (typeof port === 'number' && port !== 0 && port === good.get(`${other}.port`) && good.get(`${listener}.host`) === good.get(`${other}.host`)) {
      say(`${listener}.port`, `is the port of ${name} too; give each its own`);
    }
  }
  for (const listener of ['doors', 'grpc'] as const) {
    const socket = good.get(`${listener}.socket`);
    if (good.get(`${listener}.socketGroup`) !== undefined && good.has(`${listener}.socket`) && socket === undefined) {
      say(`${listener}.socketGroup`, `means nothing without ${listener}.socket`);
    }
    if (typeof socket === 'string' && Buffer.byteLength(socket) > 107) say(`${listener}.socket`, "a Unix socket's path has at most 107 bytes");
  }
  if (typeof good.get('grpc.socket') === 'string' && good.get('grpc.socket') === good.get('doors.socket')) {
    say('grpc.socket', 'is the socket of the doors too; give each its own');
  }
  for (const listener of good.get('doors.takeOver') === true ? (['doors', 'grpc'] as const) : []) {
    const port = good.get(`${listener}.port`);
    if (typeof port === 'number' && port !== 0)
      say('doors.takeOver', `a port cannot be taken over while another process listens on it: set ${listener}.port: none`);
  }
  problems.push(...beliefs(good, source));
  return problems;
}

/** What is wrong with who is believed where. */
function beliefs(good: ReadonlyMap<string, unknown>, source: (path: string) => string): string[] {
  const problems: string[] = [];
  const say = (path: string, problem: string): number => problems.push(`${path} (${source(path)}): ${problem}`);
  const absent = (path: string): boolean => good.has(path) && good.get(path) === undefined;
  let believing = false;
  for (const listener of ['doors', 'grpc'] as const) {
    const by = good.get(`${listener}.identity`);
    if (by === undefined) continue; // not good itself
    if (by !== 'token') believing = true;
    const header = `${listener}.subjectHeader`;
    if (by === 'header' && absent(header)) say(header, `is not set, and ${listener}.identity: header means it; name the header`);
    if (by !== 'header' && good.get(header) !== undefined) say(header, `means nothing without ${listener}.identity: header`);
  }
  if (good.get('identity.local.mail.url') !== undefined) {
    const means = 'and mail is to be sent (identity.local.mail.url)';
    if (absent('identity.local.mail.from')) say('identity.local.mail.from', `is not set, ${means}; say who it is from`);
    if (absent('identity.local.linkUrl')) say('identity.local.linkUrl', `is not set, ${means}; say where the page is that its links open`);
  }
  if (believing && absent('identity.asserted.tenants'))
    say('identity.asserted.tenants', "is not set, and a listener believes its proxy; name the tenants that it may speak for, or '*'");
  return problems;
}

function readConfigFile(file: string, to: { input: ConfigInput; values: Values; problems: string[] }): void {
  let content: string;
  try {
    content = to.input.readFile(file);
  } catch (error) {
    to.problems.push(`${file}: cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    return;
  }
  const { LineCounter, isMap, isScalar, parseDocument } = yamlParser();
  const lines = new LineCounter();
  const document = parseDocument(content, { lineCounter: lines });
  const at = (offset: number | undefined): string => `${file}:${lines.linePos(offset ?? 0).line}`;
  for (const error of document.errors) to.problems.push(`${at(error.pos[0])}: ${parserWords(error.message)}`);
  if (document.errors.length > 0 || document.contents === null) return;
  if (!isMap(document.contents)) {
    to.problems.push(`${file}: must be a map of settings`);
    return;
  }
  const walk = (map: YAMLMap, prefix: string): void => {
    for (const { key, value } of map.items) {
      const name = isScalar(key) ? String(key.value) : String(key);
      const path = prefix + name;
      const place = at((key as { range?: [number, number, number] }).range?.[0]);
      const leaf = LEAF.get(path);
      if (leaf) {
        try {
          const plain = (value as { toJS?: (doc: unknown) => unknown } | null)?.toJS?.(document);
          if (plain !== null && plain !== undefined) to.values.set(path, { value: plain, source: place });
        } catch (error) {
          // Aliases that multiply beyond measure.
          to.problems.push(`${path} (${place}): ${error instanceof Error ? error.message : String(error)}`);
        }
      } else if (BRANCHES.has(path)) {
        if (isMap(value)) walk(value, `${path}.`);
        else if (!(isScalar(value) && value.value === null)) to.problems.push(`${path} (${place}): must be a map of settings`);
      } else {
        to.problems.push(`${path} (${place}): no such setting${nearest(path, [...LEAF.keys(), ...BRANCHES])}`);
      }
    }
  };
  walk(document.contents, '');
}

function readEnvironment({ env, readFile }: ConfigInput, values: Values, problems: string[]): void {
  const byName = new Map(leaves.map((leaf) => [leaf.env, leaf]));
  for (const { path, note } of leaves) {
    const value = note.alias === undefined ? undefined : env[note.alias];
    if (value) values.set(path, { value, source: `env ${note.alias}` });
  }
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(PREFIX) || name === CONFIG_VARIABLE || OF_THE_TESTS.test(name) || !value) continue;
    const leaf = byName.get(name);
    const secret = name.endsWith('_FILE') ? byName.get(name.slice(0, -'_FILE'.length)) : undefined;
    if (leaf) values.set(leaf.path, { value, source: `env ${name}` });
    else if (secret?.note.secret) readSecretFile(secret, { name, file: value, env, readFile, values, problems });
    else problems.push(`env ${name}: no such setting${nearest(name, [...byName.keys(), CONFIG_VARIABLE])}`);
  }
}

function readSecretFile(
  leaf: Leaf,
  from: { name: string; file: string; env: ConfigInput['env']; readFile: ConfigInput['readFile']; values: Values; problems: string[] },
): void {
  if (from.env[leaf.env]) {
    from.problems.push(`env ${from.name}: ${leaf.env} is set too; use one of them`);
    return;
  }
  try {
    from.values.set(leaf.path, { value: from.readFile(from.file).replace(/\r?\n$/, ''), source: `env ${from.name}` });
  } catch (error) {
    from.problems.push(`env ${from.name}: ${from.file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function readSets(sets: readonly string[], values: Values, problems: string[]): void {
  for (const set of sets) {
    const [path = '', ...rest] = set.split('=');
    if (LEAF.has(path) && rest.length > 0) values.set(path, { value: rest.join('='), source: '--set' });
    else if (rest.length === 0 || !NAME.test(path)) problems.push(`--set ${harmless(set)}: must be path=value, as --set doors.port=9191`);
    else problems.push(`--set ${path}: no such setting${nearest(path, [...LEAF.keys()])}`);
  }
}

/** What somebody may have meant as the name of a setting. Anything else may be a key, alone or behind a colon, and is not repeated. */
const NAME = /^[a-z_.]{1,60}$/i;

function harmless(set: string): string {
  return [...LEAF.keys()].find((path) => set.startsWith(path)) ?? (NAME.test(set) ? set : '…');
}

/** The settings as a YAML file with each value's source, or as an object by path; secrets blacked out. */
export function showConfig(config: Config, as: 'yaml' | 'json'): string {
  const rows = leaves.map((leaf) => ({ leaf, value: redacted(leaf, valueAt(config.settings, leaf.path)), source: config.sources.get(leaf.path)! }));
  if (as === 'json') return JSON.stringify(Object.fromEntries(rows.map(({ leaf, value, source }) => [leaf.path, { value: value ?? null, source }])), null, 2);
  const lines: string[] = [];
  let open: string[] = [];
  for (const { leaf, value, source } of rows) {
    const parts = leaf.path.split('.');
    const branch = parts.slice(0, -1);
    branch.forEach((part, depth) => {
      if (open.slice(0, depth + 1).join('.') !== branch.slice(0, depth + 1).join('.')) lines.push(`${'  '.repeat(depth)}${part}:`);
    });
    open = branch;
    const indent = '  '.repeat(branch.length);
    lines.push(
      value === undefined ? `${indent}# ${parts.at(-1)!}: not set` : `${indent}${parts.at(-1)!}: ${JSON.stringify(value)}`.padEnd(48) + ` # ${source}`,
    );
  }
  return lines.join('\n');
}

// A database's URL, stricter than it is read: where a password ends must be beyond doubt.
const HOST = String.raw`(?:\[[0-9a-fA-F:.]+\]|[\w.%-]*)(?::\d*)?`;
const DATABASE_URL = new RegExp(String.raw`^(postgres(?:ql)?:\/\/)(?:([^:@/?]*)(:[^@/?]*)?@)?(${HOST}(?:,${HOST})*)(\/[\w.%-]*)?(?:\?[^@]*)?$`);

/** A value as it may be shown: a secret never, of a database's URL all but what lets one in. */
function redacted(leaf: Leaf, value: unknown): unknown {
  if (leaf.note.time && typeof value === 'number') return showDuration(value);
  if (!leaf.note.secret || value === undefined) return value;
  const parts = leaf.note.alias && typeof value === 'string' ? DATABASE_URL.exec(value) : null;
  if (!parts) return '[secret]';
  const [, scheme, user, password, hosts = '', database = ''] = parts;
  return `${scheme}${user === undefined ? '' : `${user}${password ? ':secret' : ''}@`}${hosts}${database}`;
}

function valueAt(from: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], from);
}

function nested(values: Values): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  for (const [path, { value }] of values) {
    const parts = path.split('.');
    let at = root;
    for (const part of parts.slice(0, -1)) at = (at[part] ??= {}) as Record<string, unknown>;
    at[parts.at(-1)!] = value;
  }
  return root;
}

function freeze<T>(value: T): DeepReadonly<T> {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) Object.values(Object.freeze(value)).forEach(freeze);
  return value as DeepReadonly<T>;
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** `; did you mean …?`, if something known is near. */
function nearest(name: string, known: readonly string[]): string {
  const ranked = known
    .map((candidate) => ({ candidate, distance: editDistance(name.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best && best.distance <= Math.max(2, name.length / 4) ? `; did you mean ${best.candidate}?` : '';
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
