import { type BlockSource, exactly, FileBlocks, sendBlocks } from './block-sender.ts'
import { sendStream } from './mode-s.ts'
import { confinePath } from './path.ts'
import { type Reply, reply } from './replies.ts'
import { loggedIn } from './session-state.ts'
import { Transfer } from './transfer.ts'
import type { CommandContext } from './types.ts'
import { startReply } from './upload.ts'

/** What a client asked for. */
export interface DownloadRequest {
  readonly verb: string
  /** As the user sees it. */
  readonly path: string
  readonly offset: number
  /** To the end when left out. */
  readonly length?: number
  /** Subtracted from the offsets of extended blocks. */
  readonly base: number
}

/** The same content for either mode; only one of the two is used. */
export interface Outgoing {
  readonly stream: () => AsyncIterable<Uint8Array>
  readonly blocks: () => BlockSource
}

/** Sends a file, or a range of it. */
export async function sendFile(context: CommandContext, request: DownloadRequest): Promise<Reply> {
  const { verb, path, base } = request
  const { storage, user } = loggedIn(context.state)
  return await Transfer.run(context, { verb, path, direction: 'download' }, async (transfer) => {
    const { signal } = transfer
    const handle = await storage.openRead(confinePath(user.root, path))
    try {
      const offset = Math.min(request.offset, handle.bytes)
      const left = handle.bytes - offset
      const length = Math.min(request.length ?? left, left)
      return await sendContent(context, transfer, {
        stream: () => exactly(handle.read({ offset, length }, { signal }), length),
        blocks: () => new FileBlocks(handle, { offset, length, base, signal })
      })
    } finally {
      await handle.close()
    }
  })
}

/** Sends anything over the data connections of the session, in its mode. */
export async function sendContent(
  context: CommandContext,
  transfer: Transfer,
  content: Outgoing
): Promise<Reply> {
  const { signal } = transfer
  const onBytes = (bytes: number): void => transfer.add(bytes)
  const isStream = context.state.mode === 'S'
  const { sockets, isReused } = isStream
    ? { sockets: [await context.channel.openOne(signal)], isReused: false }
    : await context.channel.openForSending(context.state.parallelism, signal)
  transfer.isConnected = true
  transfer.touch()
  try {
    await context.send(startReply(isReused))
    const [first] = sockets
    if (isStream && first !== undefined) {
      await sendStream(first, content.stream(), { signal, onBytes })
    } else {
      for (const socket of sockets) socket.watchForClose()
      await sendBlocks(sockets, content.blocks(), { signal, onBytes })
    }
    context.channel.keep(sockets)
  } catch (error) {
    context.channel.discard(sockets)
    throw signal.aborted ? signal.reason : error
  }
  return reply(226, 'Transfer complete.')
}
