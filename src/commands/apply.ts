// `grantgate apply` and `diff`: what is there becomes what the files say. The plan is shown first, and asked about.

import { InputError } from 'policy-cache';
import { formatImportProblem, type ImportRow } from 'policy-cache/postgres';
import type { AdminClient } from '../adminclient.ts';
import { LISTS, planOf, type List, type Plan, type Row, type Step, type StoredWorld } from '../applyplan.ts';
import { loadVocabulary } from '../policy.ts';
import { worldRows } from '../worldstream.ts';
import type { Context, ExitCode } from './host.ts';
import { clientOf, refusable, type ServerFlags } from './server.ts';

export interface ApplyFlags extends ServerFlags {
  readonly file: readonly string[];
  readonly prune?: boolean;
  readonly yes?: boolean;
}

export async function diffCommand(context: Context, flags: ApplyFlags): Promise<ExitCode> {
  return refusable(context, async () => {
    const { plan } = await planned(context, flags);
    show(context, plan);
    return plan.steps.length === 0 ? 0 : 1;
  });
}

export async function applyCommand(context: Context, flags: ApplyFlags): Promise<ExitCode> {
  const { host, json } = context;
  return refusable(context, async () => {
    const { client, plan } = await planned(context, flags);
    if (!json || plan.steps.length === 0) show(context, plan);
    if (plan.steps.length === 0) return 0;
    if (flags.yes !== true && !(await agreed(context))) {
      host.stderr.write('nothing was changed\n');
      return 1;
    }
    let done = 0;
    let revision: string | null = null;
    try {
      for (const steps of batchesOf(plan.steps)) {
        revision = (await make(client, steps)) ?? revision;
        done += steps.length;
      }
    } catch (error) {
      host.stderr.write(`grantgate: ${done} of ${plan.steps.length} steps are done, the rest is not; mend what is said next and apply again\n`);
      throw error;
    }
    host.stdout.write(
      json
        ? `${JSON.stringify({ steps: plan.steps, applied: done, revision })}\n`
        : `applied ${done} step${done === 1 ? '' : 's'}; revision ${revision ?? '-'}\n`,
    );
    return 0;
  });
}

async function planned(context: Context, flags: ApplyFlags): Promise<{ readonly client: AdminClient; readonly plan: Plan }> {
  const { host } = context;
  if (flags.file.filter((file) => file === '-').length > 0 && flags.yes !== true)
    throw new InputError('--file', '- is standard input, and nobody could be asked then: say --yes, or name a file');
  const { settings } = context.config();
  const vocabulary = loadVocabulary({ vocabulary: settings.vocabulary.file, readFile: host.readFile });
  const inputs = flags.file.map((file) => ({ file: file === '-' ? 'standard input' : file, pieces: file === '-' ? host.stdin : opened(file, host.openFile) }));
  const worlds = worldRows(inputs, { vocabulary });
  const rows: ImportRow[] = [];
  for await (const piece of worlds.rows) for (const row of piece) rows.push(row);
  const { problems, omitted } = worlds.read();
  if (problems.length > 0)
    throw new InputError('--file', [...worlds.withFieldLines(problems).map(formatImportProblem), ...(omitted > 0 ? [`… and ${omitted} more`] : [])].join('\n'));
  const client = clientOf(context, flags);
  const { world, operator, caller } = await storedWorld(client);
  const whole = planOf(rows, world, { prune: flags.prune === true, caller });
  // A file may tell of the tenant that it is of; only the operator could change it.
  const plan = operator ? whole : { ...whole, steps: whole.steps.filter(({ list, kind }) => list !== 'tenants' || kind !== 'update') };
  if (plan.problems.length > 0)
    throw new InputError('--file', plan.problems.map(({ row, field, message }) => formatImportProblem({ ...row, field, message, fix: '' })).join('\n'));
  return { client, plan };
}

function opened(file: string, openFile: Context['host']['openFile']): AsyncIterable<Uint8Array> {
  try {
    return openFile(file).pieces;
  } catch (error) {
    throw new InputError('--file', `${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** All that the caller may read: of the operator, tenants alone. */
async function storedWorld(client: AdminClient): Promise<{ readonly world: StoredWorld; readonly operator: boolean; readonly caller: string }> {
  const { body: me } = await client.call('GET', '/v1/me');
  const world = Object.fromEntries(LISTS.map((list) => [list, new Map<string, Row>()])) as Record<List, Map<string, Row>>;
  const operator = me['kind'] === 'operator';
  const lists = operator ? (['tenants'] as const) : LISTS.filter((list) => list !== 'tenants');
  for (const list of lists) for await (const row of client.items(`/v1/${list}`)) world[list].set(String(row['id']), row);
  if (!operator) world.tenants.set(String(me['tenant']), { id: me['tenant'] });
  return { world, operator, caller: String(me['subject']) };
}

/** So many of one kind are one change: one transaction, one revision. Of large rows fewer: a request has 8 MiB at the most. */
const BATCH = 1000;
const BATCH_CHARACTERS = 1_000_000;
/** Of 255 bytes each. */
const MEMBERS = 10_000;

export function* batchesOf(steps: readonly Step[]): Generator<readonly Step[]> {
  let batch: Step[] = [];
  let characters = 0;
  for (const step of steps) {
    const [first] = batch;
    const joins = first !== undefined && first.kind === step.kind && first.list === step.list && (step.kind === 'create' || step.kind === 'delete');
    // Customers one by one: what owns another is there before it.
    if (!joins || step.list === 'customers' || step.list === 'tenants' || batch.length >= BATCH || characters >= BATCH_CHARACTERS) {
      if (batch.length > 0) yield batch;
      batch = [];
      characters = 0;
    }
    batch.push(step);
    characters += JSON.stringify(step).length;
  }
  if (batch.length > 0) yield batch;
}

/** @returns the revision of it */
async function make(client: AdminClient, steps: readonly Step[]): Promise<string | null> {
  const [step] = steps;
  if (step === undefined) return null;
  const at = `/v1/${step.list}/${encodeURIComponent(step.id)}`;
  const one = steps.length === 1;
  switch (step.kind) {
    case 'create': {
      const items = steps.flatMap((each) => (each.kind === 'create' ? [each.row] : []));
      return (await client.call('POST', one ? `/v1/${step.list}` : `/v1/${step.list}/bulk`, { body: one ? items[0] : { items } })).revision;
    }
    case 'share': {
      const { entityGroup, ...body } = step.row;
      return (await client.call('POST', `/v1/groups/${encodeURIComponent(String(entityGroup))}/share`, { body })).revision;
    }
    case 'move':
      return (await client.call('PUT', `${at}/owner`, { body: { owner: step.owner, groups: step.groups } })).revision;
    case 'update':
      return (await client.call('PATCH', at, { body: step.change })).revision;
    case 'members': {
      let revision: string | null = null;
      for (let from = 0; from < Math.max(step.add.length, step.remove.length); from += MEMBERS) {
        const [add, remove] = [step.add, step.remove].map((ids) => ids.slice(from, from + MEMBERS));
        ({ revision } = await client.call('POST', `${at}/members`, { body: { add, remove } }));
      }
      return revision;
    }
    case 'delete':
      return (one ? await client.call('DELETE', at) : await client.call('POST', `/v1/${step.list}/bulk-delete`, { body: { ids: steps.map(({ id }) => id) } }))
        .revision;
    default:
      return step satisfies never;
  }
}

const MARKS: Readonly<Record<Step['kind'], string>> = { create: '+', share: '+', move: '>', update: '~', members: '~', delete: '-' };

function show({ host, json }: Context, { steps }: Plan): void {
  if (json) return void host.stdout.write(`${JSON.stringify({ steps })}\n`);
  if (steps.length === 0) return void host.stdout.write('nothing to do: what is there is what the files say\n');
  for (const step of steps) host.stdout.write(`${MARKS[step.kind]} ${step.list.padEnd(9)} ${step.id}${wordsOf(step)}\n`);
  const count = (...kinds: readonly Step['kind'][]): number => steps.filter(({ kind }) => kinds.includes(kind)).length;
  const along = steps.reduce((sum, step) => sum + (step.kind === 'delete' ? (step.with ?? []).length : 0), 0);
  host.stdout.write(
    `${count('create', 'share')} to make, ${count('update', 'members')} to change, ${count('move')} to move, ${count('delete') + along} to remove\n`,
  );
}

function wordsOf(step: Step): string {
  switch (step.kind) {
    case 'create':
    case 'share': {
      const fields = Object.entries(step.row).filter(([name]) => name !== 'id');
      return `  ${short(Object.fromEntries(fields))}`;
    }
    case 'move':
      return `  ${step.from} → ${step.owner}`;
    case 'update':
      return `  ${Object.entries(step.change)
        .map(([field, value]) => `${field}: ${short(step.before[field])} → ${short(value)}`)
        .join('; ')}`;
    case 'members':
      return (
        [...step.add.map((id) => `  +${id}`), ...step.remove.map((id) => `  -${id}`)].slice(0, 10).join('') +
        (step.add.length + step.remove.length > 10 ? '  …' : '')
      );
    case 'delete':
      return (step.with ?? []).map((id) => `\n- ${'grants'.padEnd(9)} ${id}  goes with ${step.id}`).join('');
    default:
      return step satisfies never;
  }
}

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

/** Nothing but a yes is one: the end of the input is a no. */
async function agreed({ host }: Context): Promise<boolean> {
  host.stderr.write('apply this? [y/N] ');
  let text = '';
  const decoder = new TextDecoder();
  for await (const piece of host.stdin) {
    text += decoder.decode(piece, { stream: true });
    if (text.includes('\n')) break;
  }
  host.stdin.destroy?.();
  return /^y(es)?\s*(\n|$)/i.test(text);
}
