import type { Range } from '../lib/range-set.ts'
import { toError } from '../lib/to-error.ts'
import type {
  ConnectedTargets,
  DataMover,
  OutgoingStripe,
  StripePart
} from '../metadata/stripe-types.ts'
import { CommandRefusedError, DataChannelError } from './errors.ts'
import { confinePath } from './path.ts'
import { type Reply, reply } from './replies.ts'
import { loggedIn } from './session-state.ts'
import {
  assignStripes,
  DEFAULT_STRIPE_BYTES,
  type StripeShare,
  stripeBytesOf
} from './stripe-layout.ts'
import type { StripedReadHandle } from './striped-storage.ts'
import { openMonitor } from './striped-upload.ts'
import { Stripes, storageFailure } from './stripes.ts'
import { Transfer } from './transfer.ts'
import type { CommandContext } from './types.ts'
import { startReply } from './upload.ts'

/** A download that data movers carry. */
export interface StripedDownload {
  readonly verb: string
  /** As the user sees it. */
  readonly path: string
  /** Subtracted from the offsets on the wire. */
  readonly base: number
  /** What of a file of this size is asked for, in order. */
  readonly rangesOf: (bytes: number) => readonly Range[]
}

/**
 * Tells who carries the next download; undefined if this agent does, alone. Several addresses are
 * for several stripes; a client that names a stripe layout wants them, too; and a front that is no
 * data mover carries nothing where others can.
 */
export function moversForDownload(context: CommandContext): readonly DataMover[] | undefined {
  const { channel, services, state } = context
  const { targets } = channel
  if (state.mode !== 'E' || targets === undefined || services.movers === undefined) return undefined
  const { movers } = services
  if (channel.hasUsedSockets) return undefined // the receiver waits for no others
  const found = movers.list()
  if (targets.length > 1) return found.length > 0 ? found : [movers.own]
  const isForOthers = found.length > 0 && !found.includes(movers.own)
  const isWanted = state.stripeLayout !== undefined && found.length > 1
  return isWanted || isForOthers ? found : undefined
}

/** Lets data movers send a file, each its share of the stripe blocks. */
export async function sendStripedFile(
  context: CommandContext,
  request: StripedDownload,
  movers: readonly DataMover[]
): Promise<Reply> {
  const { verb, path } = request
  const { storage, user } = loggedIn(context.state)
  if (storage.openStripedRead === undefined) {
    throw new CommandRefusedError(504, 'This storage gives no stripes: give PORT.')
  }
  const open = storage.openStripedRead.bind(storage)
  return await Transfer.run(context, { verb, path, direction: 'download' }, async (transfer) => {
    const handle = await open(confinePath(user.root, path))
    try {
      await send({ context, request, transfer, handle }, movers)
    } catch (thrown) {
      const { channel, services } = context
      const error = toError(transfer.signal.aborted ? transfer.signal.reason : thrown)
      const cause = (await channel.outgoingStripes?.causeOf(error, services.clock)) ?? error
      channel.keepOutgoing(undefined)
      throw storageFailure(cause, (failure) => handle.explain(failure))
    }
    return reply(226, 'Transfer complete.')
  })
}

interface Outgoing {
  readonly context: CommandContext
  readonly request: StripedDownload
  readonly transfer: Transfer
  readonly handle: StripedReadHandle
}

async function send(outgoing: Outgoing, movers: readonly DataMover[]): Promise<void> {
  const { context, transfer } = outgoing
  const { signal } = transfer
  const targets = context.channel.targets ?? []
  const stripes = await stripesFor(context, movers, signal)
  const shares = assignStripes(stripes.count, targets.length)
  const { parallelism } = context.state
  const connected = await stripes.all(async (session, index, either) => {
    const own = (shares[index] ?? []).flatMap(({ target }) => targets[target] ?? [])
    return await session.connect({ targets: own, parallelism }, { signal: either })
  }, signal)
  transfer.isConnected = true
  const counts = connected.flatMap((one) => one.counts)
  transfer.connections = counts.reduce((sum, count) => sum + count, 0)
  transfer.touch()
  const monitor = openMonitor(context, stripes, transfer)
  try {
    await context.send(startReply(connected.some(({ isReused }) => isReused)))
    monitor.start()
    const jobs = jobsOf(outgoing, shares, connected)
    const sent = await stripes.all(async (session, index, either) => {
      const job = jobs[index]
      return job === undefined ? 0 : await session.send(job, { signal: either })
    }, signal)
    stripes.wasUsed = true
    monitor.finish(sent)
    // A client with one port listens again only after connections were closed in order.
    if (targets.length === 1) context.channel.keepOutgoing(undefined)
  } finally {
    await monitor.stop()
  }
}

/** Those of the transfer before, as long as they go to the same targets; else new ones. */
async function stripesFor(
  context: CommandContext,
  movers: readonly DataMover[],
  signal: AbortSignal
): Promise<Stripes> {
  const { channel, services } = context
  const kept = channel.outgoingStripes
  if (kept !== undefined) return kept
  const options = { access: accessOf(context), logger: services.logger, signal }
  const { stripes } = await Stripes.open(movers, async () => {}, options)
  channel.keepOutgoing(stripes)
  if (stripes.count > 0) return stripes
  throw new DataChannelError(425, 'No data mover can be reached.')
}

/** What the data movers are told of this session. */
export function accessOf({ peerHost, services: { settings } }: CommandContext) {
  const { allowsThirdParty, maxDataSockets, dataTimeoutMs } = settings
  return {
    ...(!allowsThirdParty && { clientHost: peerHost }),
    maxSockets: maxDataSockets,
    idleMs: dataTimeoutMs
  }
}

function jobsOf(
  { context, request, handle }: Outgoing,
  shares: readonly (readonly StripeShare[])[],
  connected: readonly ConnectedTargets[]
): OutgoingStripe[] {
  const { base, rangesOf } = request
  const { record, bytes } = handle
  const targetCount = context.channel.targets?.length ?? 1
  const ranges = rangesOf(bytes)
  const layout = context.state.stripeLayout ?? {
    kind: 'blocked' as const,
    blockBytes: DEFAULT_STRIPE_BYTES
  }
  const wireBytes = Math.max(0, (ranges.at(-1)?.end ?? 0) - base)
  const stripeBytes = stripeBytesOf(layout, wireBytes, Math.max(shares.length, targetCount))
  const parts = partsOf(shares, connected)
  return parts.map((own) => ({
    record,
    ranges,
    base,
    stripeBytes,
    parts: own,
    closes: targetCount === 1
  }))
}

/** Adds up the connections to each target; whoever serves it first sends its EOF. */
function partsOf(
  shares: readonly (readonly StripeShare[])[],
  connected: readonly ConnectedTargets[]
): StripePart[][] {
  const counts = new Map<number, number>()
  for (const [mover, own] of shares.entries()) {
    for (const [at, { target }] of own.entries()) {
      const count = connected[mover]?.counts[at] ?? 0
      counts.set(target, (counts.get(target) ?? 0) + count)
    }
  }
  return shares.map((own) =>
    own.map((share) => ({
      ...share,
      eodCount: counts.get(share.target) ?? 0,
      sendsEof: share.share === 0
    }))
  )
}
