import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { DataStorageInterface, WriteHandle } from '../../src/gridftp/dsi.ts'

/** A storage under test, empty. */
export interface StorageUnderTest {
  readonly storage: DataStorageInterface
  readonly stop: () => Promise<void>
}

/** What the GridFTP server relies on; every storage behind it must pass. */
export function testDataStorage(name: string, open: () => Promise<StorageUnderTest>): void {
  describe(name, () => {
    let opened: StorageUnderTest
    let storage: DataStorageInterface
    beforeEach(async () => {
      opened = await open()
      ;({ storage } = opened)
    })
    afterEach(async () => await opened.stop())

    testUploads(() => storage)
    testPatches(() => storage)
    testReads(() => storage)
    testNames(() => storage)
  })
}

async function read(storage: DataStorageInterface, path: string): Promise<string> {
  const handle = await storage.openRead(path)
  const parts: Uint8Array[] = []
  for await (const part of handle.read({ offset: 0, length: handle.bytes })) parts.push(part)
  await handle.close()
  return Buffer.concat(parts).toString()
}

async function store(storage: DataStorageInterface, path: string, text: string): Promise<void> {
  const handle = await storage.openWrite(path, { mode: 'replace' })
  await handle.write(0, Buffer.from(text))
  await handle.publish()
}

async function names(storage: DataStorageInterface, path: string): Promise<string[]> {
  const found: string[] = []
  for await (const { name } of storage.list(path)) found.push(name)
  return found
}

const code = (suffix: string): object => ({ code: `ERR_FTP_${suffix}` })

function testUploads(storage: () => DataStorageInterface): void {
  test('publishes blocks that came in any order, gaps as zeros', async () => {
    const handle = await storage().openWrite('/image', { mode: 'replace' })

    await Promise.all([
      handle.write(6, Buffer.from('six')),
      handle.write(0, Buffer.from('zero')),
      handle.write(4, Buffer.from(''))
    ])
    const published = await handle.publish()

    expect(published.bytes).toBe(9)
    expect(await read(storage(), '/image')).toBe('zero\0\0six')
  })

  test('shows nothing of an upload before it is published', async () => {
    await store(storage(), '/image', 'old')
    const handle = await storage().openWrite('/image', { mode: 'replace' })
    const fresh = await storage().openWrite('/fresh', { mode: 'replace' })

    await handle.write(0, Buffer.from('new content'))
    await fresh.write(0, Buffer.from('new content'))

    expect(await read(storage(), '/image')).toBe('old')
    expect(await storage().stat('/fresh')).toBeUndefined()
    expect(await names(storage(), '/')).toEqual(['image'])
    await handle.abort()
    await fresh.abort()
  })

  test.each([
    ['small', 6],
    ['large', 600_000]
  ])('reads a %s upload back before it is published, gaps as zeros', async (_name, at) => {
    const handle = await storage().openWrite('/image', { mode: 'replace' })
    await handle.write(at, Buffer.from('six'))
    await handle.write(0, Buffer.from('zer'))
    await handle.write(2, Buffer.from('ro'))

    const parts: Uint8Array[] = []
    for await (const part of handle.readBack?.(1) ?? []) parts.push(part)
    await handle.publish()

    const expected = `zero${'\0'.repeat(at - 4)}six`
    expect(Buffer.concat(parts).toString()).toBe(expected.slice(1))
    expect(await read(storage(), '/image')).toBe(expected)
  })

  test('replaces a longer file whole', async () => {
    await store(storage(), '/image', 'a long old content')
    await store(storage(), '/image', 'new')

    expect(await read(storage(), '/image')).toBe('new')
  })

  test('publishes an empty file', async () => {
    const handle = await storage().openWrite('/empty', { mode: 'replace' })
    await handle.publish()

    expect(await storage().stat('/empty')).toMatchObject({ name: 'empty', type: 'file', bytes: 0 })
    expect(await read(storage(), '/empty')).toBe('')
  })

  test('makes missing parent folders when it publishes', async () => {
    await store(storage(), '/a/b/image', 'x')

    expect(await storage().stat('/a/b')).toMatchObject({ name: 'b', type: 'directory', bytes: 0 })
    expect(await names(storage(), '/a/b')).toEqual(['image'])
  })

  test('publishes nothing that is no longer wanted', async () => {
    const handle = await storage().openWrite('/image', { mode: 'replace' })
    await handle.write(0, Buffer.from('x'))

    const publishing = handle.publish({ isStillWanted: () => false })

    await expect(publishing).rejects.toMatchObject(code('ABANDONED'))
    expect(await storage().stat('/image')).toBeUndefined()
  })

  test('an aborted upload leaves nothing, and may be aborted twice', async () => {
    const handle = await storage().openWrite('/folder/image', { mode: 'replace' })
    await handle.write(0, Buffer.from('x'))

    await handle.abort()
    await handle.abort()

    expect(await names(storage(), '/')).toEqual([])
  })

  test('abort after publish changes nothing', async () => {
    const handle = await storage().openWrite('/image', { mode: 'replace' })
    await handle.write(0, Buffer.from('x'))
    await handle.publish()

    await handle.abort()

    expect(await read(storage(), '/image')).toBe('x')
  })

  test('two uploads of one path do not mix', async () => {
    const [first, second] = await Promise.all([
      storage().openWrite('/image', { mode: 'replace' }),
      storage().openWrite('/image', { mode: 'replace' })
    ])

    await Promise.all([
      first.write(0, Buffer.from('first!')),
      second.write(0, Buffer.from('second'))
    ])
    await first.publish()
    await second.publish()

    expect(await read(storage(), '/image')).toBe('second')
  })

  test('refuses to store over a folder or below a file', async () => {
    await store(storage(), '/folder/file', 'x')
    const open = async (path: string): Promise<WriteHandle> =>
      await storage().openWrite(path, { mode: 'replace' })

    await expect(open('/folder')).rejects.toMatchObject(code('IS_DIRECTORY'))
    await expect(open('/')).rejects.toMatchObject(code('IS_DIRECTORY'))
    await expect(open('/folder/file/below')).rejects.toMatchObject(code('NOT_DIRECTORY'))
    await expect(open('/folder/file/far/below')).rejects.toMatchObject(code('NOT_DIRECTORY'))
  })
}

function testPatches(storage: () => DataStorageInterface): void {
  test('a patch keeps what it does not write, and may make the file longer', async () => {
    await store(storage(), '/image', '0123456789')
    const handle = await storage().openWrite('/image', { mode: 'patch' })

    await handle.write(2, Buffer.from('ab'))
    await handle.write(9, Buffer.from('xyz'))
    await handle.publish()

    expect(await read(storage(), '/image')).toBe('01ab45678xyz')
  })

  test('a patch of nothing is a new file with zeros before it', async () => {
    const handle = await storage().openWrite('/image', { mode: 'patch' })

    await handle.write(2, Buffer.from('ab'))
    await handle.publish()

    expect(await read(storage(), '/image')).toBe('\0\0ab')
  })

  test('an append counts from the end', async () => {
    await store(storage(), '/image', 'abc')
    const handle = await storage().openWrite('/image', { mode: 'append' })

    await handle.write(1, Buffer.from('e'))
    await handle.write(0, Buffer.from('d'))
    await handle.publish()

    expect(await read(storage(), '/image')).toBe('abcde')
  })

  test('an append to nothing is a new file', async () => {
    const handle = await storage().openWrite('/image', { mode: 'append' })

    await handle.write(0, Buffer.from('abc'))
    await handle.publish()

    expect(await read(storage(), '/image')).toBe('abc')
  })
}

function testReads(storage: () => DataStorageInterface): void {
  test('reads ranges, several at a time, and stops at the end', async () => {
    await store(storage(), '/image', '0123456789')
    const handle = await storage().openRead('/image')
    const range = async (offset: number, length: number): Promise<string> => {
      const parts: Uint8Array[] = []
      for await (const part of handle.read({ offset, length })) parts.push(part)
      return Buffer.concat(parts).toString()
    }

    const ranges = await Promise.all([range(0, 4), range(3, 3), range(8, 100), range(50, 5)])

    expect(handle.bytes).toBe(10)
    expect(ranges).toEqual(['0123', '345', '89', ''])
    await handle.close()
  })

  test('an open file goes on showing what it was', async () => {
    await store(storage(), '/image', 'before')
    const handle = await storage().openRead('/image')

    await store(storage(), '/image', 'and after')
    await storage().removeFile('/image')
    const parts: Uint8Array[] = []
    for await (const part of handle.read({ offset: 0, length: 100 })) parts.push(part)
    await handle.close()

    expect(Buffer.concat(parts).toString()).toBe('before')
  })

  test('refuses to read what is not there or no file', async () => {
    await storage().makeDirectory('/folder')

    await expect(storage().openRead('/nothing')).rejects.toMatchObject(code('NOT_FOUND'))
    await expect(storage().openRead('/folder')).rejects.toMatchObject(code('IS_DIRECTORY'))
  })
}

function testNames(storage: () => DataStorageInterface): void {
  test('lists entries in order of their names', async () => {
    for (const name of ['b', 'c', 'a']) await store(storage(), `/folder/${name}`, name)
    await storage().makeDirectory('/folder/bb')

    expect(await names(storage(), '/folder')).toEqual(['a', 'b', 'bb', 'c'])
    expect(await names(storage(), '/')).toEqual(['folder'])
  })

  test('status has size, time and what a listing needs', async () => {
    await store(storage(), '/ümläut 日本', 'abc')

    const status = await storage().stat('/ümläut 日本')

    expect(status).toMatchObject({ name: 'ümläut 日本', type: 'file', bytes: 3, readOnly: false })
    expect(status?.modifiedMs).toBeGreaterThan(0)
    expect(status?.unique).not.toBe('')
    expect(await storage().stat('/')).toMatchObject({ type: 'directory' })
    expect(await storage().stat('/nothing/below')).toBeUndefined()
  })

  test('shows a time that was set until there is new content, also under another name', async () => {
    const modifiedMs = Date.UTC(2011, 1, 3, 4, 5, 6)
    await store(storage(), '/folder/image', 'old')
    await storage().makeDirectory('/other')

    await storage().setModified('/folder/image', modifiedMs)
    await storage().setModified('/other', modifiedMs)

    expect(await storage().stat('/folder/image')).toMatchObject({ modifiedMs, bytes: 3 })
    expect(await storage().stat('/other')).toMatchObject({ modifiedMs })
    await storage().rename('/folder/image', '/folder/renamed')
    expect(await storage().stat('/folder/renamed')).toMatchObject({ modifiedMs })
    await store(storage(), '/folder/renamed', 'new')
    expect(await storage().stat('/folder/renamed')).not.toMatchObject({ modifiedMs })
    const setting = storage().setModified('/nothing', modifiedMs)
    await expect(setting).rejects.toMatchObject(code('NOT_FOUND'))
  })

  test('makes and removes folders', async () => {
    await storage().makeDirectory('/folder')
    await storage().makeDirectory('/folder/inner')

    await expect(storage().makeDirectory('/folder')).rejects.toMatchObject(code('EXISTS'))
    await expect(storage().makeDirectory('/')).rejects.toMatchObject(code('EXISTS'))
    await expect(storage().makeDirectory('/no/where')).rejects.toMatchObject(code('NOT_FOUND'))
    await expect(storage().removeDirectory('/folder')).rejects.toMatchObject(code('NOT_EMPTY'))
    await storage().removeDirectory('/folder/inner')
    await storage().removeDirectory('/folder')
    expect(await names(storage(), '/')).toEqual([])
    await expect(storage().removeDirectory('/folder')).rejects.toMatchObject(code('NOT_FOUND'))
    await expect(storage().removeDirectory('/')).rejects.toMatchObject(code('NOT_EMPTY'))
  })

  test('removes files, and only files', async () => {
    await store(storage(), '/image', 'x')
    await storage().makeDirectory('/folder')

    await storage().removeFile('/image')

    expect(await storage().stat('/image')).toBeUndefined()
    await expect(storage().removeFile('/image')).rejects.toMatchObject(code('NOT_FOUND'))
    await expect(storage().removeFile('/folder')).rejects.toMatchObject(code('IS_DIRECTORY'))
    await expect(storage().removeDirectory('/folder/x')).rejects.toMatchObject(code('NOT_FOUND'))
  })

  test('renames files over files, and folders with what is in them', async () => {
    await store(storage(), '/a/one', '1')
    await store(storage(), '/two', '2')

    await storage().rename('/a/one', '/two')
    await storage().rename('/a', '/b')
    await storage().rename('/two', '/b/two')

    expect(await read(storage(), '/b/two')).toBe('1')
    expect(await names(storage(), '/')).toEqual(['b'])
    await expect(storage().rename('/nothing', '/x')).rejects.toMatchObject(code('NOT_FOUND'))
    await expect(storage().rename('/b/two', '/no/x')).rejects.toMatchObject(code('NOT_FOUND'))
  })
}
