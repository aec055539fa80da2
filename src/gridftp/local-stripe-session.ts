import { checkChunkBytes } from '../chunks/chunk-size.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { NotRunningError } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'
import { type LeafList, LeafListBuilder } from '../metadata/leaf-list.ts'
import type {
  ConnectedTargets,
  ConnectRequest,
  IncomingStripe,
  OutgoingStripe,
  ReceivedStripe,
  StripeAccess,
  StripeAddress,
  StripeProgress,
  StripeSession
} from '../metadata/stripe-types.ts'
import { addressFamily } from './address.ts'
import { DataChannel } from './data-channel.ts'
import { CommandRefusedError, DataChannelError, TransferAbortedError } from './errors.ts'
import type { LocalMoverOptions, MoverServices } from './local-mover.ts'
import { StripeIntake } from './stripe-intake.ts'
import { sendStripe } from './stripe-outlet.ts'
import { StripeTransfer } from './stripe-transfer.ts'

/** Limits of a session, and who is told of its end. */
export interface LocalStripeSessionOptions extends LocalMoverOptions, StripeAccess {
  readonly maxSockets: number
  readonly onClosed: () => void
}

/** A target and the connections to it. */
interface Target {
  readonly address: StripeAddress
  readonly channel: DataChannel
  /** How many there are, once there are any. */
  count: number
}

/** The session of a mover that is in this process. */
export class LocalStripeSession implements StripeSession {
  readonly mover: string
  readonly #services: MoverServices
  readonly #options: LocalStripeSessionOptions
  readonly #incoming: DataChannel
  readonly #closing = new AbortController()
  #targets: readonly Target[] = []
  #transfer: StripeTransfer | undefined
  #running: Promise<unknown> = Promise.resolve()
  #isBusy = false
  #intake: StripeIntake | undefined

  constructor(mover: string, services: MoverServices, options: LocalStripeSessionOptions) {
    this.mover = mover
    this.#services = services
    this.#options = options
    this.#incoming = this.#newChannel()
  }

  async listen(family: 1 | 2 | undefined, { signal }: AbortOptions = {}): Promise<StripeAddress> {
    this.#checkIdle(signal)
    const host = this.#options.advertisedHost ?? this.#options.host
    if (family !== undefined && addressFamily(host) !== family) {
      throw new CommandRefusedError(522, `${host} is not of protocol family ${family}`)
    }
    return { host, port: await this.#incoming.listen() }
  }

  async connect(request: ConnectRequest, options: AbortOptions = {}): Promise<ConnectedTargets> {
    this.#checkIdle(options.signal)
    const { targets } = request
    const perTarget = Math.floor(this.#options.maxSockets / targets.length)
    const parallelism = Math.max(1, Math.min(request.parallelism, perTarget))
    if (!this.#isConnectedTo(targets)) this.#setTargets(targets)
    const signal = this.#either(options.signal)
    const opened = await Promise.allSettled(
      this.#targets.map(async (target) => {
        const { sockets, isReused } = await target.channel.openForSending(parallelism, signal)
        target.channel.keep(sockets)
        target.count = sockets.length
        return { count: sockets.length, isReused }
      })
    )
    const failed = opened.find((result) => result.status === 'rejected')
    if (failed !== undefined) {
      this.#setTargets([])
      throw toError(failed.reason)
    }
    const found = opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    return {
      counts: found.map(({ count }) => count),
      isReused: found.some(({ isReused }) => isReused)
    }
  }

  async receive(stripe: IncomingStripe, options: AbortOptions = {}): Promise<ReceivedStripe> {
    return await this.#run('upload', options.signal, async (transfer) => {
      await this.#drop()
      const { storage } = this.#services
      const { description, baseOffset, isRestartable: isNoted } = stripe
      checkChunkBytes(description.chunkBytes)
      const { signal } = transfer
      const extents = await storage.openExtents(description, {
        baseOffset,
        isNoted,
        maxUnderWay: this.#options.queueDepth,
        signal
      })
      const intake = new StripeIntake({ extents, channel: this.#incoming, transfer }, this.#options)
      this.#intake = intake
      return await intake.run(stripe.blockOffset)
    })
  }

  async checkpoint(): Promise<LeafList> {
    return (await this.#intake?.checkpoint()) ?? new LeafListBuilder().build()
  }

  async send(stripe: OutgoingStripe, options: AbortOptions = {}): Promise<number> {
    return await this.#run('download', options.signal, async (transfer) => {
      const targets = this.#targets
      if (targets.length === 0 || targets.length !== stripe.parts.length) {
        throw new DataChannelError(425, 'No connections to send on.')
      }
      const { signal } = transfer
      const snapshot = await this.#services.storage.openSealed(stripe.record, { signal })
      await sendStripe({ snapshot, targets, transfer }, stripe)
      return transfer.movedBytes
    })
  }

  async progress(): Promise<StripeProgress> {
    this.#transfer?.touch()
    const { movedBytes = 0, isConnected = false } = this.#transfer ?? {}
    const isStoring = this.#isBusy && this.#intake?.isFinishing === true
    return { movedBytes, isConnected, isStoring }
  }

  async ensure(options: AbortOptions = {}): Promise<void> {
    if (this.#intake === undefined) throw new DataChannelError(426, 'Nothing is stored.')
    await this.#intake.ensure(options)
  }

  async release(): Promise<void> {
    if (!this.#isBusy) await this.#drop()
  }

  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      this.#closing.abort(new TransferAbortedError('the front has ended it'))
      this.#incoming.close()
      this.#setTargets([])
      this.#options.onClosed()
    }
    await this.#running
    // What a transfer gave back while it ended.
    this.#incoming.close()
    await this.#drop()
  }

  /** Carries a transfer out; its data connections do not outlive a failure. */
  async #run<T>(
    direction: 'upload' | 'download',
    signal: AbortSignal | undefined,
    task: (transfer: StripeTransfer) => Promise<T>
  ): Promise<T> {
    this.#checkIdle(signal)
    this.#isBusy = true
    const finished = Promise.withResolvers<void>()
    this.#running = finished.promise
    const { clock, logger, bytes } = this.#services
    const transfer = new StripeTransfer(clock, {
      signal: this.#either(signal),
      idleMs: this.#options.idleMs,
      onBytes: (count) => bytes?.add(count, { direction })
    })
    this.#transfer = transfer
    try {
      const result = await task(transfer)
      logger.info('stripe of an %s: %d bytes', direction, transfer.movedBytes)
      return result
    } catch (thrown) {
      const error = transfer.signal.aborted ? toError(transfer.signal.reason) : toError(thrown)
      logger.info(
        'stripe of an %s failed after %d bytes: %e',
        direction,
        transfer.movedBytes,
        error
      )
      if (direction === 'upload') this.#incoming.close()
      else this.#setTargets([])
      throw error
    } finally {
      transfer.end()
      this.#isBusy = false
      finished.resolve()
    }
  }

  #checkIdle(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted()
    if (this.#closing.signal.aborted) throw new NotRunningError('the session of the data mover')
    if (this.#isBusy) throw new TypeError('a transfer is running')
  }

  #either(signal: AbortSignal | undefined): AbortSignal {
    const closing = this.#closing.signal
    return signal === undefined ? closing : AbortSignal.any([signal, closing])
  }

  #isConnectedTo(targets: readonly StripeAddress[]): boolean {
    return (
      targets.length === this.#targets.length &&
      targets.every(({ host, port }, at) => {
        const address = this.#targets[at]?.address
        return address?.host === host && address.port === port
      })
    )
  }

  #setTargets(targets: readonly StripeAddress[]): void {
    for (const { channel } of this.#targets) channel.close()
    this.#targets = []
    this.#targets = targets.map((address) => {
      const channel = this.#newChannel()
      channel.connectTo(address)
      return { address, channel, count: 0 }
    })
  }

  #newChannel(): DataChannel {
    const { random, logger } = this.#services
    const { host, clientHost, passivePorts, maxSockets } = this.#options
    return new DataChannel(
      { random, logger },
      {
        localHost: host,
        peerHost: clientHost ?? '',
        passivePorts,
        allowsThirdParty: clientHost === undefined,
        maxSockets
      }
    )
  }

  async #drop(): Promise<void> {
    const intake = this.#intake
    this.#intake = undefined
    await intake?.close()
  }
}
