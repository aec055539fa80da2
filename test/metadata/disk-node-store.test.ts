import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { DiskMetadataStore, METADATA_FILE } from '../../src/metadata/disk-node-store.ts'
import { encodeNodeKey } from '../../src/metadata/node-codec.ts'
import type { Verifier } from '../../src/metadata/signature-types.ts'
import { keptMetadataContract, LEASE_MS } from '../contract/kept-metadata.ts'
import { metadataStoreContract } from '../contract/metadata-store.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import { testSigner, trusting } from '../support/signing.ts'
import { sampleWrite } from '../support/tree-samples.ts'

const open: DiskMetadataStore[] = []
const folders: string[] = []

afterEach(async () => {
  for (const store of open.splice(0)) await store.stop()
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'blobswarm-metadata-'))
  folders.push(folder)
  return folder
}

async function start(
  folder: string,
  verifier: Verifier = trusting(testSigner())
): Promise<DiskMetadataStore> {
  const store = new DiskMetadataStore(folder, { verifier })
  open.push(store)
  await store.start()
  return store
}

keptMetadataContract('disk', async (verifier, clock) => {
  const kept = new DiskMetadataStore(await newFolder(), { verifier, clock }, { leaseMs: LEASE_MS })
  open.push(kept)
  await kept.start()
  return { store: kept, kept }
})

metadataStoreContract('disk', async (verifier) => await start(await newFolder(), verifier))

test('has everything again after a restart', async () => {
  const folder = await newFolder()
  const { nodes, proof } = await sampleWrite(9)
  const bytes = new Uint8Array(Buffer.from('page'))
  const first = await start(folder)
  await first.putNodes(nodes, proof)
  await first.putPages([{ id: chunkId(bytes), bytes }])
  await first.stop()

  const second = await start(folder)

  const found = await second.getNodes(nodes.map(({ key }) => key))
  expect(found).toEqual(nodes.map(({ node }) => node))
  expect(await second.getPages([chunkId(bytes)])).toEqual([bytes])
})

test('many puts at once share transactions and all arrive', async () => {
  const store = await start(await newFolder())
  const { nodes, proof } = await sampleWrite(200)

  await Promise.all(nodes.map(async (node) => await store.putNodes([node], proof)))

  const found = await store.getNodes(nodes.map(({ key }) => key))
  expect(found).toEqual(nodes.map(({ node }) => node))
})

test('puts wait for each other where they are more than may be pending', async () => {
  const folder = await newFolder()
  const verifier = trusting(testSigner())
  const store = new DiskMetadataStore(folder, { verifier }, { maxPendingBytes: 1000 })
  open.push(store)
  await store.start()
  const pages = Array.from({ length: 20 }, (_, fill) => new Uint8Array(600).fill(fill))

  await Promise.all(
    pages.map(async (bytes) => await store.putPages([{ id: chunkId(bytes), bytes }]))
  )

  expect(await store.getPages(pages.map(chunkId))).toEqual(pages)
})

test('refuses what it is asked before it runs and after it has stopped', async () => {
  const folder = await newFolder()
  const verifier = trusting(testSigner())
  const bytes = new Uint8Array(1)
  const store = new DiskMetadataStore(folder, { verifier })
  const stopped = { code: 'ERR_NOT_RUNNING' }
  await expect(store.getPages([chunkId(bytes)])).rejects.toMatchObject(stopped)
  open.push(store)
  await store.start()

  await store.stop()

  await expect(store.putPages([{ id: chunkId(bytes), bytes }])).rejects.toMatchObject(stopped)
  await expect(store.getPages([chunkId(bytes)])).rejects.toMatchObject(stopped)
})

test('what is put while a collection deletes is there when the put is acknowledged, and stays', async () => {
  const verifier = trusting(testSigner())
  const clock = new ManualClock()
  // So few bytes may be pending that puts and deletions wait and overtake each other.
  const options = { maxPendingBytes: 1500, leaseMs: 1000 }
  const store = new DiskMetadataStore(await newFolder(), { verifier, clock }, options)
  open.push(store)
  await store.start()
  const pages = Array.from({ length: 60 }, (_, seed) => {
    const bytes = new Uint8Array(sampleBytes(600, seed))
    return { id: chunkId(bytes), bytes }
  })
  await store.putPages(pages)
  clock.advance(2000)
  const collection = await store.beginCollection()
  const random = seededRandom(5)
  const lost: string[] = []

  await Promise.all(
    pages.flatMap((page) => {
      const collect = async (): Promise<void> => {
        await store.collect(collection, { kind: 'pages', keys: [page.id] })
      }
      const put = async (): Promise<void> => {
        await store.putPages([page])
        const [isLacking] = await store.lacking('pages', [page.id])
        if (isLacking === true) lost.push(Buffer.from(page.id).toString('hex'))
      }
      return [collect, put, collect]
        .map((run) => ({ run, rank: random() }))
        .toSorted((left, right) => left.rank - right.rank)
        .map(async ({ run }) => run())
    })
  )

  expect(lost).toEqual([])
  const found = await store.getPages(pages.map(({ id }) => id))
  expect(found).toEqual(pages.map(({ bytes }) => bytes))
})

test('gives the space of what was deleted back to the disk', async () => {
  const folder = await newFolder()
  const file = join(folder, METADATA_FILE)
  const store = await start(folder)
  const pages = Array.from({ length: 300 }, (_, seed) => {
    const bytes = new Uint8Array(sampleBytes(32_768, seed))
    return { id: chunkId(bytes), bytes }
  })
  const { nodes, proof } = await sampleWrite(1000)
  await store.putPages(pages)
  await store.putNodes(nodes, proof)
  await store.stop()
  const { size: full } = await stat(file)
  const second = await start(folder)

  await second.drop(
    'pages',
    pages.map(({ id }) => id)
  )
  await second.stop()

  const { size: freed } = await stat(file)
  expect(full).toBeGreaterThan(300 * 32_768)
  expect(full - freed).toBeGreaterThan(0.85 * 300 * 32_768)
  const third = await start(folder)
  const found = await third.getNodes(nodes.map(({ key }) => key))
  expect(found).toEqual(nodes.map(({ node }) => node))
})

test('keeps a proof and its ticket until the last node that stands on them is deleted', async () => {
  const folder = await newFolder()
  const store = await start(folder)
  const writes = [await sampleWrite(9), await sampleWrite(9, { fill: 2 })]
  for (const { nodes, proof } of writes) await store.putNodes(nodes, proof)
  const keys = writes[0]!.nodes.map(({ key }) => encodeNodeKey(key))
  const rows = async (): Promise<(number | undefined)[]> => {
    await store.stop()
    const database = new DatabaseSync(join(folder, METADATA_FILE), { readOnly: true })
    const counts = ['nodes', 'proofs', 'tickets'].map((table) =>
      Number(database.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.['n'])
    )
    database.close()
    return counts
  }

  await store.drop('nodes', keys.slice(1))
  const [left] = await store.getProvenNodes([writes[0]!.nodes[0]!.key])
  expect(left?.proof).toEqual(writes[0]?.proof)
  await store.drop('nodes', keys)

  expect(await rows()).toEqual([writes[1]?.nodes.length, 1, 1])
})

test('brings a file of the first format up to date, with all that is in it', async () => {
  const folder = await newFolder()
  const { nodes, proof } = await sampleWrite(9)
  const first = await start(folder)
  await first.putNodes(nodes, proof)
  await first.stop()
  const database = new DatabaseSync(join(folder, METADATA_FILE))
  database.exec('DROP INDEX nodes_by_proof; DROP INDEX proofs_by_ticket')
  database.exec('PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM')
  database.exec('PRAGMA user_version = 1')
  database.close()

  const second = await start(folder)

  const found = await second.getProvenNodes(nodes.map(({ key }) => key))
  expect(found.map((proven) => proven?.node)).toEqual(nodes.map(({ node }) => node))
  await second.stop()
  const after = new DatabaseSync(join(folder, METADATA_FILE), { readOnly: true })
  expect(after.prepare('PRAGMA auto_vacuum').get()).toEqual({ auto_vacuum: 2 })
  expect(after.prepare('PRAGMA user_version').get()).toEqual({ user_version: 2 })
  after.close()
})

test('a large batch lets other work in between while it is checked', async () => {
  const store = await start(await newFolder())
  const { nodes, proof } = await sampleWrite(3000)
  let turns = 0
  const ticking = setInterval(() => turns++, 0)

  await store.putNodes(nodes, proof)

  clearInterval(ticking)
  expect(nodes.length).toBeGreaterThan(5000)
  expect(turns).toBeGreaterThan(5)
})

test('a large batch with one node in conflict far behind stores nothing', async () => {
  const store = await start(await newFolder())
  const one = await sampleWrite(1500)
  const other = await sampleWrite(1500, { seed: 2 })
  const leaf = one.nodes.findLast(({ node }) => node.kind === 'leaf')!
  await store.putNodes([leaf], one.proof)

  const put = store.putNodes(other.nodes, other.proof)

  await expect(put).rejects.toMatchObject({ code: 'ERR_NODE_CONFLICT' })
  const found = await store.getNodes(other.nodes.map(({ key }) => key))
  expect(found.filter((node) => node !== undefined)).toEqual([leaf.node])
})

test('says why a file cannot be used', async () => {
  const corrupt = await newFolder()
  await writeFile(join(corrupt, METADATA_FILE), Buffer.alloc(8192, 'no database'))
  const foreign = await newFolder()
  const database = new DatabaseSync(join(foreign, METADATA_FILE))
  database.exec('CREATE TABLE photos (id INTEGER)')
  database.close()
  const newer = await newFolder()
  await (await start(newer)).stop()
  const later = new DatabaseSync(join(newer, METADATA_FILE))
  later.exec('PRAGMA user_version = 99')
  later.close()
  const used = await newFolder()
  await start(used)

  const cases = [
    [corrupt, 'corrupt'],
    [foreign, 'another program'],
    [newer, 'format 99 is newer'],
    [used, 'in use by another process']
  ] as const
  for (const [folder, reason] of cases) {
    const failed = start(folder)
    await expect(failed).rejects.toMatchObject({ code: 'ERR_METADATA_STORE' })
    await expect(failed).rejects.toThrow(join(folder, METADATA_FILE))
    await expect(failed).rejects.toThrow(reason)
  }
})
