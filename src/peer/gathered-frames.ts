import { KIB } from '../lib/bytes.ts'

/** A length of 16 bits and the longest message of noise. */
const MAX_FRAME_BYTES = 2 + 65_535

/** Shorter frames get an array of their own. */
const MIN_REUSED_BYTES = 16 * KIB

/** Buffers of long frames that wait for their next use, of all connections: 4 MiB. */
const MAX_IDLE_BUFFERS = 64
const idleBuffers: Uint8Array[] = []

export interface FrameTaker {
  /** Takes bytes. */
  deliver(bytes: Uint8Array): void
  /** Tells whether `deliver` would be done with the bytes when it returns, so that their memory is free. */
  isPrompt(): boolean
}

/**
 * Puts the frames of a noise connection (a length of 16 bits, big-endian, and a message) together before the
 * library sees them: a message is deciphered at once for a third of the cost of its pieces as a slow link
 * delivers them, and they do not pass five layers one by one.
 */
export class GatheredFrames {
  readonly #taker: FrameTaker
  #isGathering = false
  /** The frame that has begun, as far as it has come. */
  #frame: Uint8Array | undefined
  #frameBytes = 0
  #filled = 0
  /** The first of a frame's two bytes of length, if the other one has not come. */
  #firstByte: number | undefined

  constructor(taker: FrameTaker) {
    this.#taker = taker
  }

  /** What comes from now on is frames, and starts with one; before, bytes are delivered as they come. */
  begin(): void {
    this.#isGathering = true
  }

  /** Takes the next bytes, which may change when this returns. */
  push(bytes: Uint8Array): void {
    if (!this.#isGathering) {
      this.#taker.deliver(bytes.slice())
      return
    }
    for (let at = 0; at < bytes.byteLength; ) at += this.#take(bytes.subarray(at))
  }

  /** Lets go of what has come of a frame; nothing may be pushed any more. */
  end(): void {
    if (this.#frame !== undefined) giveBuffer(this.#frame)
    this.#frame = undefined
  }

  /** @returns how many of the bytes were used, at least one. */
  #take(bytes: Uint8Array): number {
    if (this.#frame !== undefined) return this.#fill(this.#frame, bytes)
    const [one = 0, two] = bytes
    const first = this.#firstByte
    if (first !== undefined) {
      this.#firstByte = undefined
      const frame = this.#open(2 + first * 256 + one)
      frame[0] = first
      this.#filled = 1
      return this.#fill(frame, bytes)
    }
    if (two === undefined) {
      this.#firstByte = one
      return 1
    }
    const frameBytes = 2 + one * 256 + two
    if (bytes.byteLength >= frameBytes && this.#taker.isPrompt()) {
      this.#taker.deliver(bytes.subarray(0, frameBytes))
      return frameBytes
    }
    return this.#fill(this.#open(frameBytes), bytes)
  }

  #open(frameBytes: number): Uint8Array {
    const frame = takeBuffer(frameBytes)
    this.#frame = frame
    this.#frameBytes = frameBytes
    this.#filled = 0
    return frame
  }

  #fill(frame: Uint8Array, bytes: Uint8Array): number {
    const used = bytes.subarray(0, this.#frameBytes - this.#filled)
    frame.set(used, this.#filled)
    this.#filled += used.byteLength
    if (this.#filled === this.#frameBytes) {
      this.#frame = undefined
      const isPrompt = this.#taker.isPrompt()
      this.#taker.deliver(frame.subarray(0, this.#frameBytes))
      if (isPrompt) giveBuffer(frame)
    }
    return used.byteLength
  }
}

function takeBuffer(frameBytes: number): Uint8Array {
  if (frameBytes < MIN_REUSED_BYTES) return new Uint8Array(frameBytes)
  return idleBuffers.pop() ?? Buffer.allocUnsafeSlow(MAX_FRAME_BYTES)
}

function giveBuffer(buffer: Uint8Array): void {
  const isReused = buffer.byteLength === MAX_FRAME_BYTES
  if (isReused && idleBuffers.length < MAX_IDLE_BUFFERS) idleBuffers.push(buffer)
}
