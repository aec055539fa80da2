import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import {
  readFully,
  readSmallFile,
  replaceFile,
  syncFolder,
  systemFiles,
  writeFully
} from '../../src/lib/file-layer.ts'
import { FaultyFiles } from '../support/faulty-files.ts'

let folder: string
let files: FaultyFiles

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blobswarm-files-'))
  files = new FaultyFiles()
})

afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

test('writes and reads everything although each call moves a part only', async () => {
  files.maxBytes = 3
  const bytes = Uint8Array.from({ length: 10 }, (_, index) => index)
  const file = await files.open(join(folder, 'file'), 'w+')

  await writeFully(files, file, bytes, 5)
  const read = new Uint8Array(20)
  const count = await readFully(files, file, read, 5)
  await files.close(file)

  expect(count).toBe(10)
  expect(read.subarray(0, 10)).toEqual(bytes)
})

test('replaces a file, flushed before it is renamed, then the folder', async () => {
  const path = join(folder, 'settings')
  await writeFile(path, 'old')

  await replaceFile(files, path, Buffer.from('new'))

  expect(await readFile(path, 'utf8')).toBe('new')
  expect(await readdir(folder)).toEqual(['settings'])
  expect(files.changes.map((line) => line.replace(/ .*\//, ' '))).toEqual([
    'write settings.new',
    'fsync settings.new',
    'rename settings',
    expect.stringMatching(/^fsync /)
  ])
})

test('keeps the old file when the new one cannot be written', async () => {
  const path = join(folder, 'settings')
  await writeFile(path, 'old')
  files.fail({ operation: 'fsync', code: 'ENOSPC' })

  await expect(replaceFile(files, path, Buffer.from('new'))).rejects.toMatchObject({
    code: 'ENOSPC'
  })

  expect(await readFile(path, 'utf8')).toBe('old')
})

test('reads small files only', async () => {
  const path = join(folder, 'file')
  await writeFile(path, '12345')

  expect(Buffer.from(await readSmallFile(files, path, 5)).toString()).toBe('12345')
  await expect(readSmallFile(files, path, 4)).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' })
  expect(files.openFiles).toBe(0)
})

test('does without flushing a folder where the file system cannot', async () => {
  files.fail({ operation: 'fsync', code: 'EINVAL' })
  await expect(syncFolder(files, folder)).resolves.toBeUndefined()

  files.fail({ operation: 'fsync', code: 'EIO' })
  await expect(syncFolder(files, folder)).rejects.toMatchObject({ code: 'EIO' })
})

test('tells the sizes of files, and which are not there', async () => {
  await writeFile(join(folder, 'a'), '12345')
  const paths = [join(folder, 'a'), join(folder, 'b')]

  expect(await systemFiles.sizesOf(paths)).toEqual([5, undefined])
})
