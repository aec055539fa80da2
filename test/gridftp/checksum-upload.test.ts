import { createHash } from 'node:crypto'
import { afterAll, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { ChecksumThreads } from '../../src/gridftp/checksum-threads.ts'
import { ChecksummedUpload, verifyChecksumFits } from '../../src/gridftp/checksum-upload.ts'
import type { WriteHandle } from '../../src/gridftp/dsi.ts'
import { newSessionState } from '../../src/gridftp/session-state.ts'
import type { CommandContext, ExpectedChecksum } from '../../src/gridftp/types.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { MemoryDsi } from '../support/memory-dsi.ts'

const checksums = new ChecksumThreads({ clock: systemClock })
afterAll(async () => await checksums.stop())

const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex')

/** A session whose client has announced a sum. */
function announced(sum: string): Pick<CommandContext, 'services' | 'state'> {
  const expectedChecksum: ExpectedChecksum = { algorithm: 'SHA1', sum }
  const services = { checksums } as CommandContext['services']
  return { services, state: { ...newSessionState(), announcedBytes: 1000, expectedChecksum } }
}

async function opened(
  storage: MemoryDsi,
  sum: string,
  change: (handle: WriteHandle) => WriteHandle = (handle) => handle
): Promise<WriteHandle> {
  const handle = await storage.openWrite('/file', { mode: 'replace' })
  return ChecksummedUpload.guard(change(handle), announced(sum))
}

function without(handle: WriteHandle): WriteHandle {
  return { ...handle, readBack: undefined }
}

test('an upload without an announced sum is left alone', async () => {
  const handle = await new MemoryDsi().openWrite('/file', { mode: 'replace' })
  const { services } = announced('')

  expect(ChecksummedUpload.guard(handle, { services, state: newSessionState() })).toBe(handle)
})

const block = fc.record({
  offset: fc.nat({ max: 60 }),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 20 })
})

test('blocks in any order are published exactly if their sum is right', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(block, { maxLength: 12 }), fc.boolean(), async (blocks, isRight) => {
      const storage = new MemoryDsi()
      const content = Buffer.alloc(
        Math.max(0, ...blocks.map(({ offset, bytes }) => offset + bytes.byteLength))
      )
      for (const { offset, bytes } of blocks) content.set(bytes, offset)
      const handle = await opened(storage, isRight ? sha1(content) : sha1(Buffer.from('other')))

      for (const { offset, bytes } of blocks) await handle.write(offset, bytes.slice())
      const ending = handle.publish()

      if (isRight) await ending
      else await expect(ending).rejects.toMatchObject({ code: 'ERR_FTP_CHECKSUM' })
      await handle.abort()
      expect(storage.content('/file')).toEqual(isRight ? content : undefined)
      expect(storage.openUploads).toBe(0)
    }),
    { numRuns: 60 }
  )
})

describe('a storage that cannot be read back', () => {
  test('does for blocks in order', async () => {
    const storage = new MemoryDsi()
    const handle = await opened(storage, sha1(Buffer.from('abcd')), without)

    await Promise.all([handle.write(0, Buffer.from('ab')), handle.write(2, Buffer.from('cd'))])
    await handle.publish()

    expect(storage.content('/file')).toEqual(Buffer.from('abcd'))
  })

  test.each([
    ['out of order', 2, 0],
    ['twice', 0, 0]
  ])('fails the upload when they come %s', async (_name, first, second) => {
    const storage = new MemoryDsi()
    const handle = await opened(storage, sha1(Buffer.from('abab')), without)

    await handle.write(first, Buffer.from('ab'))
    await handle.write(second, Buffer.from('ab'))

    await expect(handle.publish()).rejects.toMatchObject({ code: 'ERR_FTP_CHECKSUM_UNKNOWN' })
    expect(storage.content('/file')).toBeUndefined()
    await handle.abort()
  })
})

test('what an earlier attempt has left is summed up too', async () => {
  const storage = new MemoryDsi()
  const handle = await storage.openWrite('/file', { mode: 'replace' })
  await handle.write(0, Buffer.from('ab'))
  const context = announced(sha1(Buffer.from('abcd')))
  const guarded = ChecksummedUpload.guard(handle, context, [{ start: 0, end: 2 }])

  await guarded.write(2, Buffer.from('cd'))
  await guarded.publish()

  expect(storage.content('/file')).toEqual(Buffer.from('abcd'))
})

describe('an upload that breaks', () => {
  const ended: string[] = []
  const noting = (handle: WriteHandle): WriteHandle => ({
    ...handle,
    checkpoint: async () => [{ start: 0, end: 2 }],
    suspend: async () => {
      ended.push('kept')
      await handle.abort()
    },
    abort: async () => {
      ended.push('dropped')
      await handle.abort()
    }
  })

  test('is kept for another attempt unless its sum was wrong', async () => {
    const broken = await opened(new MemoryDsi(), sha1(Buffer.from('abcd')), noting)
    await broken.write(0, Buffer.from('ab'))
    const ranges = await broken.checkpoint?.()
    await broken.suspend?.()
    const wrong = await opened(new MemoryDsi(), sha1(Buffer.from('abcd')), noting)
    await wrong.write(0, Buffer.from('ab'))
    await expect(wrong.publish()).rejects.toThrow(/INCORRECT_CHECKSUM/)
    await wrong.suspend?.()

    expect(ranges).toEqual([{ start: 0, end: 2 }])
    expect(ended).toEqual(['kept', 'dropped'])
  })
})

test('SCKS goes with whole files only', () => {
  const { state } = announced(sha1(Buffer.from('')))

  expect(() => verifyChecksumFits(state, 'replace')).not.toThrow()
  expect(() => verifyChecksumFits(newSessionState(), 'append')).not.toThrow()
  expect(() => verifyChecksumFits(state, 'patch')).toThrow(/whole file/)
})
