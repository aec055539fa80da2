import { mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { ImageFile } from '../../src/agent/image-file.ts'
import { PartialFiles } from '../../src/agent/partial-files.ts'
import { noLogger } from '../../src/lib/logger.ts'

let folder: string
let notes: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blobswarm-partials-'))
  notes = join(folder, 'notes')
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

async function started(): Promise<PartialFiles> {
  const partials = new PartialFiles(notes, noLogger.forComponent('test'))
  await partials.start()
  return partials
}

test('a start removes the half-written file that a crash left, wherever it is', async () => {
  await ImageFile.create(join(folder, 'disk.raw'), 10, false, await started())
  expect(await readdir(folder)).toHaveLength(2)

  await started() // the next process

  expect(await readdir(folder)).toEqual(['notes'])
  expect(await readdir(notes)).toEqual([])
})

test('a finished file and one that was given up leave no note', async () => {
  const partials = await started()
  const finished = await ImageFile.create(join(folder, 'a.raw'), 10, false, partials)
  const discarded = await ImageFile.create(join(folder, 'b.raw'), 10, false, partials)

  await finished.finish()
  await discarded.discard()

  expect(await readdir(notes)).toEqual([])
  expect((await readdir(folder)).toSorted()).toEqual(['a.raw', 'notes'])
})

test('a target that cannot be made leaves no note', async () => {
  const partials = await started()

  await expect(ImageFile.create('/proc/nowhere/disk', 1, false, partials)).rejects.toMatchObject({
    code: 'ERR_LOCAL_FILE'
  })
  expect(await readdir(notes)).toEqual([])
})

test('never removes a file whose name is not its own', async () => {
  await started()
  await writeFile(join(folder, 'precious'), 'x')
  await symlink(join(folder, 'precious'), join(notes, 'planted'))

  await started()

  expect((await readdir(folder)).toSorted()).toEqual(['notes', 'precious'])
})
