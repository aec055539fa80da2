import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { isAllZero } from '../../src/lib/bytes.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { BlobReader } from '../../src/metadata/blob-reader.ts'
import { MAX_CHUNKS } from '../../src/metadata/geometry.ts'
import { LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import { encodeLeafList } from '../../src/metadata/leaf-list-codec.ts'
import { decodeLocation, signLocation } from '../../src/metadata/location.ts'
import { ManifestSealer } from '../../src/metadata/sealing.ts'
import type { SealRequest, SignedVersionRecord } from '../../src/metadata/sealing-types.ts'
import type { MetadataStore } from '../../src/metadata/store-types.ts'
import { ChunkPool } from '../support/chunk-pool.ts'
import { memoryMetadata, metadataWithFaults } from '../support/metadata.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import { testSigner, trusting } from '../support/signing.ts'

const CHUNK = 65_536

interface Write {
  readonly offset: number
  readonly bytes: Uint8Array
}

/** Stands in for a writer: chunks and leaf list are stored, the version is sealed. */
class Bench {
  readonly pool: ChunkPool
  readonly metadata: MetadataStore
  readonly sealer: ManifestSealer
  readonly blobs: BlobReader
  readonly #blob: string
  #version = 0

  constructor(
    over: { readonly pool?: ChunkPool; readonly metadata?: MetadataStore } = {},
    blob = 'cd'.repeat(32)
  ) {
    const { pool = new ChunkPool(), metadata = memoryMetadata() } = over
    const signer = testSigner()
    const verifier = trusting(signer)
    const shared = { metadata, reader: pool, writer: pool, signer, verifier, logger: noLogger }
    this.pool = pool
    this.metadata = metadata
    this.sealer = new ManifestSealer(shared)
    this.blobs = new BlobReader(shared)
    this.#blob = blob
  }

  async storeLeaves(writes: readonly Write[]): Promise<Uint8Array> {
    const builder = new LeafListBuilder()
    for (const { offset, bytes } of writes) {
      for (let done = 0; done < bytes.byteLength; ) {
        const index = Math.floor((offset + done) / CHUNK)
        const at = (offset + done) % CHUNK
        const piece = bytes.slice(done, done + CHUNK - at)
        const chunk = isAllZero(piece) ? ZERO_CHUNK_ID : chunkId(piece)
        const replicas = isAllZero(piece) ? [] : await this.pool.write(chunk, piece)
        builder.add(index, { at, length: piece.byteLength, chunk, chunkOffset: 0, replicas })
        done += piece.byteLength
      }
    }
    const pages = Array.from(encodeLeafList(builder.build()))
    await this.metadata.putPages(pages)
    return pages.at(-1)?.id ?? ZERO_CHUNK_ID
  }

  async request(
    writes: readonly Write[],
    bytes: number,
    over: { parentRecord?: SignedVersionRecord; truncates?: boolean } = {}
  ): Promise<SealRequest> {
    const { parentRecord, truncates = false } = over
    const leafList = await this.storeLeaves(writes)
    const version = ++this.#version
    const blob = this.#blob
    const parent = parentRecord && { blob, version: parentRecord.record.version }
    const note = ''
    return {
      description: { blob, chunkBytes: CHUNK, replicas: 1, createdMs: 0 },
      version,
      bytes,
      truncates,
      ranges: [{ start: 0, end: MAX_CHUNKS }],
      leafList,
      timeMs: version,
      note,
      parent,
      parentRecord: truncates ? undefined : parentRecord
    }
  }

  async read(signed: SignedVersionRecord): Promise<Uint8Array> {
    const snapshot = await this.blobs.open(signed)
    const parts = await Array.fromAsync(snapshot.read({ offset: 0, length: Infinity }))
    return new Uint8Array(Buffer.concat(parts))
  }
}

describe('sealing', () => {
  test('gives whole chunks for whatever fragments were written, in every version', async () => {
    const anyWrite = fc.record({
      offset: fc.nat(5 * CHUNK),
      length: fc.integer({ min: 1, max: 2 * CHUNK }),
      seed: fc.nat(3)
    })
    const anyVersion = fc.record({
      writes: fc.array(anyWrite, { maxLength: 3 }),
      truncates: fc.boolean(),
      more: fc.nat(CHUNK)
    })
    await fc.assert(
      fc.asyncProperty(fc.array(anyVersion, { minLength: 1, maxLength: 4 }), async (versions) => {
        const bench = new Bench()
        const expected: Uint8Array[] = []
        const sealed: SignedVersionRecord[] = []
        for (const { writes: some, truncates, more } of versions) {
          const writes = some.map(({ offset, length, seed }) => {
            const bytes = seed === 0 ? new Uint8Array(length) : sampleBytes(length, seed)
            return { offset, bytes }
          })
          const before = truncates ? new Uint8Array() : (expected.at(-1) ?? new Uint8Array())
          const end = Math.max(...writes.map(({ offset, bytes }) => offset + bytes.byteLength), 0)
          const content = new Uint8Array(Math.max(before.byteLength, end + more))
          content.set(before)
          for (const { offset, bytes } of writes) content.set(bytes, offset)
          const parentRecord = sealed.at(-1)
          const over = parentRecord === undefined ? { truncates } : { truncates, parentRecord }
          const request = await bench.request(writes, content.byteLength, over)

          sealed.push(await bench.sealer.seal(request))
          expected.push(content)
        }

        for (const [at, content] of expected.entries()) {
          const got = await bench.read(sealed[at] as SignedVersionRecord)
          expect(Buffer.compare(got, content)).toBe(0)
        }
      }),
      { numRuns: 25 }
    )
  })

  test('gives the same record when it is done again', async () => {
    const bench = new Bench()
    const request = await bench.request([{ offset: 100, bytes: sampleBytes(CHUNK) }], 3 * CHUNK)

    const first = await bench.sealer.seal(request)

    expect(await bench.sealer.seal(request)).toEqual(first)
  })

  test('gives the same root on another machine', async () => {
    const writes = [{ offset: 100, bytes: sampleBytes(CHUNK) }]
    const [one, other] = [new Bench(), new Bench()]

    const [first, second] = await Promise.all(
      [one, other].map(async (bench) => bench.sealer.seal(await bench.request(writes, 3 * CHUNK)))
    )

    expect(first?.record.manifestRoot).toEqual(second?.record.manifestRoot)
  })

  test('reads and stores only chunks that were written in part', async () => {
    const bench = new Bench()
    const whole = sampleBytes(8 * CHUNK)
    const request = await bench.request([{ offset: 0, bytes: whole }], 8 * CHUNK)
    const parentRecord = await bench.sealer.seal(request)
    const patch = { offset: 3 * CHUNK + 7, bytes: sampleBytes(10, 2) }
    const next = await bench.request([patch], 8 * CHUNK, { parentRecord })
    const before = bench.pool.writtenIds.length

    await bench.sealer.seal(next)

    expect(bench.pool.writtenIds).toHaveLength(before + 1)
    expect(bench.pool.readIds).toHaveLength(2)
  })

  test('pads what was the short last chunk of the parent', async () => {
    const bench = new Bench()
    const request = await bench.request([{ offset: 0, bytes: sampleBytes(100) }], 100)
    const parentRecord = await bench.sealer.seal(request)
    const grown = await bench.request([], 3 * CHUNK, { parentRecord })

    const sealed = await bench.sealer.seal(grown)

    const expected = new Uint8Array(3 * CHUNK)
    expected.set(sampleBytes(100))
    expect(Buffer.compare(await bench.read(sealed), expected)).toBe(0)
  })

  test('costs nothing for a terabyte of zeros', async () => {
    const bench = new Bench()

    const sealed = await bench.sealer.seal(await bench.request([], 2 ** 40))

    const snapshot = await bench.blobs.open(sealed)
    const part = await Array.fromAsync(snapshot.read({ offset: 2 ** 39 + 5, length: 10 }))
    expect(part).toEqual([new Uint8Array(10)])
    expect(bench.pool.writtenIds).toEqual([])
  })

  test('writes down where the chunks of each changed page are', async () => {
    const bench = new Bench()
    const writes = [
      { offset: 0, bytes: sampleBytes(CHUNK) },
      { offset: 1024 * CHUNK, bytes: sampleBytes(CHUNK, 2) }
    ]
    const request = await bench.request(writes, 1026 * CHUNK)
    const parentRecord = await bench.sealer.seal(request)
    const next = await bench.request([{ offset: 2 * CHUNK, bytes: sampleBytes(9) }], 1026 * CHUNK, {
      parentRecord
    })

    const { manifest } = await bench.blobs.open(await bench.sealer.seal(next))

    const places = await Promise.all([0, 1, 2, 1024].map((index) => manifest.replicas(index)))
    expect(places).toEqual([['provider-a'], [], ['provider-a'], ['provider-a']])
  })

  test('adds to what the location record of a page that exists already knows', async () => {
    const metadata = memoryMetadata()
    const one = new Bench({ metadata })
    const other = new Bench({ metadata, pool: new ChunkPool(['provider-b']) }, 'ef'.repeat(32))
    const writes = [{ offset: 0, bytes: sampleBytes(2 * CHUNK) }]
    await one.sealer.seal(await one.request(writes, 2 * CHUNK))

    const sealed = await other.sealer.seal(await other.request(writes, 2 * CHUNK))

    const { manifest } = await other.blobs.open(sealed)
    expect(await manifest.replicas(0)).toEqual(['provider-a', 'provider-b'])
    expect((await manifest.location(0))?.sequence).toBe(2)
  })

  test('makes location records again when somebody else has written one meanwhile', async () => {
    const store = memoryMetadata()
    let isFirst = true
    const putRecords: MetadataStore['putRecords'] = async (records, options) => {
      const [record] = records
      if (isFirst && record?.purpose === 'location') {
        isFirst = false
        const { page, sequence } = decodeLocation(record.envelope.payload)
        const other = { page, sequence, replicas: [['provider-b'], ['provider-b']] }
        await store.putRecords([signLocation(testSigner(), other)])
      }
      await store.putRecords(records, options)
    }
    const bench = new Bench({ metadata: metadataWithFaults(store, { putRecords }) })
    const writes = [{ offset: 0, bytes: sampleBytes(2 * CHUNK) }]

    const sealed = await bench.sealer.seal(await bench.request(writes, 2 * CHUNK))

    const { manifest } = await bench.blobs.open(sealed)
    expect(await manifest.replicas(1)).toEqual(['provider-a', 'provider-b'])
  })

  test('gives the same root after it was cut off at any step', async () => {
    const writes = [{ offset: 9, bytes: sampleBytes(CHUNK) }]
    const undisturbed = new Bench()
    const same = await undisturbed.sealer.seal(await undisturbed.request(writes, 2 * CHUNK))
    for (const purpose of ['location', 'version-record'] as const) {
      const store = memoryMetadata()
      let isCutOff = false
      const putRecords: MetadataStore['putRecords'] = async (records, options) => {
        if (!isCutOff && records.some((record) => record.purpose === purpose)) {
          isCutOff = true
          throw new Error('killed')
        }
        await store.putRecords(records, options)
      }
      const bench = new Bench({ metadata: metadataWithFaults(store, { putRecords }) })
      const request = await bench.request(writes, 2 * CHUNK)
      await expect(bench.sealer.seal(request)).rejects.toThrow('killed')

      expect(await bench.sealer.seal(request)).toEqual(same)
    }
  })

  test('takes a leaf list that is none for an empty one', async () => {
    const bench = new Bench()
    const bytes = sampleBytes(100)
    await bench.metadata.putPages([{ id: chunkId(bytes), bytes }])
    const request = await bench.request([], CHUNK)

    const sealed = await bench.sealer.seal({ ...request, leafList: chunkId(bytes) })

    expect(await bench.read(sealed)).toEqual(new Uint8Array(CHUNK))
  })

  test('waits with the version when its leaf list is not to be had', async () => {
    const bench = new Bench()
    const request = await bench.request([], CHUNK)

    const sealing = bench.sealer.seal({ ...request, leafList: chunkId(sampleBytes(5)) })

    await expect(sealing).rejects.toMatchObject({ code: 'ERR_METADATA_MISSING' })
  })

  test('leaves out an entry that does not fit the version', async () => {
    const bench = new Bench()
    const request = await bench.request(
      [
        { offset: 0, bytes: sampleBytes(CHUNK) },
        { offset: 5 * CHUNK, bytes: sampleBytes(CHUNK) }
      ],
      2 * CHUNK
    )

    const sealed = await bench.sealer.seal(request)

    const expected = new Uint8Array(2 * CHUNK)
    expected.set(sampleBytes(CHUNK))
    expect(Buffer.compare(await bench.read(sealed), expected)).toBe(0)
  })

  test('fails without a record when a chunk it has to merge is not there', async () => {
    const bench = new Bench()
    const request = await bench.request([{ offset: 9, bytes: sampleBytes(9) }], CHUNK)
    bench.pool.onRead = async () => {
      throw new Error('provider is down')
    }

    await expect(bench.sealer.seal(request)).rejects.toThrow('provider is down')
    bench.pool.onRead = async () => {}

    expect((await bench.sealer.seal(request)).record.bytes).toBe(CHUNK)
  })
})
