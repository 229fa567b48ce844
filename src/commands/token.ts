// `grantgate token`: an access token for a user, as ThingsBoard would sign it; for trying things out, and for scripts.

import { InputError, parseId } from 'policy-cache';
import { signToken } from '../issuers/thingsboard.ts';
import { print, type Context, type ExitCode } from './host.ts';
import { lifetimeOf } from './lifetime.ts';

export interface TokenOptions {
  readonly user: string;
  readonly scope: string;
  readonly ttl: string;
}

const SCOPES = ['TENANT_ADMIN', 'CUSTOMER_USER', 'SYS_ADMIN', 'REFRESH_TOKEN'] as const;

export async function tokenCommand(context: Context, options: TokenOptions): Promise<ExitCode> {
  const { signingKey, issuer } = context.config().settings.identity.thingsboard;
  if (!signingKey) throw new InputError('identity.thingsboard.signingKey', 'is not set, and it is what tokens are signed with');
  const scope = SCOPES.find((known) => known === options.scope.toUpperCase());
  if (!scope) throw new InputError('--scope', `must be one of ${SCOPES.join(', ')}, got ${JSON.stringify(options.scope)}`);
  const lifetime = lifetimeOf(options.ttl);
  const issuedAt = Math.floor(context.host.wall() / 1000);
  const token = await signToken(signingKey[0]!, {
    userId: parseId(options.user, '--user'),
    scope,
    issuedAt,
    lifetime,
    ...(issuer === undefined ? {} : { issuer }),
  });
  print(context, token, { token, user: options.user, scope, expires: new Date((issuedAt + lifetime) * 1000).toISOString() });
  return 0;
}
