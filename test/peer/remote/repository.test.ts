import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { LocalProvider } from '../../../src/chunks/local-provider.ts'
import { MemoryStore } from '../../../src/chunks/memory-store.ts'
import { LocalProviderManager } from '../../../src/chunks/provider-manager.ts'
import type { ProviderManager } from '../../../src/chunks/provider-manager-types.ts'
import { ReplicatedReader } from '../../../src/chunks/replicated-reader.ts'
import { ReplicatedWriter } from '../../../src/chunks/replicated-writer.ts'
import { GIB } from '../../../src/lib/bytes.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { seededRandom } from '../../../src/lib/random.ts'
import { LocalVersionManager } from '../../../src/metadata/local-version-manager.ts'
import { MemoryMetadataStore } from '../../../src/metadata/memory-node-store.ts'
import { Repository } from '../../../src/metadata/repository.ts'
import { ManifestSealer } from '../../../src/metadata/sealing.ts'
import { serveProviders } from '../../../src/peer/protocols/providers-serve.ts'
import { serveStore } from '../../../src/peer/protocols/store-serve.ts'
import { serveTree } from '../../../src/peer/protocols/tree-serve.ts'
import { serveVersion } from '../../../src/peer/protocols/version-serve.ts'
import { DistributedMetadataStore } from '../../../src/peer/remote/metadata-store.ts'
import { NetworkProviderDirectory } from '../../../src/peer/remote/provider-directory.ts'
import { RemoteProviderManager } from '../../../src/peer/remote/provider-manager.ts'
import { RemoteProviders } from '../../../src/peer/remote/remote-providers.ts'
import { RemoteVersionManager } from '../../../src/peer/remote/version-manager.ts'
import { MemoryNetwork, type MemoryNode } from '../../support/memory-network.ts'
import { sampleBytes } from '../../support/sample-bytes.ts'
import { testSigner, trusting } from '../../support/signing.ts'

const CHUNK_BYTES = 65_536
const PROVIDERS = ['store-1', 'store-2', 'store-3']
const METADATA = ['meta-1', 'meta-2', 'meta-3', 'meta-4']

const manager = testSigner(1)
const front = testSigner(2)
const reader = testSigner(3)
const verifier = trusting(manager, front, reader)
const parts = { clock: systemClock, logger: noLogger, verifier }

let network: MemoryNetwork
let folder: string
let stops: (() => Promise<void>)[]

beforeEach(async () => {
  network = new MemoryNetwork()
  folder = await mkdtemp(join(tmpdir(), 'blobswarm-remote-'))
  stops = [() => rm(folder, { recursive: true })]
  await startManagers()
  for (const id of METADATA) {
    await serveTree(network.node(id), {
      ...parts,
      verifier,
      store: new MemoryMetadataStore({ verifier })
    })
  }
  for (const id of PROVIDERS) await startProvider(id)
})

afterEach(async () => {
  for (const stop of stops.toReversed()) await stop()
})

/** The version manager and the provider manager, on an agent without a store of its own. */
async function startManagers(): Promise<void> {
  const node = network.node(manager.peerId)
  const providers = new LocalProviderManager({ clock: systemClock, random: seededRandom(1) })
  await serveProviders(node, { ...parts, providers })
  const { metadata, ...chunks } = access(node, providers)
  const versions = new LocalVersionManager(
    {
      ...parts,
      metadata,
      signer: manager,
      random: seededRandom(1),
      sealer: new ManifestSealer({ ...parts, ...chunks, metadata, signer: manager }),
      onFailure: (error) => {
        throw error
      }
    },
    { folder }
  )
  await versions.start()
  stops.push(() => versions.stop())
  const collector = { collect: () => Promise.reject(new Error('nothing is collected here')) }
  await serveVersion(node, { ...parts, versions, namespace: versions.namespace, collector })
}

async function startProvider(id: string): Promise<void> {
  const node = network.node(id)
  const store = new MemoryStore()
  await store.start()
  const provider = new LocalProvider(id, { store, freeBytes: async () => GIB })
  await serveStore(node, { ...parts, provider })
  const providers = remoteProviders(node)
  await providers.report(await provider.report(id))
}

function remoteProviders(node: MemoryNode): RemoteProviderManager {
  const remote = new RemoteProviderManager(
    { node, clock: systemClock, find: () => manager.peerId },
    { retryForMs: 0 }
  )
  stops.push(() => remote.stop())
  return remote
}

/** How an agent reaches chunks and metadata. */
function access(node: MemoryNode, providers: ProviderManager) {
  const metadata = new DistributedMetadataStore({ node, ...parts, providers: () => METADATA })
  const remotes = new RemoteProviders({ node, clock: systemClock })
  const directory = new NetworkProviderDirectory({ node, clock: systemClock, remotes, providers })
  stops.push(
    () => metadata.stop(),
    () => directory.stop(),
    () => remotes.stop()
  )
  const components = { directory, providers, random: seededRandom(2) }
  const writer = new ReplicatedWriter(components, { replicas: 2 })
  return { metadata, writer, reader: new ReplicatedReader(components) }
}

function repositoryOf(signer: typeof front, rights: ('read' | 'write')[]): Repository {
  const node = network.node(signer.peerId, { roles: new Set(), rights: new Set(rights) })
  const versions = new RemoteVersionManager(
    { node, clock: systemClock, verifier, find: () => manager.peerId },
    { retryForMs: 0 }
  )
  stops.push(() => versions.stop())
  const components = { ...parts, ...access(node, remoteProviders(node)), signer }
  return new Repository(
    { ...components, versions, namespace: versions.namespace },
    { stagingFolder: folder, replicas: 2, chunkBytes: CHUNK_BYTES }
  )
}

async function upload(repository: Repository, path: string, bytes: Uint8Array): Promise<number> {
  const writer = await repository.openWrite(path, { mode: 'replace' })
  await writer.write(0, bytes)
  return (await writer.publish()).version
}

async function read(repository: Repository, ref: string): Promise<Buffer> {
  const snapshot = await repository.openRead(ref)
  return Buffer.concat(await Array.fromAsync(snapshot.read({ offset: 0, length: Infinity })))
}

describe('a repository whose every part is on another agent', () => {
  test('takes two versions of an image and gives back both', async () => {
    const writer = repositoryOf(front, ['read', 'write'])
    const first = sampleBytes(20 * CHUNK_BYTES + 100, 1)
    const second = new Uint8Array(first)
    second.set(sampleBytes(CHUNK_BYTES, 2), 5 * CHUNK_BYTES)

    const versions = [
      await upload(writer, '/images/debian', first),
      await upload(writer, '/images/debian', second)
    ]
    const other = repositoryOf(reader, ['read'])

    expect(versions).toEqual([1, 2])
    expect(Buffer.compare(await read(other, '/images/debian@1'), first)).toBe(0)
    expect(Buffer.compare(await read(other, '/images/debian'), second)).toBe(0)
    expect(await other.history('/images/debian')).toHaveLength(2)
  })

  test('goes on with a provider and a metadata provider lost', async () => {
    const writer = repositoryOf(front, ['read', 'write'])
    const first = sampleBytes(10 * CHUNK_BYTES, 1)
    await upload(writer, '/image', first)

    network.remove('store-1')
    network.remove('meta-1')
    const second = sampleBytes(10 * CHUNK_BYTES, 2)
    const version = await upload(writer, '/image', second)
    const other = repositoryOf(reader, ['read'])

    expect(version).toBe(2)
    expect(Buffer.compare(await read(other, '/image@1'), first)).toBe(0)
    expect(Buffer.compare(await read(other, '/image@2'), second)).toBe(0)
  })

  test('takes nothing from a member that may only read', async () => {
    const other = repositoryOf(reader, ['read'])

    await expect(upload(other, '/image', sampleBytes(10))).rejects.toMatchObject({
      code: 'ERR_NOT_PERMITTED'
    })
    await expect(read(other, '/image')).rejects.toMatchObject({ code: 'ERR_PATH_NOT_FOUND' })
  })
})
