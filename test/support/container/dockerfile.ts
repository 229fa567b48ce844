// What does a Dockerfile say? Its stages as steps that can be done without an engine, with variables replaced. An instruction, a flag or
// a form that is not known here is an error: a step that is left out is one that nobody tried.

import { posix } from 'node:path';
import { Arg, DockerfileParser, Env, From, ModifiableInstruction, PropertyInstruction, type Instruction } from 'dockerfile-ast';

export type Step =
  | { readonly kind: 'workdir'; readonly path: string }
  | { readonly kind: 'copy'; readonly stage?: string; readonly owner: string; readonly sources: readonly string[]; readonly to: string }
  /** `caches`: directories that outlive the build and are not in the image. */
  | { readonly kind: 'run'; readonly command: string; readonly caches: readonly string[] };

export interface Stage {
  readonly name: string;
  /** `node:24.1.0-slim`, or the name of an earlier stage. */
  readonly base: string;
  readonly steps: readonly Step[];
  readonly env: Readonly<Record<string, string>>;
  readonly workdir: string;
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly healthcheck: readonly string[];
  readonly stopSignal: string;
  readonly labels: Readonly<Record<string, string>>;
}

type Building = { -readonly [K in keyof Stage]: Stage[K] } & { steps: Step[] };

export function readDockerfile(text: string): Stage[] {
  const stages: Building[] = [];
  const global: Record<string, string> = {};
  let local: Record<string, string> = {};
  for (const instruction of DockerfileParser.parse(text).getInstructions()) {
    const stage = stages.at(-1);
    if (instruction instanceof From) {
      stages.push(begin(instruction, global));
      local = {};
    } else if (instruction instanceof Arg) {
      Object.assign(stage ? local : global, argument(instruction, global));
    } else if (stage) {
      apply(stage, instruction, local);
    } else throw new Error(`${instruction.getKeyword()} before the first FROM`);
  }
  return stages;
}

function begin(from: From, variables: Readonly<Record<string, string>>): Building {
  return {
    name: from.getBuildStage() ?? 'last',
    base: replace(from.getImage() ?? '', variables),
    steps: [],
    env: {},
    workdir: '/',
    user: '0:0',
    entrypoint: [],
    cmd: [],
    healthcheck: [],
    stopSignal: 'SIGTERM',
    labels: {},
  };
}

function argument(arg: Arg, global: Readonly<Record<string, string>>): Record<string, string> {
  const name = arg.getProperty()?.getName() ?? '';
  return { [name]: arg.getProperty()?.getValue() ?? global[name] ?? '' };
}

function apply(stage: Building, instruction: Instruction, args: Readonly<Record<string, string>>): void {
  const keyword = instruction.getKeyword();
  const known = { ...args, ...stage.env };
  const raw = instruction.getArgumentsContent() ?? '';
  const values = instruction.getArguments().map((each) => replace(each.getValue(), known));
  const flags = flagsOf(instruction);
  const flag = (name: string): string | undefined => flags.find((each) => each.name === name)?.value;
  const allow = (...names: string[]): void => {
    const strange = flags.find(({ name }) => !names.includes(name));
    if (strange) throw new Error(`${keyword} --${strange.name}: not known to the tests`);
  };
  switch (keyword) {
    case 'WORKDIR':
      stage.workdir = posix.resolve(stage.workdir, values[0] ?? '');
      stage.steps.push({ kind: 'workdir', path: stage.workdir });
      break;
    case 'ENV':
    case 'LABEL':
      Object.assign(instruction instanceof Env ? stage.env : stage.labels, properties(instruction, known));
      break;
    case 'COPY': {
      allow('from', 'chown');
      const from = flag('from');
      const to = values.pop() ?? '';
      const stem = posix.resolve(stage.workdir, to);
      stage.steps.push({
        kind: 'copy',
        ...(from === undefined ? {} : { stage: from }),
        owner: flag('chown') ?? '0:0',
        sources: values,
        to: to.endsWith('/') ? `${stem}/` : stem,
      });
      break;
    }
    case 'RUN':
      allow('mount');
      stage.steps.push({ kind: 'run', command: raw, caches: flags.map(({ value }) => cacheTarget(value)) });
      break;
    case 'USER':
      stage.user = values[0] ?? '';
      break;
    case 'STOPSIGNAL':
      stage.stopSignal = values[0] ?? '';
      break;
    case 'ENTRYPOINT':
      stage.entrypoint = execForm(raw);
      break;
    case 'CMD':
      stage.cmd = execForm(raw);
      break;
    case 'HEALTHCHECK':
      allow('interval', 'timeout', 'start-period', 'start-interval', 'retries');
      stage.healthcheck = execForm(raw.replace(/^CMD\s+/, ''));
      break;
    case 'EXPOSE': // words for a reader: an engine does nothing of it
      break;
    default:
      throw new Error(`${keyword}: not known to the tests`);
  }
}

function flagsOf(instruction: Instruction): { readonly name: string; readonly value: string }[] {
  if (!(instruction instanceof ModifiableInstruction)) return [];
  return instruction.getFlags().map((flag) => ({ name: flag.getName(), value: flag.getValue() ?? '' }));
}

function properties(instruction: Instruction, known: Readonly<Record<string, string>>): Record<string, string> {
  if (!(instruction instanceof PropertyInstruction)) return {};
  return Object.fromEntries(instruction.getProperties().map((each) => [each.getName(), replace(each.getValue() ?? '', known)]));
}

/** @throws for the shell form: it would put a shell between the engine and the program */
function execForm(text: string): string[] {
  const words: unknown = JSON.parse(text);
  if (!Array.isArray(words) || !words.every((word) => typeof word === 'string')) throw new Error(`${text}: a list of words is wanted`);
  return words;
}

function cacheTarget(mount: string): string {
  const target = /^type=cache,target=(\/[^,]+)$/.exec(mount)?.[1];
  if (target === undefined) throw new Error(`RUN --mount=${mount}: not known to the tests`);
  return target;
}

function replace(text: string, variables: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$(?:\{(\w+)\}|(\w+))/g, (_, braced: string | undefined, plain: string | undefined) => variables[braced ?? plain ?? ''] ?? '');
}
