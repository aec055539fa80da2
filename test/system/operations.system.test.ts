import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import {
  type AgentProcess,
  blobswarmJson,
  type CommandResult,
  runBlobswarm
} from '../../experiments/support/agent-process.ts'
import { sha256File } from '../../experiments/support/image.ts'
import type { ImageVersion, PushResult, StatResult } from '../../src/agent/operations.ts'
import type { CollectionReport } from '../../src/metadata/collection-types.ts'
import { Cluster } from '../support/cluster.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const CHUNK = 65_536
const IMAGE_CHUNKS = 32
const GC_WITHIN_MS = 20_000

jest.setTimeout(60_000)

let cluster: Cluster
let repository: AgentProcess
/** Contents of /images/a@1, /images/a@2 and what is written to its clone. */
let first: Uint8Array
let second: Uint8Array
let third: Uint8Array

beforeAll(async () => {
  cluster = await Cluster.create()
  first = sampleBytes(IMAGE_CHUNKS * CHUNK, 1)
  second = new Uint8Array(first)
  second.set(sampleBytes(100, 2), 5 * CHUNK + 10)
  second.set(sampleBytes(2 * CHUNK, 3), 20 * CHUNK)
  third = sampleBytes(4 * CHUNK, 4)
  const settings = ['--set', 'storage.lease=1s', '--set', 'collection.every=0s']
  repository = await cluster.startRepository('repository', settings)
}, 60_000)
afterAll(async () => cluster.stop(), 30_000)

async function run(...args: string[]): Promise<CommandResult> {
  return runBlobswarm(repository.dataDir, args)
}

async function json<T>(...args: string[]): Promise<T> {
  return blobswarmJson<T>(repository.dataDir, args)
}

async function push(bytes: Uint8Array, path: string, ...args: string[]): Promise<CommandResult> {
  const file = cluster.file('pushed.raw')
  await writeFile(file, bytes)
  return run('push', file, path, '--json', ...args)
}

/** Pulls what a reference names and compares it byte for byte. */
async function expectImage(ref: string, bytes: Uint8Array): Promise<void> {
  const [wanted, got] = [cluster.file('wanted.raw'), cluster.file('got.raw')]
  await writeFile(wanted, bytes)
  await json('pull', ref, got, '--force')
  expect(await sha256File(got)).toBe(await sha256File(wanted))
}

async function versionsOf(path: string): Promise<number[]> {
  const versions = await json<ImageVersion[]>('log', path)
  return versions.map(({ version }) => version)
}

async function storedBytes(): Promise<number> {
  return (await json<{ storedBytes: number }>('status')).storedBytes
}

/** Collects until as many chunks are gone, which is when the leases of the uploads have run out. */
async function collect(chunks: number): Promise<CollectionReport[]> {
  const endMs = performance.now() + GC_WITHIN_MS
  const reports: CollectionReport[] = []
  for (let gone = 0; gone < chunks && performance.now() < endMs; ) {
    const report = await json<CollectionReport>('gc')
    gone += report.chunks.count
    reports.push(report)
  }
  return reports
}

function sumOf(reports: readonly CollectionReport[], what: 'count' | 'bytes'): number {
  return reports.reduce((sum, { chunks }) => sum + chunks[what], 0)
}

describe('operations on versions', () => {
  test('two pushes are two versions, and diff tells where they differ', async () => {
    await push(first, '/images/a')
    const pushed = await push(second, '/images/a', '--if-newest', '1', '--note', 'second')

    expect(JSON.parse(pushed.stdout) as PushResult).toMatchObject({ version: 2 })
    expect(await json('diff', '/images/a@1', '/images/a')).toEqual({
      before: { path: '/images/a', version: 1, bytes: IMAGE_CHUNKS * CHUNK },
      after: { path: '/images/a', version: 2, bytes: IMAGE_CHUNKS * CHUNK },
      ranges: [
        { offset: 5 * CHUNK, length: CHUNK },
        { offset: 20 * CHUNK, length: 2 * CHUNK }
      ],
      rangeCount: 2,
      changedBytes: 3 * CHUNK
    })
  })

  test('a push over another version than the newest is a conflict', async () => {
    const { code, stderr } = await push(first, '/images/a', '--if-newest', '1')

    expect([code, stderr]).toEqual([
      4,
      'blobswarm: version 1 was expected to be the newest, 2 is\n'
    ])
  })

  test('a clone takes no room, and what is written to it does not show in the original', async () => {
    const before = await storedBytes()
    expect(await json('clone', '/images/a@1', '/clones/b')).toMatchObject({ version: 0 })
    expect(await storedBytes()).toBe(before)

    await push(third, '/clones/b')

    expect(await versionsOf('/clones/b')).toEqual([0, 1])
    await expectImage('/clones/b', third)
    await expectImage('/clones/b@0', first)
    await expectImage('/images/a', second)
    await expectImage('/images/a@1', first)
  })

  test('an image of zeros is made without storing anything', async () => {
    const before = await storedBytes()

    await json('create', '/zeros', '--size', '10G')

    expect(await json<StatResult>('stat', '/zeros')).toMatchObject({ bytes: 10 * 1024 ** 3 })
    expect(await storedBytes()).toBe(before)
  })

  test('a pinned version is not removed until it is unpinned', async () => {
    await run('pin', '/images/a@1')

    expect((await run('rm', '/images/a@1')).code).toBe(4)
    expect((await run('rm', '/images/a')).code).toBe(4)
    expect(await json('log', '/images/a')).toMatchObject([{ isPinned: true }, { isPinned: false }])
  })
})

describe('a hypervisor', () => {
  test('holds what it pulls, compares versions, and may not change what stays', async () => {
    const { dataDir } = await cluster.startHypervisor(repository, 'hypervisor')
    const there = async (...args: string[]) => runBlobswarm(dataDir, args)

    const pulled = await blobswarmJson(dataDir, ['pull', '/clones/b@0', cluster.file('b.raw')])
    const diff = await blobswarmJson(dataDir, ['diff', '/images/a@1', '/clones/b@0'])

    expect(pulled).toMatchObject({ path: '/clones/b', version: 0 })
    expect(diff).toMatchObject({ rangeCount: 0 })
    expect(cluster.log('hypervisor').lines.filter((line) => line.includes('held'))).toEqual([])
    for (const args of [
      ['gc'],
      ['pin', '/images/a@2'],
      ['retention', '/images', '--last', '1'],
      ['clone', '/images/a', '/clones/x'],
      ['create', '/x', '--size', '1M']
    ]) {
      const { code, stderr } = await there(...args)
      expect([args[0], code, stderr]).toEqual([args[0], 1, expect.stringMatching(/right/)])
    }
    expect((await run('retention', '/images')).stdout).toContain('keeps all versions')
  })
})

describe('an agent with the right admin', () => {
  test('merges, sets what stays, and has the version manager collect', async () => {
    const rights = ['--roles', 'deploy', '--rights', 'read,write,admin']
    const { token } = await json<{ token: string }>('token', 'create', ...rights)
    const { dataDir } = await cluster.start('admin', ['--roles', 'deploy', '--join', token])
    const there = async <T>(...args: string[]): Promise<T> => blobswarmJson<T>(dataDir, args)

    const range = ['--offset', '640K', '--length', '1M', '--at', '64K']
    expect(await there('merge', '/images/a@1', '/merged', ...range)).toMatchObject({ version: 1 })
    expect(await there('retention', '/merged', '--last', '1')).toEqual({
      path: '/merged',
      policy: { last: 1 },
      setFor: '/merged'
    })
    const merged = new Uint8Array(CHUNK + 1024 * 1024)
    merged.set(first.subarray(10 * CHUNK, 26 * CHUNK), CHUNK)
    await expectImage('/merged', merged)
    await there('rm', '/merged')
    const counts = { retiredVersions: 1, missed: [] }
    expect(await there('gc', '--dry-run')).toMatchObject({ isDryRun: true, ...counts })
    expect(await there('gc')).toMatchObject({ isDryRun: false, ...counts })
  })
})

describe('collection', () => {
  test('frees nothing that a version, a pin or a clone reaches', async () => {
    await run('retention', '/images', '--last', '1')

    const dry = await json<CollectionReport>('gc', '--dry-run')
    await json('gc')

    expect(dry).toMatchObject({ isDryRun: true, retiredVersions: 0, missed: [] })
    expect(await versionsOf('/images/a')).toEqual([1, 2])
  })

  test('frees what the policy gives up, and the space comes back', async () => {
    await run('rm', '/clones/b@0')
    await run('unpin', '/images/a@1')
    const before = await storedBytes()
    const dry = await json<CollectionReport>('gc', '--dry-run')

    const reports = await collect(3)

    expect(dry.retiredVersions).toBe(1)
    expect(reports[0]?.retiredVersions).toBe(1)
    expect(await versionsOf('/images/a')).toEqual([2])
    expect([sumOf(reports, 'count'), sumOf(reports, 'bytes')]).toEqual([3, 3 * CHUNK])
    expect(await storedBytes()).toBe(before - 3 * CHUNK)
    await expectImage('/images/a', second)
    await expectImage('/clones/b', third)
  })

  test('leaves a clone whole when its original is removed', async () => {
    await run('clone', '/images/a', '/clones/c')
    await run('rm', '/images/a')
    await run('rm', '/clones/b')

    const reports = await collect(4)

    expect(sumOf(reports, 'count')).toBe(4)
    await expectImage('/clones/c', second)
    const { stdout } = await run('gc')
    expect(stdout).toMatch(/^retired 0 versions, deleted 0 chunks/)
  })

  test('frees everything when nothing is left', async () => {
    await run('rm', '/clones/c')
    await run('rm', '/zeros')

    await collect(IMAGE_CHUNKS)

    expect(await storedBytes()).toBe(0)
  })
})
