import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { noLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { BlobReader } from '../../src/metadata/blob-reader.ts'
import { signLocation } from '../../src/metadata/location.ts'
import type { SignedVersionRecord } from '../../src/metadata/sealing-types.ts'
import { signRecord } from '../../src/metadata/version-record.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import { testSigner } from '../support/signing.ts'

const CHUNK = 65_536
const BYTES = sampleBytes(3 * CHUNK)

let bench: TestRepository
let signed: SignedVersionRecord

beforeAll(async () => {
  bench = await startTestRepository({ chunkBytes: CHUNK })
  const writer = await bench.repository.openWrite('/image', { mode: 'replace' })
  await writer.write(0, sampleBytes(3 * CHUNK))
  await writer.publish()
  signed = await bench.repository.record('/image')
})

afterAll(async () => {
  await bench.stop()
})

function openReader(over: Partial<ConstructorParameters<typeof BlobReader>[0]> = {}) {
  const { metadata, pool: reader, verifier } = bench
  return new BlobReader({ metadata, reader, verifier, logger: noLogger, ...over })
}

async function readAll(blobs: BlobReader) {
  const snapshot = await blobs.open(signed)
  return Buffer.concat(await Array.fromAsync(snapshot.read({ offset: 0, length: Infinity })))
}

test('reads a version from its record alone, and counts what it gave', async () => {
  const metrics = new MemoryMetrics()

  const got = await readAll(openReader({ metrics }))

  expect(Buffer.compare(got, BYTES)).toBe(0)
  expect(metrics.values.get('blobswarm_metadata_read_bytes_total')).toBe(3 * CHUNK)
})

test('does not open a record that no manager signed', async () => {
  const forged = signRecord(testSigner(9), signed.record)

  await expect(openReader().open(forged)).rejects.toMatchObject({
    code: 'ERR_UNTRUSTED_SIGNATURE'
  })
})

test('does not open a record that says something else than its manifest', async () => {
  const wrong = signRecord(testSigner(), { ...signed.record, bytes: 5 })

  await expect(openReader().open(wrong)).rejects.toMatchObject({ code: 'ERR_MALFORMED' })
})

test('does not take a manifest page that is not what its id names', async () => {
  const metadata = {
    ...bench.metadata,
    getPages: async () => [sampleBytes(100)]
  }

  await expect(openReader({ metadata }).open(signed)).rejects.toMatchObject({
    code: 'ERR_CHUNK_MISMATCH'
  })
})

test('says which page is nowhere to be found', async () => {
  const metadata = { ...bench.metadata, getPages: async () => [undefined] }

  await expect(openReader({ metadata }).open(signed)).rejects.toMatchObject({
    code: 'ERR_METADATA_MISSING'
  })
})

test('reads without a location, or with one that no manager signed', async () => {
  const page = signed.record.manifestRoot
  const forged = signLocation(testSigner(9), { page, sequence: 7, replicas: [['nobody']] })

  for (const found of [undefined, forged]) {
    const metadata = { ...bench.metadata, getRecords: async () => [found] }

    expect(Buffer.compare(await readAll(openReader({ metadata })), BYTES)).toBe(0)
  }
})

test('does not hand on a chunk of another length than the manifest says', async () => {
  const reader = { read: async () => sampleBytes(7) }

  await expect(readAll(openReader({ reader }))).rejects.toMatchObject({ code: 'ERR_MALFORMED' })
})

test('gives zeros that nobody else holds', async () => {
  const { repository } = bench
  await repository.create('/zeros', 2 * CHUNK)
  const snapshot = await repository.openRead('/zeros')

  const [first, second] = await Array.fromAsync(snapshot.read({ offset: 0, length: Infinity }))
  first?.fill(1)

  expect(second?.every((byte) => byte === 0)).toBe(true)
  expect((await snapshot.readChunk(0)).every((byte) => byte === 0)).toBe(true)
})
