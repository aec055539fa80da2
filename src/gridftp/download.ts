import type { Range } from '../lib/range-set.ts'
import { type BlockSource, exactly, FileBlocks, sendBlocks } from './block-sender.ts'
import { PerformanceMarkers } from './markers.ts'
import { sendStream } from './mode-s.ts'
import { openDelayedPort } from './passive-port.ts'
import { confinePath } from './path.ts'
import { type Reply, reply } from './replies.ts'
import { ChainedBlocks, gapsBetween } from './restart-ranges.ts'
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
  /**
   * What the receiver has already, in bytes of the file; in extended block mode it is left out.
   *
   * @default nothing
   */
  readonly arrived?: readonly Range[]
}

/** The same content for either mode; only one of the two is used. */
export interface Outgoing {
  readonly stream: () => AsyncIterable<Uint8Array>
  readonly blocks: () => BlockSource
  /** Told of each array of the stream that has been sent, when nobody looks at it any more. */
  readonly onSent?: (piece: Uint8Array) => void
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
        onSent: (piece) => handle.giveBack?.(piece),
        blocks: () => {
          const gaps = gapsBetween(request.arrived ?? [], { start: offset, end: offset + length })
          return new ChainedBlocks(
            gaps.map(({ start, end }) => {
              const range = { offset: start, length: end - start }
              return new FileBlocks(handle, { ...range, base, signal })
            })
          )
        }
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
  if (isStream) await openDelayedPort(context)
  const { sockets, isReused } = isStream
    ? { sockets: [await context.channel.openOne(signal)], isReused: false }
    : await context.channel.openForSending(context.state.parallelism, signal)
  transfer.isConnected = true
  transfer.connections = sockets.length
  transfer.touch()
  const markers = wantedMarkers(context, transfer)
  try {
    await context.send(startReply(isReused))
    markers?.start()
    const [first] = sockets
    if (isStream && first !== undefined) {
      await sendStream(first, content.stream(), { signal, onBytes, onSent: content.onSent })
    } else {
      for (const socket of sockets) socket.watchForClose()
      await sendBlocks(sockets, content.blocks(), { signal, onBytes })
    }
    markers?.finish()
    context.channel.keep(sockets)
  } catch (error) {
    context.channel.discard(sockets)
    throw signal.aborted ? signal.reason : error
  } finally {
    markers?.stop()
  }
  return reply(226, 'Transfer complete.')
}

/** A sender gives performance markers only where OPTS RETR asked for them. */
function wantedMarkers(
  context: CommandContext,
  transfer: Transfer
): PerformanceMarkers | undefined {
  const { retrieveMarkerIntervalMs: intervalMs } = context.state
  if (intervalMs === undefined || transfer.request.isListing === true) return undefined
  const { clock } = context.services
  const send = (marker: Reply): void => void context.trySend(marker)
  return new PerformanceMarkers({ clock, send, bytes: () => transfer.bytes }, { intervalMs })
}
