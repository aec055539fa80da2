import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from '@jest/globals'
import { DiskStore } from '../../src/chunks/disk-store.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { testMaintainedProvider } from '../contract/maintained-provider.ts'

let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blobswarm-maintained-'))
})

afterAll(async () => rm(folder, { recursive: true, force: true }))

testMaintainedProvider('a provider over memory', {
  openStore: async (options) => new MemoryStore(options),
  reach: async (local) => local
})

testMaintainedProvider('a provider over a disk', {
  openStore: async ({ quotaBytes }) => {
    const directory = await mkdtemp(join(folder, 'store-'))
    return new DiskStore({ logger: noLogger }, { directory, quotaBytes, durability: 'memory' })
  },
  reach: async (local) => local
})
