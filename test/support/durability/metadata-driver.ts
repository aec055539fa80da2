/**
 * Asks a version manager, a metadata store, a chunk store and an upload journal, all on disk, for one
 * thing after the other and prints `acknowledged WHAT` when each is answered. Run under strace by
 * durability.system.test.ts: node metadata-driver.ts FOLDER
 */
import { writeSync } from 'node:fs'
import { DataDirectory } from '../../../src/agent/data-directory.ts'
import { chunkId } from '../../../src/chunks/chunk-id.ts'
import { DiskStore } from '../../../src/chunks/disk-store.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { systemRandom } from '../../../src/lib/random.ts'
import { DiskMetadataStore } from '../../../src/metadata/disk-node-store.ts'
import { LeafListBuilder } from '../../../src/metadata/leaf-list.ts'
import { encodeLeafList } from '../../../src/metadata/leaf-list-codec.ts'
import { LocalVersionManager } from '../../../src/metadata/local-version-manager.ts'
import { signLocation } from '../../../src/metadata/location.ts'
import type { Page } from '../../../src/metadata/store-types.ts'
import { partsOf, UploadJournal } from '../../../src/metadata/upload-journal.ts'
import { sampleBytes } from '../sample-bytes.ts'
import { testSigner, trusting } from '../signing.ts'
import { sampleWrite } from '../tree-samples.ts'

const data = new DataDirectory(process.argv[2] ?? '.')
const signer = testSigner()
const verifier = trusting(signer)
const logger = noLogger

/** Waits for an answer and prints that it has come; at once, so that nothing can come between. */
async function told<T>(what: string, answer: Promise<T>): Promise<T> {
  const result = await answer
  writeSync(1, `acknowledged ${what}\n`)
  return result
}

async function askChunkStore(): Promise<void> {
  const store = new DiskStore({ logger }, { directory: data.file('store') })
  await store.start()
  const put = (seed: number): Promise<unknown> => {
    const bytes = sampleBytes(5000, seed)
    return store.put(chunkId(bytes), bytes)
  }
  await told('a first chunk', put(1))
  await told('another chunk', put(2))
  await told('many chunks', Promise.all(Array.from({ length: 20 }, (_, at) => put(10 + at))))
  await store.stop()
}

async function askUploadJournal(): Promise<void> {
  const journal = new UploadJournal(data.path)
  const leaves = new LeafListBuilder()
  const chunk = chunkId(sampleBytes(5000, 1))
  leaves.add(3, { at: 0, length: 65_536, chunk, chunkOffset: 0, replicas: ['p1'] })
  const [part] = partsOf(leaves.build(), 0)
  if (part === undefined) throw new Error('no part')
  const plan = { user: 'ada', path: '/image', mode: 'replace', blob: 'b', chunkBytes: 65_536 }
  const upload = { id: 1, ...plan, expectedBytes: undefined, touchedMs: 0 }
  await told('what an upload has stored', journal.note(upload, [part]))
  await told('what it has stored since', journal.note(upload, [{ ...part, number: 1 }]))
  await told('that it is over', journal.remove(1))
  await journal.stop()
}

async function askMetadataStore(metadata: DiskMetadataStore): Promise<void> {
  const { nodes, proof } = await sampleWrite(40, { signer })
  const page = sampleBytes(30_000, 3)
  const id = chunkId(page)
  await told('a page', metadata.putPages([{ id, bytes: page }]))
  await told('nodes', metadata.putNodes(nodes.slice(0, 20), proof))
  await told('more nodes', metadata.putNodes(nodes.slice(20), proof))
  const location = signLocation(signer, { page: id, sequence: 1, replicas: [['p1']] })
  await told('a record', metadata.putRecords([location]))
  const pages = Array.from({ length: 30 }, (_, seed) => sampleBytes(2000, 100 + seed))
  const puts = pages.map((bytes) => metadata.putPages([{ id: chunkId(bytes), bytes }]))
  await told('many pages', Promise.all(puts))
}

async function askVersionManager(versions: LocalVersionManager, { id: leafList, bytes }: Page) {
  const create = { chunkBytes: 65_536, replicas: 1 }
  const short = { ...create, writer: signer.peerId, endBytes: 0, leafList, leafPages: [bytes] }
  await told('a short file', versions.namespace.publishFile({ ...short, path: '/short/one' }))
  const others = Array.from({ length: 12 }, (_, at) =>
    versions.namespace.publishFile({ ...short, path: `/short/other-${at}` })
  )
  await told('many short files', Promise.all(others))
  await told('a time', versions.namespace.setModified('/short/one', 1_000_000_000_000))
  const path = '/images/debian'
  const { blob } = await told('a reserved path', versions.namespace.reserve(path, create))
  await told('a folder', versions.namespace.makeDirectory('/folder'))
  await told('a blob', versions.createBlob(create))
  const request = {
    blob,
    writer: signer.peerId,
    ranges: [],
    endBytes: 0,
    truncates: true,
    leafList
  }
  for (const version of [1, 2, 3]) {
    await told('a ticket', versions.assign(request))
    await told('a renewal', versions.renew(blob, version))
    await told('a commit', versions.commit(blob, version))
  }
  const assigning = Array.from({ length: 12 }, () => versions.assign(request))
  const tickets = await told('many tickets', Promise.all(assigning))
  const commits = tickets.map(({ ticket }) => versions.commit(blob, ticket.version))
  await told('many commits', Promise.all(commits))
  const ref = { blob, version: 2 }
  const held = { ...ref, holder: signer.peerId, purpose: 'a test', forMs: 60_000 }
  await told('a hold', versions.hold(held))
  await told('the end of a hold', versions.release(held))
  await told('a pin', versions.setPinned(ref, true))
  await told('the end of a pin', versions.setPinned(ref, false))
  await told('a policy', versions.namespace.setRetention('/folder', { last: 2 }))
  await told('a clone', versions.namespace.clone(ref, '/clone'))
  await told('a retired version', versions.retire(blob, 1))
  await told('a new name', versions.namespace.rename(path, '/images/old'))
  await told('what is newest', versions.latest(blob))
  await told('a removed file', versions.namespace.remove('/images/old', { kind: 'file' }))
}

await data.open()
await askChunkStore()
await askUploadJournal()
const metadata = new DiskMetadataStore(data.path, { verifier })
await metadata.start()
await askMetadataStore(metadata)
const versions = new LocalVersionManager(
  {
    metadata,
    signer,
    verifier,
    sealer: { seal: () => Promise.reject(new Error('nothing is sealed here')) },
    clock: systemClock,
    random: systemRandom,
    logger,
    onFailure: (error) => {
      throw error
    }
  },
  { folder: data.path, sealIdleMs: 3_600_000 }
)
await versions.start()
const [leafList] = encodeLeafList(new LeafListBuilder().build())
if (leafList === undefined) throw new Error('no leaf list')
await told('a leaf list', metadata.putPages([leafList]))
await askVersionManager(versions, leafList)
await told('a small file', data.writeText('small', 'something'))
await versions.stop()
await metadata.stop()
await data.close()
