import { KIB } from '../../src/lib/bytes.ts'
import type { SimulatedNode } from './simulated-network.ts'

const QUANTUM_BYTES = 16 * KIB
const SEND_BUFFER_BYTES = 64 * KIB
const RECEIVE_BUFFER_BYTES = 256 * KIB
// Length prefix, noise, yamux, TCP and IP of one message, and of each full segment of it.
const MESSAGE_OVERHEAD_BYTES = 80
const SEGMENT_OVERHEAD = 1.046

interface Parcel {
  readonly message: Uint8Array
  readonly wireBytes: number
}

/** One direction of a channel: a queue at the sender, and what has arrived. */
export class Flow {
  readonly #from: SimulatedNode
  readonly #to: SimulatedNode
  readonly #onReset: () => void
  readonly #queue: Parcel[] = []
  readonly #inbox: Uint8Array[] = []
  #queuedBytes = 0
  #leftOfFirst = 0
  #inboxBytes = 0
  #onTheWay = 0
  #stalledUntilMs = 0
  #arrivesMs = 0
  #readyMs = 0
  /** Bytes sent since the other end could last confirm any. */
  #unconfirmed = 0
  #changed = Promise.withResolvers<void>()
  isClosed = false
  isCut = false

  /** `onReset` is called when the far host answers that it knows of no such connection. */
  constructor(from: SimulatedNode, to: SimulatedNode, onReset: () => void) {
    this.#from = from
    this.#to = to
    this.#onReset = onReset
  }

  get changed(): Promise<void> {
    return this.#changed.promise
  }

  get isFull(): boolean {
    return this.#queuedBytes > SEND_BUFFER_BYTES
  }

  get hasEnded(): boolean {
    return this.isClosed && this.#queue.length === 0 && this.#onTheWay === 0
  }

  push(message: Uint8Array): void {
    const wireBytes = Math.ceil(message.byteLength * SEGMENT_OVERHEAD) + MESSAGE_OVERHEAD_BYTES
    this.#queue.push({ message, wireBytes })
    this.#queuedBytes += wireBytes
    if (this.#queue.length === 1) this.#leftOfFirst = wireBytes
    this.#from.offer(this)
  }

  shift(): Uint8Array | undefined {
    const message = this.#inbox.shift()
    if (message !== undefined) {
      this.#inboxBytes -= message.byteLength
      if (this.#queue.length > 0) this.#from.offer(this)
    }
    return message
  }

  /** Bytes to send now: none if the receiver does not read or cannot be heard. */
  take(): number {
    if (this.isCut || this.#queue.length === 0) return 0
    if (this.#inboxBytes + this.#onTheWay > RECEIVE_BUFFER_BYTES) return 0
    const { clock, weather } = this.#from
    if (this.#stalledUntilMs > clock.monotonic()) return 0
    if (this.#to.isDead) {
      if (this.#to.isForgotten) this.#reset()
      return 0
    }
    if (weather.isBlocked(this.#from.peerId, this.#to.peerId)) return 0
    if (!weather.isBlocked(this.#to.peerId, this.#from.peerId)) this.#unconfirmed = 0
    else if (this.#unconfirmed >= SEND_BUFFER_BYTES) return 0
    return Math.min(QUANTUM_BYTES, this.#leftOfFirst)
  }

  passed(bytes: number): void {
    const [first] = this.#queue
    if (first === undefined || this.isCut) return
    const { clock, weather, line } = this.#from
    const stallMs = weather.lossMs(line.latencyMs * 2)
    if (stallMs > 0) {
      this.#stalledUntilMs = clock.monotonic() + stallMs
      clock.schedule(() => this.#from.offer(this), stallMs)
      return
    }
    this.#leftOfFirst -= bytes
    this.#queuedBytes -= bytes
    this.#unconfirmed += bytes
    if (this.#leftOfFirst <= 0) {
      this.#queue.shift()
      this.#leftOfFirst = this.#queue[0]?.wireBytes ?? 0
      this.#onTheWay += first.message.byteLength
      const nowMs = clock.monotonic()
      this.#arrivesMs = Math.max(this.#arrivesMs, nowMs + line.latencyMs + weather.delayMs())
      const arrive = (): void => this.#arrive(first)
      weather.deliver(this.#from.peerId, this.#to.peerId, this.#arrivesMs - nowMs, arrive)
    }
    this.wake()
  }

  cut(): void {
    this.isCut = true
    this.#queue.length = 0
    this.#inbox.length = 0
    this.wake()
  }

  wake(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  #arrive(parcel: Parcel): void {
    const { clock } = this.#from
    this.#readyMs = Math.max(this.#readyMs, this.#to.receive(parcel.wireBytes))
    clock.schedule(() => {
      this.#onTheWay -= parcel.message.byteLength
      if (this.isCut) return
      this.#inbox.push(parcel.message)
      this.#inboxBytes += parcel.message.byteLength
      this.wake()
    }, this.#readyMs - clock.monotonic())
  }

  #reset(): void {
    this.#from.clock.schedule(this.#onReset, this.#from.line.latencyMs * 2)
  }
}
