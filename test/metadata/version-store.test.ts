import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import type { SignedEnvelope } from '../../src/metadata/signature-types.ts'
import type {
  BlobRow,
  EntryRow,
  HoldRow,
  PolicyRow,
  StateRow,
  VersionRow
} from '../../src/metadata/version-rows.ts'
import { SqliteVersionStore, VERSION_STORE_FILE } from '../../src/metadata/version-store.ts'

const FRESH = { isRetired: false, isPinned: true }

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
  isNamed: false,
  source: undefined
}
const clone: BlobRow = {
  ...blob,
  blob: 'cd'.repeat(32),
  source: {
    version: { blob: blob.blob, version: 7 },
    root: { blob: 'ef'.repeat(32), version: 3, span: 64 },
    bytes: Number.MAX_SAFE_INTEGER,
    isRetired: true,
    isPinned: false,
    seal: undefined
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
  base: 0,
  isPinned: false,
  seal: undefined
}
const seal: SignedEnvelope = {
  payload: new Uint8Array([1, 2]),
  signature: new Uint8Array(64).fill(3),
  certificate: new Uint8Array([4])
}
const sealed: VersionRow = {
  ...version,
  version: 2,
  condition: 'published',
  ranges: [],
  truncates: false,
  base: 1,
  isPinned: true,
  seal
}
const named: BlobRow = {
  ...clone,
  blob: 'ef'.repeat(32),
  isNamed: true,
  source: { version: { blob: blob.blob, version: 7 }, root: undefined, bytes: 0, ...FRESH, seal }
}
const policy: PolicyRow = { kind: 'policy', entry: 0, policy: { last: 3, youngerMs: undefined } }
const hold: HoldRow = {
  kind: 'hold',
  holder: 'peer',
  purpose: 'pull /a',
  blob: blob.blob,
  version: 7,
  forMs: 1000,
  untilMs: 1_800_000_000_000
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
const datedEntry: EntryRow = {
  ...entry,
  id: 3,
  setTime: { version: 0, modifiedMs: 8.64e15 }
}
const folderEntry: EntryRow = { ...entry, id: 2, name: 'ordner', blob: undefined, isVisible: false }

/** What programs before this one made. */
const FORMAT_1 = `CREATE TABLE blobs (
    blob TEXT PRIMARY KEY, chunk_bytes INTEGER NOT NULL, replicas INTEGER NOT NULL,
    created_ms INTEGER NOT NULL, hint_span INTEGER NOT NULL,
    source_blob TEXT, source_version INTEGER, source_bytes INTEGER,
    root_blob TEXT, root_version INTEGER, root_span INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE versions (
    blob TEXT NOT NULL, version INTEGER NOT NULL, condition TEXT NOT NULL, ranges BLOB NOT NULL,
    bytes INTEGER NOT NULL, span INTEGER NOT NULL, previous_span INTEGER NOT NULL,
    truncates INTEGER NOT NULL, writer TEXT NOT NULL, leaf_list BLOB NOT NULL,
    note TEXT NOT NULL, assigned_ms INTEGER NOT NULL, published_ms INTEGER NOT NULL,
    lease_until_ms INTEGER NOT NULL, seal BLOB, PRIMARY KEY (blob, version)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE entries (
    id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name TEXT NOT NULL, blob TEXT,
    is_visible INTEGER NOT NULL, modified_ms INTEGER NOT NULL
  ) STRICT;
  PRAGMA application_id = 1651734390;
  PRAGMA user_version = 1;`

test('has every row again after a restart, as it was written', async () => {
  const folder = await newFolder()
  const { store, rows } = await open(folder)
  const all = [blob, clone, named, version, sealed, entry, folderEntry, datedEntry, policy, hold]
  await store.write(all)
  await store.stop()

  const again = await open(folder)

  expect(rows).toEqual([])
  expect(again.rows).toEqual(all)
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

test('removals take away what they name', async () => {
  const folder = await newFolder()
  const { store } = await open(folder)
  const other = { ...hold, version: 8 }
  await store.write([blob, clone, version, sealed, { ...version, blob: clone.blob }])
  await store.write([policy, { ...policy, entry: 5 }, hold, other])

  await store.write([
    { kind: 'blob-removal', blob: blob.blob },
    { kind: 'policy-removal', entry: 5 },
    { ...hold, kind: 'hold-removal' }
  ])
  await store.stop()

  const left = [clone, { ...version, blob: clone.blob }, policy, other]
  expect((await open(folder)).rows).toEqual(left)
})

test('ranges stay as they were assigned, whatever is written later', async () => {
  const folder = await newFolder()
  const { store } = await open(folder)
  const request = { blob: blob.blob, from: 1, to: 3 }
  const none: VersionRow = { ...version, version: 2, ranges: [] }
  await store.write([version, none])

  await store.write([{ ...version, condition: 'published', ranges: [], publishedMs: 7, seal }])

  expect(await store.ranges(request)).toEqual([version.ranges, []])
  await store.stop()
  const again = await open(folder)
  const published = { ...version, condition: 'published', ranges: [], publishedMs: 7, seal }
  expect(again.rows).toEqual([published, none])
  expect(await again.store.ranges(request)).toEqual([version.ranges, []])
  expect(await again.store.ranges({ ...request, from: 2 })).toEqual([[]])
})

test('a file of format 1 is taken over, without the ranges that it has lost', async () => {
  const folder = await newFolder()
  const database = new DatabaseSync(join(folder, VERSION_STORE_FILE))
  database.exec(FORMAT_1)
  database.exec(`INSERT INTO blobs VALUES ('${blob.blob}', 65536, 2, 5, 4294967296,
    NULL, NULL, NULL, NULL, NULL, NULL)`)
  for (const [number, condition] of ['retired', 'published', 'assigned'].entries()) {
    const ranges = condition === 'assigned' ? "x'0000000000000001'" : "x''"
    database.exec(`INSERT INTO versions VALUES ('${blob.blob}', ${number + 1}, '${condition}',
      ${ranges}, 9, 4, 0, 0, 'writer', x'00', '', 6, 0, 7, NULL)`)
  }
  database.exec(`INSERT INTO entries VALUES (1, 0, 'image', '${blob.blob}', 1, 9)`)
  database.close()

  const { store, rows } = await open(folder)

  expect(rows).toMatchObject([
    { ...blob, isNamed: true },
    { version: 1, condition: 'retired', ranges: [], base: 0, isPinned: false },
    { version: 2, condition: 'published', ranges: [] },
    { version: 3, condition: 'assigned', ranges: [{ start: 0, end: 2 }] },
    entry
  ])
  const ranges = await store.ranges({ blob: blob.blob, from: 1, to: 3 })
  expect(ranges).toEqual([undefined, undefined, [{ start: 0, end: 2 }]])
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
  later.exec('PRAGMA user_version = 4')
  later.close()
  const used = await newFolder()
  await open(used)

  const cases = [
    [corrupt, 'corrupt'],
    [newer, 'format 4 is newer than 3'],
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
