import { readFileSync } from 'node:fs'
import { isIP, isIPv4 } from 'node:net'
import { parse as parseYaml, YAMLParseError } from 'yaml'
import { z } from 'zod'
import { ROLES } from '../peer/types.ts'
import { ConfigError } from './errors.ts'
import { isHostPort } from './host-port.ts'

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** Timers take no more, and nothing here waits as long as this. */
const MIN_DURATION_MS = 10
const MAX_DURATION_MS = 7 * 24 * 3_600_000

/** `250ms`, `30s`, `5m`, `1h` or a number of milliseconds → milliseconds. */
const milliseconds = z.preprocess((value) => {
  const found = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(String(value))
  return found === null ? value : Number(found[1]) * (DURATION_UNITS[found[2] ?? 'ms'] ?? 1)
}, z.number('is no duration such as 250ms, 30s or 5m'))

const isDuration = (ms: number): boolean => ms >= MIN_DURATION_MS && ms <= MAX_DURATION_MS

const duration = milliseconds.refine(isDuration, 'is not between 10ms and 168h (7 days)')

/** How long a certificate may hold. */
const MAX_LIFETIME_MS = 366 * 24 * 3_600_000
const lifetime = milliseconds.refine(
  (ms) => ms >= 1000 && ms <= MAX_LIFETIME_MS,
  'is not between 1s and 8784h (366 days)'
)

/** How often something is done unasked; 0 for never. */
const interval = milliseconds.refine(
  (ms) => ms === 0 || isDuration(ms),
  'is neither 0s nor between 10ms and 168h (7 days)'
)

/** A number, also as text, as variables and flags have it. */
const whole = z.preprocess(
  (value) => (typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value),
  z.number('is no whole number').int('is no whole number').nonnegative('is below 0')
)
const bytes = whole
const count = whole.refine((value) => value > 0, 'is below 1')

const atLeast = (least: number) => bytes.refine((value) => value >= least, `is below ${least}`)
const atMost = (most: number) => count.refine((value) => value <= most, `is above ${most}`)

/** `true` or `false`, also as text, as variables and flags have it. */
const flag = z.preprocess(
  (value) => (value === 'true' ? true : value === 'false' ? false : value),
  z.boolean('is neither true nor false')
)

/** `HOST:PORT`, also `[::1]:2811`; empty where a listener may be left out. */
const hostPort = z.string().refine((text) => text === '' || isHostPort(text), 'is not HOST:PORT')

const chunkBytes = z.preprocess(
  (value) => (value === 'auto' ? undefined : value),
  whole
    .refine(
      (value) => value >= 65_536 && value <= 16_777_216 && Number.isInteger(Math.log2(value)),
      'is not a power of two from 65536 to 16777216'
    )
    .optional()
    .transform((value): number | 'auto' => value ?? 'auto')
)

const ipv4Address = z
  .string()
  .refine((text) => text === '' || isIPv4(text), 'is not an IPv4 address')
const ipAddress = z
  .string()
  .refine((text) => text === '' || isIP(text) !== 0, 'is not an IP address')

const portRange = z
  .string()
  .regex(/^(\d{1,5}-\d{1,5})?$/, 'is not LOW-HIGH')
  .transform((text): readonly [number, number] | undefined => {
    const [low, high] = text.split('-').map(Number)
    return low === undefined || high === undefined ? undefined : [low, high]
  })
  .refine(
    (range) =>
      range === undefined || (range[0] >= 1024 && range[0] <= range[1] && range[1] <= 65_535),
    'is not LOW-HIGH with 1024 <= LOW <= HIGH <= 65535'
  )

const list = <T extends z.ZodType>(item: T) =>
  z.preprocess(
    (value) => (typeof value === 'string' ? value.split(',').filter((part) => part !== '') : value),
    z.array(item)
  )

/** A section all of whose keys are commented is null in YAML. */
const section = <T extends z.ZodRawShape>(shape: T) =>
  z.preprocess((value) => value ?? {}, z.strictObject(shape)).prefault({} as never)

const schema = z.strictObject({
  agent: section({
    dataDir: z.string().min(1).default('blobswarm-data'),
    roles: list(z.enum(ROLES)).default([...ROLES]),
    logLevel: z.enum(['error', 'info', 'debug', 'trace']).default('info'),
    events: z.string().default('')
  }),
  cluster: section({
    zone: z
      .string()
      .min(1)
      .refine((zone) => Buffer.byteLength(zone) <= 64, 'has more than 64 bytes')
      .default('default'),
    advertise: list(z.string()).default([]),
    certificateLifetime: lifetime.prefault('720h')
  }),
  network: section({
    listen: z.string().startsWith('/').default('/ip4/127.0.0.1/tcp/0'),
    maxConnections: count.default(1000)
  }),
  storage: section({
    replicas: atMost(16).default(1),
    writeQuorum: bytes.default(0),
    durability: z.enum(['fsync', 'memory']).default('fsync'),
    chunkBytes: chunkBytes.default('auto'),
    quotaBytes: bytes.default(0),
    cacheBytes: bytes.default(0),
    cacheWait: duration.prefault('10m'),
    reserveBytes: bytes.default(67_108_864),
    uploadBudgetBytes: atLeast(33_554_432).default(50_331_648),
    lease: duration.prefault('15m'),
    putTimeout: duration.prefault('10s'),
    sendRate: bytes.default(0),
    receiveRate: bytes.default(0)
  }),
  gridftp: section({
    listen: hostPort.default('127.0.0.1:2811'),
    anonymous: z.enum(['loopback', 'off']).default('loopback'),
    users: z.string().default(''),
    passivePorts: portRange.prefault(''),
    advertisedAddress: ipv4Address.default(''),
    dataAddress: ipAddress.default(''),
    maxSessions: count.default(1000),
    maxSessionsPerAddress: count.default(500),
    maxDataConnections: atMost(1024).default(64),
    loginDelay: duration.prefault('500ms'),
    queueBytes: atLeast(1_048_576).default(16_777_216),
    queueDepth: count.default(64),
    mover: flag.default(true),
    maxStripes: atMost(64).default(16),
    idleTimeout: duration.prefault('600s'),
    loginTimeout: duration.prefault('120s'),
    markerInterval: duration.prefault('5s'),
    keepPartial: interval.prefault('24h'),
    thirdParty: z.enum(['refuse', 'allow']).default('refuse'),
    dataTimeout: duration.prefault('60s')
  }),
  http: section({ listen: hostPort.default('127.0.0.1:9470') }),
  control: section({ socket: z.string().default('') }),
  versions: section({ lease: duration.prefault('30s') }),
  metadata: section({ deadAfter: duration.prefault('20s') }),
  collection: section({ every: interval.prefault('1h') }),
  providers: section({
    heartbeat: duration.prefault('5s'),
    placement: z.enum(['roundRobin', 'freeSpace', 'leastLoadedOfTwo']).default('leastLoadedOfTwo'),
    zones: z.enum(['spread', 'ignore']).default('spread'),
    stripeWidth: count.default(32)
  }),
  repair: section({
    suspectAfter: duration.prefault('30s'),
    deadAfter: duration.prefault('300s'),
    rate: bytes.default(67_108_864),
    every: duration.prefault('10m'),
    copies: atMost(64).default(16)
  }),
  scrub: section({ every: interval.prefault('168h'), rate: atLeast(65_536).default(16_777_216) }),
  swarm: section({
    uploadRate: bytes.default(0),
    downloadRate: bytes.default(0),
    maxNeighbours: count.default(20),
    stallTimeout: duration.prefault('10s'),
    giveUpAfter: duration.prefault('120s')
  })
})

/** The agent's whole configuration; durations in milliseconds. */
export type AgentConfig = z.output<typeof schema>

type Tree = Record<string, Record<string, unknown>>

/** Where configuration comes from, the weakest first. */
export interface ConfigSources {
  /** YAML file, read when given. */
  readonly file?: string | undefined
  /** Variables `BLOBSWARM_SECTION_KEY`; those of client commands are passed over. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined
  /** `section.key=value`, in order. */
  readonly settings?: readonly string[] | undefined
  /** What flags say, strongest. */
  readonly flags?: Readonly<Record<string, unknown>> | undefined
}

const CLIENT_VARIABLES: ReadonlySet<string> = new Set(['BLOBSWARM_SOCKET', 'BLOBSWARM_CONFIG'])

/**
 * Puts the configuration together: file, then environment, then `--set`, then flags.
 *
 * @throws {ConfigError} naming the key and the value that is wrong.
 */
export function loadConfig(sources: ConfigSources = {}): AgentConfig {
  const tree: Tree = sources.file === undefined ? {} : readTree(sources.file)
  for (const [name, value] of Object.entries(sources.environment ?? {})) {
    if (!name.startsWith('BLOBSWARM_') || CLIENT_VARIABLES.has(name) || value === undefined)
      continue
    assign(tree, keyOfVariable(name), value)
  }
  for (const setting of sources.settings ?? []) {
    const at = setting.indexOf('=')
    if (at <= 0) throw new ConfigError(`--set ${setting}: wanted key.path=value`)
    assign(tree, setting.slice(0, at), setting.slice(at + 1))
  }
  for (const [key, value] of Object.entries(sources.flags ?? {})) {
    if (value !== undefined) assign(tree, key, value)
  }
  const parsed = schema.safeParse(tree)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  if (issue?.code === 'unrecognized_keys') {
    throw new ConfigError(`configuration ${[...issue.path, issue.keys[0]].join('.')}: no such key`)
  }
  const where = issue?.path.join('.') ?? ''
  const value = issue?.path.reduce<unknown>((at, part) => (at as Tree)?.[part as string], tree)
  const shown = typeof value === 'string' || typeof value === 'number' ? ` (${value})` : ''
  throw new ConfigError(`configuration ${where}${shown}: ${issue?.message ?? 'invalid'}`)
}

/** Every section and key that exists, for `BLOBSWARM_…` names and for the test of config/agent.yaml. */
export function configKeys(): ReadonlyMap<string, readonly string[]> {
  return new Map(
    Object.entries(loadConfig()).map(([name, keys]) => [name, Object.keys(keys as object)])
  )
}

function readTree(file: string): Tree {
  try {
    const parsed: unknown = parseYaml(readFileSync(file, 'utf8'))
    if (parsed === null || parsed === undefined) return {}
    if (typeof parsed !== 'object' || Array.isArray(parsed))
      throw new ConfigError(`${file}: wanted sections of keys`)
    return structuredClone(parsed) as Tree
  } catch (error) {
    if (error instanceof ConfigError) throw error
    const reason = error instanceof YAMLParseError ? error.message.split('\n')[0] : String(error)
    throw new ConfigError(`${file} cannot be read: ${reason}`, { cause: error })
  }
}

/** `BLOBSWARM_STORAGE_WRITE_QUORUM` and `BLOBSWARM_STORAGE_WRITEQUORUM` → `storage.writeQuorum`. */
function keyOfVariable(name: string): string {
  const [, sectionText = '', ...rest] = name.split('_')
  const wanted = rest.join('').toLowerCase()
  for (const [sectionName, keys] of configKeys()) {
    if (sectionName.toLowerCase() !== sectionText.toLowerCase()) continue
    const key = keys.find((candidate) => candidate.toLowerCase() === wanted)
    if (key !== undefined) return `${sectionName}.${key}`
  }
  throw new ConfigError(`environment variable ${name} names no key of the configuration`)
}

function assign(tree: Tree, path: string, value: unknown): void {
  const [sectionName, key, ...more] = path.split('.')
  if (sectionName === undefined || key === undefined || key === '' || more.length > 0) {
    throw new ConfigError(`${path}: keys have the form section.key`)
  }
  if (sectionName === '__proto__') throw new ConfigError(`${path}: unknown section`)
  const keys = tree[sectionName] ?? {}
  tree[sectionName] = { ...keys, [key]: value }
}
