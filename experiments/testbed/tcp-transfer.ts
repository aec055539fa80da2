/**
 * One plain TCP transfer between two hosts, to see what a link really carries. As a program it is either end:
 * `receive` prints its port, then what came; `send HOST PORT BYTES` sends so much.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Testbed } from './testbed.ts'

/** What arrived; the time is from the first byte to the last. */
export interface TransferResult {
  readonly bytes: number
  readonly seconds: number
  /** Payload, without any headers. */
  readonly mbit: number
}

const BLOCK_BYTES = 65_536
const PROGRAM = fileURLToPath(import.meta.url)

/** Sends so many bytes from one host to another. */
export async function transfer(
  testbed: Testbed,
  from: number,
  to: number,
  bytes: number
): Promise<TransferResult> {
  const receiver = start(testbed, to, ['receive'])
  const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]()
  try {
    const { value: port = '' } = await lines.next()
    const sender = start(testbed, from, ['send', testbed.address(to), port, String(bytes)])
    const { value: result = '' } = await lines.next()
    if (result === '') throw new Error('the receiver ended early')
    await ended(sender)
    return JSON.parse(result) as TransferResult
  } finally {
    await ended(receiver)
  }
}

type End = ChildProcessByStdio<null, Readable, null>

function start(testbed: Testbed, host: number, args: readonly string[]): End {
  const [program = '', ...leading] = testbed.prefix(host)
  return spawn(program, [...leading, process.execPath, PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
}

async function ended(child: End): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

async function receive(): Promise<void> {
  const server = createServer().listen(0, '0.0.0.0')
  await once(server, 'listening')
  const address = server.address()
  process.stdout.write(`${typeof address === 'object' ? address?.port : ''}\n`)
  const [socket] = (await once(server, 'connection')) as [Socket]
  server.close()
  let bytes = 0
  let startedMs = 0
  let lastMs = 0
  for await (const block of socket as AsyncIterable<Buffer>) {
    lastMs = performance.now()
    if (startedMs === 0) startedMs = lastMs
    bytes += block.byteLength
  }
  const seconds = (lastMs - startedMs) / 1000
  const mbit = Number(((bytes * 8) / 1e6 / seconds).toFixed(1))
  process.stdout.write(`${JSON.stringify({ bytes, seconds, mbit })}\n`)
}

async function send(host: string, port: number, bytes: number): Promise<void> {
  const socket = connect(port, host)
  await once(socket, 'connect')
  const block = Buffer.alloc(BLOCK_BYTES, 1)
  for (let left = bytes; left > 0; left -= BLOCK_BYTES) {
    if (!socket.write(block.subarray(0, Math.min(left, BLOCK_BYTES)))) await once(socket, 'drain')
  }
  socket.end()
  await once(socket, 'close')
}

if (process.argv[1] === PROGRAM) {
  const [what, host = '', port, bytes] = process.argv.slice(2)
  await (what === 'receive' ? receive() : send(host, Number(port), Number(bytes)))
}
