import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import {
  type AgentProcess,
  blobswarmJson,
  runBlobswarm
} from '../../experiments/support/agent-process.ts'
import type { HandOverFigures } from '../../src/peer/hand-over.ts'
import { Cluster } from '../support/cluster.ts'
import { sampleBytes, sha256 } from '../support/sample-bytes.ts'

jest.setTimeout(120_000)

/** How long each wait may take: the promise is three copies within a minute. */
const MINUTE_MS = 60_000
const SETTINGS = ['--set', 'metadata.deadAfter=2s']

interface Status {
  readonly metadataProviders: number
  readonly metadata?: HandOverFigures
}

let cluster: Cluster
let front: AgentProcess

beforeAll(async () => {
  cluster = await Cluster.create()
  const roles = 'versionManager,providerManager,provider'
  front = await cluster.start('front', ['--roles', roles, ...SETTINGS])
}, 60_000)
afterAll(async () => cluster.stop(), 30_000)

async function startMetadata(name: string): Promise<AgentProcess> {
  const request = ['token', 'create', '--roles', 'metadata']
  const { token } = await blobswarmJson<{ token: string }>(front.dataDir, request)
  return cluster.start(name, ['--roles', 'metadata', '--join', token, ...SETTINGS])
}

async function statusOf({ dataDir }: AgentProcess): Promise<Status> {
  return blobswarmJson<Status>(dataDir, ['status'])
}

/** Asks again and again until what the agents say of themselves is as wanted. */
async function until(
  agents: readonly AgentProcess[],
  isWanted: (states: readonly Status[]) => boolean
): Promise<readonly Status[]> {
  const endMs = performance.now() + MINUTE_MS
  for (;;) {
    const states = await Promise.all(agents.map(statusOf))
    if (isWanted(states)) return states
    if (performance.now() > endMs) throw new Error(`after a minute: ${JSON.stringify(states)}`)
  }
}

/** Uploads and reads back all the time, until it is told to stop. */
class Traffic {
  readonly failures: string[] = []
  uploads = 0
  #isStopping = false
  readonly #running: Promise<void>

  constructor() {
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
  }

  async #run(): Promise<void> {
    const file = cluster.file('upload.raw')
    while (!this.#isStopping) {
      const bytes = sampleBytes(300_000, this.uploads)
      await writeFile(file, bytes)
      // One new blob each time, and another version of one blob.
      const path = `/images/${this.uploads % 2 === 0 ? this.uploads : 'same'}`
      const pushed = await runBlobswarm(front.dataDir, ['push', file, path])
      const stat = await runBlobswarm(front.dataDir, ['stat', path, '--sha256', '--json'])
      const isSame = stat.code === 0 && JSON.parse(stat.stdout).sha256 === sha256(bytes)
      if (pushed.code !== 0 || !isSame) this.failures.push(pushed.stderr + stat.stderr)
      this.uploads += 1
    }
  }
}

function isHandedOver(states: readonly Status[], providerCount: number): boolean {
  return states.every(
    ({ metadata, metadataProviders }) =>
      metadataProviders === providerCount && metadata?.underCopied === 0 && metadata.keys > 0
  )
}

/** With three providers left each of them owns every key. */
function haveAll(states: readonly Status[]): boolean {
  return isHandedOver(states, 3) && new Set(states.map(({ metadata }) => metadata?.keys)).size === 1
}

test('three copies of every key, whoever joins or is killed for good, while uploads and reads go on', async () => {
  const three = await Promise.all(['metadata-1', 'metadata-2', 'metadata-3'].map(startMetadata))
  await until([front], ([state]) => state?.metadataProviders === 3)
  const traffic = new Traffic()

  const four = [...three, await startMetadata('metadata-4')]
  await until(four, (states) => isHandedOver(states, 4))
  const uploadsBefore = traffic.uploads
  await four[1]?.kill()
  const left = four.filter((_, at) => at !== 1)
  await until([front], ([state]) => state?.metadataProviders === 3)
  const uploadsUntilDropped = traffic.uploads
  await traffic.stop()
  const states = await until(left, haveAll)

  expect(traffic.failures).toEqual([])
  expect(uploadsUntilDropped).toBeGreaterThan(uploadsBefore)
  expect(states[0]?.metadata?.keys).toBeGreaterThan(traffic.uploads * 3)
})
