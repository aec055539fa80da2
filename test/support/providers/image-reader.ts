import { setTimeout as rest } from 'node:timers/promises'
import { openCall, partsOf } from '../../../src/agent/control-client.ts'
import { equalBytes, MIB } from '../../../src/lib/bytes.ts'
import { toError } from '../../../src/lib/to-error.ts'
import type { SampleImage } from './sample-image.ts'

/** Reads whole images through an agent, one after the other, until it is told to stop, and compares every byte. */
export class ImageReader {
  readonly #socket: string
  readonly #images: readonly SampleImage[]
  readonly #restMs: number
  readonly #stopping = new AbortController()
  readonly #running: Promise<void>
  #passes = 0
  #pass = Promise.withResolvers<undefined>()
  #failure: Error | undefined

  /** @param restMs time between two passes, for machines that have other things to do. */
  constructor(socket: string, images: readonly SampleImage[], restMs = 0) {
    this.#socket = socket
    this.#images = images
    this.#restMs = restMs
    this.#running = this.#run()
  }

  /** Waits until everything has been read once more, from first byte to last. @throws {Error} what went wrong. */
  async pass(): Promise<void> {
    const wanted = this.#passes + 2 // one may be under way
    while (this.#passes < wanted) {
      if (this.#failure !== undefined) throw this.#failure
      await this.#pass.promise
    }
  }

  /** Ends with what is being read now. @returns how often everything was read. @throws {Error} what went wrong. */
  async stop(): Promise<number> {
    this.#stopping.abort()
    await this.#running
    if (this.#failure !== undefined) throw this.#failure
    return this.#passes
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    try {
      while (!signal.aborted) {
        for (const image of this.#images) await readWhole(this.#socket, image)
        this.#passes += 1
        this.#next()
        await rest(this.#restMs)
      }
    } catch (thrown) {
      this.#failure = toError(thrown)
      this.#next()
    }
  }

  #next(): void {
    this.#pass.resolve(undefined)
    this.#pass = Promise.withResolvers()
  }
}

/** @throws {Error} at the first byte that is wrong or cannot be read. */
async function readWhole(socket: string, image: SampleImage): Promise<void> {
  const { path } = image
  const response = await openCall(socket, 'GET', 'cat', { query: { ref: path } })
  let read = 0
  let block = image.block(0)
  for await (const part of partsOf(response, socket, undefined)) {
    for (let bytes = part as Uint8Array; bytes.byteLength > 0; ) {
      const at = read % MIB
      if (at === 0) block = image.block(read / MIB)
      const length = Math.min(bytes.byteLength, MIB - at)
      if (!equalBytes(bytes.subarray(0, length), block.subarray(at, at + length))) {
        throw new Error(`${path}: wrong bytes between ${read} and ${read + length}`)
      }
      read += length
      bytes = bytes.subarray(length)
    }
  }
  if (read !== image.bytes) throw new Error(`${path}: ${read} bytes of ${image.bytes}`)
}
