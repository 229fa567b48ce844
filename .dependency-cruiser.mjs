// Who may import whom? The table of the architecture as rules; types count as imports. test/tooling/imports.test.ts plants one
// violation of each rule, so a rule that cannot fail does not stay.

/** The core from the ground up: a file imports its own level and those below. A new file is given its place here. */
const levels = [
  ['errors'],
  ['model'],
  ['vocabulary', 'source', 'observer', 'idtable'],
  ['tree', 'recent', 'effective', 'predefined'],
  ['flatten', 'decide'],
  ['covers'],
  ['explain', 'options', 'world', 'worldrows', 'worldfile', 'worldnames', 'tables', 'placement', 'compile', 'keys', 'stores'],
  ['flights', 'follower', 'driver', 'pending'],
  ['cache', 'memory'],
  ['held'],
];

const core = (/** @type {readonly string[]} */ names) => `^policy-cache/src/(${names.join('|')})\\.ts$`;
const CORE = '^policy-cache/src/[^/]+\\.ts$';
const LIBRARY = '^policy-cache/';
const npm = (/** @type {string} */ name) => `(^|/)node_modules/${name}/`;

/** @param {string} name @param {string} comment @param {object} from @param {object} to */
const rule = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to });

const everywhere = [
  rule('no-cycle', 'A cycle has no bottom to begin reading at, and breaks by load order.', {}, { circular: true }),
  rule('no-unknown', 'An import that resolves to nothing.', {}, { couldNotResolve: true }),
  rule(
    'no-test-in-product',
    'What ships does not know its tests.',
    { path: '^(src|policy-cache/src)/' },
    { path: '^(test|policy-cache/(test|bench)|loadtest)/' },
  ),
  rule('no-tool-in-product', 'A tool is not installed where the product runs.', { path: '^(src|policy-cache/src)/' }, { dependencyTypes: ['npm-dev'] }),
  rule(
    'declared',
    'Only packages that the package names, or it works by luck.',
    { path: '^(src|policy-cache/src)/' },
    { dependencyTypes: ['npm-no-pkg', 'npm-unknown'] },
  ),
];

const library = [
  ...levels
    .slice(0, -1)
    .map((names, level) =>
      rule(`core-${names[0]}`, 'The core is read from the ground up.', { path: core(names) }, { path: CORE, pathNot: core(levels.slice(0, level + 1).flat()) }),
    ),
  rule(
    'core-place',
    'A file of the core that has no place in the levels of .dependency-cruiser.mjs.',
    { path: CORE, pathNot: core([...levels.flat(), 'index']) },
    {},
  ),
  rule('core-pure', 'The core has no host: time, I/O and environment come as parameters.', { path: CORE }, { dependencyTypes: ['core'] }),
  rule(
    'core-packages',
    'The core needs lru-cache alone.',
    { path: CORE },
    { dependencyTypes: ['npm', 'npm-dev', 'npm-optional', 'npm-peer'], pathNot: npm('lru-cache') },
  ),
  rule('core-no-postgres', 'The core does not know its database.', { path: CORE }, { path: '^policy-cache/src/postgres/' }),
  rule('memory-no-cache', 'A source does not know who caches it.', { path: core(['memory']) }, { path: core(['cache']) }),
  rule('cache-no-memory', 'The cache knows the port, not a source.', { path: core(['cache']) }, { path: core(['memory']) }),
  rule(
    'no-own-index',
    'The public face is for others; inside, one imports the file itself.',
    { path: '^policy-cache/src/' },
    { path: '^policy-cache/src/(postgres/)?index\\.ts$' },
  ),
  rule(
    'postgres-core',
    'The Postgres source speaks the model, not the cache.',
    { path: '^policy-cache/src/postgres/' },
    { path: CORE, pathNot: core(['model', 'errors', 'source', 'vocabulary', 'predefined']) },
  ),
  rule(
    'postgres-host',
    'Its only I/O is a socket (and reading our own migrations).',
    { path: '^policy-cache/src/postgres/' },
    { dependencyTypes: ['core'], pathNot: '^(node:)?(net|tls|crypto|events|stream/promises)$' },
  ),
  rule(
    'postgres-packages',
    'Its only package is the driver.',
    { path: '^policy-cache/src/postgres/' },
    { dependencyTypes: ['npm', 'npm-dev', 'npm-optional', 'npm-peer'], pathNot: npm('postgres') },
  ),
  rule('library-alone', 'The library is usable without the service.', { path: LIBRARY }, { path: '^src/' }),
];

/** Wires and starts: the parts that know everything. */
const edge = '^src/(main|cli|service|worker[^/]*|commands/[^/]+)\\.ts$';
const pipeline = '^src/(authorize|identity|opaque|pdp|problem|telemetry|report)\\.ts$';

const service = [
  rule(
    'by-name',
    'The library by package name: a path into it would bypass its public face.',
    { path: '^(src|loadtest)/' },
    { path: LIBRARY, dependencyTypesNot: ['aliased-workspace'] },
  ),
  rule(
    'by-name-tests',
    'So do tests. The executable specification, its random worlds and the model of coherence alone are no part of that face.',
    { path: '^test/' },
    { path: LIBRARY, pathNot: '^policy-cache/test/(reference|arbitraries|coherence\\.[a-z]+)\\.ts$', dependencyTypesNot: ['aliased-workspace'] },
  ),
  rule(
    'doors',
    'A door reads a request and writes an answer; what it needs is handed to it.',
    { path: '^src/doors/' },
    { path: '^src/', pathNot: ['^src/doors/', pipeline, '^src/routes\\.ts$'] },
  ),
  rule(
    'doors-host',
    'Doors are plain node:http and node:net, measured.',
    { path: '^src/doors/' },
    { dependencyTypes: ['core'], pathNot: '^(node:)?(http|net)$' },
  ),
  rule(
    'doors-net',
    'HTTP/2 alone is of our own; HTTP/1.1 is node:http.',
    { path: '^src/doors/', pathNot: '^src/doors/(grpc[^/]*|h2/[^/]+)\\.ts$' },
    { dependencyTypes: ['core'], path: '^(node:)?net$' },
  ),
  rule('h2', 'A protocol, that knows nothing of who speaks it.', { path: '^src/doors/h2/' }, { path: '^(src|policy-cache)/', pathNot: '^src/doors/h2/' }),
  rule('doors-packages', 'No framework on the hot path.', { path: '^src/doors/' }, { path: npm('(hono|@hono/[^/]+)') }),
  rule(
    'api',
    'The api asks the same pipeline as the doors, who somebody is too, and knows neither them nor settings.',
    { path: '^src/api/' },
    { path: '^src/', pathNot: ['^src/api/', pipeline] },
  ),
  rule('api-reads', 'Only the admin api writes.', { path: '^src/api/', pathNot: '^src/api/(admin|local)/' }, { path: '^policy-cache/src/postgres/' }),
  rule(
    'one-pipeline',
    'The same for HTTP and gRPC: no framework below the doors and the api.',
    { path: '^src/', pathNot: '^src/(api/|service\\.ts$)' },
    { path: npm('(hono|@hono/[^/]+)') },
  ),
  rule(
    'one-wirer',
    'Only service.ts puts doors and api together.',
    { path: '^src/', pathNot: ['^src/(doors|api|proxydoctor)/', edge] },
    { path: '^src/(doors|api)/' },
  ),
  rule(
    'proxy-doctor',
    'It reads what a proxy sends as a door does, and knows nothing of routes, settings or databases.',
    { path: '^src/proxydoctor/' },
    { path: '^(src|policy-cache)/', pathNot: ['^src/(proxydoctor|doors)/', '^src/(listen|target|authorize)\\.ts$', '^policy-cache/src/index\\.ts$'] },
  ),
  rule(
    'proxy-doctor-alone',
    'A diagnosis is no part of the service.',
    { path: '^src/', pathNot: ['^src/proxydoctor/', '^src/commands/'] },
    { path: '^src/proxydoctor/' },
  ),
  rule(
    'direct',
    'Who runs it may do everything: a command does, and nothing that listens.',
    { path: '^src/', pathNot: '^src/commands/direct\\.ts$' },
    { path: '^src/api/admin/direct\\.ts$' },
  ),
  rule(
    'direct-command',
    'So does what opens it: commands do that, each when it runs.',
    { path: '^src/', pathNot: '^src/commands/' },
    { path: '^src/commands/direct\\.ts$' },
  ),
  rule(
    'traces-apart',
    'The SDK for traces is loaded where the environment asks for it, by one file.',
    { path: '^(src|policy-cache/src)/', pathNot: '^src/traces\\.ts$' },
    { path: npm('@opentelemetry/(sdk-node|sdk-trace[^/]*|exporter-trace[^/]*|otlp-[^/]*)') },
  ),
  rule(
    'traces-late',
    'An import of it would load the SDK at every start: service.ts awaits it where it is wanted.',
    { path: '^src/' },
    { path: '^src/traces\\.ts$', dynamic: false },
  ),
  rule(
    'mail-apart',
    'What speaks to a mail server is loaded where one is named, by one file.',
    { path: '^(src|policy-cache/src)/', pathNot: '^src/api/local/mail\\.ts$' },
    { path: npm('nodemailer') },
  ),
  rule(
    'mail-late',
    'An import of it would load it where nobody mails: the others know its port (mailer.ts).',
    { path: '^src/' },
    { path: '^src/api/local/mail\\.ts$', dynamic: false },
  ),
  rule(
    'telemetry-packages',
    'OpenTelemetry is at the edge: the pipeline tells by ports of its own.',
    { path: '^(src|policy-cache/src)/', pathNot: '^src/(traces|telemetry|exposition|histogram|runtime|workers-metrics)\\.ts$' },
    { path: npm('@opentelemetry/[^/]+') },
  ),
  rule('top-down', 'Nobody below the edge imports it.', { path: '^src/', pathNot: edge }, { path: edge }),
  rule('black-box', 'Clients that know nothing of ours.', { path: '^(src/console|loadtest)/' }, { path: '^(src|policy-cache)/', pathNot: '^src/console/' }),
];

export default {
  forbidden: [...everywhere, ...library, ...service],
  options: {
    // The default parser reads what swc leaves after dropping types, and so misses `export type … from`.
    parser: 'swc',
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)dist/' },
    combinedDependencies: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['source', 'import', 'node', 'default', 'types'],
      extensions: ['.ts', '.mjs', '.js', '.json'],
    },
  },
};
