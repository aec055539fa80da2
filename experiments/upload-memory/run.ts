import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { parseHostPort } from '../../src/agent/host-port.ts'
import type { StatResult } from '../../src/agent/operations.ts'
import { encodeModeEHeader, MODE_E_EOD, MODE_E_EOF } from '../../src/gridftp/mode-e-header.ts'
import { GIB, MIB } from '../../src/lib/bytes.ts'
import { AgentProcess, blobswarmJson } from '../support/agent-process.ts'
import { sha256Blocks, TiledBytes } from './tiled-bytes.ts'

// Memory of an agent that takes a large upload in the worst order: see README.md.

const BLOCK_BYTES = 100_000
const STREAMS = 4
const PATH = '/large.raw'

const { values } = parseArgs({
  options: {
    gib: { type: 'string', default: '4' },
    order: { type: 'string', default: 'backwards' },
    folder: { type: 'string', default: tmpdir() }
  }
})
const totalBytes = Math.round(Number(values.gib) * GIB)
const blockCount = Math.ceil(totalBytes / BLOCK_BYTES)
const tiles = new TiledBytes(Date.now() % 1_000_000)

const folder = await mkdtemp(join(values.folder, 'blobswarm-upload-'))
const agent = await AgentProcess.start({
  dataDir: join(folder, 'agent'),
  args: ['--gridftp', '127.0.0.1:0', '--http', '127.0.0.1:0', '--set', 'agent.logLevel=error'],
  onLog: (line) => process.stderr.write(`${line}\n`)
})
try {
  const startedMs = performance.now()
  await upload(agent.ready.gridftp ?? '')
  const seconds = (performance.now() - startedMs) / 1000
  const peakMiB = await peakResidentMiB(agent.ready.pid)
  const stat = await blobswarmJson<StatResult>(agent.dataDir, ['stat', PATH, '--sha256'])
  const result = {
    order: values.order,
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

/** Blocks of 100,000 bytes, last first (or first first), dealt out over four streams. */
async function upload(server: string): Promise<void> {
  const { host, port } = parseHostPort(server)
  const control = connect(port, host)
  const replies = createInterface({ input: control })[Symbol.asyncIterator]()
  const reply = async (wanted: string): Promise<string> => {
    for (;;) {
      const { value, done } = await replies.next()
      if (done === true) throw new Error('the control connection was closed')
      if (/^\d{3} /.test(value)) {
        if (value.startsWith(wanted)) return value
        if (!value.startsWith('1')) throw new Error(value)
      }
    }
  }
  const command = async (line: string, wanted: string): Promise<string> => {
    control.write(`${line}\r\n`)
    return reply(wanted)
  }
  await reply('220')
  await command('USER anonymous', '331')
  await command('PASS x@', '230')
  await command('TYPE I', '200')
  await command('MODE E', '200')
  const passive = await command('PASV', '227')
  const numbers =
    /\((\d+),(\d+),(\d+),(\d+),(\d+),(\d+)\)/.exec(passive)?.slice(1).map(Number) ?? []
  const dataPort = (numbers[4] ?? 0) * 256 + (numbers[5] ?? 0)
  control.write(`ALLO ${totalBytes}\r\nSTOR ${PATH}\r\n`)
  const sockets = Array.from({ length: STREAMS }, () => connect(dataPort, host))
  await Promise.all(sockets.map(async (socket, stream) => sendStream(socket, stream)))
  await reply('226')
  control.end('QUIT\r\n')
  for (const socket of sockets) socket.destroy()
}

async function sendStream(socket: Socket, stream: number): Promise<void> {
  for (let index = stream; index < blockCount; index += STREAMS) {
    const place = values.order === 'backwards' ? blockCount - 1 - index : index
    const offset = place * BLOCK_BYTES
    const count = Math.min(BLOCK_BYTES, totalBytes - offset)
    socket.cork()
    socket.write(encodeModeEHeader({ flags: 0, count, offset }))
    socket.write(tiles.at(offset, count))
    socket.uncork()
    if (socket.writableNeedDrain) await once(socket, 'drain')
  }
  const flags = stream === 0 ? MODE_E_EOD | MODE_E_EOF : MODE_E_EOD
  socket.write(encodeModeEHeader({ flags, count: 0, offset: stream === 0 ? STREAMS : 0 }))
}

/** `VmHWM` of /proc/PID/status: the most memory that was ever resident. */
async function peakResidentMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024
}
