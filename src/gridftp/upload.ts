import type { Range } from '../lib/range-set.ts'
import { toError } from '../lib/to-error.ts'
import { nextTurn } from '../lib/turn.ts'
import { BlockReceiver } from './block-receiver.ts'
import { ChecksummedUpload, verifyChecksumFits } from './checksum-upload.ts'
import type { OpenWriteOptions, WriteHandle } from './dsi.ts'
import { UploadIncompleteError } from './errors.ts'
import { PerformanceMarkers } from './markers.ts'
import { receiveStream } from './mode-s.ts'
import { openDelayedPort } from './passive-port.ts'
import { confinePath } from './path.ts'
import { type Reply, reply } from './replies.ts'
import type { RestartMarkers } from './restart-markers.ts'
import { giveUp, MeasuringSink, mayBeRestarted, openRestartMarkers } from './restart-uploads.ts'
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
  /**
   * What a broken upload has brought already, in bytes of the file; this one goes on with it.
   *
   * @default nothing
   */
  readonly arrived?: readonly Range[]
  /** Text of the reply that opens the transfer, where clients look for something in it. */
  readonly opening?: string
}

interface Incoming {
  readonly context: CommandContext
  readonly transfer: Transfer
  readonly queue: UploadQueue
  readonly request: UploadRequest
  readonly restart: RestartMarkers
}

/**
 * Receives a file into the storage and publishes it. Whatever fails leaves nothing behind, except that
 * an upload in extended blocks is kept for its client to continue.
 */
export async function receiveFile(context: CommandContext, request: UploadRequest): Promise<Reply> {
  const { verb, path, mode, arrived = [] } = request
  const isRestartable = mayBeRestarted(context, request)
  verifyChecksumFits(context.state, mode)
  const announcedBytes = context.state.announcedBytes
  const { storage, user } = loggedIn(context.state)
  return await Transfer.run(context, { verb, path, direction: 'upload' }, async (transfer) => {
    const { queueBytes, queueDepth } = context.services.settings
    const opened = await storage.openWrite(confinePath(user.root, path), {
      mode,
      expectedBytes: announcedBytes,
      maxUnderWay: queueDepth,
      isRestartable,
      continuing: arrived,
      signal: transfer.signal
    })
    const handle = ChecksummedUpload.guard(opened, context, request.arrived)
    handle.failed?.addEventListener('abort', () => transfer.abort(toError(handle.failed?.reason)))
    const restart = openRestartMarkers(context, request, isRestartable ? handle : {})
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
      const incoming: Incoming = { context, transfer, queue, request, restart }
      if (context.state.mode === 'S') await receiveInStreamMode(incoming, handle, expected)
      else await receiveInBlockMode(incoming, handle, expected)
    } catch (error) {
      const reason = toError(transfer.signal.aborted ? transfer.signal.reason : error)
      transfer.abort(reason) // ends writes that wait in the storage
      await queue.abort(reason)
      await giveUp(context, request, { handle, restart })
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
  await openDelayedPort(context)
  await context.send(reply(150, request.opening ?? 'Ready to receive.'))
  const socket = await context.channel.openOne(transfer.signal)
  transfer.isConnected = true
  transfer.connections = 1
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
  const { context, transfer, queue, request, restart } = incoming
  const { clock, settings } = context.services
  const sink = new MeasuringSink(queue)
  const receiver = new BlockReceiver(sink, {
    offset: request.blockOffset,
    maxSockets: settings.maxDataSockets,
    onBytes: () => transfer.touch(),
    onStranger: (socket, reason) => {
      transfer.connections -= 1
      context.channel.dropStranger(socket, reason)
    }
  })
  const markers = new PerformanceMarkers(
    { clock, send: (marker) => context.trySend(marker), bytes: () => transfer.bytes },
    { intervalMs: context.state.performanceIntervalMs ?? settings.markerIntervalMs }
  )
  await openDelayedPort(context)
  const feed = context.channel.feed((socket) => {
    transfer.isConnected = true
    transfer.connections += 1
    receiver.add(socket)
  })
  try {
    await context.send(startReply(feed.isReused, request.opening))
    markers.start()
    restart.start()
    const sockets = await receiver.finished(transfer.signal)
    await queue.finish()
    const bytes = receiver.receivedBytes + arrivedBytes(request)
    if (expectedBytes !== undefined && bytes < expectedBytes) {
      throw new UploadIncompleteError(expectedBytes, bytes)
    }
    await restart.stop()
    await publish(incoming, handle)
    markers.finish()
    restart.finish(sink.range)
    context.channel.keep(sockets)
  } catch (error) {
    context.channel.discard(receiver.release())
    throw error
  } finally {
    markers.stop()
    feed.stop()
  }
}

function arrivedBytes({ arrived = [] }: UploadRequest): number {
  return arrived.reduce((sum, { start, end }) => sum + end - start, 0)
}

/** The reply that opens a transfer in extended block mode. */
export function startReply(isReused: boolean, text?: string): Reply {
  return isReused
    ? reply(125, text ?? 'Transfer starts on the open data connections.')
    : reply(150, text ?? 'Transfer starts.')
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
  const { version } = await handle.publish({
    isStillWanted: () => context.isClientThere(),
    signal: transfer.signal
  })
  transfer.version = version
}
