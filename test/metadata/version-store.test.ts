import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { SqliteVersionStore } from '../../src/metadata/version-store.ts'

test('probe', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'bs-'))
  const store = new SqliteVersionStore(folder)
  for await (const rows of await store.start()) expect(rows).toEqual([])
  await store.write([
    { kind: 'entry', id: 1, parent: 0, name: 'a', blob: undefined, isVisible: true, modifiedMs: 5 }
  ])
  const second = new SqliteVersionStore(folder)
  await expect(second.start()).rejects.toThrow('in use')
  await store.stop()
  const third = new SqliteVersionStore(folder)
  const all = []
  for await (const rows of await third.start()) all.push(...rows)
  expect(all).toHaveLength(1)
  await third.stop()
  await rm(folder, { recursive: true })
})
