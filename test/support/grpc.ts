// How does a test speak gRPC to a door? By a client that is none of ours (grpc-js, protobufjs), and by bare HTTP/2 for what no client sends.

import { connect, type ClientHttp2Session, type IncomingHttpHeaders, type Settings } from 'node:http2';
import { fileURLToPath } from 'node:url';
import { credentials, loadPackageDefinition, type ClientReadableStream, type ServiceDefinition, type ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

export const PROTOS = fileURLToPath(new URL('protos', import.meta.url));

export interface HeaderOption {
  readonly header: { readonly key: string; readonly value?: string; readonly raw_value?: Buffer };
  readonly append?: unknown;
  readonly append_action?: unknown;
}

/** As proto-loader gives it: what was not in the message is not in here. */
export interface CheckResponse {
  readonly status?: { readonly code?: number };
  readonly ok_response?: { readonly headers?: readonly HeaderOption[]; readonly headers_to_remove?: readonly string[] };
  readonly denied_response?: { readonly status?: { readonly code?: number }; readonly headers?: readonly HeaderOption[]; readonly body?: string };
  readonly error_response?: unknown;
  readonly dynamic_metadata?: unknown;
}

export interface Http {
  readonly id?: string;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly header_map?: { readonly headers: readonly { readonly key: string; readonly value?: string; readonly raw_value?: Buffer }[] };
  readonly body?: string;
  readonly size?: number;
}

export interface CheckRequest {
  readonly attributes?: {
    readonly source?: { readonly principal?: string };
    readonly request?: { readonly http?: Http };
    readonly context_extensions?: Readonly<Record<string, string>>;
  };
}

interface Unary<Q, A> {
  (request: Q, options: { deadline?: number }, done: (error: ServiceError | null, answer?: A) => void): void;
}
interface Codec<T> {
  (message: T): Buffer;
}
interface AuthorizationClient {
  readonly Check: Unary<CheckRequest, CheckResponse>;
  close(): void;
}
interface HealthClient {
  readonly Check: Unary<{ service?: string }, { status?: string }>;
  readonly List: Unary<object, { statuses?: Readonly<Record<string, { status?: string }>> }>;
  Watch(request: { service?: string }): ClientReadableStream<{ status?: string }>;
  close(): void;
}
interface Constructor<C, S> {
  new (address: string, security: ReturnType<typeof credentials.createInsecure>): C;
  readonly service: S;
}
interface Definitions {
  readonly envoy: {
    readonly service: {
      readonly auth: {
        readonly v3: {
          readonly Authorization: Constructor<
            AuthorizationClient,
            ServiceDefinition & {
              readonly Check: { readonly requestSerialize: Codec<CheckRequest>; readonly responseDeserialize: (bytes: Buffer) => CheckResponse };
            }
          >;
        };
      };
    };
  };
  readonly grpc: { readonly health: { readonly v1: { readonly Health: Constructor<HealthClient, unknown> } } };
}

const definitions = loadPackageDefinition(
  loadSync(['ext_authz.proto', 'health.proto'], { keepCase: true, enums: String, includeDirs: [PROTOS] }),
) as unknown as Definitions; // the generated shape of two files that stand beside this one
const { Authorization } = definitions.envoy.service.auth.v3;
const { Health } = definitions.grpc.health.v1;

/** For a server that is none of ours. */
export const AUTHORIZATION = Authorization.service;
export const CHECK = '/envoy.service.auth.v3.Authorization/Check';
export const { requestSerialize: encodeRequest, responseDeserialize: decodeResponse } = Authorization.service.Check;

/** An answer, or the status of gRPC that came instead. */
export type Told<A> = { readonly answer: A; readonly error: null } | { readonly answer: null; readonly error: number };

export interface GrpcClient {
  check(request: CheckRequest, ms?: number): Promise<Told<CheckResponse>>;
  health(service?: string): Promise<Told<{ status?: string }>>;
  list(): Promise<Told<{ statuses?: Readonly<Record<string, { status?: string }>> }>>;
  /** Everything that a watcher is told, and at last the status that ends it. */
  watch(service: string, told: (what: string | number) => void): { cancel(): void };
  close(): void;
}

/** @param at `127.0.0.1:9192` or `unix:/run/authz/grpc.sock` */
export function startGrpcClient(at: string): GrpcClient {
  const authorization = new Authorization(at, credentials.createInsecure());
  const health = new Health(at, credentials.createInsecure());
  const ask = <Q, A>(call: Unary<Q, A>, request: Q, ms: number): Promise<Told<A>> =>
    new Promise((resolve) =>
      call(request, { deadline: Date.now() + ms }, (error, answer) =>
        resolve(answer === undefined ? { answer: null, error: error?.code ?? -1 } : { answer, error: null }),
      ),
    );
  return {
    check: (request, ms = 10_000) => ask(authorization.Check.bind(authorization), request, ms),
    health: (service = '') => ask(health.Check.bind(health), { service }, 10_000),
    list: () => ask(health.List.bind(health), {}, 10_000),
    watch(service, told) {
      const stream = health.Watch({ service });
      stream.on('data', ({ status }: { status?: string }) => told(status ?? 'nothing'));
      stream.on('error', (error: ServiceError) => told(error.code));
      return { cancel: () => stream.cancel() };
    },
    close() {
      authorization.close();
      health.close();
    },
  };
}

/** A message behind its flag and its length. */
export function frame(message: Buffer, { flag = 0, length = message.length }: { flag?: number; length?: number } = {}): Buffer {
  const prefix = Buffer.from([flag, 0, 0, 0, 0]);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

export interface RawReply {
  readonly status: number;
  /** Of the trailers, or of headers without a message; null: nowhere. */
  readonly grpcStatus: number | null;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** The answer of a stream to these bytes. Rejects if it is reset, or after `ms`. */
export function call(
  session: ClientHttp2Session,
  parts: readonly Buffer[],
  { headers = {}, end = true, ms = 20_000 }: { headers?: Readonly<Record<string, string>>; end?: boolean; ms?: number } = {},
): Promise<RawReply> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': 'POST', ':path': CHECK, 'content-type': 'application/grpc', te: 'trailers', ...headers }, { endStream: false });
    const limit = setTimeout(() => stream.destroy(new Error(`no answer within ${ms} ms`)), ms);
    const body: Buffer[] = [];
    let got: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    stream.on('response', (response) => void (got = response));
    stream.on('trailers', (response: IncomingHttpHeaders) => void (trailers = response));
    stream.on('data', (part: Buffer) => body.push(part));
    stream.on('error', reject);
    stream.on('close', () => {
      clearTimeout(limit);
      const status = trailers['grpc-status'] ?? got['grpc-status'];
      if (got[':status'] === undefined) reject(new Error(`the stream ended without an answer (${stream.rstCode})`));
      else resolve({ status: Number(got[':status']), grpcStatus: status === undefined ? null : Number(status), headers: got, body: Buffer.concat(body) });
    });
    for (const part of parts) stream.write(part);
    if (end) stream.end();
  });
}

/** A connection of HTTP/2, without TLS. */
export async function connectHttp2(port: number, settings: Settings = {}): Promise<ClientHttp2Session> {
  const session = connect(`http://127.0.0.1:${port}`, { settings });
  session.on('error', () => undefined); // told by what is asked over it
  await new Promise<void>((resolve, reject) => session.once('connect', () => resolve()).once('error', reject));
  return session;
}

/** The one message of a reply, read by protobufjs. */
export function messageOf({ body }: RawReply): CheckResponse {
  if (body.length < 5 || body[0] !== 0 || body.readUInt32BE(1) !== body.length - 5) throw new Error(`not one message: ${body.toString('hex')}`);
  return decodeResponse(body.subarray(5));
}
