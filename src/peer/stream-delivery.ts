import type { MessageStream, MessageStreamReadStatus, Stream } from '@libp2p/interface'
import { toError } from '../lib/to-error.ts'
import { pauseReading, resumeReading, StreamEnding } from './stream-reading.ts'
import type { StreamBytes } from './stream-writing.ts'

/**
 * Gives `take` what arrives in the call that brings it, which costs a fraction of `readBounded`: for a taker
 * that is done with the bytes, or has put them where they are counted, when it returns. The stream is left
 * paused, so that reading may be taken up again.
 *
 * @param take returns false when it has enough.
 * @returns true when the remote has closed its side, false when `take` has enough.
 * @throws {unknown} what `take` throws; an Error if the stream ended otherwise.
 */
export async function deliverAll(
  stream: Stream,
  take: (bytes: StreamBytes) => boolean
): Promise<boolean> {
  const delivery = new Delivery(stream, take)
  try {
    return await delivery.ended
  } finally {
    delivery.stop()
  }
}

/** Hands on what a stream delivers, past its queue and its events where neither is needed. */
class Delivery {
  readonly ended: Promise<boolean>
  readonly #stream: Stream
  readonly #take: (bytes: StreamBytes) => boolean
  readonly #ending: StreamEnding
  readonly #settle: PromiseWithResolvers<boolean>
  #isRunning = true
  #endShortCut: (() => void) | undefined

  constructor(stream: Stream, take: (bytes: StreamBytes) => boolean) {
    this.#stream = stream
    this.#take = take
    this.#settle = Promise.withResolvers<boolean>()
    this.ended = this.#settle.promise
    this.#ending = new StreamEnding(stream, () => this.#look())
    stream.addEventListener('message', this.#onMessage)
    this.#begin()
  }

  stop(): void {
    this.#isRunning = false
    this.#endShortCut?.()
    this.#stream.removeEventListener('message', this.#onMessage)
    this.#ending.detach()
    pauseReading(this.#stream)
  }

  #begin(): void {
    try {
      resumeReading(this.#stream)
    } catch (error) {
      this.#settle.reject(toError(error))
      this.stop()
    }
    if (!this.#isRunning) return
    this.#endShortCut = shortCut(this.#stream, (bytes) => this.#hand(bytes))
    this.#look()
  }

  #look(): void {
    if (!this.#isRunning || !this.#ending.hasEnded) return
    try {
      this.#ending.throwUnlessClosedByRemote()
      this.#settle.resolve(true)
    } catch (error) {
      this.#settle.reject(toError(error))
    }
    this.stop()
  }

  #hand(bytes: StreamBytes): void {
    try {
      if (this.#take(bytes)) return
      this.#settle.resolve(false)
    } catch (error) {
      this.#settle.reject(error)
    }
    this.stop()
  }

  readonly #onMessage = (event: { data: StreamBytes }): void => this.#hand(event.data)
}

/** A stream as it is inside. */
interface InnerStream {
  readonly readStatus: MessageStreamReadStatus
  onData(bytes: StreamBytes): void
}

/**
 * Gives `take` what a stream would queue, take out of its queue and tell by an event in one go; what it would keep it
 * keeps. `take` is called instead of the event's listeners.
 *
 * @returns how to end that.
 */
export function shortCut(stream: MessageStream, take: (bytes: StreamBytes) => void): () => void {
  const inside = stream as unknown as InnerStream
  const onData = inside.onData.bind(stream)
  inside.onData = (bytes) => {
    const isDirect = inside.readStatus === 'readable' && stream.readBufferLength === 0
    if (isDirect && bytes.byteLength > 0) take(bytes)
    else onData(bytes)
  }
  return () => Reflect.deleteProperty(inside, 'onData')
}
