// What do the settings of mail say: which server, how sure of it, and who the mail is from?

import { z } from 'zod';
import { isLoopback } from './loopback.ts';

interface Settings {
  readonly url?: string | undefined;
  readonly from?: string | undefined;
  readonly insecureTls: boolean;
}

/** As `createMailer` (api/local/mail.ts) takes them; null: no mail is sent. @throws for what config.ts lets nobody start with */
export function mailSettings({ url, from = '', insecureTls }: Settings) {
  if (url === undefined) return null;
  const server = serverOf(url);
  const sender = mailAddress(from);
  if (typeof server === 'string') throw new Error(`identity.local.mail.url ${server}`);
  if (sender === null) throw new Error('identity.local.mail.from is no address');
  // To a server on this machine nobody comes between, and its certificate is seldom one that anybody knows.
  return { server: { ...server, proved: !insecureTls && !isLoopback(server.host) }, from: sender };
}

export function mailUrlProblem(url: string): string | null {
  const server = serverOf(url);
  return typeof server === 'string' ? server : null;
}

/** As browsers take it: one, without comments, quotes or lists. */
const oneAddress = z.email({ pattern: z.regexes.html5Email }).max(254);

/** `Name <address>`, or an address alone; null: neither. */
export function mailAddress(text: string): { readonly name: string; readonly address: string } | null {
  const [, name = '', address = text] = /^([^<>"\p{Cc}]*)<([^<>]*)>$/u.exec(text) ?? [];
  return oneAddress.safeParse(address).success ? { name: name.trim(), address } : null;
}

const SUBMISSION = { 'smtp:': 587, 'smtps:': 465 } as const;
const FORM = 'must be smtp://user:password@host:port or smtps://…, with nothing behind the port';

/** A text is what is wrong with it; it has nothing of the URL in it, for that is secret. */
function serverOf(url: string) {
  if (!URL.canParse(url)) return FORM;
  const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(url);
  if ((protocol !== 'smtp:' && protocol !== 'smtps:') || hostname === '' || !/^\/?$/.test(pathname) || search !== '' || hash !== '') return FORM;
  if ((username === '') !== (password === '')) return 'must have both, user and password, or neither';
  const tls = protocol === 'smtps:';
  if (!tls && port === '465') return 'must begin with smtps: at port 465 servers expect TLS from the first byte';
  const user = decoded(username);
  const secret = decoded(password);
  if (user === null || secret === null) return 'must have user and password percent-encoded: a % in them is written %25';
  const login = user === '' ? null : { user, password: secret };
  return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: port === '' ? SUBMISSION[protocol] : Number(port), tls, login };
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
