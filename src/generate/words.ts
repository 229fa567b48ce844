// Which types, names and roles does a generated world choose from?
//
// Names that people have, so that whatever carries them meets letters beyond ASCII, marks that combine, and right-to-left text.

import type { Permissions } from 'policy-cache';

/** Entity types with groups, by share of a thousand entities, and how many groups an owner of n entities has. */
export interface GroupedType {
  readonly type: string;
  /** Up to this many of a thousand draws. */
  readonly until: number;
  /** Entities (of every type) from which on an owner has groups of this one. */
  readonly from: number;
  /** One group for this many. */
  readonly each: number;
  readonly most: number;
}
export const GROUPED: readonly GroupedType[] = [
  { type: 'DEVICE', until: 800, from: 8, each: 128, most: 500 },
  { type: 'ASSET', until: 920, from: 32, each: 512, most: 100 },
  { type: 'DASHBOARD', until: 950, from: 64, each: 2048, most: 20 },
  { type: 'ENTITY_VIEW', until: 970, from: 256, each: 8192, most: 10 },
  { type: 'EDGE', until: 980, from: 512, each: 16_384, most: 5 },
];

/** Types without groups that any owner has, and those that are closed to customers. */
export const UNGROUPED = [
  'ALARM',
  'DEVICE_PROFILE',
  'ASSET_PROFILE',
  'WIDGETS_BUNDLE',
  'WIDGET_TYPE',
  'SCHEDULER_EVENT',
  'BLOB_ENTITY',
  'TB_RESOURCE',
  'OTA_PACKAGE',
  'REPORT_TEMPLATE',
  'REPORT',
  'NOTIFICATION',
  'NOTIFICATION_TARGET',
  'NOTIFICATION_TEMPLATE',
  'NOTIFICATION_REQUEST',
  'NOTIFICATION_RULE',
  'OAUTH2_CLIENT',
  'DOMAIN',
  'API_KEY',
] as const;
export const OF_TENANTS = [
  'RULE_CHAIN',
  'RULE_NODE',
  'CONVERTER',
  'INTEGRATION',
  'QUEUE',
  'QUEUE_STATS',
  'API_USAGE_STATE',
  'ADMIN_SETTINGS',
  'MOBILE_APP',
  'MOBILE_APP_BUNDLE',
  'TENANT_PROFILE',
  'JOB',
  'SECRET',
  'AI_MODEL',
] as const;

export const GENERIC_ROLES: readonly [GenericRole, ...GenericRole[]] = [
  {
    name: 'technician',
    permissions: { DEVICE: ['READ', 'WRITE', 'RPC_CALL', 'READ_ATTRIBUTES', 'WRITE_ATTRIBUTES', 'READ_TELEMETRY'], ASSET: ['READ', 'READ_ATTRIBUTES'] },
    excluded: {},
  },
  {
    name: 'auditor',
    permissions: { ALL: ['READ', 'READ_CREDENTIALS', 'READ_ATTRIBUTES', 'READ_TELEMETRY'] },
    excluded: { DEVICE: ['READ_CREDENTIALS'], SECRET: ['READ'] },
  },
  {
    name: 'manager',
    permissions: { ALL: ['ALL'] },
    excluded: { ALL: ['CHANGE_OWNER', 'IMPERSONATE'], ROLE: ['CREATE', 'WRITE', 'DELETE'], GROUP_PERMISSION: ['ALL'], WHITE_LABELING: ['WRITE'] },
  },
  { name: 'designer', permissions: { DASHBOARD: ['ALL'], DASHBOARD_GROUP: ['READ', 'ADD_TO_GROUP'], ENTITY_VIEW: ['READ'] }, excluded: {} },
  {
    name: 'personnel',
    permissions: { USER: ['CREATE', 'READ', 'WRITE', 'DELETE', 'IMPERSONATE'], USER_GROUP: ['READ', 'ADD_TO_GROUP', 'REMOVE_FROM_GROUP'], PROFILE: ['ALL'] },
    excluded: { USER: ['IMPERSONATE'] },
  },
];
interface GenericRole {
  readonly name: string;
  readonly permissions: Permissions;
  readonly excluded: Permissions;
}

/** What a customer's own role is, where it has one. */
export const INSPECTOR: GenericRole = {
  name: 'inspector',
  permissions: { DEVICE: ['READ', 'READ_TELEMETRY'], ALARM: ['READ', 'WRITE'], CUSTOMER: ['READ'] },
  excluded: {},
};

export const GROUP_ROLES: readonly [GroupRole, ...GroupRole[]] = [
  { name: 'look', permissions: ['READ'] },
  { name: 'operate', permissions: ['READ', 'READ_ATTRIBUTES', 'READ_TELEMETRY', 'RPC_CALL'] },
  { name: 'edit', permissions: ['READ', 'WRITE', 'READ_ATTRIBUTES', 'WRITE_ATTRIBUTES', 'READ_TELEMETRY', 'WRITE_TELEMETRY'] },
  { name: 'own', permissions: ['ALL'] },
];
interface GroupRole {
  readonly name: string;
  readonly permissions: readonly string[];
}

type Words = readonly [string, ...string[]];

export const FIRST_NAMES: Words = [
  'Ada',
  ...['Björn', 'Chloé', 'Đorđe', 'Élodie', 'Fatima', 'Grace', 'Håkon', 'İlknur', 'João', 'Łukasz', 'Mei', 'Nnamdi', 'Олена', 'Þóra', 'Zoë'],
];
export const LAST_NAMES: Words = [
  'Ångström',
  ...['Brönte', 'Çelik', "D'Arcy", 'Đukić', 'García Márquez', 'Hopper', 'Іваненко', 'Jørgensen', 'Kovács', 'Lovelace', 'Müller', 'Nguyễn', 'O’Neill'],
  ...['Øygård', 'Santos', 'Štefánik', 'Tanaka 田中', 'Ünal', 'حداد'],
];
export const TEAMS: Words = ['Operators', 'Nachtschicht', 'Réception', 'Contractors', 'Équipe d’été', 'On call', 'Hausmeister', 'Förvaltning'];
export const TRADES: Words = [
  'Bäckerei',
  ...['Brewery', 'Clinique', 'Data centre', 'Farm', 'Harbour', 'Hôtel', 'Kraftwerk', 'Mill', 'Sägewerk', 'School', '工場', 'Łaźnia'],
];
export const PLACES: Words = [
  'Aarhus',
  ...['Besançon', 'Cluj', 'Dún Laoghaire', 'Évora', 'Göteborg', 'İzmir', 'Kraków', 'Leeds', 'Malmö', 'Nîmes', 'Одеса', 'Porto', 'Zürich'],
];
/** What things of a type are called; a type that is not here is called by its own name. */
export const THINGS: Readonly<Record<string, Words>> = {
  DEVICE: ['Meter', 'Thermostat', 'Pumpe', 'Capteur d’humidité', 'Wärmezähler', 'Ventil', 'Bomba de água', '温度計'],
  ASSET: ['Floor', 'Gebäude', 'Étage', 'Boiler room', 'Roof'],
  DASHBOARD: ['Overview', 'Énergie', 'Alarms', 'Verbrauch'],
};
