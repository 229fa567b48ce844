// Who takes the mail in a test? A real SMTP server on loopback, which keeps what arrives and can be unkind.

import { readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import PostalMime, { type Email } from 'postal-mime';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { until } from './until.ts';

export interface ArrivedMail {
  readonly from: string;
  readonly to: readonly string[];
  /** Who logged in; empty: nobody. */
  readonly user: string;
  /** It came over TLS. */
  readonly secure: boolean;
  /** As it came. */
  readonly raw: string;
  /** As a program shows it. */
  readonly mail: Email;
}

export interface MailServer {
  readonly port: number;
  readonly arrived: readonly ArrivedMail[];
  /** Connections there were, and the most at once. */
  connections(): { readonly all: number; readonly most: number };
  /** Waits for the nth mail, from 0. */
  mail(n: number): Promise<ArrivedMail>;
  close(): Promise<void>;
}

export interface MailServerOptions extends Pick<SMTPServerOptions, 'onConnect' | 'onMailFrom' | 'onRcptTo' | 'onAuth' | 'onData'> {
  /** TLS from the first byte, offered by STARTTLS, or not at all (default). */
  readonly tls?: 'smtps' | 'starttls';
  /** Where its `pem` and `key` are, without that ending. */
  readonly certificate?: string;
  /** Who may send; default: everybody. */
  readonly login?: { readonly user: string; readonly password: string };
}

export async function startMailServer({ tls, certificate, login, ...handlers }: MailServerOptions = {}): Promise<MailServer> {
  const arrived: ArrivedMail[] = [];
  let all = 0;
  let open = 0;
  let most = 0;
  const [cert, key] = certificate === undefined ? [] : await Promise.all(['pem', 'key'].map((end) => readFile(`${certificate}.${end}`)));
  const server = new SMTPServer({
    secure: tls === 'smtps',
    ...(cert && key ? { cert, key } : {}),
    disabledCommands: [...(tls === 'starttls' ? [] : ['STARTTLS']), ...(login ? [] : ['AUTH'])],
    authOptional: login === undefined,
    // As a server on loopback that asks for a password and has no TLS.
    allowInsecureAuth: tls === undefined,
    disableReverseLookup: true,
    closeTimeout: 1,
    onConnect(_, done) {
      most = Math.max(most, (open += 1));
      all += 1;
      done();
    },
    onClose: () => void (open -= 1),
    onAuth({ username, password }, _, done) {
      const good = username === login?.user && password === login?.password;
      done(good ? null : new Error(`no such user ${username} with ${password}`), { user: username });
    },
    onData(stream, { envelope, user, secure }, answer) {
      const pieces: Buffer[] = [];
      stream.on('data', (piece: Buffer) => pieces.push(piece));
      stream.on('end', () => {
        const raw = Buffer.concat(pieces).toString();
        const from = envelope.mailFrom === false ? '' : envelope.mailFrom.address;
        const to = envelope.rcptTo.map(({ address }) => address);
        void PostalMime.parse(raw).then((mail) => {
          arrived.push({ from, to, user: typeof user === 'string' ? user : '', secure, raw, mail });
          answer();
        }, answer);
      });
    },
    ...handlers,
  });
  server.on('error', () => undefined); // of a connection: whoever is at its other end notices
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.server.address() as AddressInfo).port,
    arrived,
    connections: () => ({ all, most }),
    async mail(n) {
      await until(() => arrived.length > n, `mail number ${n}`);
      return arrived[n]!;
    },
    close: () => new Promise((resolve) => server.close(resolve)),
  };
}

/** The link of a mail: a line of its own. */
export function linkIn({ mail }: ArrivedMail): string {
  const links = (mail.text ?? '').split('\n').filter((line) => /^https?:/.test(line));
  if (links.length !== 1) throw new Error(`${links.length} links in: ${mail.text}`);
  return links[0]!;
}
