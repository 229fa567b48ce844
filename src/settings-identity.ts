// Which issuers of tokens are there, beside ThingsBoard, and by which header may a proxy say who asks?

import { z } from 'zod';
import { urlProblem } from './issuers/download.ts';
import { ALGORITHMS } from './issuers/jwks.ts';
import { duration, flag, list, partsOf, split } from './setting-kinds.ts';

const NAME = 'must be a name of 1 to 60 letters, digits, dots, dashes or underscores';
const ISSUER = 'must be the URL that its tokens name as `iss`, byte for byte';
const AUDIENCE = 'must be what its tokens for this service name as `aud`, one text or a list; without one, tokens for any other service would do';
const CLAIM = 'must be the name of a claim';
const LIST_OF_ALGORITHMS = `must be a list of ${ALGORITHMS.join(', ')}`;
const FIELDS = 'name, issuer, audience, tenants, jwksUri, algorithms, subjectClaim, clockTolerance, refreshInterval, cooldown, maxKeyAge, insecureHttp';

const issuer = z
  .strictObject(
    {
      name: z
        .string(NAME)
        .regex(/^[A-Za-z0-9._-]{1,60}$/, NAME)
        .refine((name) => name !== 'thingsboard', 'is that of the issuer which is always there; choose another'),
      issuer: z.string(ISSUER).min(1, ISSUER),
      audience: z.preprocess(split, z.array(z.string(AUDIENCE).min(1, AUDIENCE), AUDIENCE).min(1, AUDIENCE)),
      tenants: list,
      jwksUri: z.string('must be the URL of its keys').optional(),
      algorithms: z
        .preprocess(split, z.array(z.enum(ALGORITHMS, LIST_OF_ALGORITHMS), LIST_OF_ALGORITHMS).min(1, LIST_OF_ALGORITHMS))
        .default(['RS256', 'ES256', 'EdDSA']),
      subjectClaim: z.string(CLAIM).min(1, CLAIM).default('sub'),
      clockTolerance: duration(0, 300_000).default(0),
      refreshInterval: duration(1_000, 86_400_000).default(300_000),
      cooldown: duration(1_000, 3_600_000).default(10_000),
      maxKeyAge: duration(1_000, 31 * 86_400_000).default(86_400_000),
      insecureHttp: flag.default(false),
    },
    { error: (problem) => (problem.code === 'unrecognized_keys' ? `has no ${problem.keys.join(', ')}; known are ${FIELDS}` : `must be an issuer: ${FIELDS}`) },
  )
  .superRefine((value, context) => {
    const say = (field: 'issuer' | 'jwksUri' | 'maxKeyAge', message: string): void => context.addIssue({ code: 'custom', message, path: [field] });
    const problem = urlProblem(value.issuer, value.insecureHttp) ?? (value.issuer.includes('?') ? 'must have no query' : null);
    if (problem !== null) say('issuer', problem);
    const keys = value.jwksUri === undefined ? null : urlProblem(value.jwksUri, value.insecureHttp);
    if (keys !== null) say('jwksUri', keys);
    if (value.maxKeyAge < value.refreshInterval) say('maxKeyAge', 'must not be shorter than refreshInterval: between two fetches no token could be judged');
  });

const ISSUERS = 'must be a list of issuers, each with name, issuer, audience and tenants; in the environment as JSON';

export const oidcIssuers = z
  .preprocess(
    partsOf,
    z.array(issuer, ISSUERS).superRefine((issuers, context) => {
      for (const field of ['name', 'issuer'] as const)
        issuers.forEach((each, i) => {
          const first = issuers.findIndex((other) => other[field] === each[field]);
          if (first < i) context.addIssue({ code: 'custom', message: `is that of identity.oidc[${first}] too; each has its own`, path: [i, field] });
        });
    }),
  )
  .default([]);

/** What a door reads itself, what it answers with, and what a server between takes away or adds. */
const TAKEN =
  /^(?:authorization|x-authorization|cookie|origin|host|forwarded|x-(?:forwarded|original|auth|authz|rewrite)-.*|x-request-id|x-http-method(?:-override)?|x-method-override|access-control-.*|content-.*|connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|expect|via|sec-.*)$/;
const HEADER = 'must be the name of a header, as X-Client-Id: letters, digits and dashes';

export const subjectHeader = z
  .string(HEADER)
  .regex(/^[A-Za-z][A-Za-z0-9-]{0,99}$/, HEADER)
  .refine((name) => !TAKEN.test(name.toLowerCase()), 'has a meaning of its own at a door or on the way to it; choose a name that nothing else uses');
