import { open, readdir, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import {
  type AgentProcess,
  blobswarmJson,
  runBlobswarm
} from '../../experiments/support/agent-process.ts'
import { changeImage, makeImage, sha256File } from '../../experiments/support/image.ts'
import { parseHostPort } from '../../src/agent/host-port.ts'
import type { PullResult, PushResult, VerifyResult } from '../../src/agent/operations.ts'
import { GridFtpClient } from '../../src/gridftp/client.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { Cluster } from '../support/cluster.ts'

const IMAGE_MIB = 64
const IMAGE_PATH = '/images/debian.raw'
const SEED = 7

jest.setTimeout(60_000)

let cluster: Cluster
let repository: AgentProcess
let hypervisors: AgentProcess[]
let image: string

beforeAll(async () => {
  cluster = await Cluster.create()
  image = cluster.file('image.raw')
  await makeImage(image, IMAGE_MIB, SEED)
  repository = await cluster.startRepository()
  hypervisors = await Promise.all(
    [1, 2, 3].map(async (number) => cluster.startHypervisor(repository, `hypervisor-${number}`))
  )
}, 60_000)
afterAll(async () => cluster.stop(), 30_000)

async function upload(file: string, path: string): Promise<void> {
  const client = await connect()
  await client.put(file, path, { mode: 'E', streams: 2, blockBytes: MIB })
  await client.quit()
}

async function connect(): Promise<GridFtpClient> {
  const { host, port } = parseHostPort(repository.ready.gridftp ?? '')
  const client = new GridFtpClient({ clock: systemClock })
  await client.connect({ host, port })
  await client.login()
  return client
}

async function pullEverywhere(ref: string): Promise<PullResult[]> {
  return Promise.all(
    hypervisors.map(async ({ dataDir }) =>
      blobswarmJson<PullResult>(dataDir, ['pull', ref, join(dataDir, 'disk.raw'), '--force'])
    )
  )
}

describe('the main job', () => {
  test('an upload becomes version 1, and three agents at once write it byte for byte', async () => {
    const client = await connect()
    await client.command('MKD /images')
    await client.quit()
    await upload(image, IMAGE_PATH)

    const pulls = await pullEverywhere(IMAGE_PATH)

    const wanted = await sha256File(image)
    for (const { dataDir } of hypervisors) {
      expect(await sha256File(join(dataDir, 'disk.raw'))).toBe(wanted)
    }
    expect(pulls.map(({ version }) => version)).toEqual([1, 1, 1])
    const uniqueBytes = (IMAGE_MIB / 2 + 1) * MIB
    const fromProvider = pulls.reduce((sum, pull) => sum + pull.fromProvidersBytes, 0)
    expect(fromProvider).toBeLessThan(2 * uniqueBytes)
    for (const pull of pulls) {
      expect(pull.fromProvidersBytes + pull.fromPeersBytes).toBeLessThan(1.05 * uniqueBytes)
    }
  })

  test('version 2 moves only what changed', async () => {
    await changeImage(image, { share: 0.01, runs: 20, seed: SEED + 1 })
    await upload(image, IMAGE_PATH)

    const pulls = await pullEverywhere(IMAGE_PATH)

    const wanted = await sha256File(image)
    for (const { dataDir } of hypervisors) {
      expect(await sha256File(join(dataDir, 'disk.raw'))).toBe(wanted)
    }
    // 20 runs of 33 KiB at random places meet 30 chunks of 64 KiB on average, 40 at most: 4% of the image.
    for (const pull of pulls) {
      expect(pull.version).toBe(2)
      expect(pull.fromProvidersBytes + pull.fromPeersBytes).toBeLessThan(0.045 * IMAGE_MIB * MIB)
    }
  })

  test('version 1 is still there, byte for byte', async () => {
    const fresh = cluster.file('one.raw')
    await makeImage(fresh, IMAGE_MIB, SEED)
    const [host] = hypervisors
    const target = cluster.file('one-pulled.raw')

    await blobswarmJson(host?.dataDir ?? '', ['pull', `${IMAGE_PATH}@1`, target])

    expect(await sha256File(target)).toBe(await sha256File(fresh))
  })
})

describe('kill -9', () => {
  test('of the repository in the middle of an upload leaves earlier versions intact', async () => {
    const client = await connect()
    const moving = Promise.withResolvers<void>()
    const cut = client
      .put(image, '/images/cut.raw', {
        mode: 'E',
        streams: 2,
        blockBytes: MIB,
        onProgress: ({ bytes }) => {
          if (bytes > 8 * MIB) moving.resolve()
        }
      })
      .catch((error: unknown) => error)
    await moving.promise
    await repository.kill()
    expect(await cut).toBeInstanceOf(Error)
    client.close()

    repository = await cluster.startRepository()

    const entries = await blobswarmJson<{ path: string }[]>(repository.dataDir, ['ls', '/images'])
    expect(entries.map(({ path }) => path)).toEqual([IMAGE_PATH])
    const log = await blobswarmJson<{ version: number }[]>(repository.dataDir, ['log', IMAGE_PATH])
    expect(log.map(({ version }) => version)).toEqual([1, 2])
    const verified = await blobswarmJson<VerifyResult>(repository.dataDir, ['verify', IMAGE_PATH])
    expect(verified).toMatchObject({ missing: 0, corrupt: 0 })
    expect(await readdir(join(repository.dataDir, 'staging'))).toEqual([])
  })

  test('of the repository in the middle of a pull: restarted, the pull goes on and finishes', async () => {
    const source = cluster.file('more.raw')
    await makeImage(source, IMAGE_MIB, SEED + 2)
    await blobswarmJson<PushResult>(repository.dataDir, ['push', source, '/images/more.raw'])
    const target = cluster.file('resumed.raw')
    const [host] = hypervisors
    const moving = Promise.withResolvers<void>()
    const limit = ['--set', 'swarm.uploadRate=8388608']
    await repository.stop()
    repository = await cluster.startRepository('repository', limit)
    const pull = runBlobswarm(
      host?.dataDir ?? '',
      ['pull', '/images/more.raw', target, '--progress', 'json', '--json'],
      {
        onError: (line) => {
          const { fromProvidersBytes = 0 } = JSON.parse(line) as { fromProvidersBytes?: number }
          if (fromProvidersBytes > 4 * MIB) moving.resolve()
        }
      }
    )
    await moving.promise

    await repository.kill()
    repository = await cluster.startRepository()
    const { code, stderr } = await pull

    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
    expect(await sha256File(target)).toBe(await sha256File(source))
    for (const dataDir of [repository.dataDir, host?.dataDir ?? '']) {
      const verified = await blobswarmJson<VerifyResult>(dataDir, ['verify', '/images/more.raw'])
      expect(verified).toMatchObject({ missing: 0, corrupt: 0 })
    }
    for (const ref of [`${IMAGE_PATH}@1`, IMAGE_PATH]) {
      const verified = await blobswarmJson<VerifyResult>(repository.dataDir, ['verify', ref])
      expect(verified).toMatchObject({ missing: 0, corrupt: 0 })
    }
  })

  test('of a pulling agent: its next pull starts from what it has', async () => {
    const source = cluster.file('again.raw')
    await makeImage(source, IMAGE_MIB, SEED + 3)
    await repository.stop()
    repository = await cluster.startRepository('repository', ['--set', 'swarm.uploadRate=8388608'])
    await blobswarmJson<PushResult>(repository.dataDir, ['push', source, '/images/again.raw'])
    let host = await cluster.startHypervisor(repository, 'killed')
    const target = cluster.file('again-pulled.raw')
    const moving = Promise.withResolvers<void>()
    const args = ['pull', '/images/again.raw', target]
    const first = runBlobswarm(host.dataDir, [...args, '--progress', 'json'], {
      onError: (line) => {
        if (line.startsWith('{') && (JSON.parse(line) as PullResult).fromProvidersBytes > 8 * MIB) {
          moving.resolve()
        }
      }
    })
    await moving.promise
    await host.kill()
    expect((await first).code).toBe(6)

    host = await cluster.start('killed', ['--roles', 'deploy'])
    const second = await blobswarmJson<PullResult>(host.dataDir, args)

    expect(second.reusedBytes).toBeGreaterThan(4 * MIB)
    expect(await sha256File(target)).toBe(await sha256File(source))
    const left = (await readdir(cluster.folder)).filter((name) => name.includes('.partial'))
    expect(left).toEqual([])
  })
})

describe('a command line', () => {
  test.each([
    [['pull', '/nowhere', '/tmp/x'], 3, /\/nowhere/],
    [['pull', `${IMAGE_PATH}@99`, '/tmp/x'], 3, /99/],
    [['stat', '/images/../..'], 2, /invalid path/],
    [['mkdir', IMAGE_PATH], 4, /not a directory/],
    [['rm', '/images'], 4, /not empty/],
    [['frobnicate'], 2, /unknown command/],
    [['pull', '/a'], 2, /usage/],
    [['ls', '--nonsense'], 2, /nonsense/]
  ] as const)('%j exits with %i and one line', async (args, wanted, message) => {
    const { code, stderr } = await runBlobswarm(repository.dataDir, args)

    expect({ code, lines: stderr.trim().split('\n').length }).toEqual({ code: wanted, lines: 1 })
    expect(stderr).toMatch(message)
  })

  test('exits with 6 where no agent answers', async () => {
    const { code, stderr } = await runBlobswarm(cluster.file('nobody'), ['status'])

    expect(code).toBe(6)
    expect(stderr).toMatch(/no agent answers/)
  })

  test('refuses to overwrite a file without --force', async () => {
    const target = cluster.file('mine.raw')
    await writeFile(target, 'mine')

    const { code } = await runBlobswarm(repository.dataDir, ['pull', IMAGE_PATH, target])

    expect(code).toBe(4)
  })

  test('a push that is cut publishes nothing', async () => {
    const fifo = cluster.file('huge.raw')
    const file = await open(fifo, 'w')
    await file.close()
    await truncate(fifo, 64 * 1024 * MIB)
    const abort = new AbortController()
    const push = runBlobswarm(repository.dataDir, ['push', fifo, '/cut', '--progress', 'json'], {
      signal: abort.signal,
      onError: (line) => {
        if (line.startsWith('{')) abort.abort()
      }
    })

    await expect(push).rejects.toThrow()

    const { code } = await runBlobswarm(repository.dataDir, ['stat', '/cut'])
    expect(code).toBe(3)
  })
})

test('SIGTERM ends an agent with exit code 0', async () => {
  const agent = await cluster.startHypervisor(repository, 'short-lived')

  expect(await agent.stop()).toBe(0)
})
