import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { BlobDsi } from '../../src/gridftp/blob-dsi.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import {
  LocalNamespace,
  type LocalNamespaceComponents
} from '../../src/metadata/local-namespace.ts'
import type { Namespace } from '../../src/metadata/namespace-types.ts'
import { Repository } from '../../src/metadata/repository.ts'
import type { RepositoryComponents } from '../../src/metadata/repository-types.ts'
import type { StateRow } from '../../src/metadata/version-rows.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { memoryState } from '../support/memory-state.ts'
import { openData, readAll } from '../support/raw-ftp.ts'

const FILES = 100_000
const PAGE = 1000

const nameOf = (number: number): string => `file-${String(number).padStart(6, '0')}`

/** Rows of a folder with very many files. */
function rows(): StateRow[] {
  const blobs: StateRow[] = []
  const versions: StateRow[] = []
  const entries: StateRow[] = []
  const folder = { kind: 'entry', parent: 0, isVisible: true, modifiedMs: 5 } as const
  entries.push({ ...folder, id: 1, name: 'many', blob: undefined })
  for (let number = 0; number < FILES; number++) {
    const blob = String(number)
    blobs.push({
      kind: 'blob',
      blob,
      chunkBytes: 65_536,
      replicas: 1,
      createdMs: 1,
      hintSpan: 1,
      isNamed: true,
      source: undefined
    })
    versions.push({
      kind: 'version',
      blob,
      version: 1,
      condition: 'published',
      ranges: [],
      bytes: number,
      span: 1,
      previousSpan: 0,
      truncates: true,
      writer: 'writer',
      leafList: new Uint8Array(32),
      note: '',
      assignedMs: 1,
      publishedMs: 1_000_000_000_000 + number,
      leaseUntilMs: 0,
      base: 0,
      isPinned: false,
      seal: undefined
    })
    entries.push({ ...folder, id: number + 2, parent: 1, name: nameOf(number), blob })
  }
  return [...blobs, ...versions, ...entries]
}

let stage: GridFtpStage
let namespace: LocalNamespace
let pageCount = 0

beforeAll(async () => {
  const state = await memoryState(rows())
  namespace = new LocalNamespace({ state, clock: systemClock } as LocalNamespaceComponents)
  const counted: Pick<Namespace, 'lookup' | 'list'> = {
    lookup: (...args) => namespace.lookup(...args),
    list: async (...args) => {
      pageCount += 1
      return await namespace.list(...args)
    }
  }
  const components = { namespace: counted, logger: noLogger } as unknown as RepositoryComponents
  const repository = new Repository(components, { stagingFolder: '' })
  const user = { name: 'anonymous', root: '/', mayWrite: true }
  stage = await GridFtpStage.open({ storage: new BlobDsi(repository, user) })
})
afterAll(async () => await stage[Symbol.asyncDispose]())

describe('a folder with 100,000 files', () => {
  test('is listed in order, with the facts of each', async () => {
    const raw = await stage.login()
    const data = await openData(await raw.passive())

    const [, listing] = await Promise.all([raw.command('MLSD /many'), readAll(data)])

    expect(await raw.reply()).toMatch(/^226 /)
    const lines = listing.toString().split('\r\n')
    expect(lines).toHaveLength(FILES + 3)
    expect(lines[0]).toMatch(/^Type=cdir;.* \.$/)
    expect(lines[2 + 77_777]).toMatch(/^Type=file;Size=77777;Modify=20010909\d{6};.* file-077777$/)
    const names = lines.slice(2, -1).map((line) => line.slice(line.indexOf('; ') + 2))
    expect(names).toEqual(Array.from({ length: FILES }, (_, number) => nameOf(number)))
  })

  test('is read page by page, as fast as the client takes it, in little memory', async () => {
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    data.pause()
    pageCount = 0

    expect(await raw.command('MLSD /many')).toMatch(/^150 /)
    for (let turn = 0; turn < 500; turn++) await nextTurn()
    const pagesUnread = pageCount
    const reading = readAll(data)
    data.resume()
    const { byteLength } = await reading

    expect(await raw.reply()).toMatch(/^226 /)
    expect(byteLength).toBeGreaterThan(8 * MIB)
    // What the kernel's buffers and ours take of it without a reader: less than half.
    expect(pagesUnread).toBeLessThan(FILES / PAGE / 2)
    expect(pageCount).toBe(FILES / PAGE + 1)
  })

  test('may change meanwhile: what stays is listed once, in order', async () => {
    const raw = await stage.login()
    const data = await openData(await raw.passive())
    data.pause()
    expect(await raw.command('MLSD /many')).toMatch(/^150 /)

    await namespace.makeDirectory('/many/file-000000-first')
    await namespace.makeDirectory('/many/file-099999-last')
    for (let number = 0; number < FILES; number += 10_000) {
      await namespace.remove(`/many/${nameOf(number)}`, { kind: 'file' })
      await namespace.rename(`/many/${nameOf(number + 1)}`, `/many/${nameOf(number)}`)
    }
    const reading = readAll(data)
    data.resume()
    const lines = (await reading).toString().split('\r\n').slice(2, -1)

    expect(await raw.reply()).toMatch(/^226 /)
    const names = lines.map((line) => line.slice(line.indexOf('; ') + 2))
    expect(names).toEqual(names.toSorted())
    expect(new Set(names).size).toBe(names.length)
    expect(names.at(-1)).toBe('file-099999-last')
    for (const number of [2, 5000, 99_998]) expect(names).toContain(nameOf(number))
  })
})
