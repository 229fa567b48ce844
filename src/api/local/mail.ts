// How does a mail with a link come to a server, and what is said where it does not?
//
// A connection for each mail, at most a few at once: mails are few, and nothing that stays open has to be closed. What the server
// says is told to nobody, for a server may say again what it was told: our password, or the link.

import { domainToASCII } from 'node:url';
import { createTransport } from 'nodemailer';
import { z } from 'zod';
import { MailFailed, Violation } from '../admin/refusals.ts';
import type { Mailer } from './mailer.ts';
import { mailWords } from './mailwords.ts';

export interface MailSettings {
  readonly server: {
    readonly host: string;
    readonly port: number;
    /** TLS from the first byte. */
    readonly tls: boolean;
    /** Nothing is sent without TLS, nor to a server whose certificate does not prove it. */
    readonly proved: boolean;
    readonly login: { readonly user: string; readonly password: string } | null;
  };
  readonly from: { readonly name: string; readonly address: string };
  /** Milliseconds for a mail, from the wish to the server's word that it has it. Default: 10 s. */
  readonly limit?: number;
}

const LIMIT_MS = 10_000;
const AT_ONCE = 4;
/** Who waits longer than for these waits longer than the limit. */
const WAITING = 100;

export function createMailer({ server, from, limit = LIMIT_MS }: MailSettings): Mailer {
  const { host, port, tls, proved, login } = server;
  const transport = createTransport({
    host,
    port,
    secure: tls,
    requireTLS: proved,
    tls: { rejectUnauthorized: proved },
    ...(login === null ? {} : { auth: { user: login.user, pass: login.password } }),
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  const turns = createTurns();
  return {
    async send(mail) {
      const to = addressOf(mail.to);
      const signal = AbortSignal.timeout(limit);
      await turns.take(signal);
      try {
        await transport.sendMail({
          ...mailWords({ ...mail, to }),
          // Of objects, and the envelope beside them: nothing is left to be read as a list of addresses.
          from: { ...from },
          to: { name: '', address: to },
          envelope: { from: from.address, to: [to] },
          headers: { 'Auto-Submitted': 'auto-generated' },
          xMailer: false,
          signal,
        });
      } catch (error) {
        throw new MailFailed(signal.aborted ? TOO_LATE : wordsOf(error));
      } finally {
        turns.give();
      }
    },
  };
}

/** As browsers take it: one, without comments, quotes or lists. */
const oneAddress = z.email({ pattern: z.regexes.html5Email }).max(254);

/** Whatever a user's e-mail is: one address, or nothing is sent. */
function addressOf(email: string): string {
  // Of a domain nothing is left out on the way, as a URL would leave out what cannot be seen, or what is behind a slash.
  const [, local = '', domain = ''] = /^([^@]+)@([\p{L}\p{M}\p{N}.-]+)$/u.exec(email) ?? [];
  const address = `${local}@${domainToASCII(domain)}`;
  // Dots at odd places would need quotes.
  if (local.split('.').includes('') || !oneAddress.safeParse(address).success)
    throw new Violation('email', '5', 'the e-mail of the user is not one address that a mail can be sent to');
  return address;
}

const TOO_LATE = 'the mail server did not take the mail in time';

const CAUSES: Readonly<Record<string, string>> = {
  EDNS: 'the host of the mail server is not known',
  ESOCKET: 'the mail server cannot be reached, or does not prove who it is',
  ECONNECTION: 'the mail server has closed the connection',
  ETLS: 'the mail server offers no TLS that we could trust',
  EAUTH: 'the mail server refuses our user or password',
  EENVELOPE: 'the mail server does not take mail from us, or for this address',
};

/** Codes alone: what is behind them are the words of the server. */
function wordsOf(error: unknown): string {
  const { code, originalCode, responseCode } = error as { code?: unknown; originalCode?: unknown; responseCode?: unknown };
  const known = [code, originalCode, responseCode].filter((part) => typeof part === 'number' || (typeof part === 'string' && /^[A-Z_]{1,60}$/.test(part)));
  const words = CAUSES[String(code)] ?? 'the mail server has not taken the mail';
  return known.length === 0 ? words : `${words} (${known.join(', ')})`;
}

interface Turns {
  /** @throws MailFailed where there is none before the signal */
  take(signal: AbortSignal): Promise<void>;
  give(): void;
}

function createTurns(): Turns {
  const waiting = new Set<() => void>();
  let taken = 0;
  return {
    async take(signal) {
      if (taken < AT_ONCE) return void taken++;
      if (waiting.size >= WAITING) throw new MailFailed('too many mails are on their way; ask again in a minute');
      await new Promise<void>((resolve, reject) => {
        waiting.add(resolve);
        signal.addEventListener('abort', () => waiting.delete(resolve) && reject(new MailFailed(TOO_LATE)), { once: true });
      });
    },
    give() {
      const [next] = waiting;
      if (next === undefined) return void taken--;
      waiting.delete(next);
      next();
    },
  };
}
