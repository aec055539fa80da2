import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import type { BlobRow, EntryRow, StateRow, VersionRow } from '../../src/metadata/version-rows.ts'
import { SqliteVersionStore, VERSION_STORE_FILE } from '../../src/metadata/version-store.ts'

const stores: SqliteVersionStore[] = []
const folders: string[] = []

afterEach(async () => {
  for (const store of stores.splice(0)) await store.stop()
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'blobswarm-versions-'))
  folders.push(folder)
  return folder
}

async function open(folder: string): Promise<{ store: SqliteVersionStore; rows: StateRow[] }> {
  const store = new SqliteVersionStore(folder)
  stores.push(store)
  const rows: StateRow[] = []
  for await (const some of await store.start()) rows.push(...some)
  return { store, rows }
}

const blob: BlobRow = {
  kind: 'blob',
  blob: 'ab'.repeat(32),
  chunkBytes: 65_536,
  replicas: 2,
  createdMs: 5,
  hintSpan: 2 ** 32,
  source: undefined
}
const clone: BlobRow = {
  ...blob,
  blob: 'cd'.repeat(32),
  source: {
    version: { blob: blob.blob, version: 7 },
    root: { blob: 'ef'.repeat(32), version: 3, span: 64 },
    bytes: Number.MAX_SAFE_INTEGER
  }
}
const version: VersionRow = {
  kind: 'version',
  blob: blob.blob,
  version: 1,
  condition: 'assigned',
  ranges: [
    { start: 0, end: 1 },
    { start: 9, end: 2 ** 32 }
  ],
  bytes: 2 ** 50,
  span: 2 ** 32,
  previousSpan: 0,
  truncates: true,
  writer: 'writer',
  leafList: chunkId(Buffer.from('list')),
  note: 'first — ünïcode',
  assignedMs: 6,
  publishedMs: 0,
  leaseUntilMs: 1_800_000_000_000,
  seal: undefined
}
const sealed: VersionRow = {
  ...version,
  version: 2,
  condition: 'published',
  ranges: [],
  truncates: false,
  seal: {
    payload: new Uint8Array([1, 2]),
    signature: new Uint8Array(64).fill(3),
    certificate: new Uint8Array([4])
  }
}
const entry: EntryRow = {
  kind: 'entry',
  id: 1,
  parent: 0,
  name: 'image',
  blob: blob.blob,
  isVisible: true,
  modifiedMs: 9
}
const folderEntry: EntryRow = { ...entry, id: 2, name: 'ordner', blob: undefined, isVisible: false }

test('has every row again after a restart, as it was written', async () => {
  const folder = await newFolder()
  const { store, rows } = await open(folder)
  await store.write([blob, clone, version, sealed, entry, folderEntry])
  await store.stop()

  const again = await open(folder)

  expect(rows).toEqual([])
  expect(again.rows).toEqual([blob, clone, version, sealed, entry, folderEntry])
})

test('a later row takes the place of an earlier one with its key', async () => {
  const folder = await newFolder()
  const { store } = await open(folder)
  const committed: VersionRow = { ...version, condition: 'committed' }
  await store.write([entry, folderEntry, version])

  await Promise.all([
    store.write([{ ...entry, name: 'first' }, committed]),
    store.write([
      { ...entry, name: 'second' },
      { kind: 'entry-removal', id: 2 }
    ])
  ])
  await store.stop()

  expect((await open(folder)).rows).toEqual([committed, { ...entry, name: 'second' }])
})

test('thousands of writes at once are all there, in few transactions', async () => {
  const folder = await newFolder()
  const { store } = await open(folder)
  const entries = Array.from({ length: 6000 }, (_, at) => ({ ...entry, id: at + 1 }))

  await Promise.all(entries.map(async (row) => await store.write([row])))
  await store.stop()

  expect((await open(folder)).rows).toEqual(entries)
})

test('says why a file cannot be used', async () => {
  const corrupt = await newFolder()
  await writeFile(join(corrupt, VERSION_STORE_FILE), Buffer.alloc(8192, 'no database'))
  const newer = await newFolder()
  await (await open(newer)).store.stop()
  const later = new DatabaseSync(join(newer, VERSION_STORE_FILE))
  later.exec('PRAGMA user_version = 2')
  later.close()
  const used = await newFolder()
  await open(used)

  const cases = [
    [corrupt, 'corrupt'],
    [newer, 'format 2 is newer than 1'],
    [used, 'in use by another process']
  ] as const
  for (const [folder, reason] of cases) {
    const failed = open(folder)
    await expect(failed).rejects.toMatchObject({ code: 'ERR_VERSION_STORE' })
    await expect(failed).rejects.toThrow(join(folder, VERSION_STORE_FILE))
    await expect(failed).rejects.toThrow(reason)
  }
})

test('notices damage inside of the file', async () => {
  const folder = await newFolder()
  const { store } = await open(folder)
  await store.write(Array.from({ length: 2000 }, (_, at) => ({ ...entry, id: at + 1 })))
  await store.stop()
  const path = join(folder, VERSION_STORE_FILE)
  const bytes = await readFile(path)
  bytes.fill(0xff, bytes.byteLength / 2, bytes.byteLength / 2 + 8192)
  await writeFile(path, bytes)

  await expect(open(folder)).rejects.toThrow('corrupt')
})

test('refuses rows before it runs and after it has stopped', async () => {
  const folder = await newFolder()
  const store = new SqliteVersionStore(folder)
  await expect(store.write([entry])).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
  const { store: started } = await open(folder)

  await started.stop()

  await expect(started.write([entry])).rejects.toMatchObject({ code: 'ERR_VERSION_STORE' })
})
