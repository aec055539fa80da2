import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { MalformedError } from '../../src/lib/errors.ts'
import { type LeafList, LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import {
  decodeLeafPage,
  encodeLeafPages,
  FRAGMENTS_PER_PAGE
} from '../../src/metadata/leaf-list-codec.ts'
import { partsOf, UPLOAD_JOURNAL_FILE, UploadJournal } from '../../src/metadata/upload-journal.ts'
import type { UploadRow } from '../../src/metadata/upload-journal-worker.ts'

const CHUNK = 65_536

let folder: string
let journal: UploadJournal

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blobswarm-journal-'))
  journal = new UploadJournal(folder)
})

afterEach(async () => {
  await journal.stop()
  await rm(folder, { recursive: true, force: true })
})

async function reopen(): Promise<UploadJournal> {
  await journal.stop()
  journal = new UploadJournal(folder)
  return journal
}

const row = (id: number): UploadRow => ({
  id,
  user: 'ada',
  path: `/image-${id}`,
  mode: 'replace',
  blob: 'ab'.repeat(32),
  chunkBytes: CHUNK,
  expectedBytes: id === 1 ? undefined : 10 * CHUNK,
  touchedMs: 1000 + id
})

/** Whole chunks at some indexes, each third of zeros. */
function leavesAt(...indexes: readonly number[]): LeafList {
  const builder = new LeafListBuilder()
  for (const index of indexes) {
    const isZero = index % 3 === 0
    const chunk = isZero ? ZERO_CHUNK_ID : chunkId(Buffer.from(`chunk ${index}`))
    const replicas = isZero ? [] : [`provider-${index % 2}`]
    builder.add(index, { at: 0, length: CHUNK, chunk, chunkOffset: 0, replicas })
  }
  return builder.build()
}

const fragmentsOf = (leaves: LeafList) => Array.from(leaves)

async function pagesOf(id: number) {
  const pages = await Array.fromAsync(journal.pages(id))
  return pages.map(fragmentsOf)
}

describe('an upload journal', () => {
  test('makes no file before something is noted', async () => {
    expect(await journal.load()).toEqual([])
    await journal.stop()

    expect(await (await reopen()).load()).toEqual([])
  })

  test('has what was noted when it is opened again', async () => {
    const [first, second] = [leavesAt(1, 2, 3), leavesAt(0, 7)]
    await journal.note(row(1), partsOf(first, 0))
    await journal.note(row(2), partsOf(second, 0))
    await journal.note(row(1), partsOf(second, 1))

    const loaded = await (await reopen()).load()

    expect(loaded).toMatchObject([
      { ...row(1), nextPart: 2, contentBytes: 5 * CHUNK },
      { ...row(2), nextPart: 1, contentBytes: 2 * CHUNK }
    ])
    expect(await pagesOf(1)).toEqual([fragmentsOf(first), fragmentsOf(second)])
    expect(await pagesOf(2)).toEqual([fragmentsOf(second)])
    expect(await pagesOf(3)).toEqual([])
  })

  test('forgets, and writes anew', async () => {
    await journal.note(row(1), partsOf(leavesAt(1), 0))
    await journal.note(row(2), partsOf(leavesAt(2), 0))

    await journal.remove(1)
    await journal.note(row(2), partsOf(leavesAt(5), 0), true)
    const loaded = await (await reopen()).load()

    expect(loaded.map(({ id }) => id)).toEqual([2])
    expect(await pagesOf(2)).toEqual([fragmentsOf(leavesAt(5))])
  })

  test('gives a long list back in its pages', async () => {
    const indexes = Array.from({ length: 5 * FRAGMENTS_PER_PAGE + 3 }, (_, at) => at)
    const leaves = leavesAt(...indexes)

    await journal.note(row(1), partsOf(leaves, 0))

    expect((await pagesOf(1)).flat()).toEqual(fragmentsOf(leaves))
  })

  test('says so when a page is not what was noted', async () => {
    await journal.note(row(1), partsOf(leavesAt(1, 2), 0))
    await journal.stop()
    const database = new DatabaseSync(join(folder, UPLOAD_JOURNAL_FILE))
    database.exec("UPDATE parts SET bytes = CAST(bytes || x'00' AS BLOB)")
    database.close()

    await (await reopen()).load()

    await expect(pagesOf(1)).rejects.toMatchObject({ code: 'ERR_UPLOAD_JOURNAL' })
  })

  test('says so when the file is something else, and goes on when it is put right', async () => {
    const file = join(folder, UPLOAD_JOURNAL_FILE)
    await writeFile(file, 'not a database, but long enough to look like one '.repeat(100))
    const failure = { code: 'ERR_UPLOAD_JOURNAL', message: expect.stringContaining(file) }

    await expect(journal.load()).rejects.toMatchObject(failure)
    await expect(journal.note(row(1), partsOf(leavesAt(1), 0))).rejects.toMatchObject(failure)
    await rm(file)
    await journal.note(row(1), partsOf(leavesAt(1), 0))

    expect(await pagesOf(1)).toEqual([fragmentsOf(leavesAt(1))])
  })

  test('says so when its folder cannot be written', async () => {
    await mkdir(join(folder, UPLOAD_JOURNAL_FILE))

    const noted = journal.note(row(1), partsOf(leavesAt(1), 0))

    await expect(noted).rejects.toMatchObject({ code: 'ERR_UPLOAD_JOURNAL' })
  })
})

describe('a page by itself', () => {
  test('is decoded without the others', () => {
    const indexes = fc.uniqueArray(fc.nat(100_000), { minLength: 1, maxLength: 50 })
    fc.assert(
      fc.property(indexes, (some) => {
        const leaves = leavesAt(...some)

        const pages = Array.from(encodeLeafPages(leaves), ({ bytes }) => decodeLeafPage(bytes))

        expect(pages.flatMap(fragmentsOf)).toEqual(fragmentsOf(leaves))
      })
    )
  })

  test('is refused when it is none, whatever it is', () => {
    const [page] = encodeLeafPages(leavesAt(1, 2, 3, 4))
    const bytes = page?.bytes ?? new Uint8Array()
    const spoilt = fc.tuple(fc.nat(bytes.byteLength), fc.nat(255)).map(([at, value]) => {
      const copy = bytes.slice(0, at === 0 ? undefined : at)
      copy[at % 20] = value
      return copy
    })
    fc.assert(
      fc.property(fc.oneof(spoilt, fc.uint8Array({ maxLength: 200 })), (input) => {
        try {
          decodeLeafPage(input)
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError)
        }
      })
    )
  })
})
