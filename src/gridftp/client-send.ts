import type { Socket } from 'node:net'
import type { Range } from '../lib/range-set.ts'
import { brokenConnection } from './client-data.ts'
import type { UploadSource } from './client-files.ts'
import { encodeModeEHeader, MODE_E_CLOSE, MODE_E_EOD, MODE_E_EOF } from './mode-e-header.ts'

/** What an upload sends and in pieces of which size; `onSent` hears of every piece that has left. */
export interface UploadPlan {
  readonly source: UploadSource
  readonly blockBytes: number
  /** What of the source is sent, in order; all of it in stream mode. */
  readonly ranges: readonly Range[]
  readonly onSent: (bytes: number) => void
}

interface Block {
  readonly offset: number
  readonly bytes: Uint8Array
}

/** Sends the whole source over one connection and ends it (MODE S). */
export async function sendStream(socket: Socket, plan: UploadPlan): Promise<void> {
  await sendAll(plan, blocksOf(plan), async ({ bytes }) => write(socket, [bytes]))
  await end(socket)
}

/**
 * Sends the source in extended blocks, each over whichever connection is free. The first connection
 * carries the EOF; all of them announce that they are closed.
 */
export async function sendBlocks(sockets: readonly Socket[], plan: UploadPlan): Promise<void> {
  const blocks = blocksOf(plan)
  await Promise.all(
    sockets.map(async (socket, index) => {
      await sendAll(plan, blocks, async ({ offset, bytes }) => {
        await write(socket, [
          encodeModeEHeader({ flags: 0, count: bytes.byteLength, offset }),
          bytes
        ])
      })
      await write(socket, [lastHeader(index, sockets.length)])
      await end(socket)
    })
  )
}

function lastHeader(index: number, connectionCount: number): Uint8Array {
  const flags = MODE_E_EOD | MODE_E_CLOSE
  return index === 0
    ? encodeModeEHeader({ flags: flags | MODE_E_EOF, count: 0, offset: connectionCount })
    : encodeModeEHeader({ flags, count: 0, offset: 0 })
}

/** Hands out the blocks of a source in order; a caller that comes too late gets undefined. */
function blocksOf(plan: UploadPlan): () => Promise<Block | undefined> {
  const { source, blockBytes, ranges } = plan
  const left = ranges.values()
  let range = left.next().value
  let next = range?.start ?? 0
  return async () => {
    if (range === undefined) return undefined
    const offset = next
    next = Math.min(offset + blockBytes, range.end)
    const length = next - offset
    if (next === range.end) {
      range = left.next().value
      next = range?.start ?? 0
    }
    return { offset, bytes: await source.read(offset, length) }
  }
}

/** Keeps one block being read while one is being sent. */
async function sendAll(
  plan: UploadPlan,
  nextBlock: () => Promise<Block | undefined>,
  send: (block: Block) => Promise<void>
): Promise<void> {
  let coming = nextBlock()
  for (let block = await coming; block !== undefined; block = await coming) {
    coming = nextBlock()
    // A failure to read is met at the end of this turn; until then it is not unhandled.
    coming.catch(() => undefined)
    await send(block)
    plan.onSent(block.bytes.byteLength)
  }
}

async function write(socket: Socket, parts: readonly Uint8Array[]): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  socket.cork()
  for (const [index, part] of parts.entries()) {
    if (index < parts.length - 1) socket.write(part)
    else socket.write(part, (error) => (error ? reject(error) : resolve()))
  }
  socket.uncork()
  try {
    await promise
  } catch (error) {
    throw brokenConnection('data connection lost', error)
  }
}

async function end(socket: Socket): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  socket.end((error?: Error | null) => (error ? reject(error) : resolve()))
  try {
    await promise
  } catch (error) {
    throw brokenConnection('data connection lost', error)
  }
}
