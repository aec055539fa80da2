import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../../src/chunks/chunk-id.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { LeafListBuilder } from '../../../src/metadata/leaf-list.ts'
import { encodeLeafList } from '../../../src/metadata/leaf-list-codec.ts'
import { type StoredWrite, VersionPublisher } from '../../../src/metadata/publishing.ts'
import type { MetadataStore } from '../../../src/metadata/store-types.ts'
import type { TicketRequest } from '../../../src/metadata/ticket-types.ts'
import type { BlobDescription } from '../../../src/metadata/types.ts'
import { MAX_LEAF_PAGE_BYTES, MAX_LEAF_PAGES } from '../../../src/metadata/version-requests.ts'
import { serveVersion } from '../../../src/peer/protocols/version-serve.ts'
import { RemoteVersionManager } from '../../../src/peer/remote/version-manager.ts'
import { MemoryNetwork } from '../../support/memory-network.ts'
import { startTestRepository, type TestRepository } from '../../support/repository.ts'

const CHUNK_BYTES = 65_536

let repository: TestRepository
let remote: RemoteVersionManager
let description: BlobDescription

beforeEach(async () => {
  repository = await startTestRepository()
  const network = new MemoryNetwork()
  const { versions, verifier, signer } = repository
  const collector = { collect: () => Promise.reject(new Error('nothing is collected here')) }
  const served = {
    versions,
    namespace: versions.namespace,
    collector,
    clock: systemClock,
    logger: noLogger
  }
  await serveVersion(network.node('manager'), served)
  // The test's signer writes, so that its proofs are believed.
  const node = network.node(signer.peerId)
  remote = new RemoteVersionManager(
    { node, clock: systemClock, verifier, find: () => 'manager' },
    { retryForMs: 0 }
  )
  description = await remote.createBlob({ chunkBytes: CHUNK_BYTES, replicas: 1 })
})

afterEach(async () => {
  await remote.stop()
  await repository.stop()
})

function writeOf(chunks: number): StoredWrite {
  const leaves = new LeafListBuilder()
  for (let index = 0; index < chunks; index++) {
    const chunk = chunkId(Buffer.from(`chunk ${index}`))
    leaves.add(index, { at: 0, length: CHUNK_BYTES, chunk, chunkOffset: 0, replicas: ['p1'] })
  }
  const endBytes = chunks * CHUNK_BYTES
  return { description, leaves: leaves.build(), endBytes, truncates: false }
}

/** Publishes over the network. @returns the calls that the writer itself made to the metadata. */
async function publish(write: StoredWrite): Promise<string[]> {
  const calls: string[] = []
  const { metadata, signer } = repository
  const seen = new Proxy(metadata, {
    get: (store, name: keyof MetadataStore) => {
      calls.push(name)
      return store[name]
    }
  })
  const logger = noLogger.forComponent('test')
  const parts = { versions: remote, metadata: seen, signer, clock: systemClock, logger }
  const summary = await new VersionPublisher(parts).publish(write)
  expect(summary.condition).toBe('published')
  return [...new Set(calls)].filter((name) => name.startsWith('put'))
}

function requestOf(pages: readonly Uint8Array[], root: Uint8Array): TicketRequest {
  const { blob } = description
  const writer = repository.signer.peerId
  const ranges = [{ start: 0, end: 1 }]
  const asked = { blob, writer, ranges, endBytes: CHUNK_BYTES, truncates: false }
  return { ...asked, leafList: chunkId(root), leafPages: pages }
}

async function assigned(): Promise<number> {
  const pages = Array.from(encodeLeafList(writeOf(1).leaves), ({ bytes }) => bytes)
  const { ticket } = await remote.assign(requestOf(pages, pages.at(-1) ?? new Uint8Array()))
  return ticket.version
}

describe('a short write', () => {
  test('sends its leaf list with the ticket request, and can be sealed from it', async () => {
    const puts = await publish(writeOf(3))

    const { record } = await remote.record(description.blob, 1)
    expect(puts).toEqual(['putNodes'])
    expect(record.bytes).toBe(3 * CHUNK_BYTES)
  })

  test('stores a longer leaf list beforehand', async () => {
    const puts = await publish(writeOf(1000))

    expect(puts).toEqual(['putPages', 'putNodes'])
  })

  test('has the list that came with its request stored before it gets its ticket', async () => {
    const pages = Array.from(encodeLeafList(writeOf(1).leaves), ({ bytes }) => bytes)
    const root = pages.at(-1) ?? new Uint8Array()

    await remote.assign(requestOf(pages, root))

    const stored = await repository.metadata.getPages(pages.map(chunkId))
    expect(stored).toEqual(pages)
  })

  test('gets no ticket for a list that is not there', async () => {
    const other = new Uint8Array(10).fill(1)

    const ticket = remote.assign(requestOf([other], new Uint8Array(10).fill(2)))

    await expect(ticket).rejects.toMatchObject({ code: 'ERR_METADATA_MISSING' })
  })

  test.each([
    ['too many pages', Array.from({ length: MAX_LEAF_PAGES + 1 }, () => new Uint8Array(1))],
    ['too many bytes', [new Uint8Array(MAX_LEAF_PAGE_BYTES), new Uint8Array(1)]]
  ])('gets no ticket with %s', async (_what, pages) => {
    const ticket = repository.versions.assign(requestOf(pages, new Uint8Array(1)))

    await expect(ticket).rejects.toMatchObject({ code: 'ERR_METADATA_LIMIT' })
  })
})

describe('finishing a version', () => {
  test('waits for those below it', async () => {
    const { blob } = description
    const [first, second] = [await assigned(), await assigned()]
    const order: number[] = []

    const finishing = remote.finish(blob, second).then(({ version }) => order.push(version))
    await remote.newest(blob)
    order.push(0)
    await remote.finish(blob, first)
    await finishing

    expect(order).toEqual([0, second])
  })

  test('goes on waiting when the version manager has held the request long enough', async () => {
    const { blob } = description
    const [first, second] = [await assigned(), await assigned()]
    await remote.stop()
    const { versions } = repository
    const waits: number[] = []
    const wait = versions.waitPublished.bind(versions)
    versions.waitPublished = async (...args) => {
      waits.push(args[1])
      // The second time it is asked the first version is finished.
      if (waits.length === 2) await versions.commit(blob, first)
      return wait(...args)
    }
    const network = new MemoryNetwork()
    const collector = { collect: () => Promise.reject(new Error('nothing is collected here')) }
    const served = { versions, namespace: versions.namespace, collector, logger: noLogger }
    await serveVersion(network.node('manager'), { ...served, clock: systemClock })
    remote = new RemoteVersionManager(
      {
        node: network.node(repository.signer.peerId),
        clock: systemClock,
        verifier: repository.verifier,
        find: () => 'manager'
      },
      { retryForMs: 0, waitMs: 10 }
    )

    const summary = await remote.finish(blob, second)

    expect(summary).toMatchObject({ version: second, condition: 'published' })
    expect(waits.length).toBeGreaterThan(1)
  })

  test('finishes more at a time than there is room for long requests', async () => {
    const { blob } = description
    const versions = []
    while (versions.length < 140) versions.push(await assigned())

    // The last first: each waits for all below it.
    const finished = await Promise.all(
      versions.toReversed().map((version) => remote.finish(blob, version))
    )

    expect(finished).toHaveLength(140)
  })
})
