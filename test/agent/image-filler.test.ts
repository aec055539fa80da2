import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from '@jest/globals'
import { ImageFile } from '../../src/agent/image-file.ts'
import { ImageFiller } from '../../src/agent/image-filler.ts'
import { type SmallImage, smallImage } from '../support/cached-images.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const newFolder = temporaryFolders()

let image: SmallImage
let path: string
let file: ImageFile
beforeEach(async () => {
  // Zeros in the middle, and a chunk that occurs twice.
  image = await smallImage('/a', [1, 2, 0, 1, 3])
  path = join(await newFolder(), 'disk.raw')
  file = await ImageFile.create(path, image.manifest.bytes, false)
})

function fillerOf(read: (index: number) => Promise<Uint8Array>, flushBytes?: number): ImageFiller {
  return new ImageFiller({ manifest: image.manifest, file, read }, { maxWrites: 2, flushBytes })
}

const chunk = async (index: number): Promise<Uint8Array> => image.chunks[index] ?? new Uint8Array(0)

describe('a file that is filled while chunks come', () => {
  test('has everything when the last one is there', async () => {
    const filler = fillerOf(chunk)
    for (const index of [4, 0, 1]) filler.add(index)

    await filler.finish()
    await file.finish()

    expect(await readFile(path)).toEqual(Buffer.concat(image.chunks))
  })

  test('is written before anybody waits for it', async () => {
    const wasRead = Promise.withResolvers<number>()
    const filler = fillerOf(async (index) => {
      wasRead.resolve(index)
      return chunk(index)
    })

    filler.add(1)

    expect(await wasRead.promise).toBe(1)
    await filler.finish()
    await file.discard()
  })

  test('reads each chunk once, however often it is told of it', async () => {
    const reads: number[] = []
    const filler = fillerOf(async (index) => {
      reads.push(index)
      return chunk(index)
    })
    for (const index of [0, 0, 1, 0]) filler.add(index)

    await filler.finish()
    await file.discard()

    expect(reads.toSorted((one, other) => one - other)).toEqual([0, 1, 3, 4])
  })

  test('takes a chunk that has come without reading it, and does not read it later either', async () => {
    const reads: number[] = []
    const filler = fillerOf(async (index) => {
      reads.push(index)
      return chunk(index)
    })

    await filler.take(1, image.chunks[1] ?? new Uint8Array())
    filler.add(1)
    await filler.finish()
    await file.finish()

    expect(reads.toSorted((one, other) => one - other)).toEqual([0, 3, 4])
    expect(await readFile(path)).toEqual(Buffer.concat(image.chunks))
  })

  test('is brought to the disk on the way', async () => {
    let flushes = 0
    file.flush = async () => void flushes++
    const filler = fillerOf(chunk, 65_536)
    for (const index of [0, 1, 4]) filler.add(index)

    await filler.finish()
    await file.discard()

    expect(flushes).toBeGreaterThan(0)
  })

  test.each([
    ['reading', () => fillerOf(async () => Promise.reject(new Error('bad disk')))],
    [
      'writing',
      () => {
        file.write = async () => Promise.reject(new Error('bad disk'))
        return fillerOf(chunk)
      }
    ]
  ])('says at once and at the end that %s fails', async (_name, start) => {
    const filler = start()
    const failed = new Promise((resolve) => filler.failed.addEventListener('abort', resolve))
    filler.add(0)

    await failed

    await expect(filler.finish()).rejects.toThrow('bad disk')
    await file.discard()
  })

  test('ends at once when it is stopped', async () => {
    const filler = fillerOf(chunk)
    for (const index of [0, 1, 4]) filler.add(index)

    await filler.stop(new Error('enough'))
    await file.discard()

    await expect(filler.finish()).rejects.toThrow('enough')
  })
})
