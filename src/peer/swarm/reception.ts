import type { Clock } from '../../lib/clock.ts'
import { LimitExceededError } from '../../lib/errors.ts'
import type { Logger } from '../../lib/logger.ts'
import type { Counter } from '../../lib/metrics.ts'
import { toError } from '../../lib/to-error.ts'
import { type Bans, isViolation } from '../bans.ts'
import { PeerTimeoutError } from '../errors.ts'
import type { GoodbyeReason } from '../protocols/swarm.ts'
import type { Channel } from '../types.ts'
import { GoodbyeError } from './errors.ts'
import { introduce, refuse } from './meeting.ts'
import type { OpenImages } from './open-images.ts'

export interface ReceptionComponents {
  readonly images: Pick<OpenImages, 'find'>
  readonly bans: Bans
  readonly clock: Clock
  readonly log: Logger
  /** Counts channels that were turned away or got nowhere, by `reason`. */
  readonly refused?: Counter | undefined
}

export interface ReceptionOptions {
  /** Time for the handshake. */
  readonly timeoutMs?: number | undefined
  /** Ends what is being received. */
  readonly signal: AbortSignal
}

/** Takes the channels that other agents open to the session of their image, or turns them away. */
export class Reception {
  readonly #components: ReceptionComponents
  readonly #options: ReceptionOptions
  readonly #serving = new Set<Promise<void>>()

  constructor(components: ReceptionComponents, options: ReceptionOptions) {
    this.#components = components
    this.#options = options
  }

  /** Serves a channel until it ends. @throws {Error} if it got nowhere, which resets it. */
  async receive(channel: Channel): Promise<void> {
    const serving = this.#serve(channel)
    this.#serving.add(serving)
    try {
      await serving
    } finally {
      this.#serving.delete(serving)
    }
  }

  /** Resolves when no channel is served any more. */
  async ended(): Promise<void> {
    await Promise.allSettled(this.#serving)
  }

  async #serve(channel: Channel): Promise<void> {
    const { images, bans, clock } = this.#components
    const { peerId } = channel.remote
    if (bans.isBanned(peerId, clock.monotonic())) {
      await this.#refuse(channel, 'banned')
      return
    }
    try {
      const opened = await introduce(channel, clock, this.#options)
      const image = await images.find(opened.handshake.root)
      if (image === undefined) await this.#refuse(channel, 'unknownImage')
      else await image.session.accept(opened)
    } catch (thrown) {
      const error = toError(thrown)
      if (error instanceof LimitExceededError) await this.#refuse(channel, 'full')
      else if (!(error instanceof GoodbyeError)) this.#gotNowhere(peerId, error)
    }
  }

  async #refuse(channel: Channel, reason: GoodbyeReason): Promise<void> {
    this.#components.refused?.add(1, { reason })
    await refuse(channel, reason)
  }

  /** A channel ended before its peer became a neighbour. @throws {Error} always. */
  #gotNowhere(peerId: string, error: Error): never {
    const { bans, clock, log, refused } = this.#components
    const isBad = isViolation(error)
    const reason = error instanceof PeerTimeoutError ? 'timeout' : isBad ? 'violation' : 'ended'
    refused?.add(1, { reason })
    if (isBad) {
      log.info('peer %p is banned: %e', peerId, error)
      bans.punish(peerId, clock.monotonic())
    }
    throw error
  }
}
