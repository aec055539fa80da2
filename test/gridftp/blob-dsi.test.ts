import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { BlobDsi } from '../../src/gridftp/blob-dsi.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const CHUNK = 65_536

let bench: TestRepository
let storage: BlobDsi
beforeEach(async () => {
  bench = await startTestRepository({ chunkBytes: CHUNK })
  storage = new BlobDsi(bench.repository, { name: 'alice', root: '/', mayWrite: true })
})
afterEach(async () => bench.stop())

async function store(path: string, bytes: Uint8Array): Promise<void> {
  const upload = await storage.openWrite(path, { mode: 'replace' })
  await upload.write(0, new Uint8Array(bytes))
  await upload.publish()
}

async function read(path: string): Promise<Uint8Array> {
  const handle = await storage.openRead(path)
  return Buffer.concat(await Array.fromAsync(handle.read({ offset: 0, length: handle.bytes })))
}

test('a clone is a file like any other, and its version 0 a read-only one', async () => {
  const image = sampleBytes(CHUNK + 1, 1)
  await store('/a', image)
  await bench.repository.clone('/a', '/b')

  expect(await storage.stat('/b')).toMatchObject({
    name: 'b',
    type: 'file',
    bytes: CHUNK + 1,
    readOnly: false
  })
  expect(await storage.stat('/b@0')).toMatchObject({ name: 'b@0', readOnly: true })
  expect((await Array.fromAsync(storage.list('/'))).map(({ name }) => name)).toEqual(['a', 'b'])
  expect(Buffer.compare(await read('/b@0'), image)).toBe(0)
})

test('what is stored over a clone becomes its version 1, and the source stays', async () => {
  const [image, other] = [sampleBytes(CHUNK + 1, 1), sampleBytes(100, 2)]
  await store('/a', image)
  await bench.repository.clone('/a', '/b')

  await store('/b', other)

  expect(Buffer.compare(await read('/b@1'), other)).toBe(0)
  expect(Buffer.compare(await read('/a'), image)).toBe(0)
})

test('a clone and its source are different files to who compares their names', async () => {
  await store('/a', sampleBytes(100, 1))
  await bench.repository.clone('/a', '/b')

  const [a, b] = [await storage.stat('/a'), await storage.stat('/b')]

  expect(a?.unique).not.toBe(b?.unique)
})

test('a file with a pinned version is not removed', async () => {
  await store('/a', sampleBytes(100, 1))
  await bench.repository.setPinned('/a@1', true)

  await expect(storage.removeFile('/a')).rejects.toThrow(/pinned/)
})

test('a byte far beyond what a file may have is refused, and nothing is published', async () => {
  const most = CHUNK * 2 ** 22
  const upload = await storage.openWrite('/far', { mode: 'replace' })

  const taken = [
    upload.tryWrite?.(most, Buffer.from('x')),
    upload.tryWrite?.(2 ** 53 - 2, Buffer.from('x'))
  ]
  await expect(upload.write(most, Buffer.from('x'))).rejects.toMatchObject({
    code: 'ERR_FTP_TOO_LARGE',
    message: `/far: file is too large: ${most + 1} bytes are too many, at most ${most}`
  })
  await upload.abort()

  expect(taken).toEqual([false, false])
  expect(await storage.stat('/far')).toBeUndefined()
})
