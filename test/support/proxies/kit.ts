// What must a test know of a proxy to put it between a client and an application? One kit for each program and way of asking.
//
// A kit runs the shipped files of deploy/<program> byte for byte, but for the one file that holds addresses. checklist.ts runs the
// same tests with every kit; what differs between programs is said in the kit, with the reason.

export interface Upstreams {
  /** The doors of one sidecar: the same on a Unix socket and on a port of loopback. */
  readonly socket: string;
  readonly port: number;
  /** Its gRPC listener, likewise. */
  readonly grpcSocket: string;
  readonly grpcPort: number;
  readonly applicationPort: number;
}

export interface RunningProxy {
  /** On loopback. */
  readonly port: number;
  readonly pid: number;
  /** What it wrote about errors. */
  errors(): string;
  stop(): Promise<void>;
}

export interface KitOptions {
  /** For a negative control: changes a file of the configuration, by its name in deploy/<program>. Must change something. */
  readonly spoil?: (file: string, text: string) => string;
}

export interface Kit {
  /** `nginx`, `envoy-grpc`: what a table and a test's name say. */
  readonly name: string;
  /** As the program itself says it. */
  version(): Promise<string>;
  /** The door as the decision log names it. */
  readonly protocol: string;
  /** Does it ask over the Unix socket, as shipped? */
  readonly socket: boolean;
  /** Client's status for each answer of the sidecar; `error`: it could not decide (503, UNAVAILABLE). */
  readonly statuses: { readonly unauthenticated: 401; readonly denied: 403; readonly error: number };
  /** Client's status where the sidecar ends the connection, does not answer in time, or is not there; default: `statuses.error`. */
  readonly resets?: number;
  /** null: how long it waits is its own affair, and longer than a test does. */
  readonly hangs?: number | null;
  readonly refuses?: number;
  /** What the client gets for an answer that this sidecar never gives, by its status: the matrix of the reference page. Absent for gRPC. */
  readonly matrix?: Readonly<Record<number, number>>;
  /** Does it reuse its connections under parallel load? False: they are only counted. */
  readonly pools: boolean;
  /** The application gets a target as it was sent: but for the scheme and host of a whole URL, and blanks around it. */
  readonly verbatim: boolean;
  /** Hands the trailer of a request on, and has no setting against it. An application must not take what stands there for headers. */
  readonly trailers: boolean;
  /** The form with parameters of the shipped files: `/fleet/` asks DEVICE READ, `/estate/` asks ASSET READ, both of `*`. */
  readonly constants: boolean;
  /** ... and `/api/devices/{id}` asks DEVICE READ of that id: programs that can compute a header. */
  readonly computed: boolean;
  /** A client's `X-Request-Id` must reach the sidecar and the application: tests find a decision by it. */
  start(to: Upstreams, options?: KitOptions): Promise<RunningProxy>;
}

/** A matrix: any 2xx lets the request pass, everything else is the client's answer as it stands. */
export const ANY_2XX: NonNullable<Kit['matrix']> = {
  200: 200,
  201: 200,
  204: 200,
  206: 200,
  301: 301,
  302: 302,
  304: 304,
  400: 400,
  401: 401,
  402: 402,
  403: 403,
  404: 404,
  407: 407,
  429: 429,
  451: 451,
  500: 500,
  502: 502,
  503: 503,
  504: 504,
};
