import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { FileDsi } from '../../src/gridftp/file-dsi.ts'
import { testDataStorage } from '../contract/data-storage.ts'
import { MemoryDsi } from '../support/memory-dsi.ts'

testDataStorage('FileDsi', async () => {
  const path = await mkdtemp(join(tmpdir(), 'blobswarm-file-dsi-'))
  const stop = async (): Promise<void> => await rm(path, { recursive: true })
  return { storage: await FileDsi.open(path), stop }
})

testDataStorage('MemoryDsi, which the other tests use', async () => {
  return { storage: new MemoryDsi(), stop: async () => {} }
})

let top = ''
let folder = ''
beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'blobswarm-file-dsi-'))
  folder = join(top, 'root')
})
afterEach(async () => await rm(top, { recursive: true }))

const UPLOADS = '.blobswarm-uploads'

test('no link leads out of the folder', async () => {
  const storage = await FileDsi.open(folder)
  await mkdir(join(top, 'outside'))
  await writeFile(join(top, 'outside', 'secret'), 'secret')
  await symlink(join(top, 'outside'), join(folder, 'dir'))
  await symlink('../outside/secret', join(folder, 'file'))
  await symlink('../outside/new', join(folder, 'dangling'))

  const listed: string[] = []
  for await (const { name } of storage.list('/')) listed.push(name)

  const notFound = { code: 'ERR_FTP_NOT_FOUND' }
  expect(listed).toEqual([])
  expect(await storage.stat('/dir/secret')).toBeUndefined()
  await expect(storage.openRead('/file')).rejects.toMatchObject(notFound)
  await expect(storage.openWrite('/dir/x', { mode: 'replace' })).rejects.toMatchObject(notFound)
  await expect(storage.makeDirectory('/dir/x')).rejects.toMatchObject(notFound)
  await expect(storage.removeFile('/dir/secret')).rejects.toMatchObject(notFound)
  await expect(storage.rename('/dir/secret', '/stolen')).rejects.toMatchObject(notFound)
})

test('storing to a link replaces the link, not what it points to', async () => {
  const storage = await FileDsi.open(folder)
  await writeFile(join(top, 'victim'), 'safe')
  await symlink('../victim', join(folder, 'link'))
  const upload = await storage.openWrite('/link', { mode: 'replace' })

  await upload.write(0, Buffer.from('mine'))
  await upload.publish()

  expect(await readFile(join(top, 'victim'), 'utf8')).toBe('safe')
  expect(await readFile(join(folder, 'link'), 'utf8')).toBe('mine')
})

test('a listing tells what is a link', async () => {
  const storage = await FileDsi.open(folder)
  await mkdir(join(folder, 'real'))
  await symlink('real', join(folder, 'link'))

  const found: unknown[] = []
  for await (const { name, type, isLink } of storage.list('/')) found.push([name, type, isLink])

  expect(found).toEqual([
    ['link', 'directory', true],
    ['real', 'directory', undefined]
  ])
})

test('links inside the folder are followed', async () => {
  const storage = await FileDsi.open(folder)
  await mkdir(join(folder, 'real'))
  await symlink('real', join(folder, 'alias'))
  const upload = await storage.openWrite('/alias/image', { mode: 'replace' })

  await upload.write(0, Buffer.from('x'))
  await upload.publish()

  expect(await readFile(join(folder, 'real', 'image'), 'utf8')).toBe('x')
})

test('its own folder can be neither seen nor touched', async () => {
  const storage = await FileDsi.open(folder)
  const path = `/${UPLOADS}/x`
  const invalid = { code: 'ERR_FTP_INVALID_PATH' }

  expect(await storage.stat(`/${UPLOADS}`)).toBeUndefined()
  await expect(storage.openWrite(path, { mode: 'replace' })).rejects.toMatchObject(invalid)
  await expect(storage.removeDirectory(`/${UPLOADS}`)).rejects.toMatchObject(invalid)
  await expect(storage.rename(`/${UPLOADS}`, '/x')).rejects.toMatchObject(invalid)
})

test('opening removes what a killed process left, and nothing of a running one', async () => {
  const storage = await FileDsi.open(folder)
  const running = await storage.openWrite('/image', { mode: 'replace' })
  await writeFile(join(folder, UPLOADS, '4194305-aaaa'), 'no such process: above the largest pid')
  await writeFile(join(folder, UPLOADS, `${process.ppid}-bbbb`), 'our parent, which runs')

  await FileDsi.open(folder)

  const left = await readdir(join(folder, UPLOADS))
  expect(left).toHaveLength(2)
  expect(left).toContainEqual(expect.stringMatching(`^${process.pid}-`))
  expect(left).toContain(`${process.ppid}-bbbb`)
  await running.abort()
})

test('a failed publish leaves no file behind', async () => {
  const storage = await FileDsi.open(folder)
  const upload = await storage.openWrite('/taken/image', { mode: 'replace' })
  await upload.write(0, Buffer.from('x'))
  await writeFile(join(folder, 'taken'), 'a file where the folder should come')

  await expect(upload.publish()).rejects.toMatchObject({ code: 'ERR_FTP_EXISTS' })

  expect(await readdir(join(folder, UPLOADS))).toEqual([])
})

test('refuses a patch over a file that was replaced meanwhile', async () => {
  const storage = await FileDsi.open(folder)
  await writeFile(join(folder, 'image'), 'old')
  const patch = await storage.openWrite('/image', { mode: 'patch' })
  const other = await storage.openWrite('/image', { mode: 'append' })
  await other.write(0, Buffer.from('!'))
  await other.publish()

  await expect(patch.publish()).rejects.toMatchObject({ code: 'ERR_FTP_CONFLICT' })

  expect(await readFile(join(folder, 'image'), 'utf8')).toBe('old!')
})

test('refuses an upload that is announced larger than the disk', async () => {
  const storage = await FileDsi.open(folder)
  const options = { mode: 'replace', expectedBytes: Number.MAX_SAFE_INTEGER } as const

  await expect(storage.openWrite('/image', options)).rejects.toMatchObject({
    code: 'ERR_FTP_NO_SPACE'
  })
})
