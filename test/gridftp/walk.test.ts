import { describe, expect, test } from '@jest/globals'
import type { FileStatus } from '../../src/gridftp/dsi.ts'
import { PathNotFoundError, StorageUnavailableError } from '../../src/gridftp/errors.ts'
import { type WalkOptions, walk } from '../../src/gridftp/walk.ts'
import { MemoryDsi } from '../support/memory-dsi.ts'

const { signal } = new AbortController()

type Storage = Parameters<typeof walk>[0]

async function steps(
  storage: Storage,
  start: string,
  options: Partial<WalkOptions> = {}
): Promise<string[]> {
  const seen: string[] = []
  for await (const { kind, name } of walk(storage, start, { signal, ...options })) {
    seen.push(`${kind} ${name}`)
  }
  return seen
}

function tree(...files: readonly string[]): MemoryDsi {
  const storage = new MemoryDsi()
  for (const file of files) storage.put(file, Buffer.from(file))
  return storage
}

/** Lists some folders in another way. */
function withFolders(storage: MemoryDsi, list: (path: string) => Error | FileStatus[]): Storage {
  return {
    stat: async (path) => await storage.stat(path),
    async *list(path) {
      const special = list(path)
      if (special instanceof Error) throw special
      if (special.length > 0) yield* special
      else yield* storage.list(path)
    }
  }
}

test('enters folders before their entries and leaves them after', async () => {
  const storage = tree('/top/a', '/top/b/c', '/top/b/d/e', '/top/f', '/other')
  await storage.makeDirectory('/top/empty')

  expect(await steps(storage, '/top')).toEqual([
    'file a',
    'enter b',
    'file b/c',
    'enter b/d',
    'file b/d/e',
    'leave b/d',
    'leave b',
    'enter empty',
    'leave empty',
    'file f'
  ])
})

test('begins at the root as well', async () => {
  expect(await steps(tree('/a/b'), '/')).toEqual(['enter a', 'file a/b', 'leave a'])
})

test('may remove what it has seen', async () => {
  const storage = tree('/top/a/b', '/top/a/c', '/top/d')

  for await (const { kind, name } of walk(storage, '/top', { signal })) {
    if (kind === 'file') await storage.removeFile(`/top/${name}`)
    if (kind === 'leave') await storage.removeDirectory(`/top/${name}`)
  }

  expect(await steps(storage, '/top')).toEqual([])
})

describe('a folder that', () => {
  const storage = tree('/top/a/b', '/top/c')

  test('is in itself by a link is not entered again', async () => {
    const top = (await storage.stat('/top')) as FileStatus
    const looped = withFolders(storage, (path) =>
      path === '/top/a' ? [{ ...top, name: 'loop' }] : []
    )

    expect(await steps(looped, '/top')).toEqual(['enter a', 'leave a', 'file c'])
  })

  test('has gone meanwhile is empty', async () => {
    const gone = withFolders(storage, (path) =>
      path === '/top/a' ? new PathNotFoundError(path) : []
    )

    expect(await steps(gone, '/top')).toEqual(['enter a', 'leave a', 'file c'])
  })

  test('cannot be listed fails the walk, or is left out', async () => {
    const broken = withFolders(storage, (path) =>
      path === '/top/a' ? new StorageUnavailableError(path, 'down') : []
    )

    await expect(steps(broken, '/top')).rejects.toMatchObject({ code: 'ERR_FTP_UNAVAILABLE' })
    expect(await steps(broken, '/top', { skipsErrors: true })).toEqual([
      'enter a',
      'leave a',
      'file c'
    ])
    await expect(steps(broken, '/top/a', { skipsErrors: true })).rejects.toThrow(/unavailable/)
  })

  test('is nested too deep ends it', async () => {
    const deep = tree(`/${'d/'.repeat(300)}file`)

    await expect(steps(deep, '/')).rejects.toThrow(/nested too deep/)
  })
})

test('goes through a link to a folder only where that is wanted', async () => {
  const storage = tree('/top/a/b', '/other/c')
  const other = (await storage.stat('/other')) as FileStatus
  const linked = withFolders(storage, (path) => {
    if (path === '/top/a') return [{ ...other, name: 'link', isLink: true }]
    return path === '/top/a/link' ? [{ ...other, name: 'c', type: 'file' }] : []
  })

  expect(await steps(linked, '/top')).toEqual(['enter a', 'link a/link', 'leave a'])
  expect(await steps(linked, '/top', { followsLinks: true })).toEqual([
    'enter a',
    'enter a/link',
    'file a/link/c',
    'leave a/link',
    'leave a'
  ])
})

test('ends when it is aborted', async () => {
  const aborted = AbortSignal.abort(new Error('enough'))

  await expect(steps(tree('/a'), '/', { signal: aborted })).rejects.toThrow('enough')
})
