import { statfs } from 'node:fs/promises'
import { DiskStore } from '../../chunks/disk-store.ts'
import { LeaseTable } from '../../chunks/lease-table.ts'
import { LocalProvider } from '../../chunks/local-provider.ts'
import { systemClock } from '../../lib/clock.ts'
import { Ed25519Key } from '../../lib/ed25519.ts'
import { DiskMetadataStore } from '../../metadata/disk-node-store.ts'
import { LocalSigner } from '../../metadata/signed.ts'
import type { Signer, Verifier } from '../../metadata/types.ts'
import { CertificateVerifier } from '../../peer/certificate-verifier.ts'
import { HandOver } from '../../peer/hand-over.ts'
import { serveStore } from '../../peer/protocols/store-serve.ts'
import { serveTree } from '../../peer/protocols/tree-serve.ts'
import { DistributedMetadataStore } from '../../peer/remote/metadata-store.ts'
import type { Foundation } from './foundation.ts'
import { serviceOf } from './service.ts'

/** What this agent keeps, and its signature: chunk store, metadata store, signer and verifier. */
export function composeStorage(foundation: Foundation) {
  const { config, data, seed, node, logger, metrics } = foundation
  const isProvider = config.agent.roles.includes('provider')
  const { quotaBytes, reserveBytes } = config.storage
  const directory = data.file('store')
  const diskFreeBytes = async (): Promise<number> => {
    const { bavail, bsize } = await statfs(directory)
    return bavail * bsize
  }
  const store = new DiskStore(
    { logger, metrics, freeBytes: diskFreeBytes },
    {
      directory,
      reserveBytes,
      // What a deployer keeps is a cache: it has to be right, not durable.
      durability: isProvider ? config.storage.durability : 'memory',
      quotaBytes: quotaBytes === 0 ? undefined : quotaBytes
    }
  )
  const freeBytes = async (): Promise<number> => {
    const left = quotaBytes === 0 ? Number.POSITIVE_INFINITY : quotaBytes - store.storedBytes
    return Math.max(0, Math.min((await diskFreeBytes()) - reserveBytes, left))
  }
  const leases = new LeaseTable({ clock: systemClock }, { leaseMs: config.storage.lease })
  const provider = isProvider
    ? new LocalProvider(node.peerId, { store, freeBytes, leases, logger, metrics })
    : undefined
  const { clusterId } = node.membership.credentials()
  const verifier = new CertificateVerifier(clusterId)
  const signer = new LocalSigner({
    peerId: node.peerId,
    key: new Ed25519Key(seed),
    certificate: () => node.membership.credentials().certificate,
    onSigned: (purpose, envelope) => verifier.rememberOwn(purpose, envelope)
  })
  const { local, metadata, handOver } = composeMetadata(foundation, { verifier, signer })
  const serve = async (): Promise<void> => {
    const common = { clock: systemClock, logger }
    if (provider !== undefined) await serveStore(node, { provider, verifier, ...common })
    if (local !== undefined) await serveTree(node, { store: local, verifier, ...common })
  }
  const services = [
    serviceOf('chunk store', store),
    ...(local === undefined ? [] : [serviceOf('metadata store', local)]),
    serviceOf('metadata', { start: serve, stop: async () => metadata.stop() }),
    ...(handOver === undefined ? [] : [serviceOf('hand-over', handOver)])
  ]
  return { store, provider, verifier, signer, metadata, handOver, services }
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
