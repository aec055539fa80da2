import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import {
  type AgentProcess,
  blobswarmJson,
  runBlobswarm
} from '../../experiments/support/agent-process.ts'
import { sha256File } from '../../experiments/support/image.ts'
import { callAgent, openCall } from '../../src/agent/control-client.ts'
import { parseHostPort } from '../../src/agent/host-port.ts'
import type { OperationProgress, PullResult, PushResult } from '../../src/agent/operations.ts'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { spoilChunk } from '../support/chunk-on-disk.ts'
import { Cluster } from '../support/cluster.ts'
import { retrieveBytes, storeBytes } from '../support/ftp-upload.ts'
import { RawFtp } from '../support/raw-ftp.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'
import { canMountTmpfs, mountTmpfs, unmountTmpfs } from '../support/tmpfs.ts'

const CHUNK_BYTES = 64 * KIB
const CHUNK_SETTING = ['--set', `storage.chunkBytes=${CHUNK_BYTES}`]

jest.setTimeout(60_000)

let cluster: Cluster

beforeAll(async () => {
  cluster = await Cluster.create()
})
afterAll(async () => cluster.stop(), 30_000)

/** Writes a file of the test's folder. @returns its path. */
async function fileWith(name: string, bytes: Uint8Array): Promise<string> {
  const path = cluster.file(name)
  await writeFile(path, bytes)
  return path
}

const testWithMount = canMountTmpfs() ? test : test.skip

describe('a disk that is full', () => {
  const mounted: string[] = []

  afterAll(() => {
    for (const folder of mounted) unmountTmpfs(folder)
  })

  testWithMount.each([
    ['the chunks', 'store'],
    ['everything', '']
  ])('below %s: 552 and exit 1, older versions stay, and room is used again', async (_, part) => {
    const name = `full-${part}`
    const folder = join(cluster.file(name), part)
    const filler = join(folder, 'filler')
    mountTmpfs(folder, 24)
    mounted.push(folder)
    try {
      const limits = ['--set', `storage.reserveBytes=${4 * MIB}`]
      const soon = ['--set', 'providers.heartbeat=200ms']
      const agent = await cluster.startRepository(name, [...CHUNK_SETTING, ...limits, ...soon])
      const raw = await RawFtp.login(parseHostPort(agent.ready.gridftp ?? '').port)
      const older = sampleBytes(2 * MIB, 1)
      expect(await storeBytes(raw, '/image.raw', older)).toMatch(/^226 /)
      await writeFile(filler, sampleBytes(4 * MIB, 2))
      const large = await fileWith(`large-${part}.raw`, sampleBytes(40 * MIB, 3))

      expect(await storeBytes(raw, '/image.raw', sampleBytes(40 * MIB, 4))).toBe(
        '552 /image.raw: no space left'
      )
      expect(await storeBytes(raw, '/image.raw', sampleBytes(8 * MIB, 5), 'E')).toBe(
        '552 /image.raw: no space left'
      )
      const push = await runBlobswarm(agent.dataDir, ['push', large, '/pushed.raw'])

      expect(push).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/^[^\n]*no room[^\n]*\n$/)
      })
      expect(await readdir(join(agent.dataDir, 'store', 'tmp'))).toEqual([])
      expect(await readdir(join(agent.dataDir, 'staging'))).toEqual([])
      expect(sha256(await retrieveBytes(raw, '/image.raw@1'))).toBe(sha256(older))
      expect(await raw.command('SIZE /image.raw')).toBe(`213 ${older.byteLength}`)
      await rm(filler)
      await untilFree(agent, 2 * MIB)
      const newer = sampleBytes(MIB, 6)
      expect(await storeBytes(raw, '/image.raw', newer, 'E')).toMatch(/^226 /)
      expect(sha256(await retrieveBytes(raw, '/image.raw@2'))).toBe(sha256(newer))
      raw.close()
      expect(await agent.stop()).toBe(0)
    } finally {
      unmountTmpfs(folder)
    }
  })
})

/** Asks until the provider manager has heard that there is room again. */
async function untilFree(agent: AgentProcess, bytes: number): Promise<void> {
  for (let freeBytes = 0; freeBytes < bytes; ) {
    const providers = await callAgent(agent.ready.socket, 'GET', 'providers')
    freeBytes = (providers as { freeBytes: number }[])[0]?.freeBytes ?? 0
  }
}

describe('a repository that misbehaves', () => {
  let repository: AgentProcess
  let hypervisor: AgentProcess

  beforeAll(async () => {
    const slow = ['--set', `swarm.uploadRate=${8 * MIB}`]
    repository = await cluster.startRepository('repository', [...CHUNK_SETTING, ...slow])
    const limits = ['--set', 'swarm.stallTimeout=2s', '--set', 'swarm.giveUpAfter=8s']
    hypervisor = await cluster.startHypervisor(repository, 'hypervisor', limits)
  }, 60_000)

  test('stopped in the middle of a pull: the pull says what it waits for, and then finishes', async () => {
    const bytes = sampleBytes(16 * MIB, 10)
    await pushed('/stopped.raw', bytes)
    const target = cluster.file('stopped-pulled.raw')
    const moving = Promise.withResolvers<void>()
    const waiting = Promise.withResolvers<string>()
    const pull = runBlobswarm(
      hypervisor.dataDir,
      ['pull', '/stopped.raw', target, '--progress', 'json'],
      {
        onError: (line) => {
          if (!line.startsWith('{')) return
          const { fromProvidersBytes = 0, waitingFor } = JSON.parse(line) as OperationProgress
          if (fromProvidersBytes <= 2 * MIB) return
          moving.resolve()
          if (waitingFor !== undefined) waiting.resolve(waitingFor)
        }
      }
    )
    await moving.promise

    process.kill(repository.ready.pid, 'SIGSTOP')
    try {
      expect(await waiting.promise).toMatch(/answers|neighbours/)
    } finally {
      process.kill(repository.ready.pid, 'SIGCONT')
    }

    expect((await pull).code).toBe(0)
    expect(await sha256File(target)).toBe(sha256(bytes))
  })

  test('with a chunk that is not its id: the pull fails and writes nothing, a new push heals', async () => {
    const bytes = sampleBytes(MIB, 11)
    const source = await pushed('/corrupt.raw', bytes)
    const target = cluster.file('corrupt-pulled.raw')
    await spoil(bytes)

    const pull = await runBlobswarm(hypervisor.dataDir, ['pull', '/corrupt.raw', target])

    expect(pull.code).toBe(1)
    expect(pull.stderr).toMatch(
      /^blobswarm: [^\n]*waiting for a neighbour to get the chunks that are missing\n$/
    )
    const left = (await readdir(cluster.folder)).filter((name) => name.includes('corrupt-pulled'))
    expect(left).toEqual([])
    const again = ['push', source, '/corrupt.raw']
    expect(await blobswarmJson<PushResult>(repository.dataDir, again)).toMatchObject({
      version: 2,
      storedBytes: CHUNK_BYTES
    })
    await blobswarmJson<PullResult>(hypervisor.dataDir, ['pull', '/corrupt.raw@1', target])
    expect(await sha256File(target)).toBe(sha256(bytes))
  })

  test('with a chunk that is not its id: verify exits with 5, and nobody reads it', async () => {
    const bytes = sampleBytes(MIB, 12)
    await pushed('/spoilt.raw', bytes)
    await spoil(bytes)

    const verify = await runBlobswarm(repository.dataDir, ['verify', '/spoilt.raw', '--json'])
    const cat = await runBlobswarm(repository.dataDir, ['cat', '/spoilt.raw'])
    const raw = await RawFtp.login(parseHostPort(repository.ready.gridftp ?? '').port)

    expect(verify.code).toBe(5)
    expect(JSON.parse(verify.stdout)).toMatchObject({ chunks: 16, missing: 0, corrupt: 1 })
    expect(cat.code).not.toBe(0)
    expect(cat.stderr).toMatch(/^blobswarm: [^\n]*\n$/)
    await expect(retrieveBytes(raw, '/spoilt.raw')).rejects.toThrow(/ECONNRESET/)
    expect(await raw.finalReply()).toMatch(/^451 /)
    raw.close()
  })

  async function pushed(path: string, bytes: Uint8Array): Promise<string> {
    const source = await fileWith(path.slice(1), bytes)
    await blobswarmJson<PushResult>(repository.dataDir, ['push', source, path])
    return source
  }

  /** Changes a byte of the sixth chunk on the repository's disk while it does not run. */
  async function spoil(bytes: Uint8Array): Promise<void> {
    await repository.stop()
    const id = chunkId(bytes.subarray(5 * CHUNK_BYTES, 6 * CHUNK_BYTES))
    await spoilChunk(join(repository.dataDir, 'store'), id)
    repository = await cluster.startRepository('repository', CHUNK_SETTING)
  }
})

describe('kill -9 between many small pushes', () => {
  const PUSHERS = 4
  const SEED = 5
  // What a killed push leaves open is finished, and lets the next ones pass, after the lease.
  const SETTINGS = [...CHUNK_SETTING, '--set', 'versions.lease=2s']

  test('loses no version that was acknowledged, and shows none by halves', async () => {
    const random = seededRandom(SEED)
    const attempted = new Map<string, Set<string>>()
    const acknowledged: { readonly ref: string; readonly sha256: string }[] = []
    let agent = await cluster.startRepository('killed', SETTINGS)
    let nextSeed = 1000
    for (let round = 0; round < 3; round++) {
      const killAt = acknowledged.length + 8 + Math.floor(random() * 16)
      const reached = Promise.withResolvers<void>()
      const { socket } = agent.ready
      const pushUntilKilled = async (path: string): Promise<void> => {
        for (;;) {
          const bytes = sampleBytes(1 + Math.floor(random() * 3 * CHUNK_BYTES), nextSeed++)
          const hash = sha256(bytes)
          attempted.set(path, (attempted.get(path) ?? new Set()).add(hash))
          const { version } = await pushBytes(socket, path, bytes)
          acknowledged.push({ ref: `${path}@${version}`, sha256: hash })
          if (acknowledged.length === killAt) reached.resolve()
        }
      }
      const pushers = Array.from({ length: PUSHERS }, async (_, index) =>
        pushUntilKilled(`/loop/${index % 3}.raw`)
      )
      const ended = Promise.allSettled(pushers)
      await reached.promise
      await agent.kill()
      await ended

      agent = await cluster.startRepository('killed', SETTINGS)

      for (const { ref, sha256: hash } of acknowledged) {
        expect({ ref, hash: sha256(await catBytes(agent.ready.socket, ref)) }).toEqual({
          ref,
          hash
        })
      }
      for (const [path, hashes] of attempted) {
        const { version } = await versionsOf(agent, path)
        for (let at = 1; at <= version; at++) {
          expect(hashes).toContain(sha256(await catBytes(agent.ready.socket, `${path}@${at}`)))
        }
      }
    }
    expect(await readdir(join(agent.dataDir, 'store', 'tmp'))).toEqual([])
    expect(await agent.stop()).toBe(0)
  })
})

async function pushBytes(socket: string, path: string, bytes: Uint8Array): Promise<PushResult> {
  const query = { path, bytes: bytes.byteLength }
  const body = Readable.from([bytes])
  return (await callAgent(socket, 'PUT', 'push', { query, body })) as PushResult
}

async function catBytes(socket: string, ref: string): Promise<Uint8Array> {
  return buffer(await openCall(socket, 'GET', 'cat', { query: { ref } }))
}

/** The newest version of a path. */
async function versionsOf(agent: AgentProcess, path: string): Promise<{ version: number }> {
  const log = await callAgent(agent.ready.socket, 'GET', 'log', { query: { path } })
  return (log as { version: number }[]).at(-1) ?? { version: 0 }
}
