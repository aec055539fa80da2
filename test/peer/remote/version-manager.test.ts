import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { chunkId, ZERO_CHUNK_ID } from '../../../src/chunks/chunk-id.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import type { CollectionReport } from '../../../src/metadata/collection-types.ts'
import { encodeLeafList } from '../../../src/metadata/leaf-list-codec.ts'
import type { SignedTicket, TicketRequest } from '../../../src/metadata/ticket-types.ts'
import { proveNodes } from '../../../src/metadata/tickets.ts'
import { weaveNodes } from '../../../src/metadata/tree-write.ts'
import type { BlobId, VersionSummary } from '../../../src/metadata/types.ts'
import { PeerTimeoutError, PeerUnreachableError, RemoteError } from '../../../src/peer/errors.ts'
import { VERSION_PROTOCOL } from '../../../src/peer/protocols/version.ts'
import { type ServedCollector, serveVersion } from '../../../src/peer/protocols/version-serve.ts'
import {
  RemoteVersionManager,
  type RemoteVersionManagerOptions
} from '../../../src/peer/remote/version-manager.ts'
import { MemoryNetwork, type MemoryNode } from '../../support/memory-network.ts'
import { startTestRepository, type TestRepository } from '../../support/repository.ts'
import { testSigner, trusting } from '../../support/signing.ts'
import { leaves } from '../../support/version-stage.ts'

const CHUNK_BYTES = 65_536
const LEAF_LIST = Buffer.from('not a real leaf list')

const REPORT: CollectionReport = {
  isDryRun: true,
  retiredVersions: 1,
  forgottenBlobs: 2,
  chunks: { count: 3, bytes: 4 },
  nodes: { count: 5, bytes: 6 },
  pages: { count: 7, bytes: 8 },
  records: { count: 9, bytes: 10 },
  liveChunks: 11,
  missed: ['provider-1'],
  seconds: 1.5
}

let repository: TestRepository
let collector: ServedCollector
let network: MemoryNetwork
const remotes: RemoteVersionManager[] = []

beforeEach(async () => {
  repository = await startTestRepository()
  const bytes = new Uint8Array(LEAF_LIST)
  await repository.metadata.putPages([{ id: chunkId(bytes), bytes }])
  network = new MemoryNetwork()
  collector = { collect: async ({ isDryRun }) => ({ ...REPORT, isDryRun }) }
  await serve()
})

afterEach(async () => {
  await Promise.all(remotes.splice(0).map((remote) => remote.stop()))
  await repository.stop()
})

async function serve(): Promise<MemoryNode> {
  const node = network.node('manager')
  const { versions } = repository
  const components = {
    versions,
    namespace: versions.namespace,
    collector,
    clock: systemClock,
    logger: noLogger
  }
  await serveVersion(node, components)
  return node
}

function remoteOf(
  node: MemoryNode = network.node('writer'),
  options: RemoteVersionManagerOptions = {}
): RemoteVersionManager {
  const { verifier } = repository
  const remote = new RemoteVersionManager(
    { node, clock: systemClock, verifier, find: () => 'manager' },
    { retryForMs: 0, ...options }
  )
  remotes.push(remote)
  return remote
}

function requestOf(blob: BlobId, writer = 'writer'): TicketRequest {
  return {
    blob,
    writer,
    ranges: [{ start: 0, end: 2 }],
    endBytes: 2 * CHUNK_BYTES,
    truncates: true,
    leafList: chunkId(new Uint8Array(LEAF_LIST)),
    note: 'made by a test'
  }
}

async function putNodes({ ticket, envelope }: SignedTicket): Promise<void> {
  const { metadata, signer } = repository
  for await (const nodes of weaveNodes(ticket, [], metadata)) {
    // As the version manager in a repair: the test's writer has no key.
    await metadata.putNodes(nodes, proveNodes(signer, envelope, nodes))
  }
}

async function publish(remote: RemoteVersionManager, path: string): Promise<VersionSummary> {
  const { blob } = await remote.namespace.reserve(path, { chunkBytes: CHUNK_BYTES, replicas: 1 })
  const signed = await remote.assign({ ...requestOf(blob), path })
  await putNodes(signed)
  await remote.commit(blob, signed.ticket.version)
  return remote.waitPublished(blob, signed.ticket.version)
}

describe('the remote version manager', () => {
  test('takes a write from ticket to publication and sealing', async () => {
    const remote = remoteOf()
    const described = await remote.createBlob({ chunkBytes: CHUNK_BYTES, replicas: 2 })
    const { blob } = described

    const before = [await remote.latest(blob), await remote.newest(blob)]
    const signed = await remote.assign(requestOf(blob))
    const leaseUntilMs = await remote.renew(blob, signed.ticket.version)
    await putNodes(signed)
    await remote.commit(blob, 1)
    const published = await remote.waitPublished(blob, 1)

    expect(await remote.describe(blob)).toEqual(described)
    expect(before).toEqual([undefined, { version: 0, bytes: 0 }])
    expect(signed.ticket).toMatchObject({ blob, version: 1, writer: 'writer' })
    expect(leaseUntilMs).toBeGreaterThanOrEqual(signed.ticket.leaseUntilMs)
    expect(published).toMatchObject({ version: 1, condition: 'published', note: 'made by a test' })
    expect(await remote.latest(blob)).toEqual(published)
    expect(await remote.history(blob)).toEqual([published])
    expect(await remote.newest(blob)).toEqual({ version: 1, bytes: 2 * CHUNK_BYTES })
  })

  test('serves the namespace', async () => {
    const remote = remoteOf()
    await remote.namespace.makeDirectory('/images/debian', { parents: true })
    await publish(remote, '/images/debian/12.raw')

    const entry = await remote.namespace.lookup('/images/debian/12.raw')
    await remote.namespace.rename('/images/debian', '/images/old')

    expect(entry).toMatchObject({ kind: 'file', version: 1, bytes: 2 * CHUNK_BYTES })
    expect(await remote.namespace.lookup('/images/debian/12.raw')).toBeUndefined()
    expect(await remote.namespace.list('/images')).toMatchObject([
      { kind: 'directory', path: '/images/old' }
    ])
    await remote.namespace.remove('/images/old/12.raw', { kind: 'file' })
    expect(await remote.namespace.list('/images/old')).toEqual([])
  })

  test('fails with the codes of the version manager', async () => {
    const remote = remoteOf()
    const blob = 'ab'.repeat(32)

    expect(await remote.describe(blob)).toBeUndefined()
    await expect(remote.assign(requestOf(blob))).rejects.toMatchObject({ code: 'ERR_UNKNOWN_BLOB' })
    await expect(remote.namespace.list('/nowhere')).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND'
    })
    await expect(remote.record(blob, 1)).rejects.toBeInstanceOf(RemoteError)
    await expect(remote.createBlob({ chunkBytes: 1000, replicas: 1 })).rejects.toMatchObject({
      code: 'ERR_INVALID_REQUEST'
    })
  })

  test('gives a writer tickets for itself only', async () => {
    const remote = remoteOf()
    const { blob } = await remote.createBlob({ chunkBytes: CHUNK_BYTES, replicas: 1 })

    await expect(remote.assign(requestOf(blob, 'somebody else'))).rejects.toMatchObject({
      code: 'ERR_NOT_PERMITTED'
    })
  })

  test('lets only the writer renew and commit its version', async () => {
    const remote = remoteOf()
    const other = remoteOf(network.node('other'))
    const { blob } = await remote.createBlob({ chunkBytes: CHUNK_BYTES, replicas: 1 })
    await remote.assign(requestOf(blob))

    await expect(other.commit(blob, 1)).rejects.toMatchObject({ code: 'ERR_NOT_PERMITTED' })
    await expect(other.renew(blob, 1)).rejects.toMatchObject({ code: 'ERR_NOT_PERMITTED' })
  })

  test('lets readers read and nothing else', async () => {
    await publish(remoteOf(), '/image')
    const reader = remoteOf(network.node('reader', { rights: new Set(['read']) }))
    const create = { chunkBytes: CHUNK_BYTES, replicas: 1 }

    const entry = await reader.namespace.lookup('/image')
    const blob = entry?.kind === 'file' ? entry.blob : ''
    expect(await reader.history(blob)).toHaveLength(1)

    const refused = [
      reader.createBlob(create),
      reader.namespace.reserve('/other', create),
      reader.assign(requestOf(blob, 'reader')),
      reader.renew(blob, 1),
      reader.commit(blob, 1),
      reader.retire(blob, 1),
      reader.namespace.makeDirectory('/folder'),
      reader.namespace.remove('/image', { kind: 'any' }),
      reader.namespace.rename('/image', '/other'),
      reader.namespace.clone({ blob, version: 1 }, '/clone'),
      reader.namespace.setModified('/image', 1),
      reader.setPinned({ blob, version: 1 }, true),
      reader.namespace.setRetention('/image', { last: 1 }),
      reader.collect({ isDryRun: true })
    ]
    for (const call of refused) {
      await expect(call).rejects.toMatchObject({ code: 'ERR_NOT_PERMITTED' })
    }
  })

  test('leaves pins, policies and collection to administrators', async () => {
    const { version } = await publish(remoteOf(), '/image')
    const writer = remoteOf(network.node('other', { rights: new Set(['read', 'write']) }))
    const entry = await writer.namespace.lookup('/image')
    const blob = entry?.kind === 'file' ? entry.blob : ''

    const refused = [
      writer.setPinned({ blob, version }, true),
      writer.namespace.setRetention('/image', { last: 1 }),
      writer.collect({ isDryRun: false })
    ]

    for (const call of refused) {
      await expect(call).rejects.toMatchObject({ code: 'ERR_NOT_PERMITTED' })
    }
    expect(await writer.namespace.retention('/image')).toEqual({ policy: {}, setFor: undefined })
  })

  test('clones, and knows a clone by its version 0', async () => {
    const remote = remoteOf()
    await publish(remote, '/image')
    const source = await remote.namespace.lookup('/image')
    const blob = source?.kind === 'file' ? source.blob : ''

    const entry = await remote.namespace.clone({ blob, version: 1 }, '/clones/one')

    expect(entry).toMatchObject({ kind: 'file', version: 0, bytes: 2 * CHUNK_BYTES })
    expect(await remote.namespace.lookup('/clones/one')).toEqual(entry)
    expect(await remote.latest(entry.blob)).toMatchObject({ version: 0, condition: 'published' })
    expect((await remote.record(entry.blob, 0)).record.parent).toEqual({ blob, version: 1 })
    const signed = await remote.assign({ ...requestOf(entry.blob), ifNewest: 0 })
    await putNodes(signed)
    await remote.commit(entry.blob, 1)
    expect((await remote.history(entry.blob)).map(({ version }) => version)).toEqual([0, 1])
    await remote.retire(entry.blob, 0)
    expect((await remote.history(entry.blob)).map(({ version }) => version)).toEqual([1])
    await expect(remote.namespace.clone({ blob, version: 9 }, '/two')).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_VERSION'
    })
  })

  test('pins versions and sets policies', async () => {
    const remote = remoteOf()
    await publish(remote, '/folder/image')
    const entry = await remote.namespace.lookup('/folder/image')
    const blob = entry?.kind === 'file' ? entry.blob : ''

    await remote.setPinned({ blob, version: 1 }, true)
    await remote.namespace.setRetention('/folder', { last: 2, youngerMs: 1000 })

    expect(await remote.latest(blob)).toMatchObject({ isPinned: true })
    const pinned = { code: 'ERR_VERSION_PINNED' }
    await expect(remote.retire(blob, 1)).rejects.toMatchObject(pinned)
    await expect(remote.namespace.remove('/folder/image', { kind: 'file' })).rejects.toMatchObject(
      pinned
    )
    expect(await remote.namespace.retention('/folder/image')).toEqual({
      policy: { last: 2, youngerMs: 1000 },
      setFor: '/folder'
    })
    await remote.namespace.setRetention('/folder', undefined)
    expect(await remote.namespace.retention('/folder')).toEqual({ policy: {}, setFor: undefined })
    const absurd = remote.namespace.setRetention('/folder', { last: 0 })
    await expect(absurd).rejects.toMatchObject({ code: 'ERR_INVALID_REQUEST' })
  })

  test('publishes a short file in one step, where there is none yet', async () => {
    const remote = remoteOf()
    const list = leaves(0)
    const pages = Array.from(encodeLeafList(list))
    const request = {
      chunkBytes: CHUNK_BYTES,
      replicas: 1,
      path: '/folder/short',
      writer: 'writer',
      endBytes: CHUNK_BYTES,
      leafList: pages.at(-1)?.id ?? ZERO_CHUNK_ID,
      leafPages: pages.map(({ bytes }) => bytes),
      note: 'short'
    }
    expect(await remote.namespace.isFree('/folder/short')).toBe(true)

    const summary = await remote.namespace.publishFile(request)

    expect(summary).toMatchObject({ version: 1, bytes: CHUNK_BYTES, note: 'short' })
    expect(await remote.namespace.lookup('/folder/short')).toMatchObject({
      version: 1,
      bytes: CHUNK_BYTES
    })
    expect(await remote.namespace.isFree('/folder/short')).toBe(false)
    expect(await remote.namespace.publishFile(request)).toBeUndefined()
    const directory = { code: 'ERR_IS_DIRECTORY' }
    await expect(remote.namespace.isFree('/folder')).rejects.toMatchObject(directory)
    await expect(
      remote.namespace.publishFile({ ...request, path: '/folder' })
    ).rejects.toMatchObject(directory)
    const ofAnother = remote.namespace.publishFile({ ...request, path: '/other', writer: 'reader' })
    await expect(ofAnother).rejects.toMatchObject({ code: 'ERR_NOT_PERMITTED' })
  })

  test('sets times, and tells how much lies below a path', async () => {
    const remote = remoteOf()
    await publish(remote, '/folder/image')
    await publish(remote, '/other')

    await remote.namespace.setModified('/folder/image', 1_000_000_000_000)

    expect(await remote.namespace.lookup('/folder/image')).toMatchObject({
      modifiedMs: 1_000_000_000_000
    })
    expect(await remote.namespace.usage('/folder')).toEqual({ bytes: 2 * CHUNK_BYTES })
    expect(await remote.namespace.usage('/')).toEqual({ bytes: 4 * CHUNK_BYTES })
    expect(await remote.namespace.usage('/not/there')).toEqual({ bytes: 0 })
  })

  test('gives a peer holds of its own only', async () => {
    const remote = remoteOf()
    await publish(remote, '/image')
    const reader = remoteOf(network.node('reader', { rights: new Set(['read']) }))
    const entry = await reader.namespace.lookup('/image')
    const blob = entry?.kind === 'file' ? entry.blob : ''
    const hold = { blob, version: 1, holder: 'reader', purpose: 'pull /image' }

    const untilMs = await reader.hold({ ...hold, forMs: 60_000 })

    expect(untilMs).toBeGreaterThan(systemClock.now())
    const notOwn = { code: 'ERR_NOT_PERMITTED' }
    await expect(remote.hold({ ...hold, forMs: 60_000 })).rejects.toMatchObject(notOwn)
    await expect(remote.release(hold)).rejects.toMatchObject(notOwn)
    await expect(reader.hold({ ...hold, forMs: 8 * 86_400_000 })).rejects.toMatchObject({
      code: 'ERR_INVALID_REQUEST'
    })
    await reader.release(hold)
    await reader.release(hold)
  })

  test('collects, and tells what was found', async () => {
    const remote = remoteOf()

    expect(await remote.collect({ isDryRun: true })).toEqual(REPORT)
    expect(await remote.collect({ isDryRun: false })).toEqual({ ...REPORT, isDryRun: false })
    collector.collect = async (_request, { signal } = {}) => {
      collecting.resolve()
      await new Promise((_resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason))
      })
      return REPORT
    }
    const collecting = Promise.withResolvers<void>()
    const controller = new AbortController()
    const given = remote.collect({ isDryRun: false }, { signal: controller.signal })
    await collecting.promise
    controller.abort(new Error('changed my mind'))
    await expect(given).rejects.toThrow('changed my mind')
  })

  test('waits for a publication longer than one request is held', async () => {
    const remote = remoteOf(undefined, { waitMs: 10 })
    const { blob } = await remote.createBlob({ chunkBytes: CHUNK_BYTES, replicas: 1 })
    const [first, second] = [
      await remote.assign(requestOf(blob)),
      await remote.assign(requestOf(blob))
    ]
    await putNodes(second)
    await remote.commit(blob, 2)
    const requests: number[] = []
    const wait = repository.versions.waitPublished.bind(repository.versions)
    const enough = Promise.withResolvers<void>()
    repository.versions.waitPublished = async (...args) => {
      if (requests.push(args[1]) === 3) enough.resolve()
      return wait(...args)
    }

    const waiting = remote.waitPublished(blob, 2)
    await enough.promise
    await putNodes(first)
    await remote.commit(blob, 1)

    expect(await waiting).toMatchObject({ version: 2, condition: 'published' })
    expect(requests.length).toBeGreaterThanOrEqual(3)
  })

  test('gives up waiting when its caller does', async () => {
    const remote = remoteOf()
    const { blob } = await remote.createBlob({ chunkBytes: CHUNK_BYTES, replicas: 1 })
    await remote.assign(requestOf(blob))
    const controller = new AbortController()

    const waiting = remote.waitPublished(blob, 1, { signal: controller.signal })
    await remote.newest(blob)
    controller.abort(new Error('changed my mind'))

    await expect(waiting).rejects.toThrow('changed my mind')
  })

  test('lists and remembers more than fit into one message', async () => {
    const remote = remoteOf()
    const { versions } = repository
    const names = Array.from(
      { length: 1300 },
      (_, at) => `d${String(at).padStart(5, '0')}${'x'.repeat(200)}`
    )
    for (const name of names) void versions.namespace.makeDirectory(`/${name}`)
    await versions.namespace.makeDirectory('/zzz')
    const summary = { bytes: 1, timeMs: 1, condition: 'published', isPinned: false } as const
    const long = Array.from({ length: 700 }, (_, version) => ({
      ...summary,
      version,
      note: 'n'.repeat(1000)
    }))
    versions.historyPage = async (_blob, { after = -1, limit }) =>
      long.filter(({ version }) => version > after).slice(0, limit)

    const listed = await remote.namespace.list('/', { limit: 1100 })
    const rest = await remote.namespace.list('/', { after: names[1099] as string, limit: 5000 })

    expect(listed.map(({ path }) => path.slice(1))).toEqual(names.slice(0, 1100))
    expect(rest.map(({ path }) => path.slice(1))).toEqual([...names.slice(1100), 'zzz'])
    expect(await remote.history('ab'.repeat(32))).toEqual(long)
  })

  test('tries again while the version manager restarts', async () => {
    const remote = remoteOf(undefined, { retryForMs: 5000, retryPauseMs: 5 })
    await remote.namespace.makeDirectory('/there')
    network.remove('manager')

    const looking = remote.namespace.lookup('/there')
    const assigning = remote.createBlob({ chunkBytes: CHUNK_BYTES, replicas: 1 })
    await serve()

    expect(await looking).toMatchObject({ kind: 'directory' })
    expect(await assigning).toMatchObject({ chunkBytes: CHUNK_BYTES })
  })

  test('stops trying when its time is up or its caller gives up', async () => {
    network.remove('manager')
    const controller = new AbortController()
    const remote = remoteOf(undefined, { retryForMs: 60_000, retryPauseMs: 5 })

    await expect(remoteOf().namespace.lookup('/')).rejects.toBeInstanceOf(PeerUnreachableError)
    const looking = remote.namespace.lookup('/', { signal: controller.signal })
    controller.abort(new Error('changed my mind'))

    await expect(looking).rejects.toThrow('changed my mind')
  })

  test('never asks for a second ticket because the answer to the first was lost', async () => {
    const remote = remoteOf(undefined, { retryForMs: 5000, retryPauseMs: 5 })
    const { blob } = await remote.createBlob({ chunkBytes: CHUNK_BYTES, replicas: 1 })
    const { versions } = repository
    const assign = versions.assign.bind(versions)
    versions.assign = async (...args) => {
      const ticket = await assign(...args)
      network.find('manager')?.cut()
      return ticket
    }

    await expect(remote.assign(requestOf(blob))).rejects.toBeInstanceOf(PeerUnreachableError)
    expect(await remote.newest(blob)).toMatchObject({ version: 1 })
  })

  test('does not take a ticket that somebody else signed', async () => {
    const { versions } = repository
    const { blob } = await versions.createBlob({ chunkBytes: CHUNK_BYTES, replicas: 1 })
    const remote = new RemoteVersionManager({
      node: network.node('writer'),
      clock: systemClock,
      verifier: trusting(testSigner(9)),
      find: () => 'manager'
    })
    remotes.push(remote)

    await expect(remote.assign(requestOf(blob))).rejects.toMatchObject({
      code: 'ERR_PROTOCOL_VIOLATION',
      peer: 'manager',
      message: expect.stringContaining('signature not trusted')
    })
  })

  test('that answers nothing ends every call in time', async () => {
    await network.node('manager').serve(VERSION_PROTOCOL, async ({ ended }) => {
      await new Promise((resolve) => ended.addEventListener('abort', resolve))
    })
    const remote = remoteOf(undefined, { timeoutMs: 20 })

    await expect(remote.namespace.lookup('/')).rejects.toBeInstanceOf(PeerTimeoutError)
    await expect(remote.assign(requestOf('ab'.repeat(32)))).rejects.toBeInstanceOf(PeerTimeoutError)
  })
})
