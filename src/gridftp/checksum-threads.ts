import { KIB } from '../lib/bytes.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { errorCode, NotRunningError } from '../lib/errors.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { WorkerCaller, workerUrl } from '../lib/worker-call.ts'
import { type ChecksumAlgorithm, createDigest } from './checksum.ts'
import type { ChecksumMethods } from './checksum-worker.ts'

/** Pieces of one sum that may be on their way to its thread, and how large they are. */
const SLOTS = 4
const SLOT_BYTES = 256 * KIB

/** Sums of less than this are computed at once: a thread would cost more. */
const SMALL_BYTES = 512 * KIB

/** A sum that is being computed. */
export interface RunningSum {
  /**
   * Adds bytes; resolves when it has copied them, which waits for room. One call after the other.
   *
   * @throws {WorkerFailedError} if the thread died.
   */
  update(bytes: Uint8Array): Promise<void>
  /** Lower-case hex, over everything added. Ends the sum. Throws as `update` does. */
  end(): Promise<string>
  /** Gives the sum up; harmless after `end`. */
  drop(): void
}

/** What checksum threads use. */
export interface ChecksumThreadsComponents {
  readonly clock: Clock
  readonly metrics?: Metrics | undefined
}

/** How many threads compute sums, and how long they stay. */
export interface ChecksumThreadsOptions {
  /** Threads at the same time, for all sessions; sums share them. @default 2 */
  readonly maxThreads?: number
  /** A thread without a sum ends after this, in milliseconds. @default 30000 */
  readonly idleMs?: number
}

interface Thread {
  readonly caller: WorkerCaller<ChecksumMethods>
  sumCount: number
  cancelIdle: Cancel | undefined
}

/**
 * Computes sums in threads of their own, so that a long one stops neither the event loop that moves
 * data nor anybody else's session. Threads are started when there is something to do.
 */
export class ChecksumThreads {
  readonly #clock: Clock
  readonly #bytes: Counter | undefined
  readonly #maxThreads: number
  readonly #idleMs: number
  readonly #threads: Thread[] = []
  readonly #ending = new Set<Promise<void>>()
  #nextId = 1
  #isStopped = false

  constructor(components: ChecksumThreadsComponents, options: ChecksumThreadsOptions = {}) {
    const { clock, metrics } = components
    const { maxThreads = 2, idleMs = 30_000 } = options
    if (!(maxThreads >= 1)) throw new RangeError(`maxThreads must be 1 or more, not ${maxThreads}`)
    this.#clock = clock
    this.#bytes = metrics?.counter('blobswarm_gridftp_checksum_bytes', {
      help: 'Bytes of files that were summed up for clients, by algorithm',
      labels: ['algorithm']
    })
    this.#maxThreads = maxThreads
    this.#idleMs = idleMs
  }

  /** Threads that run now. */
  get threadCount(): number {
    return this.#threads.length
  }

  /** Begins a sum over `expectedBytes`, or over an unknown number of bytes. */
  async begin(algorithm: ChecksumAlgorithm, expectedBytes = Infinity): Promise<RunningSum> {
    if (this.#isStopped) throw new NotRunningError('checksum threads')
    if (expectedBytes < SMALL_BYTES) {
      this.#bytes?.add(expectedBytes, { algorithm })
      return await sumHere(algorithm)
    }
    const thread = this.#freest()
    thread.sumCount += 1
    thread.cancelIdle?.()
    const id = this.#nextId++
    const shared = new SharedArrayBuffer(SLOTS * SLOT_BYTES)
    const onEnd = (bytes: number): void => {
      this.#bytes?.add(bytes, { algorithm })
      this.#sumEnded(thread)
    }
    const sum = new ThreadedSum({ id, shared, caller: thread.caller, onEnd })
    try {
      await thread.caller.call('begin', { id, algorithm, shared })
      return sum
    } catch (error) {
      sum.drop()
      if (errorCode(error) === 'ERR_WORKER_FAILED') this.#forget(thread)
      throw error
    }
  }

  /** Ends every thread; sums that run fail. */
  async stop(): Promise<void> {
    this.#isStopped = true
    for (const thread of this.#threads.slice()) this.#forget(thread)
    await Promise.all(this.#ending)
  }

  #freest(): Thread {
    const freest = this.#threads.toSorted((a, b) => a.sumCount - b.sumCount)[0]
    const isFull = this.#threads.length >= this.#maxThreads
    if (freest !== undefined && (freest.sumCount === 0 || isFull)) return freest
    const url = workerUrl('checksum-worker', import.meta.url)
    const caller = new WorkerCaller<ChecksumMethods>(url, { name: 'checksum' })
    const thread: Thread = { caller, sumCount: 0, cancelIdle: undefined }
    this.#threads.push(thread)
    return thread
  }

  #sumEnded(thread: Thread): void {
    thread.sumCount -= 1
    if (thread.sumCount > 0 || this.#isStopped) return
    thread.cancelIdle = this.#clock.schedule(() => this.#forget(thread), this.#idleMs)
  }

  #forget(thread: Thread): void {
    const at = this.#threads.indexOf(thread)
    if (at === -1) return
    this.#threads.splice(at, 1)
    thread.cancelIdle?.()
    const ended = thread.caller.stop()
    this.#ending.add(ended)
    void ended.finally(() => this.#ending.delete(ended))
  }
}

interface SumParts {
  readonly id: number
  readonly shared: SharedArrayBuffer
  readonly caller: WorkerCaller<ChecksumMethods>
  /** Told how many bytes were added. */
  readonly onEnd: (bytes: number) => void
}

/** Pieces go through slots of shared memory in turn: nothing has to be allocated for them. */
class ThreadedSum implements RunningSum {
  readonly #parts: SumParts
  readonly #shared: Uint8Array
  /** Pieces that the thread has not added yet, oldest first. */
  readonly #pending: Promise<void>[] = []
  #slot = 0
  #bytes = 0
  #hasEnded = false

  constructor(parts: SumParts) {
    this.#parts = parts
    this.#shared = new Uint8Array(parts.shared)
  }

  async update(bytes: Uint8Array): Promise<void> {
    const { caller, id } = this.#parts
    for (let at = 0; at < bytes.byteLength; at += SLOT_BYTES) {
      if (this.#pending.length === SLOTS) await this.#settleOldest()
      const piece = bytes.subarray(at, at + SLOT_BYTES)
      const offset = this.#slot * SLOT_BYTES
      this.#shared.set(piece, offset)
      this.#slot = (this.#slot + 1) % SLOTS
      const adding = caller.call('update', { id, offset, length: piece.byteLength })
      adding.catch(() => {}) // rejects again when it is awaited
      this.#pending.push(adding)
      this.#bytes += piece.byteLength
    }
  }

  async end(): Promise<string> {
    try {
      while (this.#pending.length > 0) await this.#settleOldest()
      return await this.#parts.caller.call('end', this.#parts.id)
    } finally {
      this.#finish()
    }
  }

  drop(): void {
    if (this.#hasEnded) return
    const { caller, id } = this.#parts
    caller.call('drop', id).catch(() => {}) // the thread has died: it has forgotten too
    this.#finish()
  }

  async #settleOldest(): Promise<void> {
    const oldest = this.#pending.shift()
    await oldest
  }

  #finish(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#parts.onEnd(this.#bytes)
  }
}

async function sumHere(algorithm: ChecksumAlgorithm): Promise<RunningSum> {
  const digest = await createDigest(algorithm)
  return {
    update: async (bytes) => digest.update(bytes),
    end: async () => digest.hex(),
    drop: () => {}
  }
}
