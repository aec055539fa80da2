import { existsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { ChunkCopier } from '../../chunks/chunk-copier.ts'
import { DiskStore } from '../../chunks/disk-store.ts'
import { LayeredStore } from '../../chunks/layered-store.ts'
import { LeaseTable } from '../../chunks/lease-table.ts'
import { LocalProvider } from '../../chunks/local-provider.ts'
import { ReadBuffers } from '../../chunks/read-buffers.ts'
import { ReadOnlyProvider } from '../../chunks/read-only-provider.ts'
import type { CheckableStore } from '../../chunks/store-types.ts'
import { MIB } from '../../lib/bytes.ts'
import { systemClock } from '../../lib/clock.ts'
import { Ed25519Key } from '../../lib/ed25519.ts'
import { DiskMetadataStore } from '../../metadata/disk-node-store.ts'
import type { Signer, Verifier } from '../../metadata/signature-types.ts'
import { LocalSigner } from '../../metadata/signed.ts'
import { CertificateVerifier } from '../../peer/certificate-verifier.ts'
import { HandOver } from '../../peer/hand-over.ts'
import { serveStore } from '../../peer/protocols/store-serve.ts'
import { serveTree } from '../../peer/protocols/tree-serve.ts'
import { NetworkChunkSources } from '../../peer/remote/chunk-sources.ts'
import { DistributedMetadataStore } from '../../peer/remote/metadata-store.ts'
import { RemoteProviders } from '../../peer/remote/remote-providers.ts'
import { ImageCatalogue } from '../image-catalogue.ts'
import type { Foundation } from './foundation.ts'
import { serviceOf } from './service.ts'

/** Chunks are swept at a stretch, so a collection that asks nothing for as long is over. */
const COLLECTION_IDLE_MS = 300_000

/** Parts that a cache with a quota is divided into, which its space comes back in. */
const CACHE_SEGMENTS = 64

/** Buffers of chunks that were read and sent, which are kept to be read into again. */
const READ_BUFFER_BYTES = 8 * MIB

/** What this agent keeps, and its signature: chunk stores, metadata store, signer and verifier. */
export function composeStorage(foundation: Foundation) {
  const { data, seed, node, logger } = foundation
  const stores = composeChunkStores(foundation)
  const { kept } = stores
  const { clusterId } = node.membership.credentials()
  const verifier = new CertificateVerifier(clusterId, { standing: node.membership })
  const signer = new LocalSigner({
    peerId: node.peerId,
    key: new Ed25519Key(seed),
    certificate: () => node.membership.credentials().certificate,
    onSigned: (purpose, envelope) => verifier.rememberOwn(purpose, envelope)
  })
  const serving = composeProvider(foundation, { ...stores, signer })
  const { provider, remotes, sources, served } = serving
  const { local, metadata, handOver } = composeMetadata(foundation, { verifier, signer })
  const serve = async (): Promise<void> => {
    const common = { verifier, clock: systemClock, logger }
    const { config, metrics } = foundation
    const { sendRate, receiveRate } = config.storage
    await serveStore(
      node,
      { provider: served, metrics, ...common },
      { sendBytesPerSecond: rateOf(sendRate), receiveBytesPerSecond: rateOf(receiveRate) }
    )
    if (local !== undefined) await serveTree(node, { store: local, ...common })
  }
  const log = logger.forComponent('blobswarm:agent:image-cache')
  const catalogue = new ImageCatalogue(data.file('images'), log)
  const services = [
    ...(kept === undefined ? [] : [serviceOf('chunk store', kept)]),
    serviceOf('chunk cache', stores.cacheStore),
    ...(local === undefined ? [] : [serviceOf('metadata store', local)]),
    serviceOf('remote providers', remotes),
    serviceOf('metadata', { start: serve, stop: async () => metadata.stop() }),
    ...(handOver === undefined ? [] : [serviceOf('hand-over', handOver)])
  ]
  const reached = { remotes, sources }
  return {
    ...stores,
    catalogue,
    provider,
    verifier,
    signer,
    metadata,
    handOver,
    ...reached,
    services
  }
}

/**
 * What this agent keeps for others if it is a provider, and its cache. Both share the quota; where
 * there is none left, images are evicted from the cache.
 */
function composeChunkStores({ config, data, logger, metrics }: Foundation) {
  const { quotaBytes, cacheBytes, reserveBytes, durability } = config.storage
  const keptFolder = data.file('store')
  // What was kept in an earlier life as a provider is still given to whoever asks.
  const isKeeping = config.agent.roles.includes('provider') || existsSync(keptFolder)
  const quota = unlessZero(quotaBytes)
  const cacheQuota = Math.min(quota, unlessZero(cacheBytes))
  const diskFreeBytes = async (): Promise<number> => {
    const { bavail, bsize } = await statfs(data.path)
    return bavail * bsize
  }
  const readBuffers = new ReadBuffers(READ_BUFFER_BYTES)
  const common = { logger, freeBytes: diskFreeBytes, readBuffers }
  const eviction = { trim: async (_bytes: number): Promise<boolean> => false }
  const makeRoom = async (bytes: number): Promise<boolean> => await eviction.trim(bytes)
  const cacheStore = new DiskStore(
    {
      ...common,
      metrics: isKeeping ? undefined : metrics,
      otherBytes: () => (cacheQuota === Infinity ? 0 : cacheQuota - cacheLimitBytes()),
      makeRoom
    },
    {
      directory: data.file('cache'),
      reserveBytes,
      // It has to be right, not durable.
      durability: 'memory',
      quotaBytes: cacheQuota,
      countsDead: true,
      segmentBytes: Math.min(64 * MIB, Math.max(MIB, cacheQuota / CACHE_SEGMENTS))
    }
  )
  const kept = isKeeping
    ? new DiskStore(
        { ...common, metrics, otherBytes: () => cacheStore.usedBytes, makeRoom },
        { directory: keptFolder, reserveBytes, durability, quotaBytes: quota }
      )
    : undefined
  const cacheLimitBytes = (): number => Math.min(cacheQuota, quota - (kept?.storedBytes ?? 0))
  const freeBytes = async (): Promise<number> => {
    const left = quota - (kept?.storedBytes ?? 0)
    const disk = (await diskFreeBytes()) + cacheStore.storedBytes - reserveBytes
    return Math.max(0, Math.min(disk, left))
  }
  const store: CheckableStore = kept === undefined ? cacheStore : new LayeredStore(kept, cacheStore)
  const cacheFreeBytes = async (): Promise<number> => (await diskFreeBytes()) - reserveBytes
  return {
    store,
    kept,
    cacheStore,
    cacheLimitBytes,
    cacheFreeBytes,
    freeBytes,
    eviction,
    readBuffers
  }
}

function unlessZero(bytes: number): number {
  return bytes === 0 ? Infinity : bytes
}

/** What this agent's store is to others, and how it reaches those of others. */
function composeProvider(
  { config, node, logger, metrics }: Foundation,
  {
    store,
    kept,
    cacheStore,
    freeBytes,
    signer
  }: {
    readonly store: CheckableStore
    readonly kept: DiskStore | undefined
    readonly cacheStore: DiskStore
    readonly freeBytes: () => Promise<number>
    readonly signer: Signer
  }
) {
  const clock = systemClock
  const remotes = new RemoteProviders(
    { node, clock, signer },
    { putTimeoutMs: config.storage.putTimeout }
  )
  const readOnly = new ReadOnlyProvider(node.peerId, store)
  const sources = new NetworkChunkSources({ node, remotes, local: readOnly })
  if (kept === undefined || !config.agent.roles.includes('provider')) {
    return { provider: undefined, remotes, sources, served: readOnly }
  }
  const leases = new LeaseTable(
    { clock },
    { leaseMs: config.storage.lease, idleMs: COLLECTION_IDLE_MS }
  )
  const copier = new ChunkCopier(
    { sources, clock, logger, metrics },
    { bytesPerSecond: rateOf(config.repair.rate) }
  )
  const parts = { store: kept, cache: cacheStore, freeBytes, leases, copier, logger, metrics }
  const provider = new LocalProvider(node.peerId, parts)
  return { provider, remotes, sources, served: provider }
}

function rateOf(bytesPerSecond: number): number | undefined {
  return bytesPerSecond === 0 ? undefined : bytesPerSecond
}

/** This agent's own metadata if it is a metadata provider, and the metadata of the cluster. */
function composeMetadata(
  { config, data, node, logger, metrics }: Foundation,
  { verifier, signer }: { readonly verifier: Verifier; readonly signer: Signer }
) {
  const local = config.agent.roles.includes('metadata')
    ? new DiskMetadataStore(
        data.path,
        { verifier, clock: systemClock },
        { leaseMs: config.storage.lease }
      )
    : undefined
  const providers = (): string[] =>
    node.membership.metadataList?.providers.map(({ peerId }) => peerId) ?? []
  const owning = { node, clock: systemClock, providers, logger, metrics }
  // A dead provider is off the list after one such time, and its keys have new owners soon after.
  const settleMs = 3 * config.metadata.deadAfter
  const metadata = new DistributedMetadataStore(
    { ...owning, local, verifier, signer },
    { repairs: node.membership.self?.rights.has('write') === true, settleMs }
  )
  const onListChanged = (listener: () => void): (() => void) =>
    node.membership.onMetadataListChanged(listener)
  const handOver = local && new HandOver({ ...owning, store: local, onListChanged }, { settleMs })
  return { local, metadata, handOver }
}

/** What `composeStorage` gives. */
export type Storage = ReturnType<typeof composeStorage>
