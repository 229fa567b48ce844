// What does a mail with a link say?
//
// Plain text alone: every program shows it, and nothing in it is where it does not seem to be.

import type { Mail } from './mailer.ts';

export interface MailWords {
  readonly subject: string;
  readonly text: string;
}

const WHEN = new Intl.DateTimeFormat('en-GB', { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' });

export function mailWords({ to, kind, link, expires }: Mail): MailWords {
  const { host, href } = new URL(link);
  const ends = `${WHEN.format(new Date(expires))} UTC`;
  const [subject, asked, unasked] = wordsOf(kind, to, host);
  return { subject, text: [asked, '', href, '', `The link can be used once, until ${ends}.`, unasked, ''].join('\n') };
}

function wordsOf(kind: Mail['kind'], to: string, host: string): readonly [subject: string, asked: string, unasked: string] {
  switch (kind) {
    case 'activation':
      return [
        `Set your password for ${host}`,
        `At ${host} there is an account for ${to}. Set its password here:`,
        'If you do not know what this is about, you need not do anything.',
      ];
    case 'reset':
      return [
        `Set a new password for ${host}`,
        `Somebody, we hope you, has forgotten the password of ${to} at ${host}.\nSet a new one here:`,
        'If it was not you, you need not do anything: the password stays as it is.',
      ];
    default:
      return kind satisfies never;
  }
}
