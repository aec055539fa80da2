import { appendFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { formatTable } from '../../src/agent/commands/format.ts'
import type { PullResult, PushResult } from '../../src/agent/operations.ts'
import { MIB } from '../../src/lib/bytes.ts'
import { AgentProcess, blobswarmJson, projectFile } from '../support/agent-process.ts'
import { changeImage, makeImage, sha256File } from '../support/image.ts'
import { Testbed, type WireCounters } from '../testbed/testbed.ts'

// How many copies leave the provider when three hypervisors pull at once, counted on the wire: see README.md.

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '512' },
    hosts: { type: 'string', default: '3' },
    rate: { type: 'string' },
    stagger: { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' }
  }
})
const mib = Number(values.mib)
const hosts = Number(values.hosts)
const seed = Number(values.seed)
const rateMbit = values.rate === undefined ? undefined : Number(values.rate)
/** Milliseconds between the first start and the last. */
const staggerMs = Number(values.stagger)

const PATH = '/image.raw'
const PORT = 4001
const agents: AgentProcess[] = []
const folder = await mkdtemp(join(tmpdir(), 'blobswarm-wire-'))
const network = await Testbed.up({
  hosts: hosts + 1,
  limit: () => ({ upMbit: rateMbit, downMbit: rateMbit })
})
try {
  await measure()
} finally {
  await Promise.all(agents.map(async (agent) => agent.stop()))
  await network.down()
  await rm(folder, { recursive: true, force: true })
}

async function measure(): Promise<void> {
  const image = join(folder, 'image.raw')
  await makeImage(image, mib, seed)
  const roles = 'versionManager,providerManager,metadata,provider'
  const repository = await start(0, ['--roles', roles])
  const pullers = await Promise.all(
    Array.from({ length: hosts }, async (_, index) => {
      const request = ['token', 'create', '--roles', 'deploy']
      const { token } = await blobswarmJson<{ token: string }>(repository.dataDir, request)
      return start(index + 1, ['--roles', 'deploy', '--join', token])
    })
  )
  const rows: string[][] = []
  for (const version of [1, 2]) {
    if (version === 2) await changeImage(image, { share: 0.01, runs: 20, seed: seed + 1 })
    await blobswarmJson<PushResult>(repository.dataDir, ['push', image, PATH])
    const record = await deploy(version, pullers, image)
    await mkdir(projectFile('experiments/three-pulls/results'), { recursive: true })
    const results = projectFile('experiments/three-pulls/results/runs.jsonl')
    await appendFile(results, `${JSON.stringify(record)}\n`)
    rows.push(Object.values(record).map(String))
    if (version === 2) process.stdout.write(`${formatTable(Object.keys(record), rows)}\n`)
  }
}

async function deploy(
  version: number,
  pullers: readonly AgentProcess[],
  image: string
): Promise<Record<string, number>> {
  const before: readonly WireCounters[] = await network.wire()
  const startedMs = performance.now()
  const pulls = await Promise.all(
    pullers.map(async ({ dataDir }, index) => {
      await new Promise((resolve) => {
        setTimeout(resolve, (staggerMs * index) / Math.max(1, pullers.length - 1))
      })
      return blobswarmJson<PullResult>(dataDir, ['pull', PATH, join(dataDir, 'disk'), '--force'])
    })
  )
  const seconds = (performance.now() - startedMs) / 1000
  const after: readonly WireCounters[] = await network.wire()
  const hashes = await Promise.all(
    [image, ...pullers.map(({ dataDir }) => join(dataDir, 'disk'))].map(sha256File)
  )
  if (new Set(hashes).size !== 1) throw new Error(`SHA-256 differs: ${hashes.join(' ')}`)
  const uniqueBytes = Math.max(...pulls.map(moved))
  const sent = (after[0]?.sentBytes ?? 0) - (before[0]?.sentBytes ?? 0)
  const received = after
    .slice(1)
    .map((now, index) => now.receivedBytes - (before[index + 1]?.receivedBytes ?? 0))
  return {
    version,
    mib,
    hosts,
    rateMbit: rateMbit ?? 0,
    staggerMs,
    seconds: round(seconds),
    payloadMiBEach: round(uniqueBytes / MIB),
    providerSentMiB: round(sent / MIB),
    providerCopies: round(sent / uniqueBytes),
    receivedShareOfImage: round(Math.max(...received) / (mib * MIB), 4)
  }
}

async function start(host: number, args: readonly string[]): Promise<AgentProcess> {
  const dataDir = join(folder, `host-${host}`)
  await mkdir(dataDir)
  const agent = await AgentProcess.start({
    dataDir,
    prefix: network.prefix(host),
    args: [
      ...args,
      '--listen',
      `/ip4/${network.address(host)}/tcp/${PORT}`,
      '--http',
      '127.0.0.1:0',
      '--set',
      'agent.logLevel=error'
    ],
    onLog: (line) => process.stderr.write(`${line}\n`)
  })
  agents.push(agent)
  return agent
}

function round(value: number, digits = 2): number {
  return Number(value.toFixed(digits))
}

function moved(pull: PullResult): number {
  return pull.fromPeersBytes + pull.fromProvidersBytes
}
