import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { DiskMetadataStore, METADATA_FILE } from '../../src/metadata/disk-node-store.ts'
import type { Verifier } from '../../src/metadata/types.ts'
import { metadataStoreContract } from '../contract/metadata-store.ts'
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
