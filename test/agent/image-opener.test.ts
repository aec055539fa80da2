import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { ImageCatalogue } from '../../src/agent/image-catalogue.ts'
import { ImageOpener } from '../../src/agent/image-opener.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { signPathRecord } from '../../src/metadata/path-record.ts'
import type { SignedVersionRecord } from '../../src/metadata/sealing-types.ts'
import { PeerUnreachableError } from '../../src/peer/errors.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const newFolder = temporaryFolders()
const log = noLogger.forComponent('test')

let bench: TestRepository
let signed: SignedVersionRecord
let catalogue: ImageCatalogue
beforeEach(async () => {
  bench = await startTestRepository({ chunkBytes: 65_536 })
  catalogue = new ImageCatalogue(join(await newFolder(), 'images'), log)
  await catalogue.start()
  const writer = await bench.repository.openWrite('/a', { mode: 'replace' })
  await writer.write(0, sampleBytes(200_000))
  await writer.publish()
  signed = await bench.repository.record('/a')
})
afterEach(async () => bench.stop())

const unreachable = async (): Promise<never> => {
  throw new PeerUnreachableError('the version manager', 'gone')
}

/** Pages as the agents that have the image give them. */
const fromAgents = async (_root: ChunkId, ids: readonly ChunkId[]): Promise<Uint8Array[]> =>
  (await bench.metadata.getPages(ids)).filter((page) => page !== undefined)

function openerOf(parts: {
  readonly record?: () => Promise<SignedVersionRecord>
  readonly getPages?: () => Promise<(Uint8Array | undefined)[]>
  readonly fetchPages?: typeof fromAgents
}): ImageOpener {
  const { record, getPages, fetchPages = unreachable } = parts
  return new ImageOpener({
    repository: record === undefined ? bench.repository : { record },
    metadata: {
      getPages: getPages ?? bench.metadata.getPages.bind(bench.metadata),
      getRecords: bench.metadata.getRecords.bind(bench.metadata)
    },
    verifier: bench.verifier,
    catalogue,
    swarm: { fetchPages },
    clock: systemClock,
    log
  })
}

/** Puts the image into the catalogue, as a pull does. */
async function remember(): Promise<void> {
  const { manifest, record } = await openerOf({}).open('/a')
  const { bytes, chunkBytes } = manifest
  const names = [{ path: '/a', version: record.version, record: signed.envelope }]
  await catalogue.add(manifest, { bytes, chunkBytes, dataBytes: bytes, usedMs: 1, names })
}

describe('an image is opened', () => {
  test('from the version manager and the metadata providers', async () => {
    const { name, record, manifest, isOffline } = await openerOf({}).open('/a')

    expect(name).toMatchObject({ path: '/a', version: 1 })
    expect(manifest.root).toEqual(record.manifestRoot)
    expect(isOffline).toBe(false)
  })

  test.each([
    ['do not have them', async () => [undefined]],
    ['cannot be reached', unreachable]
  ])('with pages of other agents where the metadata providers %s', async (_name, getPages) => {
    const opener = openerOf({ getPages, fetchPages: fromAgents })

    expect((await opener.open('/a')).manifest.bytes).toBe(200_000)
  })

  test.each(['/a', '/a@1'])('from the cache as %s while nobody answers', async (ref) => {
    await remember()
    const opener = openerOf({ record: unreachable, getPages: unreachable })

    const opened = await opener.open(ref)

    expect(opened).toMatchObject({ name: { path: '/a', version: 1 }, isOffline: true })
    expect(opened.manifest.root).toEqual(signed.record.manifestRoot)
  })

  test.each(['/a', '/a@1'])('by the metadata providers alone as %s', async (ref) => {
    const { blob } = signed.record
    const told = signPathRecord(bench.signer, { path: '/a', blob, version: 1, sequence: 1 })
    await bench.metadata.putRecords([told])
    const opener = openerOf({ record: unreachable })

    const opened = await opener.open(ref)

    expect(opened).toMatchObject({ name: { path: '/a', version: 1 }, isOffline: true })
    expect(opened.name.record.payload).toEqual(signed.envelope.payload)
  })

  test.each([
    ['the path was never told', '/b'],
    ['there is no such version', '/a@2']
  ])('not at all while nobody answers and %s', async (_name, ref) => {
    await remember()
    const opener = openerOf({ record: unreachable })

    await expect(opener.open(ref)).rejects.toMatchObject({ code: 'ERR_PEER_UNREACHABLE' })
  })

  test('not from the cache if the version manager says that there is none', async () => {
    await remember()
    await bench.repository.remove('/a')

    await expect(openerOf({}).open('/a')).rejects.toMatchObject({ code: 'ERR_PATH_NOT_FOUND' })
  })
})
