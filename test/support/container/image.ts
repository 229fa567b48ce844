// How is an image built and run where there is no container engine? Each stage is a directory; its RUN lines and its programs run in
// namespaces that show this directory in the place of the image (enter.sh), under the paths that the Dockerfile says.
//
// Of the base image only Node is the real one, by version: its libraries, and while it is built its shell and npm, are this machine's.

import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, cpSync, lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { basename, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startChild, type Child, type ChildOptions } from '../child.ts';
import type { Stage, Step } from './dockerfile.ts';

const enter = fileURLToPath(new URL('enter.sh', import.meta.url));
/** As the base image has it. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Directories of the base image that a step may write into. */
const TOP = ['opt', 'run', 'srv'];
const AUTHORITIES = '/root/authorities.pem';

export interface Place {
  /** An empty directory for everything. */
  readonly directory: string;
  /** The files that `COPY` takes without `--from`. */
  readonly context: string;
  /** The program. */
  readonly node: string;
}

export interface Image extends Stage {
  readonly place: Place;
  /** What the steps made of it: `<root>/opt/…`. */
  readonly root: string;
}

/** Does what the stages say; resolves to the last one. `log` is told what the RUN lines print. */
export function buildImage(stages: readonly Stage[], place: Place, log: (text: string) => void = () => undefined): Image {
  const images: Image[] = [];
  for (const stage of stages) {
    const image = { ...stage, place, root: join(place.directory, stage.name) };
    for (const name of TOP) mkdirSync(join(image.root, name), { recursive: true });
    let workdir = '/';
    for (const step of stage.steps) {
      if (step.kind === 'workdir') mkdirSync(join(image.root, (workdir = step.path)), { recursive: true });
      else if (step.kind === 'copy') copy(step, image, images);
      else log(run(step, { ...image, workdir }));
    }
    images.push(image);
  }
  const last = images.at(-1);
  if (last === undefined) throw new Error('no FROM');
  return last;
}

function copy({ stage, owner, sources, to }: Step & { kind: 'copy' }, image: Image, earlier: readonly Image[]): void {
  const from = stage === undefined ? image.place.context : earlier.find(({ name }) => name === stage)?.root;
  if (from === undefined) throw new Error(`COPY --from=${stage}: no such stage before`);
  const [uid = 0, gid = 0] = owner.split(':').map(Number);
  for (const source of sources) {
    const path = join(from, source);
    // The content of a directory, or the file: into a directory that is named so by its slash.
    const target = join(image.root, lstatSync(path).isFile() && to.endsWith('/') ? posix.join(to, basename(path)) : to);
    cpSync(path, target, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
    if (uid !== 0) for (const each of [target, ...below(target)]) chownSync(each, uid, gid);
  }
}

function below(path: string): string[] {
  return lstatSync(path).isDirectory() ? readdirSync(path, { recursive: true, encoding: 'utf8' }).map((name) => join(path, name)) : [];
}

function run({ command, caches }: Step & { kind: 'run' }, image: Image): string {
  const npm = (name: string): string => execFileSync('npm', ['config', 'get', name], { cwd: '/', encoding: 'utf8' }).trim();
  const authorities = process.env['NODE_EXTRA_CA_CERTS'] ?? '/dev/null';
  const volumes = [...caches.map((target) => `${npm('cache')}:${target}`), `${authorities}:${AUTHORITIES}`];
  const args = enterArguments('build', image, volumes, ['/bin/sh', '-c', command]);
  // The way to packages is this machine's: what npm fetched before is not fetched again.
  const proxies = Object.entries(process.env).filter(([name]) => /^(https?|no)_proxy$/i.test(name));
  const packages = {
    npm_config_registry: npm('registry'),
    npm_config_prefer_offline: 'true',
    NODE_EXTRA_CA_CERTS: AUTHORITIES,
    ...Object.fromEntries(proxies),
  };
  const env = { PATH, HOME: '/root', ...packages, ...image.env };
  const { status, stdout, stderr } = spawnSync('unshare', args, { env, encoding: 'utf8', maxBuffer: 64 << 20 });
  if (status !== 0) throw new Error(`RUN ${command}\nexit ${status}\n${stdout}${stderr}`);
  return stdout + stderr;
}

export interface Container {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** `host:container`; what they cover must be there in the image. */
  readonly volumes?: readonly string[];
  readonly line?: ChildOptions['line'];
}

/** As `docker run --read-only --cap-drop ALL --security-opt no-new-privileges --network host`, by the image's user. */
export function startContainer(image: Image, { command, env = {}, volumes = [], line }: Container): Child {
  const [uid = '', gid = ''] = image.user.split(':');
  const restricted = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs', ...command];
  return startChild('unshare', enterArguments('run', image, volumes, restricted), {
    env: { PATH, ...image.env, ...env },
    ...(line === undefined ? {} : { line }),
  });
}

let views = 0;

function enterArguments(use: 'build' | 'run', image: Image, volumes: readonly string[], command: readonly string[]): string[] {
  const view = join(image.place.directory, `view-${views++}`);
  mkdirSync(view);
  return ['--mount', 'sh', enter, use, view, image.root, image.place.node, image.workdir, ...volumes, '--', ...command];
}
