import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from '@jest/globals'
import { ImageFile } from '../../src/agent/image-file.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const newFolder = temporaryFolders()
let folder: string
let target: string
beforeEach(async () => {
  folder = await newFolder()
  target = join(folder, 'disk.raw')
})

describe('an image file', () => {
  test('holds what was written at its places, and zeros elsewhere', async () => {
    const file = await ImageFile.create(target, 10, false)
    await Promise.all([file.write(7, Buffer.from('xyz')), file.write(1, Buffer.from('ab'))])
    await file.finish()

    expect(await readFile(target, 'latin1')).toBe('\0ab\0\0\0\0xyz')
  })

  test('takes no room on the disk for what was never written', async () => {
    const file = await ImageFile.create(target, 64 * MIB, false)
    await file.write(32 * MIB, new Uint8Array(4096).fill(1))
    await file.finish()

    const { size, blocks } = await stat(target)
    expect(size).toBe(64 * MIB)
    expect(blocks * 512).toBeLessThan(MIB)
  })

  test('is not seen under its name before it is finished', async () => {
    const file = await ImageFile.create(target, 3, false)
    await file.write(0, Buffer.from('abc'))

    expect(await readdir(folder)).toEqual([expect.stringMatching(/^\.blobswarm-\w+\.partial$/)])

    await file.finish()
    await file.discard()
    expect(await readdir(folder)).toEqual(['disk.raw'])
  })

  test('leaves nothing when it is discarded, also twice', async () => {
    const file = await ImageFile.create(target, 3, false)

    await file.discard()
    await file.discard()

    expect(await readdir(folder)).toEqual([])
  })

  test('may have a name as long as names can be', async () => {
    const long = join(folder, 'n'.repeat(255))
    const file = await ImageFile.create(long, 0, false)
    await file.finish()

    expect(await readdir(folder)).toEqual(['n'.repeat(255)])
  })
})

describe('a target that is there already', () => {
  test('is refused and kept', async () => {
    await writeFile(target, 'old')

    await expect(ImageFile.create(target, 3, false)).rejects.toMatchObject({
      code: 'ERR_FILE_EXISTS',
      message: expect.stringContaining(target)
    })

    expect(await readFile(target, 'utf8')).toBe('old')
  })

  test('is replaced by force, and kept until then', async () => {
    await writeFile(target, 'old')
    const file = await ImageFile.create(target, 3, true)
    await file.write(0, Buffer.from('new'))
    expect(await readFile(target, 'utf8')).toBe('old')

    await file.finish()

    expect(await readFile(target, 'utf8')).toBe('new')
  })

  test('is refused even by force when it is no regular file', async () => {
    await expect(ImageFile.create(folder, 3, true)).rejects.toMatchObject({
      code: 'ERR_LOCAL_FILE',
      message: `${folder}: is not a regular file`
    })
  })
})

describe('a target that cannot be', () => {
  test('in a folder that does not exist is refused with the reason', async () => {
    await expect(ImageFile.create(join(folder, 'no', 'disk'), 3, false)).rejects.toMatchObject({
      code: 'ERR_LOCAL_FILE',
      message: `${folder}/no/disk: its folder does not exist`
    })
  })

  test('below a file is refused with the reason', async () => {
    await writeFile(target, '')

    await expect(ImageFile.create(join(target, 'disk'), 3, false)).rejects.toMatchObject({
      message: `${target}/disk: a part of its path is no folder`
    })
  })

  test('with too long a name is refused with the reason', async () => {
    await expect(ImageFile.create(join(folder, 'n'.repeat(256)), 3, false)).rejects.toMatchObject({
      code: 'ERR_LOCAL_FILE',
      message: expect.stringMatching(/its name is too long$/)
    })
  })

  test('through links in a circle is refused, and nothing is left', async () => {
    await symlink(target, target)

    await expect(ImageFile.create(target, 3, false)).rejects.toMatchObject({
      code: 'ERR_LOCAL_FILE'
    })

    expect(await readdir(folder)).toEqual(['disk.raw'])
  })

  test('larger than any file is refused, and nothing is left', async () => {
    await expect(ImageFile.create(target, Number.MAX_SAFE_INTEGER, false)).rejects.toMatchObject({
      code: 'ERR_LOCAL_FILE'
    })

    expect(await readdir(folder)).toEqual([])
  })

  test('at its end leaves nothing after discard', async () => {
    const file = await ImageFile.create(target, 3, false)
    await mkdir(target)

    await expect(file.finish()).rejects.toMatchObject({ code: 'ERR_LOCAL_FILE' })
    await file.discard()

    expect(await readdir(folder)).toEqual(['disk.raw'])
  })
})
