// `grantgate apply` and `diff`: what is there becomes what the files say. The plan is shown first, and asked about.

import { InputError, parseAllGroup } from 'policy-cache';
import { formatImportProblem, type ImportRow } from 'policy-cache/postgres';
import { AdminRefusal, type AdminClient } from '../adminclient.ts';
import { LISTS, planOf, type List, type Plan, type Row, type Step, type StoredWorld } from '../applyplan.ts';
import { printable } from '../printable.ts';
import { loadVocabulary } from '../policy.ts';
import { worldRows } from '../worldstream.ts';
import type { Context, ExitCode } from './host.ts';
import { refusable, type ServerFlags } from './server.ts';

export interface ApplyFlags extends ServerFlags {
  readonly file: readonly string[];
  readonly prune?: boolean;
  readonly yes?: boolean;
}

export async function diffCommand(context: Context, flags: ApplyFlags): Promise<ExitCode> {
  return refusable(context, flags, async (client) => {
    const plan = await planned(context, client, { ...flags, asks: false });
    show(context, plan);
    return plan.steps.length === 0 ? 0 : 1;
  });
}

export async function applyCommand(context: Context, flags: ApplyFlags): Promise<ExitCode> {
  const { host, json } = context;
  return refusable(context, flags, async (client) => {
    const plan = await planned(context, client, { ...flags, asks: flags.yes !== true });
    if (!json || plan.steps.length === 0) show(context, plan);
    // One JSON value goes to stdout, at the end; nobody says yes to what he has not seen.
    else if (flags.yes !== true) host.stderr.write(planText(plan));
    if (plan.steps.length === 0) return 0;
    if (flags.yes !== true && !(await agreed(context))) {
      host.stderr.write('nothing was changed\n');
      return 1;
    }
    let done = 0;
    let revision: string | null = null;
    try {
      for (const steps of batchesOf(plan.steps)) {
        for await (const made of makeInParts(client, steps)) {
          revision = made.revision ?? revision;
          done += made.count;
        }
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

async function planned({ config, host }: Context, client: AdminClient, flags: ApplyFlags & { readonly asks: boolean }): Promise<Plan> {
  const { asks } = flags;
  if (asks && flags.file.includes('-')) throw new InputError('--file', '- is standard input, and nobody could be asked then: say --yes, or name a file');
  const { settings } = config();
  const vocabulary = loadVocabulary({ vocabulary: settings.vocabulary.file, readFile: host.readFile });
  const inputs = flags.file.map((file) => ({ file: file === '-' ? 'standard input' : file, pieces: file === '-' ? host.stdin : opened(file, host.openFile) }));
  const worlds = worldRows(inputs, { vocabulary });
  const rows: ImportRow[] = [];
  for await (const piece of worlds.rows) for (const row of piece) rows.push(row);
  const { problems, omitted } = worlds.read();
  if (problems.length > 0)
    throw new InputError('--file', [...worlds.withFieldLines(problems).map(formatImportProblem), ...(omitted > 0 ? [`… and ${omitted} more`] : [])].join('\n'));
  const { world, operator, caller } = await storedWorld(client, rows);
  const inside = operator && client.everywhere === undefined ? rows.find(({ kind, implied }) => kind !== 'tenant' && implied !== true) : undefined;
  if (inside !== undefined) {
    const message = 'is inside of a tenant, of which the operator sees and changes nothing: ask as one of its users, or straight on the database (--direct)';
    throw new InputError('--file', formatImportProblem({ ...inside, field: '', message, fix: '' }));
  }
  const whole = planOf(rows, world, { prune: flags.prune === true, caller });
  // A file may tell of the tenant that it is of; only the operator could change it.
  const plan = operator ? whole : { ...whole, steps: whole.steps.filter(({ list, kind }) => list !== 'tenants' || kind !== 'update') };
  if (plan.problems.length > 0)
    throw new InputError('--file', plan.problems.map(({ row, field, message }) => formatImportProblem({ ...row, field, message, fix: '' })).join('\n'));
  return plan;
}

function opened(file: string, openFile: Context['host']['openFile']): AsyncIterable<Uint8Array> {
  try {
    return openFile(file).pieces;
  } catch (error) {
    throw new InputError('--file', `${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}

interface Stored {
  readonly world: StoredWorld;
  readonly operator: boolean;
  readonly caller: string;
}

/** All that the caller may read: of the operator, tenants alone; straight on the database, also what is in the tenants that the rows are about. */
async function storedWorld(client: AdminClient, rows: readonly ImportRow[]): Promise<Stored> {
  const { body: me } = await client.call('GET', '/v1/me');
  const world = Object.fromEntries(LISTS.map((list) => [list, new Map<string, Row>()])) as Record<List, Map<string, Row>>;
  const operator = me['kind'] === 'operator';
  const take = async (from: Pick<AdminClient, 'items'>, lists: readonly List[]): Promise<void> => {
    for (const list of lists) for await (const row of from.items(`/v1/${list}`)) world[list].set(String(row['id']), row);
  };
  const inside = LISTS.filter((list) => list !== 'tenants');
  await take(client, operator ? ['tenants'] : inside);
  const { everywhere } = client;
  if (everywhere !== undefined) for (const tenant of await everywhere.tenantsOf(namedIn(rows))) await take(everywhere.inTenant(tenant), inside);
  if (!operator) world.tenants.set(String(me['tenant']), { id: me['tenant'] });
  return { world, operator, caller: String(me['subject']) };
}

/** By what is there of these it is known which tenants the rows are about. */
function namedIn(rows: readonly ImportRow[]): readonly string[] {
  const rowOf = (id: string): string => parseAllGroup(id)?.owner ?? id;
  return [...new Set(rows.flatMap((row) => [row.id, ...('owner' in row ? [row.owner] : []), ...(row.kind === 'grant' ? [rowOf(row.userGroup)] : [])]))];
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
    const joins = first !== undefined && first.list === step.list && isAlike(first, step);
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

function isAlike(first: Step, step: Step): boolean {
  switch (step.kind) {
    case 'create':
    case 'delete':
      return first.kind === step.kind;
    case 'update':
      // An e-mail that one of them gives up can be another's only after that.
      return first.kind === 'update' && !('email' in step.change) && !('email' in first.change);
    case 'move':
      return first.kind === 'move' && first.owner === step.owner && first.groups.join('\n') === step.groups.join('\n');
    case 'share':
    case 'members':
      return false;
    default:
      return step satisfies never;
  }
}

/** In halves where all at once is too much: how large what is stored is, only the service knows. */
export async function* makeInParts(client: Pick<AdminClient, 'call'>, steps: readonly Step[]): AsyncGenerator<Made> {
  const made = await make(client, steps).then(
    (revision): Made => ({ count: steps.length, revision }),
    (error: unknown) => {
      if (steps.length === 1 || !(error instanceof AdminRefusal) || error.status !== 413) throw error;
      return null;
    },
  );
  if (made !== null) {
    yield made;
    return;
  }
  const half = Math.ceil(steps.length / 2);
  for (const part of [steps.slice(0, half), steps.slice(half)]) yield* makeInParts(client, part);
}
interface Made {
  readonly count: number;
  readonly revision: string | null;
}

/** @returns the revision of it */
async function make(client: Pick<AdminClient, 'call'>, steps: readonly Step[]): Promise<string | null> {
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
    case 'move': {
      const { owner, groups } = step;
      if (one) return (await client.call('PUT', `${at}/owner`, { body: { owner, groups } })).revision;
      return (await client.call('POST', `/v1/${step.list}/bulk-owner`, { body: { ids: steps.map(({ id }) => id), owner, groups } })).revision;
    }
    case 'update': {
      if (one) return (await client.call('PATCH', at, { body: step.change })).revision;
      const items = steps.flatMap((each) => (each.kind === 'update' ? [{ id: each.id, ...each.change }] : []));
      return (await client.call('POST', `/v1/${step.list}/bulk-update`, { body: { items } })).revision;
    }
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

function show({ host, json }: Context, plan: Plan): void {
  host.stdout.write(json ? `${JSON.stringify({ steps: plan.steps })}\n` : planText(plan));
}

function planText({ steps }: Plan): string {
  if (steps.length === 0) return 'nothing to do: what is there is what the files say\n';
  const lines = steps.map((step) => `${MARKS[step.kind]} ${step.list.padEnd(9)} ${printable(step.id)}${wordsOf(step)}\n`);
  const count = (...kinds: readonly Step['kind'][]): number => steps.filter(({ kind }) => kinds.includes(kind)).length;
  const along = steps.reduce((sum, step) => sum + (step.kind === 'delete' ? (step.with ?? []).length : 0), 0);
  const sum = `${count('create', 'share')} to make, ${count('update', 'members')} to change, ${count('move')} to move, ${count('delete') + along} to remove\n`;
  return lines.join('') + sum;
}

function wordsOf(step: Step): string {
  switch (step.kind) {
    case 'create':
    case 'share': {
      const fields = Object.entries(step.row).filter(([name]) => name !== 'id');
      return `  ${short(Object.fromEntries(fields))}`;
    }
    case 'move':
      return `  ${printable(step.from)} → ${printable(step.owner)}`;
    case 'update':
      return `  ${Object.entries(step.change)
        .map(([field, value]) => `${field}: ${short(step.before[field])} → ${short(value)}`)
        .join('; ')}`;
    case 'members':
      return (
        [...step.add.map((id) => `  +${printable(id)}`), ...step.remove.map((id) => `  -${printable(id)}`)].slice(0, 10).join('') +
        (step.add.length + step.remove.length > 10 ? '  …' : '')
      );
    case 'delete':
      return (step.with ?? []).map((id) => `\n- ${'grants'.padEnd(9)} ${printable(id)}  goes with ${printable(step.id)}`).join('');
    default:
      return step satisfies never;
  }
}

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return printable(text.length > 100 ? `${text.slice(0, 100)}…` : text);
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
