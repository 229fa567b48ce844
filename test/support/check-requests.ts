// The checks of the gRPC suites: d1 by `admin`, who may, as Envoy would ask.

import type { CheckRequest, CheckResponse, Http } from './grpc.ts';

export interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Instead of `headers`: names may stand there more than once. */
  readonly list?: readonly (readonly [name: string, value: string])[];
  readonly context?: Readonly<Record<string, string>>;
  readonly principal?: string;
  readonly more?: Http;
}

/** Without a credential, where none is among the headers. */
export function checkRequest({ method = 'GET', path = '/api/device/d1', headers = {}, list, context, principal, more = {} }: Asked): CheckRequest {
  const said = list === undefined ? { headers } : { header_map: { headers: list.map(([key, value]) => ({ key, raw_value: Buffer.from(value, 'latin1') })) } };
  return {
    attributes: {
      ...(principal === undefined ? {} : { source: { principal } }),
      ...(context === undefined ? {} : { context_extensions: context }),
      request: { http: { ...(method === '' ? {} : { method }), ...(path === '' ? {} : { path }), ...said, ...more } },
    },
  };
}

/** What Envoy would do, in one word: the code, and the status that the client sees. Everything else of an answer is looked at elsewhere. */
export function verdictOf({ status, ok_response: ok, denied_response: denied }: CheckResponse): string {
  return `${status?.code ?? 'no'} ${ok ? 'ok' : (denied?.status?.code ?? 'nothing')}`;
}

export const ALLOWED = '0 ok';
export const DENIED = '7 403';
export const NOBODY = '16 401';

export function identityOf({ ok_response: ok }: CheckResponse): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries((ok?.headers ?? []).map(({ header }) => [header.key, header.value]));
}
