import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { readFully } from '../../src/lib/file-layer.ts'
import { OpenFiles } from '../../src/lib/open-files.ts'
import { FaultyFiles } from '../support/faulty-files.ts'

let directory: string
let files: FaultyFiles
let open: OpenFiles

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blobswarm-open-'))
  files = new FaultyFiles()
  open = new OpenFiles(files, 2)
  for (const name of ['a', 'b', 'c', 'd']) await writeFile(join(directory, name), name)
})

afterEach(async () => {
  await open.close()
  await rm(directory, { recursive: true, force: true })
})

const read = async (name: string): Promise<string> =>
  await open.use(join(directory, name), async (file) => {
    const bytes = new Uint8Array(1)
    await readFully(files, file, bytes)
    return Buffer.from(bytes).toString()
  })
const opened = (): string[] =>
  files.trace.filter((line) => line.startsWith('open ')).map((line) => line.slice(-1))

test('opens a file once for many uses', async () => {
  expect(await Promise.all([read('a'), read('a'), read('a')])).toEqual(['a', 'a', 'a'])
  expect(await read('a')).toBe('a')

  expect(opened()).toEqual(['a'])
})

test('keeps so many open, and closes those longest unused', async () => {
  for (const name of ['a', 'b', 'a', 'c', 'a', 'b']) await read(name)

  expect(opened()).toEqual(['a', 'b', 'c', 'b'])
  expect(files.openFiles).toBe(2)
})

test('opens more while they are in use', async () => {
  const all = await Promise.all(['a', 'b', 'c', 'd'].map(read))

  expect(all).toEqual(['a', 'b', 'c', 'd'])
  expect(files.mostOpenFiles).toBe(4)
  await read('a')
  expect(files.openFiles).toBeLessThanOrEqual(3)
})

test('closes a file that is forgotten when its users have ended', async () => {
  const path = join(directory, 'a')
  const gate = Promise.withResolvers<void>()
  const using = open.use(path, async (file) => {
    await gate.promise
    return await readFully(files, file, new Uint8Array(1))
  })

  await open.forget(path)
  await rm(path)
  expect(files.openFiles).toBe(1)
  gate.resolve()

  expect(await using).toBe(1)
  expect(files.openFiles).toBe(0)
  await expect(read('a')).rejects.toMatchObject({ code: 'ENOENT' })
})

test('opens a file anew that could not be opened', async () => {
  files.fail({ operation: 'open', code: 'EMFILE' })

  await expect(read('a')).rejects.toMatchObject({ code: 'EMFILE' })

  expect(await read('a')).toBe('a')
})

test('closes all', async () => {
  await read('a')
  await read('b')

  await open.close()

  expect(files.openFiles).toBe(0)
})
