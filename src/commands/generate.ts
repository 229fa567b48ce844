// `grantgate generate`: a world of any size, as NDJSON on stdout; the same bytes for the same numbers.

import { InputError } from 'policy-cache';
import { generateWorld } from '../generate/rows.ts';
import { MOST, MOST_MEMBERSHIPS_A_USER, shapeOf, type Shape } from '../generate/shape.ts';
import { Tally, type Summary } from '../generate/tally.ts';
import type { Context, ExitCode, Host } from './host.ts';

export interface GenerateOptions {
  readonly tenants?: string;
  readonly customers: string;
  readonly users: string;
  readonly entities: string;
  readonly memberships?: string;
  readonly seed?: string;
  readonly ids: string;
  readonly quiet?: true;
}

export async function generateCommand({ host, json }: Context, options: GenerateOptions): Promise<ExitCode> {
  const users = whole('--users', options.users, { most: MOST.users });
  const { ids } = options;
  if (ids !== 'names' && ids !== 'uuid') throw new InputError('--ids', `must be names or uuid, got ${JSON.stringify(ids)}`);
  const shape = shapeOf({
    ...(options.tenants === undefined ? {} : { tenants: whole('--tenants', options.tenants, { least: 1, most: MOST.tenants }) }),
    customers: whole('--customers', options.customers, { most: MOST.customers }),
    users,
    entities: whole('--entities', options.entities, { most: MOST.entities }),
    ...(options.memberships === undefined
      ? {}
      : {
          memberships: whole('--memberships', options.memberships, {
            most: MOST_MEMBERSHIPS_A_USER * users,
            of: `${MOST_MEMBERSHIPS_A_USER} for each of the ${users} users`,
          }),
        }),
    seed: options.seed === undefined ? Math.floor(host.random() * 0x1_0000_0000) : whole('--seed', options.seed, { most: 0xffff_ffff }),
    ids,
  });
  const started = host.wall();
  const tally = new Tally();
  const bytes = await written(host, shape, tally);
  if (bytes === null) return 0; // whoever read has read enough
  const run = { seed: shape.seed, bytes, seconds: (host.wall() - started) / 1000 };
  // A seed of chance is always told, or nobody could have this world again.
  if (options.quiet !== true) host.stderr.write(json ? `${JSON.stringify({ ...run, ...tally.of(shape) })}\n` : text(shape, run, tally.of(shape)));
  else if (options.seed === undefined) host.stderr.write(json ? `${JSON.stringify({ seed: shape.seed })}\n` : `seed ${shape.seed}\n`);
  return 0;
}

/** One write for so many characters: 64 KiB is what a pipe holds. */
const CHUNK = 65_536;

/** Bytes written; null if the reader went away. Waits for each chunk to be taken, so that a slow reader costs no memory. */
async function written({ stdout }: Host, shape: Shape, tally: Tally): Promise<number | null> {
  let bytes = 0;
  let chunk = '';
  const flush = (): Promise<boolean> => {
    bytes += Buffer.byteLength(chunk);
    return new Promise((resolve, reject) => {
      stdout.write(chunk, (problem) => {
        if (!problem) resolve(true);
        else if ((problem as NodeJS.ErrnoException).code === 'EPIPE') resolve(false);
        else reject(problem);
      });
    });
  };
  for (const row of generateWorld(shape)) {
    tally.add(row);
    chunk += `${JSON.stringify(row)}\n`;
    if (chunk.length < CHUNK) continue;
    if (!(await flush())) return null;
    chunk = '';
  }
  return (await flush()) ? bytes : null;
}

function whole(flag: string, given: string, { least = 0, most, of }: { readonly least?: number; readonly most: number; readonly of?: string }): number {
  const number = /^\d{1,15}$/.test(given) ? Number(given) : NaN;
  if (number >= least && number <= most) return number;
  throw new InputError(flag, `must be a whole number from ${least} to ${most}${of === undefined ? '' : ` (${of})`}, got ${JSON.stringify(given)}`);
}

function text(shape: Shape, { seed, bytes, seconds }: { seed: number; bytes: number; seconds: number }, summary: Summary): string {
  const { largestTenant: tenant, deepestCustomer: deepest, largestGroup: group, memberships } = summary;
  const counts = Object.entries(summary.counts).map(([kind, count]) => `${count} ${kind}`);
  const again = `--tenants ${shape.tenants} --customers ${shape.customers} --users ${shape.users} --entities ${shape.entities} --memberships ${shape.memberships}`;
  const lines = [
    `generated ${counts.join(', ')} (and six predefined objects for each tenant and customer)`,
    `memberships: ${memberships.users} of users, ${memberships.entities} of entities, ${memberships.customers} of customers`,
    `largest tenant: ${tenant.id} with ${tenant.customers} customers, ${tenant.users} users, ${tenant.entities} entities`,
    ...(deepest === null ? [] : [`deepest customer: ${deepest.id}, ${deepest.depth} below its tenant`]),
    ...(group === null ? [] : [`largest group: ${group.id} with ${group.members} members`]),
    `${summary.rows} rows, ${bytes} bytes in ${seconds.toFixed(1)} s; again: grantgate generate ${again} --ids ${shape.ids} --seed ${seed}`,
  ];
  return lines.map((line) => `${line}\n`).join('');
}
