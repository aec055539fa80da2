import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { parseHostPort } from '../../src/agent/host-port.ts'
import { encodeModeEHeader, MODE_E_EOD, MODE_E_EOF } from '../../src/gridftp/mode-e-header.ts'

/** `backwards`: the last block of the file goes first; `scattered`: every second one, then the others. */
export type BlockOrder = 'forwards' | 'backwards' | 'scattered'

export interface BlockUpload {
  /** HOST:PORT of the control channel. */
  readonly server: string
  readonly path: string
  readonly totalBytes: number
  readonly blockBytes: number
  readonly streams: number
  readonly order: BlockOrder
  /** The content of a range, in an array of its own. */
  readonly bytesAt: (offset: number, length: number) => Uint8Array
}

/**
 * Uploads in extended block mode with the blocks in an order that no client of ours uses, dealt out over
 * the streams in turn.
 *
 * @throws {Error} with the server's reply if it does not take the file.
 */
export async function uploadInBlocks(upload: BlockUpload): Promise<void> {
  const { host, port } = parseHostPort(upload.server)
  const control = connect(port, host).on('error', () => {}) // `reply` says that it was closed
  const sockets: Socket[] = []
  const replies = createInterface({ input: control })[Symbol.asyncIterator]()
  const reply = async (wanted: string): Promise<string> => {
    for (;;) {
      const { value, done } = await replies.next()
      if (done === true) throw new Error('the control connection was closed')
      if (!/^\d{3} /.test(value)) continue
      if (value.startsWith(wanted)) return value
      if (!value.startsWith('1')) throw new Error(value)
    }
  }
  const command = async (line: string, wanted: string): Promise<string> => {
    control.write(`${line}\r\n`)
    return reply(wanted)
  }
  try {
    await reply('220')
    await command('USER anonymous', '331')
    await command('PASS x@', '230')
    await command('TYPE I', '200')
    await command('MODE E', '200')
    const dataPort = portOf(await command('PASV', '227'))
    await command(`ALLO ${upload.totalBytes}`, '200')
    control.write(`STOR ${upload.path}\r\n`)
    for (let stream = 0; stream < upload.streams; stream++) sockets.push(connect(dataPort, host))
    // A stream that breaks is no news: the reply says why.
    for (const [stream, socket] of sockets.entries()) {
      socket.on('error', () => {})
      sendStream(socket, stream, upload).catch(() => {})
    }
    await reply('226')
    await command('QUIT', '221')
  } finally {
    control.destroy()
    for (const socket of sockets) socket.destroy()
  }
}

/** Which block of the file is sent as the index-th. */
const PLACES: Readonly<Record<BlockOrder, (index: number, blockCount: number) => number>> = {
  forwards: (index) => index,
  backwards: (index, blockCount) => blockCount - 1 - index,
  scattered: (index, blockCount) => {
    const half = Math.ceil(blockCount / 2)
    return index < half ? 2 * index : 2 * (index - half) + 1
  }
}

async function sendStream(socket: Socket, stream: number, upload: BlockUpload): Promise<void> {
  const { totalBytes, blockBytes, streams, order, bytesAt } = upload
  const blockCount = Math.ceil(totalBytes / blockBytes)
  for (let index = stream; index < blockCount; index += streams) {
    const offset = PLACES[order](index, blockCount) * blockBytes
    const count = Math.min(blockBytes, totalBytes - offset)
    socket.cork()
    socket.write(encodeModeEHeader({ flags: 0, count, offset }))
    socket.write(bytesAt(offset, count))
    socket.uncork()
    if (socket.writableNeedDrain) await once(socket, 'drain')
  }
  const flags = stream === 0 ? MODE_E_EOD | MODE_E_EOF : MODE_E_EOD
  socket.write(encodeModeEHeader({ flags, count: 0, offset: stream === 0 ? streams : 0 }))
}

function portOf(reply: string): number {
  const [high = 0, low = 0] = /,(\d+),(\d+)\)/.exec(reply)?.slice(1).map(Number) ?? []
  return high * 256 + low
}
