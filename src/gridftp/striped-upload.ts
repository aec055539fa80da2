import { toError } from '../lib/to-error.ts'
import { nextTurn } from '../lib/turn.ts'
import type { ReceivedStripe } from '../metadata/stripe-types.ts'
import { CommandRefusedError, UploadIncompleteError } from './errors.ts'
import { confinePath } from './path.ts'
import { type Reply, reply } from './replies.ts'
import { mayBeRestarted } from './restart-uploads.ts'
import { loggedIn } from './session-state.ts'
import { StripeMonitor } from './stripe-monitor.ts'
import { StripedRestart } from './striped-restart.ts'
import type { StripedWriteHandle } from './striped-storage.ts'
import { type Stripes, storageFailure } from './stripes.ts'
import { Transfer } from './transfer.ts'
import type { CommandContext } from './types.ts'
import { startReply, type UploadRequest } from './upload.ts'

/** The longest time in which a data mover that has stopped is not noticed. */
const MAX_ASK_INTERVAL_MS = 5000

interface Incoming {
  readonly context: CommandContext
  readonly request: UploadRequest
  readonly stripes: Stripes
  readonly transfer: Transfer
  readonly handle: StripedWriteHandle
  readonly restart: StripedRestart
}

/**
 * Lets data movers receive a file, each its stripe, and publishes what they have stored as one
 * version. Whatever fails leaves nothing behind, except what is kept for its client to continue.
 */
export async function receiveStripedFile(
  context: CommandContext,
  request: UploadRequest,
  stripes: Stripes
): Promise<Reply> {
  const { verb, path, mode, arrived = [] } = request
  const { announcedBytes, expectedChecksum } = context.state
  const { storage, user } = loggedIn(context.state)
  if (expectedChecksum !== undefined) {
    throw new CommandRefusedError(504, 'SCKS is for uploads without stripes: give PASV.')
  }
  if (storage.openStripedWrite === undefined) {
    throw new CommandRefusedError(504, 'This storage takes no stripes: give PASV.')
  }
  const open = storage.openStripedWrite.bind(storage)
  return await Transfer.run(context, { verb, path, direction: 'upload' }, async (transfer) => {
    const handle = await open(confinePath(user.root, path), {
      mode,
      expectedBytes: announcedBytes,
      isRestartable: mayBeRestarted(context, request),
      continuing: arrived,
      signal: transfer.signal
    })
    handle.failed.addEventListener('abort', () => transfer.abort(toError(handle.failed.reason)))
    const restart = new StripedRestart(context, request, { handle, stripes })
    try {
      await receive({ context, request, stripes, transfer, handle, restart })
    } catch (thrown) {
      const error = toError(transfer.signal.aborted ? transfer.signal.reason : thrown)
      transfer.abort(error)
      const cause = await stripes.causeOf(error, context.services.clock)
      await restart.giveUp(handle)
      throw storageFailure(cause, (failure) => handle.explain(failure))
    }
    return reply(226, 'Transfer complete.')
  })
}

async function receive(incoming: Incoming): Promise<void> {
  const { context, request, stripes, transfer, handle, restart } = incoming
  const { description, baseOffset } = handle
  const { blockOffset, opening } = request
  const stripe = { description, baseOffset, blockOffset, isRestartable: restart.isPossible }
  const monitor = openMonitor(context, stripes, transfer)
  try {
    await context.send(startReply(stripes.wasUsed, opening))
    monitor.start()
    restart.start()
    stripes.wasUsed = true
    const stored = await stripes.all(async (session, index, signal) => {
      const received = await session.receive(stripe, { signal })
      restart.received(index, received)
      return received
    }, transfer.signal)
    await restart.stop()
    await monitor.stop() // who is lost from now on is missed by the leases, if it matters
    verifyComplete(incoming, stored)
    await publish(incoming, stored)
    monitor.finish(stored.map(({ receivedBytes }) => receivedBytes))
    restart.finish()
  } finally {
    await monitor.stop()
  }
}

/** The monitor of a transfer whose markers go to the client. */
export function openMonitor(
  context: CommandContext,
  stripes: Stripes,
  transfer: Transfer
): StripeMonitor {
  const { clock, settings } = context.services
  const { performanceIntervalMs, retrieveMarkerIntervalMs } = context.state
  const isUpload = transfer.request.direction === 'upload'
  const markerIntervalMs = isUpload
    ? (performanceIntervalMs ?? settings.markerIntervalMs)
    : retrieveMarkerIntervalMs
  const intervals = [MAX_ASK_INTERVAL_MS, settings.markerIntervalMs, markerIntervalMs ?? Infinity]
  const askIntervalMs = Math.min(...intervals, settings.dataTimeoutMs / 3)
  return new StripeMonitor(
    { clock, stripes, transfer, send: (marker) => context.trySend(marker) },
    { askIntervalMs, markerIntervalMs }
  )
}

function verifyComplete({ context, request }: Incoming, stored: readonly ReceivedStripe[]): void {
  const { announcedBytes } = context.state
  if (request.mode !== 'replace' || announcedBytes === undefined) return
  const arrived = request.arrived ?? []
  const arrivedBytes = arrived.reduce((sum, { start, end }) => sum + end - start, 0)
  const bytes = stored.reduce((sum, stripe) => sum + stripe.receivedBytes, arrivedBytes)
  if (bytes < announcedBytes) throw new UploadIncompleteError(announcedBytes, bytes)
}

/** As of an upload without stripes (upload.ts): the client may have gone in this very moment. */
async function publish(
  { context, stripes, transfer, handle }: Incoming,
  stored: readonly ReceivedStripe[]
): Promise<void> {
  const { signal } = transfer
  transfer.endWatch()
  await nextTurn()
  await nextTurn()
  signal.throwIfAborted()
  const leases = {
    ensure: async () => {
      await stripes.all(async (session, _at, either) => session.ensure({ signal: either }), signal)
    },
    // The ticket keeps the chunks now; a mover that is lost meanwhile is no loss any more.
    stop: async () => {
      await Promise.allSettled(stripes.sessions.map(async (session) => session.release({ signal })))
    }
  }
  const isStillWanted = (): boolean => context.isClientThere()
  const { version } = await handle.publish(stored, { isStillWanted, leases, signal })
  transfer.version = version
}
