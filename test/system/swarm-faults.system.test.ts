import { join } from 'node:path'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { type AgentProcess, blobswarmJson } from '../../experiments/support/agent-process.ts'
import { makeImage, sha256File } from '../../experiments/support/image.ts'
import { followAgent } from '../../src/agent/control-client.ts'
import type { PullResult } from '../../src/agent/operations.ts'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import { Cluster } from '../support/cluster.ts'

const IMAGE_MIB = 16
// Slow enough for faults to hit a pull in the middle.
const RATE = ['--set', `swarm.uploadRate=${8 * MIB}`]
const CHUNKS = ['--set', `storage.chunkBytes=${64 * KIB}`]
const SOON = ['--set', 'swarm.stallTimeout=1s']

jest.setTimeout(120_000)

let cluster: Cluster
let repository: AgentProcess
let hypervisors: [AgentProcess, AgentProcess, AgentProcess]
let images = 0

beforeAll(async () => {
  cluster = await Cluster.create()
  repository = await cluster.startRepository('repository', [...CHUNKS, ...RATE])
  const start = async (name: string): Promise<AgentProcess> =>
    cluster.startHypervisor(repository, name, [...RATE, ...SOON])
  hypervisors = await Promise.all([start('one'), start('two'), start('three')])
}, 60_000)
afterAll(async () => cluster.stop(), 30_000)

/** An image that nobody has but the repository. */
interface Image {
  readonly ref: string
  readonly digest: string
}

async function push(): Promise<Image> {
  const seed = ++images
  const [file, ref] = [cluster.file(`${seed}.raw`), `/images/${seed}.raw`]
  await makeImage(file, IMAGE_MIB, seed)
  await blobswarmJson(repository.dataDir, ['push', file, ref])
  return { ref, digest: await sha256File(file) }
}

/** A pull that runs. */
interface Pull {
  readonly file: string
  readonly digest: string
  readonly done: Promise<PullResult>
  /** Resolves when a third of the bytes have come. */
  readonly underWay: Promise<void>
}

function pull({ dataDir, ready }: AgentProcess, { ref, digest }: Image): Pull {
  const file = join(dataDir, 'disk.raw')
  const { promise: underWay, resolve } = Promise.withResolvers<void>()
  const query = { ref, file, force: true }
  const done = followAgent(ready.socket, 'pull', { query }, (progress) => {
    const { doneBytes, totalBytes } = progress
    if (totalBytes > 0 && doneBytes > totalBytes / 3) resolve()
  }) as Promise<PullResult>
  done.catch(() => {}) // looked at by whoever expects it to succeed
  return { file, digest, done, underWay }
}

async function expectWhole({ file, digest, done }: Pull): Promise<PullResult> {
  const result = await done
  expect(await sha256File(file)).toBe(digest)
  return result
}

test('a neighbour that stands still is passed by, and goes on when it may', async () => {
  const image = await push()
  const [still, ...others] = hypervisors
  const stopped = pull(still, image)
  const pulls = others.map((agent) => pull(agent, image))
  await stopped.underWay

  process.kill(still.ready.pid, 'SIGSTOP')
  try {
    await Promise.all(pulls.map(expectWhole))
  } finally {
    process.kill(still.ready.pid, 'SIGCONT')
  }

  await expectWhole(stopped)
})

test('an agent that is killed in the middle of a pull goes on with what it had', async () => {
  const image = await push()
  const first = pull(hypervisors[0], image)
  await first.underWay

  await hypervisors[0].kill()
  hypervisors[0] = await cluster.start('one', ['--roles', 'deploy', ...RATE, ...SOON])

  const result = await expectWhole(pull(hypervisors[0], image))
  expect(result.reusedBytes).toBeGreaterThan((IMAGE_MIB * MIB) / 4)
})

test('the source is killed when one has everything, and the others finish without it', async () => {
  const image = await push()
  const [fast, ...slow] = hypervisors
  for (const { dataDir } of slow) await blobswarmJson(dataDir, ['limits', '--down', '4MiB/s'])
  const pulls = slow.map((agent) => pull(agent, image))
  await Promise.all(pulls.map(async ({ underWay }) => underWay))
  await expectWhole(pull(fast, image))

  await repository.kill()

  await Promise.all(pulls.map(expectWhole))
})
