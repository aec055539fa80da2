import { mkdir, rm, statfs } from 'node:fs/promises'
import { DiskStore } from '../chunks/disk-store.ts'
import { loadManifest } from '../chunks/manifest-load.ts'
import { LocalProvider } from '../chunks/local-provider.ts'
import { LocalProviderManager } from '../chunks/provider-manager.ts'
import { ReplicatedReader } from '../chunks/replicated-reader.ts'
import { ReplicatedWriter } from '../chunks/replicated-writer.ts'
import type { ProviderManager } from '../chunks/types.ts'
import { firstOf, LoopbackAnonymous, UsersFile } from '../gridftp/auth.ts'
import { BlobDsi } from '../gridftp/blob-dsi.ts'
import { GridFtpServer } from '../gridftp/server.ts'
import { toHex } from '../lib/bytes.ts'
import { systemClock } from '../lib/clock.ts'
import { Ed25519Key } from '../lib/ed25519.ts'
import { type EventLog, FileEventLog, noEvents } from '../lib/events.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import { secureBytes, systemRandom } from '../lib/random.ts'
import { DiskMetadataStore } from '../metadata/disk-node-store.ts'
import { LocalVersionManager } from '../metadata/local-version-manager.ts'
import { pageFetcher } from '../metadata/page-fetch.ts'
import { Repository } from '../metadata/repository.ts'
import { ManifestSealer } from '../metadata/sealing.ts'
import { LocalSigner } from '../metadata/signed.ts'
import type { Namespace, VersionManager } from '../metadata/types.ts'
import { CertificateVerifier } from '../peer/certificate-verifier.ts'
import { KadImageDirectory } from '../peer/discovery.ts'
import { Libp2pNode } from '../peer/node.ts'
import { serveProviders } from '../peer/protocols/providers-serve.ts'
import { serveStore } from '../peer/protocols/store-serve.ts'
import { serveTree } from '../peer/protocols/tree-serve.ts'
import { serveVersion } from '../peer/protocols/version-serve.ts'
import { memberWithRole } from '../peer/remote/find-role.ts'
import { DistributedMetadataStore } from '../peer/remote/metadata-store.ts'
import { NetworkProviderDirectory } from '../peer/remote/provider-directory.ts'
import { RemoteProviderManager } from '../peer/remote/provider-manager.ts'
import { RemoteVersionManager } from '../peer/remote/version-manager.ts'
import type { SwarmEvent } from '../peer/swarm/events.ts'
import { SwarmService } from '../peer/swarm/swarm-service.ts'
import type { Role } from '../peer/types.ts'
import { Agent, type AgentService } from './agent.ts'
import { AgentControl } from './agent-control.ts'
import type { AgentConfig } from './config.ts'
import { ControlServer, controlListener } from './control-server.ts'
import { DataDirectory } from './data-directory.ts'
import { Heartbeat } from './heartbeat.ts'
import { formatHostPort, parseHostPort } from './host-port.ts'
import { HttpStatusServer, ListenError } from './http-status.ts'
import {
  type ClusterAuthority,
  enterCluster,
  MetadataListKeeper,
  openAuthority
} from './membership.ts'
import { PrometheusMetrics } from './prometheus.ts'
import { VERSION } from './version.ts'

export interface Surroundings {
  /** Used only while the data directory holds no certificate. */
  readonly joinToken?: string | undefined
  readonly logger: LoggerFactory
  /** Called when a part has failed in a way that only a restart can mend. */
  readonly stopOnFailure: (error: Error) => void
}

/** What every part of an agent builds on; made before the agent is a member of anything. */
interface Foundation extends Surroundings {
  readonly config: AgentConfig
  readonly data: DataDirectory
  readonly seed: Uint8Array
  readonly node: Libp2pNode
  readonly authority: ClusterAuthority | undefined
  readonly metrics: PrometheusMetrics
  readonly events: EventLog<SwarmEvent>
}

/** Builds an agent with the roles that its configuration names. */
export async function composeAgent(
  config: AgentConfig,
  surroundings: Surroundings
): Promise<Agent> {
  const foundation = await layFoundation(config, surroundings)
  const { node, data, events, logger } = foundation
  const addresses: { gridftp?: () => string; http?: () => string } = {}
  const socket = config.control.socket === '' ? data.file('control.sock') : config.control.socket
  const describe = () => ({
    peerId: node.peerId,
    addresses: node.addresses(),
    gridftp: addresses.gridftp?.(),
    http: addresses.http?.(),
    socket,
    pid: process.pid
  })
  const membership: AgentService = {
    name: 'membership',
    start: async ({ signal }) => {
      const { authority } = foundation
      const { joinToken } = surroundings
      await enterCluster({ data, node, roles: config.agent.roles, authority, joinToken, signal })
      await data.writeText('listen', `${listenedOn(config, node)}\n`)
      agent.add(composeServices(foundation, { socket, addresses, agent: () => agent }))
    },
    stop: async () => node.stop()
  }
  const closeEvents: AgentService = {
    name: 'events',
    start: async () => {},
    stop: async () => {
      if (events instanceof FileEventLog) await events.close()
    }
  }
  const agent = new Agent(
    [closeEvents, membership],
    describe,
    logger.forComponent('blobswarm:agent')
  )
  return agent
}

async function layFoundation(config: AgentConfig, surroundings: Surroundings): Promise<Foundation> {
  const { logger, joinToken } = surroundings
  const { roles, events: eventsFile } = config.agent
  const data = new DataDirectory(config.agent.dataDir)
  await data.open()
  const seed = await data.seed('agent.key', true)
  if (seed === undefined) throw new TypeError('an agent without a key')
  const authority = await openAuthority(data, { roles, joinToken }, systemClock)
  const metrics = new PrometheusMetrics()
  const node = await Libp2pNode.create(
    { clock: systemClock, random: systemRandom, logger, metrics, issuer: authority?.issuer },
    seed,
    {
      listen: [await listenAddress(config, data)],
      announce: config.cluster.advertise,
      agentVersion: VERSION,
      maxConnections: config.network.maxConnections
    }
  )
  const events: EventLog<SwarmEvent> =
    eventsFile === ''
      ? noEvents
      : new FileEventLog(eventsFile, node.peerId, () => systemClock.now())
  return { ...surroundings, config, data, seed, node, authority, metrics, events }
}

/** Port 0 is chosen once: other agents look for this one where they found it last. */
async function listenAddress(config: AgentConfig, data: DataDirectory): Promise<string> {
  const { listen } = config.network
  if (!listen.endsWith('/tcp/0')) return listen
  const last = (await data.readText('listen'))?.trim()
  const isSameHost = last?.startsWith(listen.slice(0, -1)) === true
  return isSameHost && last !== undefined ? last : listen
}

function listenedOn(config: AgentConfig, node: Libp2pNode): string {
  const { listen } = config.network
  const host = listen.replace(/\/tcp\/\d+$/, '')
  const port = /\/tcp\/(\d+)/.exec(node.addresses()[0] ?? '')?.[1] ?? '0'
  return `${host}/tcp/${port}`
}

/** What the services show the outside. */
interface Outward {
  readonly socket: string
  readonly addresses: { gridftp?: () => string; http?: () => string }
  readonly agent: () => Agent
}

/** Builds everything that a member does; the order is the order in which it is started. */
function composeServices(foundation: Foundation, outward: Outward): AgentService[] {
  const { config, data, node, logger, authority } = foundation
  const storage = composeStorage(foundation)
  const managers = composeManagers(foundation, storage)
  const repository = composeRepository(foundation, storage, managers)
  const swarm = composeSwarm(foundation, storage)
  const control = new AgentControl(
    { ...storage, ...managers, repository, swarm: swarm.service, node, clock: systemClock, logger },
    {
      version: VERSION,
      roles: config.agent.roles,
      zone: config.cluster.zone,
      issuer: authority?.issuer,
      metadataList: () => node.membership.metadataList
    }
  )
  const log = logger.forComponent('blobswarm:agent:metadata-list')
  const keeper = new MetadataListKeeper({ data, node, authority: authority?.authority }, log)
  const controlServer = new ControlServer(control, logger, outward.socket)
  return [
    serviceOf('metadata list', keeper),
    ...storage.services,
    ...managers.services,
    serviceOf('staging', { start: async () => clearStaging(data.file('staging')) }),
    ...swarm.services,
    ...composeHeartbeat(foundation, storage, managers),
    ...composeGridFtp(foundation, repository, outward),
    serviceOf('control', controlServer),
    ...composeHttp(foundation, control, outward)
  ]
}

function composeStorage(foundation: Foundation) {
  const { config, data, seed, node, logger, metrics } = foundation
  const isProvider = config.agent.roles.includes('provider')
  const { quotaBytes } = config.storage
  const store = new DiskStore(
    { logger, metrics },
    {
      directory: data.file('store'),
      // What a deployer keeps is a cache: it has to be right, not durable.
      durability: isProvider ? config.storage.durability : 'memory',
      quotaBytes: quotaBytes === 0 ? undefined : quotaBytes
    }
  )
  const freeBytes = async (): Promise<number> => {
    const { bavail, bsize } = await statfs(data.path)
    const left = quotaBytes === 0 ? Number.POSITIVE_INFINITY : quotaBytes - store.storedBytes
    return Math.max(0, Math.min(bavail * bsize, left))
  }
  const provider = isProvider ? new LocalProvider(node.peerId, { store, freeBytes }) : undefined
  const { clusterId } = node.membership.credentials()
  const verifier = new CertificateVerifier(clusterId)
  const signer = new LocalSigner({
    peerId: node.peerId,
    key: new Ed25519Key(seed),
    certificate: () => node.membership.credentials().certificate
  })
  const local = config.agent.roles.includes('metadata')
    ? new DiskMetadataStore(data.path, { verifier })
    : undefined
  const metadata = new DistributedMetadataStore(
    {
      node,
      clock: systemClock,
      providers: () => node.membership.metadataList?.providers.map(({ peerId }) => peerId) ?? [],
      local,
      verifier,
      logger,
      metrics
    },
    { repairs: node.membership.self?.rights.has('write') === true }
  )
  const serve = async (): Promise<void> => {
    const common = { clock: systemClock, logger }
    if (provider !== undefined) await serveStore(node, { provider, ...common })
    if (local !== undefined) await serveTree(node, { store: local, ...common })
  }
  const services = [
    serviceOf('chunk store', store),
    ...(local === undefined ? [] : [serviceOf('metadata store', local)]),
    serviceOf('metadata', { start: serve, stop: async () => metadata.stop() })
  ]
  return { store, provider, verifier, signer, metadata, services }
}

type Storage = ReturnType<typeof composeStorage>

function composeManagers(foundation: Foundation, storage: Storage) {
  const { config, node, logger, metrics } = foundation
  const { verifier, metadata, signer, provider: local } = storage
  const has = (role: Role): boolean => config.agent.roles.includes(role)
  const common = { node, clock: systemClock, logger }
  const remoteProviders = new RemoteProviderManager({
    ...common,
    find: memberWithRole(node, 'providerManager')
  })
  const providers: ProviderManager = has('providerManager')
    ? new LocalProviderManager(
        { clock: systemClock, random: systemRandom },
        {
          suspectAfterMs: config.repair.suspectAfter,
          deadAfterMs: config.repair.deadAfter,
          placement: config.providers.placement
        }
      )
    : remoteProviders
  const directory = new NetworkProviderDirectory({ ...common, providers, local })
  const reading = { directory, providers, random: systemRandom, localId: local?.id, logger }
  const reader = new ReplicatedReader(reading)
  const { replicas, writeQuorum } = config.storage
  const writer = new ReplicatedWriter(
    { directory, providers, logger, metrics },
    { replicas, writeQuorum }
  )
  const sealer = new ManifestSealer({ metadata, reader, writer, signer, verifier, logger })
  const localVersions = has('versionManager')
    ? composeVersionManager(foundation, storage, sealer)
    : undefined
  const find = memberWithRole(node, 'versionManager')
  const remoteVersions = new RemoteVersionManager({ ...common, verifier, find })
  const versions: VersionManager & Namespace = localVersions ?? remoteVersions
  const services: AgentService[] = [
    serviceOf('managers', {
      start: async () => {
        if (has('providerManager')) await serveProviders(node, { providers, ...common })
        if (localVersions === undefined) return
        await localVersions.start()
        await serveVersion(node, { versions, namespace: versions, ...common })
      },
      stop: async () => {
        await localVersions?.stop()
        await Promise.all([remoteVersions.stop(), remoteProviders.stop(), directory.stop()])
      }
    })
  ]
  return { providers, directory, reader, writer, versions, services }
}

type Managers = ReturnType<typeof composeManagers>

function composeVersionManager(
  foundation: Foundation,
  { metadata, signer, verifier }: Storage,
  sealer: ManifestSealer
): LocalVersionManager {
  const { config, data, authority, logger, metrics, stopOnFailure } = foundation
  return new LocalVersionManager(
    {
      sealer,
      metadata,
      signer,
      verifier,
      clock: systemClock,
      random: systemRandom,
      logger,
      metrics,
      onFailure: stopOnFailure
    },
    {
      folder: data.path,
      clusterId: authority?.authority.clusterId,
      leaseMs: config.versions.lease
    }
  )
}

function composeRepository(
  { config, data, logger, metrics }: Foundation,
  { metadata, signer, verifier }: Storage,
  { versions, reader, writer }: Managers
): Repository {
  const { replicas, chunkBytes, uploadBudgetBytes, writeQuorum } = config.storage
  return new Repository(
    {
      versions,
      namespace: versions,
      metadata,
      writer,
      reader,
      signer,
      verifier,
      clock: systemClock,
      logger,
      metrics
    },
    {
      stagingFolder: data.file('staging'),
      uploadBudgetBytes,
      replicas,
      chunkBytes,
      ...(writeQuorum === 0 ? {} : { writeQuorum })
    }
  )
}

function composeSwarm(foundation: Foundation, { store, metadata, provider }: Storage) {
  const { config, node, logger, metrics, events } = foundation
  const { maxNeighbours, uploadRate, downloadRate, stallTimeout } = config.swarm
  const images = new KadImageDirectory({
    node,
    dht: node.dht,
    clock: systemClock,
    random: systemRandom,
    logger
  })
  const fetchPages = pageFetcher(metadata)
  const service = new SwarmService(
    {
      node,
      directory: images,
      store,
      clock: systemClock,
      random: systemRandom,
      logger,
      metrics,
      events,
      // A provider keeps chunks of images that nobody has told it about.
      ...(provider === undefined
        ? {}
        : { loadManifest: async (root, options) => loadManifest(root, fetchPages, options) })
    },
    {
      downloadBytesPerSecond: rateOf(downloadRate),
      uploads: { bytesPerSecond: rateOf(uploadRate) },
      session: { maxNeighbours, download: { silenceMs: stallTimeout } }
    }
  )
  return { service, services: [serviceOf('image directory', images), serviceOf('swarm', service)] }
}

function composeHeartbeat(
  { config, logger }: Foundation,
  { provider }: Storage,
  { providers }: Managers
): AgentService[] {
  if (provider === undefined) return []
  const log = logger.forComponent('blobswarm:agent:heartbeat')
  const components = { provider, providers, clock: systemClock, log }
  return [new Heartbeat(components, config.cluster.zone, config.providers.heartbeat)]
}

function composeGridFtp(
  { config, logger, metrics }: Foundation,
  repository: Repository,
  { addresses }: Outward
): AgentService[] {
  const { listen, anonymous, users, advertisedAddress, ...limits } = config.gridftp
  if (!config.agent.roles.includes('gridftp') || listen === '') return []
  const authenticators = [
    ...(anonymous === 'loopback' ? [new LoopbackAnonymous()] : []),
    ...(users === '' ? [] : [new UsersFile(users)])
  ]
  const server = new GridFtpServer(
    {
      openStorage: (user) => new BlobDsi(repository, user),
      authenticator: firstOf(authenticators),
      clock: systemClock,
      random: systemRandom,
      logger,
      metrics
    },
    {
      ...parseHostPort(listen),
      passivePorts: limits.passivePorts,
      advertisedAddress: advertisedAddress === '' ? undefined : advertisedAddress,
      maxSessions: limits.maxSessions,
      maxSessionsPerAddress: limits.maxSessionsPerAddress,
      queueBytes: limits.queueBytes,
      queueDepth: limits.queueDepth,
      idleTimeoutMs: limits.idleTimeout,
      loginTimeoutMs: limits.loginTimeout,
      dataTimeoutMs: limits.dataTimeout
    }
  )
  const start = async (): Promise<void> => {
    try {
      const { host, port } = await server.start()
      addresses.gridftp = () => formatHostPort({ address: host, port })
    } catch (error) {
      throw new ListenError('GridFTP', listen, { cause: error })
    }
  }
  return [serviceOf('gridftp', { start, stop: async () => server.stop() })]
}

function composeHttp(
  { config, data, logger, metrics }: Foundation,
  control: AgentControl,
  { addresses, agent }: Outward
): AgentService[] {
  const { listen } = config.http
  if (listen === '') return []
  let server: HttpStatusServer | undefined
  const start = async (): Promise<void> => {
    const bearer = await httpToken(data)
    const http = new HttpStatusServer(
      {
        metrics,
        notReady: () => agent().notReady,
        control: controlListener(control, logger, bearer)
      },
      listen
    )
    await http.start()
    server = http
    addresses.http = () => http.address
  }
  return [serviceOf('http', { start, stop: async () => server?.stop() })]
}

async function httpToken(data: DataDirectory): Promise<string> {
  const saved = (await data.readText('http.token'))?.trim()
  if (saved !== undefined && saved !== '') return saved
  const token = toHex(secureBytes(32))
  await data.writeText('http.token', `${token}\n`)
  return token
}

/** Part-filled chunks of uploads that a crash cut off are of no use to anyone. */
async function clearStaging(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true, mode: 0o700 })
}

function serviceOf(name: string, part: { start?(): unknown; stop?(): unknown }): AgentService {
  return {
    name,
    start: async () => void (await part.start?.()),
    stop: async () => void (await part.stop?.())
  }
}

function rateOf(bytesPerSecond: number): number | undefined {
  return bytesPerSecond === 0 ? undefined : bytesPerSecond
}
