import { isZeroChunk } from '../../chunks/chunk-id.ts'
import type { ServedProvider } from '../../chunks/maintenance-types.ts'
import type { SpaceReservation } from '../../chunks/store-types.ts'
import type { ChunkId } from '../../chunks/types.ts'
import type { Clock } from '../../lib/clock.ts'
import { MalformedError } from '../../lib/errors.ts'
import { IdleTimer } from '../../lib/idle-timer.ts'
import { toError } from '../../lib/to-error.ts'
import { InvalidRequestError, PeerTimeoutError } from '../errors.ts'
import { asFailure } from '../failure.ts'
import type { Channel } from '../types.ts'
import type { StoreRequest } from './store.ts'
import { checkMayAsk } from './store-answering.ts'
import type { StoreLimits, StoreMetrics, StoreRates } from './store-limits.ts'

/** What the puts of a stream have to do with. */
export interface IncomingPutsParts {
  readonly channel: Channel
  readonly provider: Pick<ServedProvider, 'reserve'>
  readonly clock: Clock
  /** All of them must have room, in this order. */
  readonly limits: readonly StoreLimits[]
  readonly rates: StoreRates
  readonly metrics: StoreMetrics
  readonly partTimeoutMs: number
}

/** A put all of whose bytes are here. */
export interface WholePut {
  readonly request: number
  readonly id: ChunkId
  readonly bytes: Uint8Array
  /** What the provider has promised to it. */
  readonly reservation: SpaceReservation | undefined
  /** Gives back its room here and at the provider. */
  readonly release: () => void
}

/** What becomes of puts. */
export interface PutOutcomes {
  stored(put: WholePut): void
  refused(request: number, error: Error): void
  /** Runs the wait for room while the caller is told that it goes on. */
  waited(request: number, wait: () => Promise<void>): Promise<void>
}

interface Arriving extends WholePut {
  filled: number
  readonly timer: IdleTimer
}

/** The puts of one stream until they are whole. One that could not succeed is refused at once. */
export class IncomingPuts {
  readonly #parts: IncomingPutsParts
  readonly #outcomes: PutOutcomes
  #arriving: Arriving | undefined
  /** The last one refused: its other parts may be on their way. */
  #refused: number | undefined

  constructor(parts: IncomingPutsParts, outcomes: PutOutcomes) {
    this.#parts = parts
    this.#outcomes = outcomes
  }

  /** Number of the put whose parts are arriving. */
  get arriving(): number | undefined {
    return this.#arriving?.request
  }

  /** Resolves when there is room for the whole chunk, or it was refused. */
  async begin(message: StoreRequest & { kind: 'put' }): Promise<void> {
    const { request, id, length, part } = message
    this.#refused = undefined
    let reservation: SpaceReservation | undefined
    try {
      reservation = await this.#admit(id, length)
    } catch (thrown) {
      const error = toError(thrown)
      this.#parts.metrics.refused(asFailure(error).code)
      this.#refused = request
      this.#outcomes.refused(request, error)
      return
    }
    try {
      await this.#takeRoom(request, length)
    } catch (error) {
      reservation?.release()
      throw error
    }
    const release = (): void => {
      this.#releaseRoom(length)
      reservation?.release()
    }
    const put = { request, id, reservation, release }
    if (part.byteLength === length) this.#outcomes.stored({ ...put, bytes: part })
    else this.#await({ ...put, bytes: new Uint8Array(length) }, part)
  }

  /** @throws {MalformedError} if the part belongs to no put, or is too long. */
  continue(request: number, part: Uint8Array): void {
    const arriving = this.#arriving
    if (arriving?.request !== request) {
      if (arriving === undefined && this.#refused === request) return
      throw new MalformedError('store request', `a part of request ${request} out of turn`)
    }
    const { bytes, filled, timer } = arriving
    if (filled + part.byteLength > bytes.byteLength) {
      throw new MalformedError('store request', `parts longer than ${bytes.byteLength} bytes`)
    }
    timer.touch()
    bytes.set(part, filled)
    arriving.filled += part.byteLength
    if (arriving.filled < bytes.byteLength) return
    timer.stop()
    this.#arriving = undefined
    this.#outcomes.stored(arriving)
  }

  /** Lets go of the put whose parts are arriving, if there is one. */
  giveUp(): void {
    const arriving = this.#arriving
    this.#arriving = undefined
    arriving?.timer.stop()
    arriving?.release()
  }

  #await(put: WholePut, part: Uint8Array): void {
    const { channel, clock, partTimeoutMs } = this.#parts
    put.bytes.set(part)
    const timer = new IdleTimer(clock, partTimeoutMs, () =>
      channel.abort(new PeerTimeoutError(channel.remote.peerId, 'parts of a put', partTimeoutMs))
    )
    this.#arriving = { ...put, filled: part.byteLength, timer }
  }

  async #admit(id: ChunkId, length: number): Promise<SpaceReservation | undefined> {
    const { channel, provider } = this.#parts
    checkMayAsk('put', channel.remote)
    if (isZeroChunk(id)) throw new InvalidRequestError('the zero chunk is never sent')
    return await provider.reserve(id, length)
  }

  async #takeRoom(request: number, length: number): Promise<void> {
    const { limits, rates, channel } = this.#parts
    const budgets = limits.map(({ putBytes }) => putBytes)
    const hasRoom = budgets.every(
      ({ waiting, used, total }) => waiting === 0 && used + length <= total
    )
    if (hasRoom && rates.receive.tryTake(length)) {
      for (const budget of budgets) budget.tryAcquire(length)
      return
    }
    await this.#outcomes.waited(request, async () => {
      const signal = channel.ended
      await rates.receive.take(length, { signal })
      const taken: typeof budgets = []
      try {
        for (const budget of budgets) {
          await budget.acquire(length, { signal })
          taken.push(budget)
        }
      } catch (error) {
        for (const budget of taken) budget.release(length)
        throw error
      }
    })
  }

  #releaseRoom(bytes: number): void {
    for (const { putBytes } of this.#parts.limits) putBytes.release(bytes)
  }
}
