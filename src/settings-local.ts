// What is there to set where users log in here, by passwords?

import { z } from 'zod';
import { mailAddress, mailUrlProblem } from './mailserver.ts';
import { duration, flag, integer, notes } from './setting-kinds.ts';

const URL_PROBLEM = 'must be the address of a page, as https://grantgate.example/v1/auth/set-password, without # and without a name and password';
const linkUrl = z.string(URL_PROBLEM).refine((given) => /^https?:\/\/[^#@\s]+$/.test(given) && URL.canParse(given), URL_PROBLEM);
const HEADER = 'must be the name of a header, as X-Real-IP: letters, digits and dashes';
const addressHeader = z.string(HEADER).regex(/^[A-Za-z][A-Za-z0-9-]{0,99}$/, HEADER);

const mailUrl = z.string('must be the URL of a mail server').superRefine((url, context) => {
  const problem = mailUrlProblem(url);
  if (problem !== null) context.addIssue({ code: 'custom', message: problem });
});
const FROM = 'must be one address, as access@example.org or Access <access@example.org>';
const mailFrom = z.string(FROM).refine((from) => mailAddress(from) !== null, FROM);

export const local = z
  .strictObject({
    enabled: flag.default(false).register(notes, {
      description:
        'Users log in here, with passwords: `/v1/auth` of the api (where `database.adminUrl` is set), and every door believes the tokens of their sessions: `Authorization: Bearer gs_…`.',
    }),
    tokenTtl: duration(60_000, 3_600_000)
      .default(900_000)
      .register(notes, { description: 'How long an access token is good; then it is renewed by the refresh token.', time: true }),
    sessionIdle: duration(60_000, 90 * 86_400_000)
      .default(7 * 86_400_000)
      .register(notes, { description: 'A session ends when it was not renewed for so long.', time: true }),
    sessionMax: duration(60_000, 365 * 86_400_000)
      .default(30 * 86_400_000)
      .register(notes, { description: 'A session ends so long after the log-in, however often it was renewed.', time: true }),
    refreshLeeway: duration(0, 60_000).default(10_000).register(notes, {
      description:
        'For so long after a renewal the refresh token before is taken once more: by whoever has lost the answer, and by a second window that asks at the same time. Whose answer comes last has the session. `0s`: never, and who asks twice is logged out.',
      time: true,
    }),
    linkTtl: duration(60_000, 30 * 86_400_000)
      .default(86_400_000)
      .register(notes, { description: 'How long a link is good by which a user sets its password. It is used once.', time: true }),
    linkUrl: linkUrl.optional().register(notes, {
      description:
        'Page that such a link opens, as `https://grantgate.example/v1/auth/set-password` (the one of the api): the secret is added as `#token=…`. Without it a link is the path alone, and none is mailed.',
    }),
    passwordLength: integer(8, 64).default(12).register(notes, { description: 'Characters that a password must have at least; at most 256.' }),
    lockAfter: integer(3, 1000).default(10).register(notes, {
      description:
        'Wrong passwords in a row after which nobody logs in by that e-mail for a minute, and twice as long each further time. Each of the eight networks (of IPv6 a /64) from which its user has logged in last has a count of its own: nobody elsewhere locks it out there.',
    }),
    lockFor: duration(60_000, 86_400_000).default(900_000).register(notes, { description: 'The longest that this takes.', time: true }),
    rate: integer(1, 1_000_000).default(120).register(notes, {
      description:
        'Requests to `/v1/auth` a minute from one address, before anything of them is read; further ones are answered with 429. Each process counts for itself.',
    }),
    addressHeader: addressHeader.optional().register(notes, {
      description:
        'Header with the address of the client, which the proxy before the api must overwrite. Default: whoever is connected, so behind a proxy all clients count as one, and whoever guesses the password of a user there locks it out (`identity.local.lockAfter`).',
    }),
    mail: z
      .strictObject({
        url: mailUrl.optional().register(notes, {
          description:
            'Mail server that sends the links: `smtp://user:password@host:587` (STARTTLS is required, but on loopback) or `smtps://…`. Without it, a link is told to whoever makes it.',
          secret: true,
        }),
        from: mailFrom.optional().register(notes, { description: 'Who that mail is from: `access@example.org` or `Access <access@example.org>`.' }),
        insecureTls: flag
          .default(false)
          .register(notes, { description: 'Send it, and the password, without TLS too, and to a server whose certificate does not prove it.' }),
      })
      .prefault({}),
  })
  .prefault({});
