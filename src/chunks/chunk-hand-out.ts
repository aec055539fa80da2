import type { Budget } from '../lib/budget.ts'
import { anySignal } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import type { ChunkBuffers } from './chunk-buffers.ts'

export interface ChunkHandOutComponents {
  /** Memory for chunks that have been handed out; may be shared. */
  readonly inFlight: Budget
  /** Chunks of this upload that may be handed out at the same time. */
  readonly slots: Budget
  readonly buffers: ChunkBuffers
  /** Told of every failure to take a chunk. */
  readonly onFailure: (error: Error) => void
  /** Aborted when no chunk is handed out any more, with the reason. */
  readonly failed: AbortSignal
}

/**
 * Hands chunks out as far as there is memory for them in flight: several at the same time, but the
 * fillings of one chunk one after the other.
 */
export class ChunkHandOut {
  readonly #components: ChunkHandOutComponents
  readonly #chunkBytes: number
  /** The last hand-out of each chunk that has not ended. */
  readonly #running = new Map<number, Promise<void>>()

  constructor(components: ChunkHandOutComponents, chunkBytes: number) {
    this.#components = components
    this.#chunkBytes = chunkBytes
  }

  /** Takes room for a chunk if there is some at once. */
  tryReserve(): boolean {
    const { slots, inFlight } = this.#components
    if (!slots.tryAcquire(1)) return false
    if (inFlight.tryAcquire(this.#chunkBytes)) return true
    slots.release(1)
    return false
  }

  /** Takes room for a chunk, waiting for it. @throws {unknown} the reason of either signal. */
  async reserve(signal: AbortSignal | undefined): Promise<void> {
    const { slots, inFlight, failed } = this.#components
    failed.throwIfAborted()
    if (this.tryReserve()) return
    const waiting = { signal: anySignal([signal, failed]) }
    await slots.acquire(1, waiting)
    try {
      await inFlight.acquire(this.#chunkBytes, waiting)
    } catch (error) {
      slots.release(1)
      throw error
    }
  }

  /** Gives the room for a chunk back. */
  release(): void {
    this.#components.inFlight.release(this.#chunkBytes)
    this.#components.slots.release(1)
  }

  /**
   * Starts handing out a chunk for which there is room, after an earlier filling of the same one;
   * `drain` waits for it.
   *
   * @param buffer is used again when the chunk has been taken. If taking it fails, who still reads
   * it is not known, and it is left alone.
   */
  start(index: number, give: () => Promise<void>, buffer?: Uint8Array): void {
    const earlier = this.#running.get(index)
    const running = this.#run(earlier, give, buffer).finally(() => {
      if (this.#running.get(index) === running) this.#running.delete(index)
    })
    this.#running.set(index, running)
  }

  /** Waits until nothing is handed out; at most as many as there is room for in flight. */
  async drain(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values())
  }

  async #run(
    earlier: Promise<void> | undefined,
    give: () => Promise<void>,
    buffer: Uint8Array | undefined
  ): Promise<void> {
    try {
      if (earlier !== undefined) await earlier
      if (!this.#components.failed.aborted) await give()
      if (buffer !== undefined) this.#components.buffers.give(buffer)
    } catch (thrown) {
      this.#components.onFailure(toError(thrown))
    } finally {
      this.release()
    }
  }
}
