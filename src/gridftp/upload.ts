import { toError } from '../lib/to-error.ts'
import { nextTurn } from '../lib/turn.ts'
import { BlockReceiver } from './block-receiver.ts'
import type { OpenWriteOptions, WriteHandle } from './dsi.ts'
import { UploadIncompleteError } from './errors.ts'
import { PerformanceMarkers } from './markers.ts'
import { receiveStream } from './mode-s.ts'
import { confinePath } from './path.ts'
import { type Reply, reply } from './replies.ts'
import { loggedIn } from './session-state.ts'
import { Transfer } from './transfer.ts'
import type { CommandContext } from './types.ts'
import { UploadQueue } from './upload-queue.ts'

/** What a client sends, and where it goes. */
export interface UploadRequest {
  readonly verb: string
  /** As the user sees it. */
  readonly path: string
  readonly mode: OpenWriteOptions['mode']
  /** Where in the file the first byte of stream mode belongs. */
  readonly streamOffset: number
  /** Added to the offsets of extended blocks. */
  readonly blockOffset: number
}

interface Incoming {
  readonly context: CommandContext
  readonly transfer: Transfer
  readonly queue: UploadQueue
  readonly request: UploadRequest
}

/** Receives a file into the storage and publishes it. Whatever fails leaves nothing behind. */
export async function receiveFile(context: CommandContext, request: UploadRequest): Promise<Reply> {
  const { verb, path, mode } = request
  const announcedBytes = context.state.announcedBytes
  const { storage, user } = loggedIn(context.state)
  return await Transfer.run(context, { verb, path, direction: 'upload' }, async (transfer) => {
    const handle = await storage.openWrite(confinePath(user.root, path), {
      mode,
      expectedBytes: announcedBytes,
      signal: transfer.signal
    })
    const { queueBytes, queueDepth } = context.services.settings
    const queue = new UploadQueue(handle, {
      queueBytes,
      queueDepth,
      signal: transfer.signal,
      onError: (error) => transfer.abort(error),
      onWritten: (bytes) => transfer.add(bytes)
    })
    transfer.isStorageBusy = () => queue.heldBytes > 0
    try {
      const expected = mode === 'replace' ? announcedBytes : undefined
      const incoming: Incoming = { context, transfer, queue, request }
      if (context.state.mode === 'S') await receiveInStreamMode(incoming, handle, expected)
      else await receiveInBlockMode(incoming, handle, expected)
    } catch (error) {
      const reason = toError(transfer.signal.aborted ? transfer.signal.reason : error)
      transfer.abort(reason) // ends writes that wait in the storage
      await queue.abort(reason)
      await handle.abort()
      throw reason
    }
    return reply(226, 'Transfer complete.')
  })
}

async function receiveInStreamMode(
  incoming: Incoming,
  handle: WriteHandle,
  expectedBytes: number | undefined
): Promise<void> {
  const { context, transfer, queue, request } = incoming
  context.channel.verifyEndpoint()
  await context.send(reply(150, 'Ready to receive.'))
  const socket = await context.channel.openOne(transfer.signal)
  transfer.isConnected = true
  try {
    const received = await receiveStream(socket, queue, {
      offset: request.streamOffset,
      signal: transfer.signal,
      onBytes: () => transfer.touch()
    })
    await queue.finish()
    if (expectedBytes !== undefined && received !== expectedBytes) {
      throw new UploadIncompleteError(expectedBytes, received)
    }
    await publish(incoming, handle)
    socket.close()
    context.channel.keep([socket])
  } catch (error) {
    context.channel.discard([socket])
    throw error
  }
}

async function receiveInBlockMode(
  incoming: Incoming,
  handle: WriteHandle,
  expectedBytes: number | undefined
): Promise<void> {
  const { context, transfer, queue, request } = incoming
  const { clock, settings } = context.services
  const receiver = new BlockReceiver(queue, {
    offset: request.blockOffset,
    maxSockets: settings.maxDataSockets,
    onBytes: () => transfer.touch()
  })
  const markers = new PerformanceMarkers(
    { clock, send: (marker) => context.trySend(marker), bytes: () => transfer.bytes },
    { intervalMs: settings.markerIntervalMs }
  )
  const feed = context.channel.feed((socket) => {
    transfer.isConnected = true
    receiver.add(socket)
  })
  try {
    await context.send(startReply(feed.isReused))
    markers.start()
    const sockets = await receiver.finished(transfer.signal)
    await queue.finish()
    if (expectedBytes !== undefined && receiver.receivedBytes < expectedBytes) {
      throw new UploadIncompleteError(expectedBytes, receiver.receivedBytes)
    }
    await publish(incoming, handle)
    markers.finish()
    context.channel.keep(sockets)
  } catch (error) {
    context.channel.discard(receiver.release())
    throw error
  } finally {
    markers.stop()
    feed.stop()
  }
}

/** The reply that opens a transfer in extended block mode. */
export function startReply(isReused: boolean): Reply {
  return isReused
    ? reply(125, 'Transfer starts on the open data connections.')
    : reply(150, 'Transfer starts.')
}

/**
 * A client that is killed closes its data connection in order; only its control connection,
 * closed in the same instant, tells. Two turns of the event loop let that be seen first.
 */
async function publish({ context, transfer }: Incoming, handle: WriteHandle): Promise<void> {
  transfer.endWatch()
  await nextTurn()
  await nextTurn()
  transfer.signal.throwIfAborted()
  await handle.publish({
    isStillWanted: () => context.isClientThere(),
    signal: transfer.signal
  })
}
