import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { ImageCache } from '../../src/agent/image-cache.ts'
import { ImageCatalogue } from '../../src/agent/image-catalogue.ts'
import { ImageOpener } from '../../src/agent/image-opener.ts'
import type { OperationProgress } from '../../src/agent/operations.ts'
import { Puller } from '../../src/agent/puller.ts'
import type { ChunkStore } from '../../src/chunks/store-types.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import type { AbortOptions } from '../../src/lib/abort-options.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { UnknownVersionError } from '../../src/metadata/errors.ts'
import { SwarmService } from '../../src/peer/swarm/swarm-service.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import { SimulatedNetwork } from '../support/simulated-network.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const CHUNK = 65_536
const newFolder = temporaryFolders()

/** Three chunks, of which the one in the middle is zero, and a short end. */
const image = Buffer.concat([sampleBytes(CHUNK, 1), new Uint8Array(CHUNK), sampleBytes(100, 2)])

let folder: string
let bench: TestRepository
let store: ChunkStore
let swarm: SwarmService
let puller: Puller
beforeEach(async () => {
  folder = await newFolder()
  bench = await startTestRepository({ chunkBytes: CHUNK })
  const [provider] = bench.stores.values()
  if (provider === undefined) throw new Error('a repository without a provider')
  store = provider
  const network = new SimulatedNetwork(systemClock)
  const [node, directory] = [network.node('me'), network.directory('me')]
  const common = { clock: systemClock, random: seededRandom(1), logger: noLogger }
  swarm = new SwarmService({ node, directory, store, ...common })
  await swarm.start()
  const { repository, metadata, pool: reader } = bench
  const log = noLogger.forComponent('test')
  const catalogue = new ImageCatalogue(join(await newFolder(), 'images'), log)
  const cache = new ImageCache({ store, held: store, catalogue, swarm, clock: systemClock, log })
  await cache.start()
  const { verifier } = bench
  const parts = { repository, swarm, metadata, verifier, catalogue, clock: systemClock, log }
  const opener = new ImageOpener(parts)
  puller = new Puller({ ...parts, opener, cache, store, reader })
  const writer = await repository.openWrite('/a', { mode: 'replace' })
  await writer.write(0, image)
  await writer.publish()
})
afterEach(async () => {
  await swarm.stop()
  await bench.stop()
})

const target = (): string => join(folder, 'disk.raw')

describe('a pull of what this agent holds', () => {
  test('writes the image byte for byte and says what was reused', async () => {
    const result = await puller.pull({ ref: '/a', file: target(), force: false })

    expect(await readFile(target())).toEqual(image)
    expect(result).toMatchObject({
      ref: '/a',
      path: '/a',
      version: 1,
      file: target(),
      bytes: image.byteLength,
      fromProvidersBytes: 0,
      fromPeersBytes: 0,
      reusedBytes: CHUNK + 100,
      zeroBytes: CHUNK
    })
  })

  test('ends with progress over the whole', async () => {
    const seen: OperationProgress[] = []
    const onProgress = (progress: OperationProgress): void => void seen.push(progress)

    await puller.pull({ ref: '/a', file: target(), force: false }, { onProgress })

    const totalBytes = image.byteLength
    expect(seen.at(-1)).toEqual({ phase: 'writing the file', doneBytes: totalBytes, totalBytes })
    expect(seen.every((progress) => progress.totalBytes === totalBytes)).toBe(true)
  })

  test('reads a chunk that has gone since from a provider', async () => {
    const get = store.get.bind(store)
    const lost = { isFirst: true }
    store.get = async (id: ChunkId, options?: AbortOptions) => {
      if (!lost.isFirst) return get(id, options)
      lost.isFirst = false
      return undefined
    }

    await puller.pull({ ref: '/a', file: target(), force: false })

    expect(bench.pool.reads).toBe(1)
    expect(await readFile(target())).toEqual(image)
  })
})

describe('the version that is pulled', () => {
  type Call = readonly ['hold' | 'release', blob: string, version: number, purpose: string]
  const calls: Call[] = []
  beforeEach(() => {
    calls.length = 0
    const { versions } = bench
    const [hold, release] = [versions.hold.bind(versions), versions.release.bind(versions)]
    versions.hold = async (request, options) => {
      calls.push(['hold', request.blob, request.version, request.purpose])
      return hold(request, options)
    }
    versions.release = async (held, options) => {
      calls.push(['release', held.blob, held.version, held.purpose])
      return release(held, options)
    }
  })

  test('is held until the file is whole', async () => {
    const { record } = await bench.repository.record('/a')
    const get = store.get.bind(store)
    store.get = async (id: ChunkId, options?: AbortOptions) => {
      await bench.repository.remove('/a').catch(() => {})
      const roots = await bench.versions.collected.roots([])
      expect(roots.find(({ blob }) => blob === record.blob)?.manifests).toContain(1)
      return get(id, options)
    }

    await puller.pull({ ref: '/a', file: target(), force: false })

    expect(await readFile(target())).toEqual(image)
    expect(calls.map(([call, blob, version]) => [call, blob, version])).toEqual([
      ['hold', record.blob, 1],
      ['release', record.blob, 1]
    ])
    expect(calls[0]?.[3]).toMatch(/^pull \/a/)
  })

  test('is let go of behind a pull that is over, which waits for no version manager that is gone', async () => {
    const answer = Promise.withResolvers<void>()
    bench.versions.release = async (held) => {
      calls.push(['release', held.blob, held.version, held.purpose])
      await answer.promise
    }

    await puller.pull({ ref: '/a', file: target(), force: false })
    const stopped = puller.stop()

    expect(calls.map(([call]) => call)).toEqual(['hold', 'release'])
    answer.resolve()
    await stopped
  })

  test('is let go of after a failure too', async () => {
    store.get = async () => {
      throw new Error('bad disk')
    }

    await expect(puller.pull({ ref: '/a', file: target(), force: false })).rejects.toThrow(
      'bad disk'
    )

    expect(calls.map(([call]) => call)).toEqual(['hold', 'release'])
  })

  test('is pulled without a hold while the version manager does not answer', async () => {
    bench.versions.hold = async () => {
      throw new Error('nobody there')
    }

    await puller.pull({ ref: '/a', file: target(), force: false })

    expect(await readFile(target())).toEqual(image)
  })

  test('is not pulled, and leaves no file, if it has gone meanwhile', async () => {
    bench.versions.hold = async ({ blob, version }) => {
      throw new UnknownVersionError(blob, version, 'was removed')
    }

    const pull = puller.pull({ ref: '/a', file: target(), force: false })

    await expect(pull).rejects.toMatchObject({ code: 'ERR_UNKNOWN_VERSION' })
    expect(await readdir(folder)).toEqual([])
  })

  test('may be a clone without a version of its own', async () => {
    await bench.repository.clone('/a', '/b')

    const result = await puller.pull({ ref: '/b', file: target(), force: false })

    expect(result).toMatchObject({ path: '/b', version: 0 })
    expect(await readFile(target())).toEqual(image)
  })
})

describe('a pull that cannot be', () => {
  test('of nothing makes no file', async () => {
    const pull = puller.pull({ ref: '/no', file: target(), force: false })

    await expect(pull).rejects.toMatchObject({ code: 'ERR_PATH_NOT_FOUND' })
    expect(await readdir(folder)).toEqual([])
  })

  test('onto a file that is there moves nothing', async () => {
    await puller.pull({ ref: '/a', file: target(), force: false })

    const again = puller.pull({ ref: '/a', file: target(), force: false })

    await expect(again).rejects.toMatchObject({ code: 'ERR_FILE_EXISTS' })
  })

  test('leaves nothing when it is aborted while it writes', async () => {
    const abort = new AbortController()
    store.get = async () => {
      abort.abort(new Error('the client went away'))
      throw abort.signal.reason
    }

    const pull = puller.pull({ ref: '/a', file: target(), force: false }, { signal: abort.signal })

    await expect(pull).rejects.toThrow('the client went away')
    expect(await readdir(folder)).toEqual([])
  })
})
