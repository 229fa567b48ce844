// Which questions does the demo ask, and what is to be answered?
//
// The world is deploy/demo/smart-building.yaml. A line is what a person pastes into a terminal; `--once` runs the very same lines.

export interface DemoUser {
  readonly id: string;
  readonly scope: 'TENANT_ADMIN' | 'CUSTOMER_USER';
  readonly who: string;
}

export const USERS: readonly DemoUser[] = [
  { id: 'olga', scope: 'TENANT_ADMIN', who: 'administers Northwind, the operator of all buildings' },
  { id: 'hana', scope: 'CUSTOMER_USER', who: 'manages the Harbour Tower, a customer' },
  { id: 'leo', scope: 'CUSTOMER_USER', who: 'runs the café in the tower, a customer of that customer' },
  { id: 'ben', scope: 'CUSTOMER_USER', who: 'may look around in the tower' },
  { id: 'ivo', scope: 'CUSTOMER_USER', who: 'is a contractor of the tower, on call for heating and air' },
];

export type DemoStep =
  | { readonly kind: 'ask'; readonly text: string; readonly user: string | null; readonly method: string; readonly uri: string; readonly expect: number }
  | { readonly kind: 'sql'; readonly text: string; readonly statement: string };

export const REVOCATION = "delete from grantgate.group_permission where id = 'on-call-operates-hvac'";

export const STEPS: readonly DemoStep[] = [
  { kind: 'ask', text: "Olga reads the café's fridge, two owners below her own", user: 'olga', method: 'GET', uri: '/api/device/cafe-fridge', expect: 200 },
  { kind: 'ask', text: 'Hana reads it too: the café is her customer', user: 'hana', method: 'GET', uri: '/api/device/cafe-fridge', expect: 200 },
  { kind: 'ask', text: 'but not the boiler of the building next door', user: 'hana', method: 'GET', uri: '/api/device/mill-boiler', expect: 403 },
  { kind: 'ask', text: "Leo runs the café and sees nothing of the tower's", user: 'leo', method: 'GET', uri: '/api/device/tower-meter', expect: 403 },
  {
    kind: 'ask',
    text: "Ben sees a dashboard that the operator shared with the tower's users",
    user: 'ben',
    method: 'GET',
    uri: '/api/dashboard/energy-overview',
    expect: 200,
  },
  { kind: 'ask', text: 'and cannot delete it', user: 'ben', method: 'DELETE', uri: '/api/dashboard/energy-overview', expect: 403 },
  { kind: 'ask', text: 'Nobody in particular', user: null, method: 'GET', uri: '/api/device/tower-meter', expect: 401 },
  {
    kind: 'ask',
    text: 'A spelling of the path that servers read differently',
    user: 'olga',
    method: 'GET',
    uri: '/api/device/../device/tower-meter',
    expect: 403,
  },
  { kind: 'ask', text: 'Ivo, on call, commands the chiller', user: 'ivo', method: 'POST', uri: '/api/rpc/twoway/tower-chiller', expect: 200 },
  { kind: 'sql', text: 'The grant behind that is revoked, by plain SQL', statement: REVOCATION },
  { kind: 'ask', text: 'and the same request is refused', user: 'ivo', method: 'POST', uri: '/api/rpc/twoway/tower-chiller', expect: 403 },
];

export interface LineParts {
  /** `http://127.0.0.1:9191` */
  readonly doors: string;
  readonly tokens: ReadonlyMap<string, string>;
  /** `node dist/main.js demo`, quoted for a shell, with what finds this demo again. */
  readonly command: string;
}

/** The line as it is pasted. */
export function lineOf(step: DemoStep, { doors, tokens, command }: LineParts): string {
  if (step.kind === 'sql') return `${command} --sql ${quoted(step.statement)}`;
  const headers = [
    ...(step.user === null ? [] : [`Authorization: Bearer ${tokens.get(step.user) ?? ''}`]),
    `X-Original-Method: ${step.method}`,
    `X-Original-URI: ${step.uri}`,
  ];
  return `curl -si ${headers.map((header) => `-H ${quoted(header)}`).join(' ')} ${doors}/auth/nginx`;
}

/** One word for a POSIX shell. */
export function quoted(text: string): string {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  return text.includes("'") && !/["$`\\!]/.test(text) ? `"${text}"` : `'${text.replaceAll("'", "'\\''")}'`;
}
