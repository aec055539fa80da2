import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from '@jest/globals'
import { DataDirectory } from '../../src/agent/data-directory.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const newFolder = temporaryFolders()
let path: string
let data: DataDirectory
beforeEach(async () => {
  path = join(await newFolder(), 'a', 'data')
  data = new DataDirectory(path)
})

describe('opening a data directory', () => {
  test('makes it, for the user alone, and writes its format', async () => {
    await data.open()

    expect((await stat(path)).mode & 0o777).toBe(0o700)
    expect(await readFile(join(path, 'format.json'), 'utf8')).toBe('{"format":1}\n')
  })

  test('works again after a close', async () => {
    await data.open()
    await data.close()

    await new DataDirectory(path).open()

    expect((await readdir(join(path, 'lock'))).length).toBe(1)
  })

  test('is refused while somebody else has it open, naming the process', async () => {
    await data.open()

    await expect(new DataDirectory(path).open()).rejects.toMatchObject({
      code: 'ERR_DATA_DIRECTORY',
      message: `${path}: in use by another agent (process ${process.pid})`
    })
  })

  test('goes on after a process that did not close it', async () => {
    await mkdir(join(path, 'lock'), { recursive: true })
    await writeFile(join(path, 'lock', '1.1.0-0.00000000'), '')

    await data.open()

    expect(await readdir(join(path, 'lock'))).not.toContain('1.1.0-0.00000000')
  })

  test.each([
    ['a newer format', '{"format":2}', /: has format 2, this program knows 1$/],
    ['no format', '{}', /: has format undefined, this program knows 1$/],
    ['a cut file', '{"for', /format\.json: is damaged$/]
  ])('is refused for %s, and leaves no lock', async (_name, format, message) => {
    await mkdir(path, { recursive: true })
    await writeFile(join(path, 'format.json'), format)

    await expect(data.open()).rejects.toMatchObject({ code: 'ERR_DATA_DIRECTORY', message })

    expect(await readdir(join(path, 'lock'))).toEqual([])
  })

  test('is refused where a file stands', async () => {
    await mkdir(join(path, '..'), { recursive: true })
    await writeFile(path, '')

    await expect(data.open()).rejects.toMatchObject({
      code: 'ERR_DATA_DIRECTORY',
      message: expect.stringContaining(`${path}: cannot be used: `)
    })
  })

  test('is refused where no folder can be made, and does not wait for one', async () => {
    await expect(new DataDirectory('/proc/blobswarm/data').open()).rejects.toMatchObject({
      code: 'ERR_DATA_DIRECTORY',
      message: expect.stringContaining('/proc/blobswarm/data: cannot be used: ')
    })
  })
})

describe('a seed', () => {
  test('is made once, and kept from other users', async () => {
    await data.open()

    const made = await data.seed('agent.key', true)

    expect(made).toHaveLength(32)
    expect(await data.seed('agent.key', true)).toEqual(made)
    expect((await stat(join(path, 'agent.key'))).mode & 0o777).toBe(0o600)
  })

  test('is not made where none is wanted', async () => {
    await data.open()

    expect(await data.seed('authority.key', false)).toBeUndefined()
    expect(await readdir(path)).not.toContain('authority.key')
  })

  test.each(['', 'abcd', 'x'.repeat(64), '00'.repeat(33)])(
    'that reads "%s" is refused and not replaced',
    async (text) => {
      await data.open()
      await data.writeText('agent.key', text)

      await expect(data.seed('agent.key', true)).rejects.toMatchObject({
        code: 'ERR_DATA_DIRECTORY',
        message: `${path}/agent.key: is damaged: wanted 32 bytes in hexadecimal`
      })

      expect(await data.readText('agent.key')).toBe(text)
    }
  )
})

describe('what is remembered of the cluster', () => {
  test('is nothing at first', async () => {
    await data.open()

    expect(await data.cluster()).toBeUndefined()
    expect(await data.certificate()).toBeUndefined()
  })

  test('comes back as it was', async () => {
    const cluster = { clusterId: 'ab'.repeat(32), bootstrap: ['/ip4/127.0.0.1/tcp/1/p2p/x'] }
    await data.open()

    await data.writeCluster(cluster)
    await data.writeCertificate(Uint8Array.of(1, 2, 3))

    expect(await data.cluster()).toEqual(cluster)
    expect(await data.certificate()).toEqual(Uint8Array.of(1, 2, 3))
  })

  test.each(['{', '[]', '{"clusterId":"ab","bootstrap":[]}'])(
    'is refused when it reads %s',
    async (text) => {
      await data.open()
      await data.writeText('cluster.json', text)

      await expect(data.cluster()).rejects.toMatchObject({
        code: 'ERR_DATA_DIRECTORY',
        message: `${path}/cluster.json: is damaged`
      })
    }
  )
})
