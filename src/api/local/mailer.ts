// What sends the mail with a link in it? A port: who makes the link knows nothing of mail.

export interface Mail {
  /** An address, as a user's e-mail is stored: nobody has looked at it yet. */
  readonly to: string;
  /** `activation`: somebody has made the link for a user; `reset`: the user has forgotten its password. */
  readonly kind: 'activation' | 'reset';
  /** Absolute; whoever has it sets the password. */
  readonly link: string;
  /** Until then it is good, RFC 3339. */
  readonly expires: string;
}

export interface Mailer {
  /** Resolves when a server has taken it; rejects with MailFailed (../admin/refusals.ts), whose words hold no secret. */
  send(mail: Mail): Promise<void>;
}
