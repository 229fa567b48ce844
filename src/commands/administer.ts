// `grantgate user …`, `grantgate role …`: one thing at a time, over the administration of a running service or straight on the database.

import { InputError } from 'policy-cache';
import type { AdminAnswer, AdminClient } from '../adminclient.ts';
import { COLLECTION, bodyOf, type Kind } from './administer-fields.ts';
import { printable } from '../printable.ts';
import { lifetimeOf } from './lifetime.ts';
import { print, type Context, type ExitCode } from './host.ts';
import { refusable, type ServerFlags } from './server.ts';

export interface VerbOptions extends ServerFlags, Readonly<Record<string, unknown>> {
  readonly ifMatch?: string;
  readonly owner?: string;
  readonly group?: readonly string[];
  readonly name?: string;
  readonly ttl?: string;
}

export type Verb =
  | 'list'
  | 'get'
  | 'create'
  | 'update'
  | 'delete'
  | 'move'
  | 'add'
  | 'remove'
  | 'share'
  | 'administrator'
  | 'key'
  | 'keys'
  | 'unkey'
  | 'activate'
  | 'login-as'
  | 'sessions'
  | 'end-session';

export interface Asked {
  readonly kind: Kind;
  readonly verb: Verb;
  /** What follows the verb. */
  readonly ids: readonly string[];
  readonly options: VerbOptions;
}

export async function administerCommand(context: Context, asked: Asked): Promise<ExitCode> {
  return refusable(context, asked.options, async (client) => {
    if (asked.verb === 'list') return list(context, client, asked);
    const answer = await request(client, asked);
    const { body, etag, revision } = answer;
    const text = textOf(asked, answer, client.address ?? '');
    // Of none there is nothing to say, not an empty line.
    if (context.json || text !== '') print(context, text, { ...body, ...(etag === null ? {} : { etag }), ...(revision === null ? {} : { revision }) });
    return 0;
  });
}

async function list({ host, json }: Context, client: AdminClient, { kind, options }: Asked): Promise<ExitCode> {
  const { owner, type, q, group } = options;
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ owner, type, q, group: group?.[0] })) if (typeof value === 'string') query.set(name, value);
  const path = `/v1/${COLLECTION[kind]}${query.size === 0 ? '' : `?${query.toString()}`}`;
  const all: unknown[] = [];
  for await (const row of client.items(path)) {
    if (json) all.push(row);
    else host.stdout.write(`${lineOf(row)}\n`);
  }
  if (json) host.stdout.write(`${JSON.stringify(all)}\n`);
  return 0;
}

function request(client: AdminClient, { kind, verb, ids, options }: Asked): Promise<AdminAnswer> {
  const [id, ...rest] = ids;
  const collection = `/v1/${COLLECTION[kind]}`;
  const at = `${collection}/${verb === 'create' ? '' : segment(id)}`;
  const match = options.ifMatch === undefined ? {} : { ifMatch: options.ifMatch };
  const many = isOfMany({ verb, ids });
  if (many && options.ifMatch !== undefined) throw new InputError('--if-match', 'is the tag of one thing: name one id, or leave it out');
  switch (verb) {
    case 'get':
      return client.call('GET', at);
    case 'create':
      return client.call('POST', collection, { body: { ...(id === undefined ? {} : { id }), ...bodyOf(kind, options, false) } });
    case 'update': {
      const body = bodyOf(kind, options, true);
      if (Object.keys(body).length === 0) throw new InputError('options', `say what is to be changed (grantgate ${kind} update --help shows what there is)`);
      if (many) return client.call('POST', `${collection}/bulk-update`, { body: { items: ids.map((each) => ({ id: each, ...body })) } });
      return client.call('PATCH', at, { body, ...match });
    }
    case 'delete':
      return client.call('DELETE', at, match);
    case 'move': {
      const to = { owner: options.owner, ...(options.group === undefined ? {} : { groups: options.group }) };
      if (many) return client.call('POST', `${collection}/bulk-owner`, { body: { ids, ...to } });
      return client.call('PUT', `${at}/owner`, { body: to, ...match });
    }
    case 'add':
      return client.call('POST', `${at}/members`, { body: { add: rest } });
    case 'remove':
      return client.call('POST', `${at}/members`, { body: { remove: rest } });
    case 'share':
      return client.call('POST', `${at}/share`, { body: { userGroup: options['userGroup'], role: options['role'] } });
    case 'administrator':
      return client.call('POST', `${at}/administrator`, {
        body: {
          ...(rest[0] === undefined ? {} : { id: rest[0] }),
          ...bodyOf('user', options, false),
          ...(options['activation'] === true ? { activation: true } : {}),
        },
      });
    case 'key':
      return client.call('POST', `${at}/keys`, {
        body: { ...(options.name === undefined ? {} : { name: options.name }), lifetime: lifetimeOf(options.ttl ?? '') },
      });
    case 'keys':
      return client.call('GET', `${at}/keys`);
    case 'unkey':
      return client.call('DELETE', `${at}/keys/${segment(rest[0])}`);
    case 'activate':
      return kind === 'tenant'
        ? client.call('POST', `${at}/administrator/${segment(rest[0])}/activation`, { body: {} })
        : client.call('POST', `${at}/activation`, { body: options['mail'] === true ? { mail: true } : {} });
    case 'login-as':
      return client.call('POST', `${at}/login`, { body: { lifetime: lifetimeOf(options.ttl ?? '') } });
    case 'sessions':
      return client.call('GET', `${at}/sessions`);
    case 'end-session':
      return client.call('DELETE', `${at}/sessions${rest[0] === undefined ? '' : `/${segment(rest[0])}`}`);
    case 'list':
      throw new Error('a list is no single request');
    default:
      return verb satisfies never;
  }
}

/** All of them, or none, in one change. */
function isOfMany({ verb, ids }: Pick<Asked, 'verb' | 'ids'>): boolean {
  return (verb === 'update' || verb === 'move') && ids.length > 1;
}

/** @throws InputError if it would be taken for another part of the path */
function segment(id = ''): string {
  if (id === '') throw new InputError('id', 'is never empty');
  if (id === '.' || id === '..') throw new InputError('id', `${JSON.stringify(id)} cannot be named in a path`);
  return encodeURIComponent(id);
}

function textOf({ verb, ids }: Asked, { body, etag, revision }: AdminAnswer, address: string): string {
  const tail = revision === null ? '' : `\nrevision ${revision}`;
  if (isOfMany({ verb, ids })) return (body['items'] as readonly Readonly<Record<string, unknown>>[]).map(lineOf).join('\n') + tail;
  if (verb === 'delete') return `removed ${ids[0] ?? ''}${tail}`;
  if (verb === 'unkey') return `removed ${ids[1] ?? ''}${tail}`;
  // Alone, so that it can be put where a token is wanted: GRANTGATE_CLIENT_TOKEN=$(grantgate user login-as ben)
  if (verb === 'login-as') return String(body['accessToken']);
  // Without identity.local.linkUrl it is the path alone: of the listener that was asked.
  const link = String(body['link']).replace(/^\//, `${address}/`);
  if (verb === 'activate') return `${body['mailed'] === true ? 'mailed' : link}\ngood until ${String(body['expires'])}${tail}`;
  if (verb === 'end-session') return `${String(body['removed'])} ended${tail}`;
  if (verb === 'keys' || verb === 'sessions') return (body['items'] as readonly Readonly<Record<string, unknown>>[]).map(lineOf).join('\n');
  if (verb === 'add' || verb === 'remove') return `${String(body['added'])} added, ${String(body['removed'])} removed${tail}`;
  // The tag is what --if-match takes.
  return lineOf(body) + (etag === null ? '' : `\netag ${etag}`) + tail;
}

/** The id, then the other fields. */
function lineOf({ id, ...fields }: Readonly<Record<string, unknown>>): string {
  const words = Object.entries(fields).map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return [String(id), ...words].map(printable).join('  ');
}
