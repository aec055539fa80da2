import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { StatResult } from '../../src/agent/operations.ts'
import { GIB, MIB } from '../../src/lib/bytes.ts'
import { AgentProcess, blobswarmJson } from '../support/agent-process.ts'
import { type BlockOrder, uploadInBlocks } from './block-upload.ts'
import { sha256Blocks, TiledBytes } from './tiled-bytes.ts'

// Memory of an agent that takes a large upload in the worst order: see README.md.

const PATH = '/large.raw'

const { values } = parseArgs({
  options: {
    gib: { type: 'string', default: '4' },
    order: { type: 'string', default: 'backwards' },
    folder: { type: 'string', default: tmpdir() }
  }
})
const order = orderOf(values.order)
const totalBytes = Math.round(Number(values.gib) * GIB)
const tiles = new TiledBytes(Date.now() % 1_000_000)

const folder = await mkdtemp(join(values.folder, 'blobswarm-upload-'))
const agent = await AgentProcess.start({
  dataDir: join(folder, 'agent'),
  args: ['--gridftp', '127.0.0.1:0', '--http', '127.0.0.1:0', '--set', 'agent.logLevel=error'],
  onLog: (line) => process.stderr.write(`${line}\n`)
})
try {
  const startedMs = performance.now()
  await uploadInBlocks({
    server: agent.ready.gridftp ?? '',
    path: PATH,
    totalBytes,
    blockBytes: 100_000,
    streams: 4,
    order,
    bytesAt: (offset, length) => tiles.at(offset, length)
  })
  const seconds = (performance.now() - startedMs) / 1000
  const peakMiB = await peakResidentMiB(agent.ready.pid)
  const stat = await blobswarmJson<StatResult>(agent.dataDir, ['stat', PATH, '--sha256'])
  const result = {
    order,
    bytes: stat.bytes,
    version: stat.version,
    seconds: Number(seconds.toFixed(1)),
    mibPerSecond: Number((totalBytes / MIB / seconds).toFixed(1)),
    peakResidentMiB: Math.round(peakMiB),
    equal: stat.sha256 === sha256Blocks(tiles, totalBytes)
  }
  process.stdout.write(`${JSON.stringify(result)}\n`)
  if (!result.equal || stat.bytes !== totalBytes) process.exitCode = 1
} finally {
  await agent.stop()
  await rm(folder, { recursive: true, force: true })
}

function orderOf(text: string): BlockOrder {
  if (text === 'forwards' || text === 'backwards' || text === 'scattered') return text
  throw new Error(`--order ${text}: wanted forwards, backwards or scattered`)
}

/** `VmHWM` of /proc/PID/status: the most memory that was ever resident. */
async function peakResidentMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024
}
